//! From packed bytes to rows of samples, one row at a time.

use std::io::{self, BufRead, Read};

use lzma_rust2::XzReader;
use weezl::{BitOrder, LzwStatus, decode::Decoder as Lzw};

use super::fax::Fax;
use super::layout::{Compression, Layout};
use super::{damaged, truncated};
use crate::ImageError;
use crate::work::Stop;

/// Nanoseconds for each packed byte, whatever its compression.
pub(super) const PACKED_BYTE: u64 = 16;
/// Nanoseconds for each byte of a fax, which may be eight codes.
pub(super) const FAX_BYTE: u64 = 64;
/// Nanoseconds for each byte of samples.
pub(super) const SAMPLE_BYTE: u64 = 3;
/// Nanoseconds for each byte of samples that LZMA unpacks: a packed byte may be a hundred bits of
/// which each is all but certain.
pub(super) const LZMA_BYTE: u64 = 40;
/// Nanoseconds for each byte of samples in Lab, which are interpolated in a table.
pub(super) const LAB_BYTE: u64 = 12;
/// Bytes of a decompressor's state, at most, beside the windows of [`window`].
pub(super) const STATE: usize = 128 << 10;
/// The most that LZMA may look back, in KiB: the dictionary of liblzma's highest level, 64 MiB, and
/// what its decoder takes beside it.
const LZMA_MOST: u32 = (64 << 10) + 128;

/// The packed bytes of a strip or tile, in pieces, with the bits of each in the usual order.
pub(super) struct Packed<'a> {
    bytes: &'a [u8],
    reversed: bool,
    piece: Vec<u8>,
    at: usize,
    stop: &'a Stop<'a>,
}

impl<'a> Packed<'a> {
    const PIECE: usize = 4096;

    fn new(bytes: &'a [u8], reversed: bool, stop: &'a Stop<'a>) -> Self {
        Self {
            bytes,
            reversed,
            piece: Vec::new(),
            at: 0,
            stop,
        }
    }

    /// The same bytes once more, while none of them has been read.
    pub(super) fn at_its_beginning(&self) -> Self {
        Self::new(self.bytes, self.reversed, self.stop)
    }
}

