//! QOI, read as Pillow's `QoiImagePlugin` reads it: a run does not note its pixel, which matters
//! for runs at the very beginning.

use super::decode::Job;
use super::inspect::{array, u32_be};
use super::{ImageError, ImageFormat};

fn truncated() -> ImageError {
    ImageError::damaged(ImageFormat::Qoi, "the file is cut short")
}

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let size = u32_be(bytes, 4).zip(u32_be(bytes, 8));
    size.filter(|_| bytes.len() > 12).ok_or_else(truncated)
}

/// Bytes that decoding takes beside the pixels.
pub(super) fn scratch() -> u64 {
    4 << 10
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    /// Pixels between two looks at whether anybody waits.
    const PIECE: usize = 4096;
    let mut rest = job.bytes.get(14..).ok_or_else(truncated)?;
    let mut seen = [[0; 4]; 64];
    let mut pixel = [0, 0, 0, 255];
    let mut run = 0;
    for piece in rgb.as_chunks_mut::<3>().0.chunks_mut(PIECE) {
        job.stop.work(piece.len() as u64 * 10)?;
        for out in piece {
            if run > 0 {
                run -= 1;
            } else {
                (pixel, run, rest) = next(pixel, &mut seen, rest).ok_or_else(truncated)?;
            }
            *out = [pixel[0], pixel[1], pixel[2]];
        }
    }
    Ok(())
}

/// The next pixel, how often it comes again, and what follows.
fn next<'a>(
    [r, g, b, a]: [u8; 4],
    seen: &mut [[u8; 4]; 64],
    bytes: &'a [u8],
) -> Option<([u8; 4], u8, &'a [u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (pixel, length) = match tag {
        0xfe => {
            let [r, g, b] = array(rest, 0)?;
            ([r, g, b, a], 3)
        }
        0xff => (array(rest, 0)?, 4),
        0x00..=0x3f => (seen[usize::from(tag)], 0),
        0x40..=0x7f => {
            let add = |value: u8, shift: u32| value.wrapping_add(tag >> shift & 3).wrapping_sub(2);
            ([add(r, 4), add(g, 2), add(b, 0), a], 0)
        }
        0x80..=0xbf => {
            let other = *rest.first()?;
            let green = (tag & 63).wrapping_sub(32);
            let add = |value: u8, beside: u8| {
                value
                    .wrapping_add(green)
                    .wrapping_add(beside)
                    .wrapping_sub(8)
            };
            ([add(r, other >> 4), add(g, 8), add(b, other & 15), a], 1)
        }
        0xc0..=0xfd => return Some(([r, g, b, a], tag & 63, rest)),
    };
    let [r, g, b, a] = pixel.map(usize::from);
    seen[(r * 3 + g * 5 + b * 7 + a * 11) % 64] = pixel;
    Some((pixel, 0, rest.get(length..)?))
}
