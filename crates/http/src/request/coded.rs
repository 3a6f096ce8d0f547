//! Bodies that come compressed: gzip (RFC 1952) and zstd (RFC 8878), undone piece by piece.
//!
//! A few kilobytes can stand for gigabytes. So what comes out is counted against the limit of
//! the body like a body that was sent as it is, and its memory is taken before it is made.

use std::io::{self, Write as _};

use bytes::{Buf as _, Bytes};
use flate2::write::GzDecoder;
use hyper::HeaderMap;
use hyper::header;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation as _, OutBuffer};

use crate::answer::problem::{Problem, printable};
use siglip2_service::Lease;

/// A decoded piece is about this long; it ends with the step that reaches this.
const PIECE: usize = 64 << 10;

/// What one step of a decoder adds at most: flate2 hands on its buffer of 32 KiB.
const STEP: usize = 32 << 10;

/// What a decoder of gzip holds: its window, its buffer, and a name and a comment in the head.
const GZIP_BYTES: u64 = 256 << 10;

/// A member of gzip costs some ten microseconds before it stands for anything, and takes 20 bytes. So there
/// may be this many, and one more for each so many bytes that they stand for: what compresses in blocks
/// (bgzip, pigz, a log that is appended to) makes them of tens of kilobytes.
const FEW_MEMBERS: u64 = 64;
const MEMBER_BYTES: u64 = 1 << 10;

/// What a decoder of zstd holds besides its window: tables, and a block on either side.
const ZSTD_BYTES: u64 = 512 << 10;

/// The largest window that a sender may count on (RFC 9659).
const MAX_WINDOW_LOG: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// What `Content-Encoding` says, if there is one. A single coding is supported, not several.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut found = None;
        let values = headers.get_all(header::CONTENT_ENCODING).iter();
        for name in values.flat_map(|value| value.as_bytes().split(|&byte| byte == b',')) {
            let name = name.trim_ascii().to_ascii_lowercase();
            let coding = match name.as_slice() {
                b"" | b"identity" => continue,
                b"gzip" | b"x-gzip" => Self::Gzip,
                b"zstd" => Self::Zstd,
                other => {
                    let shown = printable(&String::from_utf8_lossy(other), 40);
                    return Err(Problem::Coding(shown));
                }
            };
            if found.replace(coding).is_some() {
                return Err(Problem::Coding("more than one coding".to_owned()));
            }
        }
        Ok(found)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    fn broken(self, what: impl std::fmt::Display) -> Problem {
        Problem::BadRequest(format!("The body is not valid {}: {what}.", self.name()).into())
    }
}

/// Undoes the coding of one body.
pub(crate) struct Decoder {
    coding: Coding,
    /// Bytes that have arrived and are not decoded yet.
    input: Bytes,
    steps: Steps,
    /// The memory that the decoder itself takes.
    held: u64,
}

enum Steps {
    Gzip(Box<Members>),
    Zstd(Box<Frames>),
}

impl Decoder {
    /// A decoder for a body whose memory is held by this lease.
    pub(crate) fn new(coding: Coding, lease: &mut Lease) -> Result<Self, Problem> {
        let (steps, held) = match coding {
            Coding::Gzip => (Steps::Gzip(Box::new(Members::new())), GZIP_BYTES),
            Coding::Zstd => {
                let frames = Frames::new()
                    .map_err(|error| Problem::Internal(format!("no decoder of zstd: {error}")))?;
                (Steps::Zstd(Box::new(frames)), ZSTD_BYTES)
            }
        };
        lease.grow(held)?;
        Ok(Self {
            coding,
            input: Bytes::new(),
            steps,
            held,
        })
    }

    /// Takes the next piece as it came. Its memory is held by the lease, and given back when it
    /// is decoded.
    pub(crate) fn feed(&mut self, piece: Bytes) {
        self.input = piece;
    }

    /// The next decoded piece, or none until there is more to decode.
    pub(crate) fn piece(&mut self, lease: &mut Lease) -> Result<Option<Bytes>, Problem> {
        let most = (PIECE + STEP) as u64;
        lease.grow(most)?;
        let before = self.input.len();
        let decoded = self.decode(lease)?;
        let given_back = (before - self.input.len()) as u64 + most - decoded.len() as u64;
        lease.shrink_to(lease.bytes().saturating_sub(given_back));
        Ok((!decoded.is_empty()).then_some(decoded))
    }

