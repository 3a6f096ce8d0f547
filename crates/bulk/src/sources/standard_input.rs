//! Standard input: a tar, or texts one a line. What it is shows in its first bytes.
//!
//! All of it is kept in a file without a name before a row is embedded: only its contents tell
//! whether a run that goes on was given the same.

use std::fs::File;
use std::io::{self, Read, stdin};
use std::path::Path;
use std::sync::Arc;

use blake3::{Hash, Hasher};
use flate2::read::MultiGzDecoder;

use super::lines::{Form, Lines};
use super::spool::Spool;
use super::tar::Tar;
use super::{STANDARD_INPUT, Source};
use crate::error::InputError;
use crate::options::{Kind, Reading};

/// Bytes of a block of a tar, the first of which is the head of a member.
const BLOCK: usize = 512;

/// Bytes in which the first block must be, where it is packed: a packer needs no more for it than for
/// a block of noise, but can write as many of nothing as it likes.
const MOST_PACKED: u64 = 1 << 20;

/// Where the sum over a head stands in it.
const SUM: std::ops::Range<usize> = 148..156;

/// Takes what is piped in.
///
/// # Errors
///
/// When it is something else, or cannot be kept.
pub(super) fn open(reading: &Reading) -> Result<Arc<dyn Source>, InputError> {
    of(stdin().lock(), reading)
}

fn of(mut input: impl Read, reading: &Reading) -> Result<Arc<dyn Source>, InputError> {
    let mut first = Vec::new();
    let mut block = input.by_ref().take(BLOCK as u64);
    block.read_to_end(&mut first).map_err(cannot_read)?;
    if first.starts_with(b"PAR1") {
        return Err(InputError::Unfit(
            "standard input is a Parquet table, whose description of columns and row groups stands \
             at its end: write it to a file and name that"
                .to_owned(),
        ));
    }
    let is_packed = first.starts_with(&[0x1f, 0x8b]);
    // Before anything is kept: it may be hundreds of gigabytes.
    if is_packed && !is_packed_tar(&mut first, &mut input)? {
        return Err(InputError::Unfit(
            "standard input is packed with gzip and no tar: unpack it first, as in gunzip -c \
             FILE | siglip2-embeddings embed ..."
                .to_owned(),
        ));
    }
    if is_packed || is_tar(&first) {
        let (file, hash, length) = keep(&first, input)?;
        return Ok(Arc::new(Tar::kept(file, hash, length, is_packed, reading)));
    }
    match reading.kind {
        Kind::Texts => {
            let (file, ..) = keep(&first, input)?;
            let name = STANDARD_INPUT.to_owned();
            Ok(Arc::new(Lines::of(name, file, Form::Plain, reading)?))
        }
        Kind::Pictures => Err(InputError::Unfit(
            "- is standard input, which is no tar: --texts takes it for texts, --list - for a list \
             of paths"
                .to_owned(),
        )),
    }
}

fn cannot_read(error: io::Error) -> InputError {
    InputError::unreadable(Path::new("standard input"), error)
}

/// Puts everything into a file, and says what it is and how long.
fn keep(first: &[u8], mut rest: impl Read) -> Result<(Arc<File>, Hash, u64), InputError> {
    let mut spool = Spool::new()?;
    let mut hasher = Hasher::new();
    let mut piece = vec![0; 1 << 17];
    spool.write(first)?;
    hasher.update(first);
    loop {
        let read = match rest.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(cannot_read)?,
        };
        if read == 0 {
            break;
        }
        spool.write(&piece[..read])?;
        hasher.update(&piece[..read]);
    }
    Ok((spool.end()?, hasher.finalize(), hasher.count()))
}

/// Whether this is the head of a member, or the end of a tar without any.
fn is_tar(block: &[u8]) -> bool {
    if block.len() < BLOCK {
        return false;
    }
    if block.iter().all(|&byte| byte == 0) {
        return true;
    }
    // The sum is taken with spaces in its own place, and written in base 8.
    let bytes = block.iter().enumerate().map(|(at, &byte)| match at {
        at if SUM.contains(&at) => u32::from(b' '),
        _ => u32::from(byte),
    });
    let said = String::from_utf8_lossy(&block[SUM]);
    let said = said.trim_matches([' ', '\0']);
    u32::from_str_radix(said, 8).is_ok_and(|said| said == bytes.sum::<u32>())
}

/// Whether the first block of what is packed is one of a tar. What has to be read for that comes
/// behind what was read already.
fn is_packed_tar(read: &mut Vec<u8>, rest: &mut impl Read) -> Result<bool, InputError> {
    let mut noted = Noted {
        rest: rest.take(MOST_PACKED),
        at: 0,
        read,
        failed: None,
    };
    let mut block = Vec::new();
    let mut unpacked = MultiGzDecoder::new(&mut noted).take(BLOCK as u64);
    let is_unpacked = unpacked.read_to_end(&mut block).is_ok();
    match noted.failed {
        Some(error) => Err(cannot_read(error)),
        None => Ok(is_unpacked && is_tar(&block)),
    }
}

