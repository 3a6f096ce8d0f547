//! CUR, Windows' cursors, read as Pillow's `CurImagePlugin` reads them: a bitmap without its first
//! header and with a mask above it. In black and white, and in grey, the mask makes black what
//! it leaves out; in other cursors it is dropped.

use super::decode::Job;
use super::ico::{FIRST_HEADER, SECOND_HEADER};
use super::inspect::{array, u16_le, u32_le};
use super::{Header, ImageError, ImageFormat, bmp};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Cur, reason)
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

/// The picture that counts.
struct Picture<'a> {
    /// A bitmap from its second header on.
    data: &'a [u8],
    /// With the rows of the mask.
    size: (u32, u32),
    /// Whether the mask counts.
    masked: bool,
}

impl<'a> Picture<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let count = usize::from(u16_le(bytes, 4).ok_or_else(truncated)?);
        let mut best: Option<([u8; 2], u32)> = None;
        for nth in 0..count {
            let at = 6 + 16 * nth;
            // Pillow takes a directory that is cut for one with less in it.
            let Some((sides, offset)) = array::<2>(bytes, at).zip(u32_le(bytes, at + 12)) else {
                break;
            };
            if best.is_none_or(|(best, _)| sides[0] > best[0] && sides[1] > best[1]) {
                best = Some((sides, offset));
            }
        }
        let (_, offset) = best.ok_or_else(|| damaged("it has no pictures"))?;
        let data = bytes.get(offset as usize..).ok_or_else(truncated)?;
        // Enough for the header and 256 colours.
        let head = data.get(..SECOND_HEADER + 1024).unwrap_or(data);
        let head = [&FIRST_HEADER[..], head].concat();
        Ok(Self {
            data,
            size: bmp::size(&head)?,
            masked: bmp::is_grey(&head)?,
        })
    }

    fn height(&self) -> u32 {
        self.size.1 / 2
    }
}

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let picture = Picture::of(bytes)?;
    Ok((picture.size.0, picture.height()))
}

/// Bytes that decoding takes beside the pixels: a copy of the file, what the bitmap takes, and
/// where the mask counts, its pixels and those of the mask.
pub(super) fn scratch(bytes: &[u8]) -> Result<u64, ImageError> {
    let picture = Picture::of(bytes)?;
    let (width, height) = picture.size;
    let pixels = u64::from(width) * u64::from(height);
    // All indices of it, should it be run-length coded.
    let both = if picture.masked { 4 * pixels } else { pixels };
    Ok(bytes.len() as u64 + both + (8 << 10))
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let picture = Picture::of(job.bytes)?;
    let height = if picture.masked {
        picture.size.1
    } else {
        picture.height()
    };
    let file = bmp::with_height([&FIRST_HEADER[..], picture.data].concat(), height);
    let header = Header {
        format: ImageFormat::Bmp,
        height,
        ..*job.header
    };
    let bitmap = Job {
        bytes: &file,
        header: &header,
        limits: job.limits,
        stop: job.stop,
    };
    if !picture.masked {
        return bmp::decode(&bitmap, rgb);
    }
    let mut both = vec![0; picture.size.0 as usize * height as usize * 3];
    bmp::decode(&bitmap, &mut both)?;
    let (mask, rest) = both.split_at(rgb.len());
    for ((to, mask), value) in rgb.iter_mut().zip(mask).zip(rest) {
        // Pillow's `DIV255`.
        let product = u32::from(255 - mask) * u32::from(*value) + 128;
        *to = (((product >> 8) + product) >> 8) as u8;
    }
    Ok(())
}