    fn decode(&mut self, lease: &mut Lease) -> Result<Bytes, Problem> {
        let coding = self.coding;
        match &mut self.steps {
            Steps::Gzip(members) => {
                while !self.input.is_empty() && members.decoded() < PIECE {
                    members
                        .step(&mut self.input)
                        .map_err(|error| coding.broken(error))?;
                    if members.are_too_many() {
                        return Err(Problem::BadRequest(
                            format!(
                                "The body has too many members of gzip: it may have {FEW_MEMBERS}, and one more \
                                 for each {MEMBER_BYTES} bytes that they decode to; compress it as one."
                            )
                            .into(),
                        ));
                    }
                }
                Ok(fitted(members.take()))
            }
            Steps::Zstd(frames) => {
                let mut decoded = Vec::with_capacity(PIECE);
                while decoded.len() < PIECE {
                    if let Some(window) = frames.begin(&mut self.input) {
                        if window > 1 << MAX_WINDOW_LOG {
                            return Err(Problem::TooLarge(format!(
                                "The body has a zstd window of {window} bytes; it may have at most {}.",
                                1 << MAX_WINDOW_LOG
                            )));
                        }
                        let more = (ZSTD_BYTES + window).saturating_sub(self.held);
                        lease.grow(more)?;
                        self.held += more;
                    }
                    let (before, had) = (self.input.len(), decoded.len());
                    frames
                        .step(&mut self.input, &mut decoded)
                        .map_err(|error| coding.broken(error))?;
                    if self.input.len() == before && decoded.len() == had {
                        break;
                    }
                }
                Ok(fitted(decoded))
            }
        }
    }

    /// The end of what came: what is left of what it stands for. The memory of the decoder is
    /// given back.
    pub(crate) fn end(mut self, lease: &mut Lease) -> Result<Option<Bytes>, Problem> {
        let last = match &mut self.steps {
            Steps::Gzip(members) => {
                // No more than its window and its buffer, which are held.
                members.decoder.try_finish().map_err(|_| {
                    let what = "it ends early, or its checksum is wrong";
                    self.coding.broken(what)
                })?;
                fitted(members.take())
            }
            Steps::Zstd(frames) if frames.is_between() => Bytes::new(),
            Steps::Zstd(_) => return Err(self.coding.broken("it ends early")),
        };
        let rest = lease.bytes().saturating_sub(self.held);
        lease.shrink_to(rest);
        lease.grow(last.len() as u64)?;
        Ok((!last.is_empty()).then_some(last))
    }
}

/// Without the room that a buffer has besides.
fn fitted(mut buffer: Vec<u8>) -> Bytes {
    buffer.shrink_to_fit();
    buffer.into()
}

/// The members of a body in gzip, one behind the other.
struct Members {
    /// Of the member that is read now.
    decoder: GzDecoder<Vec<u8>>,
    /// Members that have begun.
    count: u64,
    /// Bytes that were decoded and taken.
    taken: u64,
}

impl Members {
    fn new() -> Self {
        Self {
            decoder: GzDecoder::new(Vec::new()),
            count: 1,
            taken: 0,
        }
    }

    /// What is decoded and not taken yet.
    fn decoded(&self) -> usize {
        self.decoder.get_ref().len()
    }

    fn take(&mut self) -> Vec<u8> {
        let decoded = std::mem::take(self.decoder.get_mut());
        self.taken += decoded.len() as u64;
        decoded
    }

    fn are_too_many(&self) -> bool {
        let bytes = self.taken + self.decoded() as u64;
        self.count > FEW_MEMBERS + bytes / MEMBER_BYTES
    }

    /// Decodes some of the input, or begins the next member where one has ended.
    fn step(&mut self, input: &mut Bytes) -> io::Result<()> {
        let taken = self.decoder.write(input)?;
        if taken == 0 {
            self.decoder.try_finish()?;
            let decoded = std::mem::take(self.decoder.get_mut());
            self.decoder = GzDecoder::new(decoded);
            self.count += 1;
        }
        input.advance(taken);
        Ok(())
    }
}

/// The frames of a body in zstd, one behind the other.
struct Frames {
    decoder: ZstdDecoder<'static>,
    /// The first bytes of a frame, until they say how large its window is.
    head: Vec<u8>,
    state: State,
    /// Whether any frame has come.
    any: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the head of a frame.
    Head,
    /// The head is whole, and is decoded next.
    Known,
    /// In a frame.
    Frame,
}

