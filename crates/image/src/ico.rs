//! ICO: the picture in it that Pillow's `IcoImagePlugin` opens, which is the one with most
//! pixels by the directory. It is a PNG, or a bitmap without its first header and with a mask
//! behind it.

use std::borrow::Cow;

use super::decode::Job;
use super::inspect::{array, u16_le, u32_le};
use super::{Header, ImageError, ImageFormat, bmp, png};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Ico, reason)
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

/// The picture that counts.
struct Picture<'a> {
    format: ImageFormat,
    /// From its first byte on.
    data: &'a [u8],
    size: (u32, u32),
}

/// The first header of a bitmap, which those in icons lack: with an offset of 0, the pixels are
/// behind the second one.
pub(super) const FIRST_HEADER: [u8; 14] = [0; 14];

/// The longest second header of a bitmap.
pub(super) const SECOND_HEADER: usize = 124;

/// One row of the directory.
struct Entry {
    pixels: u32,
    depth: u32,
    bits: u16,
    length: usize,
    offset: usize,
}

impl Entry {
    fn read(bytes: &[u8], nth: usize) -> Option<Self> {
        let at = 6 + 16 * nth;
        let [width, height, colours] = array(bytes, at)?;
        let side = |side: u8| if side == 0 { 256 } else { u32::from(side) };
        let bits = u16_le(bytes, at + 6)?;
        let depth = match (bits, colours) {
            (0, 0 | 1) => 256,
            (0, colours) => u32::from(colours - 1).ilog2() + 1,
            (bits, _) => bits.into(),
        };
        Some(Self {
            pixels: side(width) * side(height),
            depth,
            bits,
            length: u32_le(bytes, at + 8)? as usize,
            offset: u32_le(bytes, at + 12)? as usize,
        })
    }
}

impl<'a> Picture<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let count = usize::from(u16_le(bytes, 4).ok_or_else(truncated)?);
        let mut best: Option<Entry> = None;
        for nth in 0..count {
            let entry = Entry::read(bytes, nth).ok_or_else(truncated)?;
            // Of two of the same size the one with fewer colours counts, of those the first.
            let order = |entry: &Entry| (entry.pixels, u32::MAX - entry.depth);
            if best.as_ref().is_none_or(|best| order(&entry) > order(best)) {
                best = Some(entry);
            }
        }
        let entry = best.ok_or_else(|| damaged("it has no pictures"))?;
        let data = bytes.get(entry.offset..).ok_or_else(truncated)?;
        if data.starts_with(b"\x89PNG\r\n\x1a\n") {
            return Ok(Self {
                format: ImageFormat::Png,
                size: png::size(data)?,
                data,
            });
        }
        let (width, height) = bmp::size(&head(data))?;
        // The mask counts as rows of its own.
        let height = height / 2;
        if entry.bits == 32 {
            // Pillow reads alpha of every fourth byte from where the pixels begin.
            let start = bmp::behind_headers(&head(data))? - FIRST_HEADER.len();
            let length = (4 * u64::from(width)).saturating_mul(height.into());
            let there = data.len().saturating_sub(start) as u64;
            if there < length {
                return Err(truncated());
            }
        } else {
            let stride = u64::from(width).next_multiple_of(32) / 8;
            let end = (entry.offset as u64).saturating_add(entry.length as u64);
            let start = end
                .checked_sub(stride * u64::from(height))
                .ok_or_else(truncated)?;
            // The padding of the last row may be missing.
            let padding = stride - u64::from(width).div_ceil(8);
            if end - padding.min(end - start) > bytes.len() as u64 {
                return Err(truncated());
            }
        }
        Ok(Self {
            format: ImageFormat::Bmp,
            data,
            size: (width, height),
        })
    }

    /// The picture as a file.
    fn file(&self) -> Cow<'a, [u8]> {
        if self.format == ImageFormat::Png {
            return self.data.into();
        }
        // Without the rows of the mask.
        let file = [&FIRST_HEADER[..], self.data].concat();
        bmp::with_height(file, self.size.1).into()
    }
}

/// A bitmap's headers.
fn head(data: &[u8]) -> Vec<u8> {
    [&FIRST_HEADER[..], &data[..data.len().min(SECOND_HEADER)]].concat()
}

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    Ok(Picture::of(bytes)?.size)
}

/// Bytes that decoding takes beside the pixels: a copy of the file, and what the picture in it
/// takes.
pub(super) fn scratch(bytes: &[u8]) -> Result<u64, ImageError> {
    let picture = Picture::of(bytes)?;
    let own = match picture.format {
        ImageFormat::Png => png::scratch(picture.data, picture.size.0),
        _ => bmp::scratch(&head(picture.data))?,
    };
    Ok(bytes.len() as u64 + own)
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let picture = Picture::of(job.bytes)?;
    let header = Header {
        format: picture.format,
        ..*job.header
    };
    let file = picture.file();
    let job = Job {
        bytes: &file,
        header: &header,
        limits: job.limits,
        stop: job.stop,
    };
    match picture.format {
        ImageFormat::Png => png::decode(&job, rgb),
        _ => bmp::decode(&job, rgb),
    }
}