impl Read for Packed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.fill_buf()?;
        let read = rest.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Packed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.piece.len() {
            let (now, later) = self.bytes.split_at(self.bytes.len().min(Self::PIECE));
            let work = now.len() as u64 * PACKED_BYTE;
            self.stop.work(work).map_err(io::Error::other)?;
            self.bytes = later;
            self.at = 0;
            self.piece.clear();
            self.piece.extend_from_slice(now);
            if self.reversed {
                for byte in &mut self.piece {
                    *byte = byte.reverse_bits();
                }
            }
        }
        Ok(self.piece.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

/// A strip or tile whose rows are read one after the other.
pub(super) enum Unpacker<'a> {
    Raw(Packed<'a>),
    Lzw(Packed<'a>, Box<Lzw>),
    Deflate(Box<flate2::bufread::ZlibDecoder<Packed<'a>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Packed<'a>>>),
    Lzma(Box<XzReader<Packed<'a>>>),
    PackBits(Packed<'a>, Run),
    Fax(Box<Fax<'a>>),
    /// Unpacked as a whole, and where the next row begins.
    Whole(Vec<u8>, usize),
}

/// What is left of a run of PackBits.
#[derive(Clone, Copy)]
pub(super) enum Run {
    Literal(usize),
    Repeat(u8, usize),
}

impl<'a> Unpacker<'a> {
    /// Of a strip or tile that is no JPEG.
    pub(super) fn new(
        bytes: &'a [u8],
        layout: &Layout<'_>,
        stop: &'a Stop<'a>,
    ) -> Result<Self, ImageError> {
        let packed = Packed::new(bytes, layout.reversed, stop);
        Ok(match layout.compression {
            Compression::Lzw => {
                let lzw = Lzw::with_tiff_size_switch(BitOrder::Msb, 8);
                Self::Lzw(packed, Box::new(lzw))
            }
            Compression::Deflate => {
                Self::Deflate(Box::new(flate2::bufread::ZlibDecoder::new(packed)))
            }
            Compression::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(damaged)?;
                // What is behind the first frame is not looked at.
                Self::Zstd(Box::new(decoder.single_frame()))
            }
            Compression::Lzma => {
                let decoder = XzReader::new_mem_limit(packed, false, LZMA_MOST);
                Self::Lzma(Box::new(decoder))
            }
            Compression::PackBits => Self::PackBits(packed, Run::Literal(0)),
            Compression::Fax(coding) => {
                Self::Fax(Box::new(Fax::new(packed, coding, layout.chunk.0)))
            }
            Compression::None | Compression::Jpeg | Compression::OldJpeg => Self::Raw(packed),
        })
    }

    /// Fills `row` with the samples that follow.
    pub(super) fn read(&mut self, row: &mut [u8]) -> Result<(), ImageError> {
        match self {
            Self::Raw(packed) => packed.read_exact(row).map_err(|_| truncated()),
            Self::Deflate(packed) => packed.read_exact(row).map_err(unpacking),
            Self::Zstd(packed) => packed.read_exact(row).map_err(unpacking),
            Self::Lzma(packed) => packed.read_exact(row).map_err(unpacking),
            Self::Lzw(packed, decoder) => lzw(packed, decoder, row),
            Self::PackBits(packed, run) => pack_bits(packed, run, row),
            Self::Fax(fax) => fax.read(row),
            Self::Whole(samples, at) => {
                let from = samples.get(*at..*at + row.len()).ok_or_else(truncated)?;
                row.copy_from_slice(from);
                *at += row.len();
                Ok(())
            }
        }
    }
}

fn unpacking(error: io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => truncated(),
        _ => damaged(error),
    }
}

/// Bytes that a decompressor may hold beside its fixed state, for a strip or tile that unpacks to
/// `chunk` bytes.
pub(super) fn window(packed: &[u8], layout: &Layout<'_>, chunk: usize) -> usize {
    match layout.compression {
        // It is made at the size that the frame says, and its blocks are read and written in
        // buffers of their own.
        Compression::Zstd => {
            let window = zstd_window(packed, layout.reversed).unwrap_or(0);
            usize::try_from(window)
                .unwrap_or(usize::MAX)
                .saturating_add(512 << 10)
        }
        // It grows with what was unpacked, to twice its size, and is copied then.
        Compression::Lzma => 3 * chunk.min((LZMA_MOST as usize) << 10),
        _ => 0,
    }
}

/// The window of a Zstandard frame in bytes (RFC 8878, section 3.1.1.1); none where it is refused.
fn zstd_window(packed: &[u8], reversed: bool) -> Option<u64> {
    /// Above it, decoding is refused.
    const MOST: u64 = 1 << 27;
    let byte = |at: usize| {
        let byte = *packed.get(at)?;
        Some(if reversed { byte.reverse_bits() } else { byte })
    };
    let descriptor = byte(4)?;
    let window = if descriptor & 0x20 == 0 {
        let window = byte(5)?;
        let base = 1u64 << (10 + (window >> 3));
        base + base / 8 * u64::from(window & 7)
    } else {
        // There is none where all of the frame is one segment: its size takes its place.
        let at = 5 + [0, 1, 2, 4][usize::from(descriptor & 3)];
        let length = [1, 2, 4, 8][usize::from(descriptor >> 6)];
        let size = (0..length).try_fold(0u64, |size, nth| {
            Some(size | u64::from(byte(at + nth)?) << (8 * nth))
        })?;
        size + if length == 2 { 256 } else { 0 }
    };
    (window <= MOST).then_some(window)
}

fn lzw(packed: &mut Packed<'_>, decoder: &mut Lzw, row: &mut [u8]) -> Result<(), ImageError> {
    let mut to = 0;
    while to < row.len() {
        let piece = packed.fill_buf().map_err(damaged)?;
        let at_end = piece.is_empty();
        let step = decoder.decode_bytes(piece, &mut row[to..]);
        packed.consume(step.consumed_in);
        to += step.consumed_out;
        match step.status {
            Ok(LzwStatus::Ok) if step.consumed_in + step.consumed_out > 0 => {}
            Ok(LzwStatus::NoProgress) if !at_end && step.consumed_in > 0 => {}
            Ok(_) if to == row.len() => {}
            Ok(_) => return Err(truncated()),
            Err(error) => return Err(damaged(error)),
        }
    }
    Ok(())
}

/// PackBits (TIFF 6.0, section 9): runs of one byte, and literal bytes.
fn pack_bits(packed: &mut Packed<'_>, run: &mut Run, row: &mut [u8]) -> Result<(), ImageError> {
    let mut to = 0;
    while to < row.len() {
        let left = row.len() - to;
        match run {
            Run::Repeat(value, count @ 1..) => {
                let now = left.min(*count);
                row[to..to + now].fill(*value);
                *count -= now;
                to += now;
            }
            Run::Literal(count @ 1..) => {
                let piece = packed.fill_buf().map_err(damaged)?;
                let now = left.min(*count).min(piece.len());
                if now == 0 {
                    return Err(truncated());
                }
                row[to..to + now].copy_from_slice(&piece[..now]);
                packed.consume(now);
                *count -= now;
                to += now;
            }
            _ => {
                let head = byte(packed)?;
                *run = match head as i8 {
                    -128 => Run::Literal(0),
                    times @ ..0 => {
                        Run::Repeat(byte(packed)?, usize::from(times.unsigned_abs()) + 1)
                    }
                    count => Run::Literal(count as usize + 1),
                };
            }
        }
    }
    Ok(())
}

fn byte(packed: &mut Packed<'_>) -> Result<u8, ImageError> {
    let piece = packed.fill_buf().map_err(damaged)?;
    let byte = piece.first().copied().ok_or_else(truncated)?;
    packed.consume(1);
    Ok(byte)
}