impl Frames {
    fn new() -> io::Result<Self> {
        let mut decoder = ZstdDecoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
        Ok(Self {
            decoder,
            head: Vec::new(),
            state: State::Head,
            any: false,
        })
    }

    /// Reads the head of a frame, where one begins; the bytes of its window once it is known.
    fn begin(&mut self, input: &mut Bytes) -> Option<u64> {
        if self.state != State::Head {
            return None;
        }
        while let Some(&byte) = input.first() {
            self.head.push(byte);
            input.advance(1);
            if let Some(window) = window(&self.head) {
                self.state = State::Known;
                return Some(window);
            }
        }
        None
    }

    /// Decodes until the input, the room or the frame ends.
    fn step(&mut self, input: &mut Bytes, decoded: &mut Vec<u8>) -> io::Result<()> {
        if self.state == State::Head {
            return Ok(());
        }
        if self.state == State::Known {
            let head = std::mem::take(&mut self.head);
            self.any = true;
            self.state = State::Frame;
            self.run(&head, decoded)?;
            if self.state == State::Head {
                return Ok(());
            }
        }
        let taken = self.run(input, decoded)?;
        input.advance(taken);
        Ok(())
    }

    fn run(&mut self, input: &[u8], decoded: &mut Vec<u8>) -> io::Result<usize> {
        let had = decoded.len();
        let mut from = InBuffer::around(input);
        let mut into = OutBuffer::around_pos(decoded, had);
        if self.decoder.run(&mut from, &mut into)? == 0 {
            self.state = State::Head;
        }
        Ok(from.pos())
    }

    /// Whether at least one frame has been read and none is open.
    fn is_between(&self) -> bool {
        self.any && self.state == State::Head && self.head.is_empty()
    }
}

