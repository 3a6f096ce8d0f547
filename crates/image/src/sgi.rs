//! SGI images, read as Pillow's `SgiImagePlugin` reads them: grey, RGB and RGBA with 8 or 16
//! bits, of which the upper 8 count, from the bottom to the top.

use super::decode::Job;
use super::inspect::{array, u16_be, u32_be};
use super::{ImageError, ImageFormat};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Sgi, reason)
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

const HEADER: usize = 512;

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let size = u16_be(bytes, 6).zip(u16_be(bytes, 8));
    let (width, height) = size.ok_or_else(truncated)?;
    Ok((width.into(), height.into()))
}

/// Bytes that decoding takes beside the pixels: a row of each channel.
pub(super) fn scratch(width: u32) -> u64 {
    u64::from(width) * 4 + (4 << 10)
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let bytes = job.bytes;
    let [compression, depth] = array(bytes, 2).ok_or_else(truncated)?;
    let number = |at| u16_be(bytes, at).ok_or_else(truncated);
    let channels = match (depth, number(4)?, number(10)?) {
        (1 | 2, 1 | 2, 1) => 1,
        (1 | 2, 3, channels @ (3 | 4)) => usize::from(channels),
        (depth, dimensions, channels) => {
            return Err(damaged(format_args!(
                "it has {channels} channels of {depth} bytes in {dimensions} dimensions"
            )));
        }
    };
    let (depth, (width, height)) = (usize::from(depth), job.size());
    // What a row of runs leaves out stays as it was in the row before.
    let mut lines = vec![vec![0; width]; channels];
    let mut missing = 0;
    'rows: for (y, out) in rgb.chunks_exact_mut(width * 3).rev().enumerate() {
        job.stop.work((width * channels) as u64 * 4)?;
        for (channel, line) in lines.iter_mut().enumerate() {
            let nth = channel * height + y;
            match compression {
                0 => {
                    let row = width * depth;
                    let at = HEADER + nth * row;
                    let samples = bytes.get(at..at + row).ok_or_else(truncated)?;
                    let upper = samples.iter().step_by(depth);
                    line.iter_mut()
                        .zip(upper)
                        .for_each(|(to, from)| *to = *from);
                }
                1 => {
                    if !unpack_row(bytes, depth, (nth, channels * height), line)? {
                        missing = height - y;
                        break 'rows;
                    }
                }
                other => return Err(damaged(format_args!("it has compression {other}"))),
            }
        }
        for (x, pixel) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            *pixel = match channels {
                1 => [lines[0][x]; 3],
                _ => [lines[0][x], lines[1][x], lines[2][x]],
            };
        }
    }
    // Pillow leaves black what does not come, and takes the file.
    rgb[..missing * width * 3].fill(0);
    Ok(())
}

/// Fills the row of a channel with its runs, of which there are as many as the table says; false
/// if they end without a mark.
fn unpack_row(
    bytes: &[u8],
    depth: usize,
    (nth, rows): (usize, usize),
    line: &mut [u8],
) -> Result<bool, ImageError> {
    let table = bytes.get(HEADER..).unwrap_or_default();
    if table.len() < 8 * rows {
        return Err(truncated());
    }
    let start = u32_be(table, 4 * nth).ok_or_else(truncated)? as usize;
    let runs = u32_be(table, 4 * (rows + nth)).ok_or_else(truncated)?;
    // Before the header's end there are none.
    if start < HEADER {
        return Err(damaged("a row begins within its header"));
    }
    // Pillow wants a byte behind what it copies.
    let last = bytes.len() - 1;
    let (mut at, mut to) = (start, 0);
    for left in (1..=runs).rev() {
        let head = bytes.get(at + depth - 1).ok_or_else(truncated)?;
        at += depth;
        let count = usize::from(head & 0x7f);
        if left == 1 && *head != 0 {
            return Ok(false);
        }
        if count == 0 {
            break;
        }
        let line = line.get_mut(to..to + count);
        let line = line.ok_or_else(|| damaged("a run goes beyond its row"))?;
        to += count;
        let copies = head & 0x80 != 0;
        let taken = if copies { depth * count } else { depth };
        let beyond = match (copies, depth) {
            (false, 1) => at > last,
            _ => at + taken > last,
        };
        if beyond {
            return Err(truncated());
        }
        for (nth, to) in line.iter_mut().enumerate() {
            *to = bytes[at + if copies { nth * depth } else { 0 }];
        }
        at += taken;
    }
    Ok(true)
}