/// Reads what was read before, and then on, and keeps all of it.
struct Noted<'a, R> {
    rest: io::Take<R>,
    at: usize,
    read: &'a mut Vec<u8>,
    /// Why there is no more; what is packed badly has other reasons.
    failed: Option<io::Error>,
}

impl<R: Read> Read for Noted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.read.len() {
            let more = match self.rest.read(into) {
                Ok(more) => more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    let kind = error.kind();
                    self.failed = Some(error);
                    return Err(kind.into());
                }
            };
            self.read.extend(&into[..more]);
            self.at += more;
            return Ok(more);
        }
        let more = self.read[self.at..].as_ref().read(into)?;
        self.at += more;
        Ok(more)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;
    use crate::row::Content;

    /// The rows of what is piped in, and what tells it from others.
    fn rows(input: &[u8], kind: Kind) -> Result<(Vec<Content>, Hash), InputError> {
        let reading = Reading {
            kind,
            ..Reading::default()
        };
        let source = of(input, &reading)?;
        let mut contents = Vec::new();
        for cut in source.cuts() {
            source.read(cut, &mut |chunk| {
                contents.extend(chunk.contents);
                true
            });
        }
        let mut hasher = Hasher::new();
        source.digest(&mut hasher);
        Ok((contents, hasher.finalize()))
    }

    fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = ::tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = ::tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_tar_is_taken_packed_or_not_and_told_from_others_by_its_contents() {
        let one = tar(&[("1.jpg", &[7; 3000]), ("1.txt", b"one")]);
        let (contents, digest) = rows(&one, Kind::Pictures).unwrap();
        assert_eq!(contents, [Content::Picture(vec![7; 3000].into())]);
        assert_eq!(rows(&packed(&one), Kind::Pictures).unwrap().0, contents);
        assert_eq!(rows(&one, Kind::Pictures).unwrap().1, digest);
        let texts = rows(&one, Kind::Texts).unwrap().0;
        assert_eq!(texts, [Content::Text("one".to_owned())]);
        let other = tar(&[("1.jpg", &[8; 3000]), ("1.txt", b"one")]);
        assert_ne!(rows(&other, Kind::Pictures).unwrap().1, digest);
        // One that is cut short, and one without members.
        let cut = rows(&one[..2000], Kind::Pictures).unwrap().0;
        assert!(matches!(&cut[..], [Content::Bad(_), ..]), "{cut:?}");
        assert_eq!(rows(&tar(&[]), Kind::Pictures).unwrap().0, []);
    }

    /// Fails when more is read than so many bytes: what follows is not looked at.
    struct Endless<'a>(&'a [u8], usize);

    impl Read for Endless<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            // Members of nothing, one behind the other.
            let nothing = packed(&[]);
            if self.1 < nothing.len() {
                return Err(io::Error::other("too much was read"));
            }
            let most = into.len().min(self.1);
            let whole = most - most % nothing.len();
            let read = match self.0.is_empty() {
                true => nothing.repeat(1000).as_slice().read(&mut into[..whole])?,
                false => self.0.read(&mut into[..most])?,
            };
            self.1 -= read;
            Ok(read)
        }
    }

    #[test]
    fn what_is_packed_is_refused_by_its_first_block() {
        let reading = Reading::default();
        let most = 2 << 20;
        for start in [packed(&[1; 5000]), packed(b""), vec![0x1f, 0x8b, 9, 9]] {
            let refused = of(Endless(&start, most), &reading).err().unwrap();
            assert!(refused.to_string().contains("gunzip"), "{refused}");
        }
        // A tar is read on, up to its end: here, to a failure.
        let one = packed(&tar(&[("1.jpg", &[7; 3000])]));
        let failed = of(Endless(&one, most), &reading).err().unwrap();
        assert!(failed.to_string().contains("too much was read"), "{failed}");
        // And a failure is no verdict on what is packed.
        let failed = of(Endless(&one, 40), &reading).err().unwrap();
        assert!(failed.to_string().contains("too much was read"), "{failed}");
    }

    #[test]
    fn what_is_no_tar_is_lines_of_texts_or_refused_with_what_to_do() {
        let text = |text: &str| Content::Text(text.to_owned());
        let long = "line\n".repeat(200);
        assert_eq!(
            rows(b"a\nb", Kind::Texts).unwrap().0,
            [text("a"), text("b")]
        );
        assert_eq!(rows(long.as_bytes(), Kind::Texts).unwrap().0.len(), 200);
        assert_eq!(rows(b"", Kind::Texts).unwrap().0, []);
        for (input, kind, said) in [
            (&b"a\nb"[..], Kind::Pictures, "--list -"),
            (b"", Kind::Pictures, "no tar"),
            (b"PAR1 and more", Kind::Pictures, "write it to a file"),
            (b"PAR1 and more", Kind::Texts, "write it to a file"),
            (&packed(b"texts"), Kind::Texts, "gunzip"),
            (&packed(&[1; 5000]), Kind::Pictures, "gunzip"),
            (&[0x1f, 0x8b, 1, 2], Kind::Pictures, "gunzip"),
        ] {
            let error = rows(input, kind).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