/// The bytes of a frame's window by its head (RFC 8878, 3.1.1.1), if this is enough of it. What
/// is no head has none: the decoder says what is wrong with it.
fn window(head: &[u8]) -> Option<u64> {
    const MAGIC: u32 = 0xFD2F_B528;
    let magic = u32::from_le_bytes(*head.first_chunk()?);
    if magic != MAGIC {
        return Some(0);
    }
    let descriptor = *head.get(4)?;
    let is_single = descriptor & 0x20 != 0;
    if !is_single {
        let window = *head.get(5)?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // The window is the content, whose size stands behind the number of a dictionary.
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = head.get(5 + dictionary..)?;
    Some(match descriptor >> 6 {
        0 => u64::from(*size.first()?),
        1 => u64::from(u16::from_le_bytes(*size.first_chunk()?)) + 256,
        2 => u64::from(u32::from_le_bytes(*size.first_chunk()?)),
        _ => u64::from_le_bytes(*size.first_chunk()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use siglip2_service::metrics::Metrics;
    use siglip2_service::{MemoryBudget, MemoryUse};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 1).unwrap()
    }

    #[test]
    fn members_are_as_many_as_what_they_stand_for_allows() {
        let empty = gzip(b"");
        let few = empty.repeat(FEW_MEMBERS as usize);
        assert_eq!(decoded(Coding::Gzip, &few, 1000).unwrap(), b"");
        for size in [7, 1000, usize::MAX] {
            let many = empty.repeat(FEW_MEMBERS as usize + 1);
            let error = decoded(Coding::Gzip, &many, size).unwrap_err();
            assert!(error.to_string().contains("members of gzip"), "{error}");
        }
        // As bgzip writes: blocks, and an empty one at the end.
        let block = vec![b'a'; MEMBER_BYTES as usize];
        let many = [gzip(&block).repeat(1000), empty].concat();
        assert_eq!(
            decoded(Coding::Gzip, &many, 1000).unwrap(),
            block.repeat(1000)
        );
    }

    /// Decodes what comes in pieces of this size; afterwards exactly what was decoded is held.
    fn decoded(coding: Coding, bytes: &[u8], size: usize) -> Result<Vec<u8>, Problem> {
        let budget = MemoryBudget::new(256 << 20, Metrics::new());
        let mut lease = budget.empty(MemoryUse::Bodies);
        let mut decoder = Decoder::new(coding, &mut lease)?;
        let mut all = Vec::new();
        for piece in bytes.chunks(size) {
            lease.grow(piece.len() as u64)?;
            decoder.feed(Bytes::copy_from_slice(piece));
            while let Some(piece) = decoder.piece(&mut lease)? {
                assert!(piece.len() <= PIECE + STEP);
                all.extend_from_slice(&piece);
            }
        }
        if let Some(last) = decoder.end(&mut lease)? {
            all.extend_from_slice(&last);
        }
        assert_eq!(lease.bytes(), all.len() as u64);
        Ok(all)
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bits = 1_u32;
        let next = || {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (bits >> 24) as u8 % 61
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn what_was_coded_comes_out_in_whatever_pieces_it_comes() {
        for length in [0, 1, 1000, 70_000, 400_000] {
            for bytes in [noise(length), vec![b'a'; length]] {
                for size in [1, 7, 1000, 1 << 20] {
                    let (gzip, zstd) = (gzip(&bytes), zstd(&bytes));
                    if size == 1 && gzip.len() > 100_000 {
                        continue;
                    }
                    assert!(decoded(Coding::Gzip, &gzip, size).unwrap() == bytes);
                    assert!(decoded(Coding::Zstd, &zstd, size).unwrap() == bytes);
                    let twice = [bytes.clone(), bytes.clone()].concat();
                    let members = [gzip.clone(), gzip].concat();
                    assert!(decoded(Coding::Gzip, &members, size).unwrap() == twice);
                    // A frame that is skipped (RFC 8878, 3.1.2) between two that are not.
                    let skipped = b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec();
                    let frames = [zstd.clone(), skipped, zstd].concat();
                    assert!(decoded(Coding::Zstd, &frames, size).unwrap() == twice);
                }
            }
        }
    }

    #[test]
    fn what_is_broken_is_a_bad_request() {
        let bytes = noise(3000);
        for (coding, good) in [(Coding::Gzip, gzip(&bytes)), (Coding::Zstd, zstd(&bytes))] {
            for cut in [0, 1, 5, 12, good.len() / 2, good.len() - 1] {
                let result = decoded(coding, &good[..cut], 100);
                assert!(
                    matches!(result, Err(Problem::BadRequest(_))),
                    "{coding:?} {cut}"
                );
            }
            let behind = [&good[..], b"more"].concat();
            for wrong in [b"nothing of the kind".as_slice(), &behind] {
                let result = decoded(coding, wrong, 100);
                assert!(matches!(result, Err(Problem::BadRequest(_))), "{coding:?}");
            }
        }
        let mut wrong = gzip(&bytes);
        let at = wrong.len() - 5;
        wrong[at] ^= 1;
        let result = decoded(Coding::Gzip, &wrong, 100);
        assert!(matches!(result, Err(Problem::BadRequest(_))));
    }

    #[test]
    fn a_window_is_known_by_the_head_and_bounded() {
        for length in [1, 200, 255, 256, 70_000, 400_000] {
            let coded = zstd(&noise(length));
            let window = (4..20).find_map(|end| window(&coded[..end])).unwrap();
            assert!((length.min(1 << 19) as u64..1 << 20).contains(&window));
        }
        // 16 MiB, in a frame that says no size of its content.
        let wide = b"\x28\xb5\x2f\xfd\x00\x70\x01\x00\x00";
        assert_eq!(window(wide), Some(16 << 20));
        let result = decoded(Coding::Zstd, wide, 100);
        assert!(matches!(result, Err(Problem::TooLarge(_))));
        assert_eq!(window(b"GET "), Some(0));
        assert_eq!(window(b"\x28\xb5\x2f"), None);
    }

    #[test]
    fn one_coding_is_undone_and_others_are_named() {
        let of = |value: &'static str| {
            let value = HeaderValue::from_static(value);
            Coding::of(&HeaderMap::from_iter([(header::CONTENT_ENCODING, value)]))
        };
        assert!(Coding::of(&HeaderMap::new()).unwrap().is_none());
        for (value, expected) in [
            ("", None),
            ("Identity", None),
            ("GZIP", Some(Coding::Gzip)),
            ("x-gzip, identity", Some(Coding::Gzip)),
            (" zstd ", Some(Coding::Zstd)),
        ] {
            assert_eq!(of(value).unwrap(), expected, "{value}");
        }
        for value in ["br", "deflate", "gzip, gzip", "identity, zstd, gzip"] {
            assert!(matches!(of(value), Err(Problem::Coding(_))), "{value}");
        }
    }
}
