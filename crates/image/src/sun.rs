//! Sun raster files, read as Pillow's `SunImagePlugin` reads them: rows that are run-length coded
//! have no padding.

use super::decode::Job;
use super::inspect::u32_be;
use super::{ImageError, ImageFormat, convert};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Sun, reason)
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

const HEADER: usize = 32;

/// The types with their numbers, as far as they matter.
const RUN_LENGTH: u32 = 2;
const RGB: u32 = 3;

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let size = u32_be(bytes, 4).zip(u32_be(bytes, 8));
    size.filter(|_| bytes.len() >= HEADER).ok_or_else(truncated)
}

/// Bytes that decoding takes beside the pixels: a row at the file's depth.
pub(super) fn scratch(width: u32) -> u64 {
    u64::from(width) * 4 + (4 << 10)
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let bytes = job.bytes;
    let number = |at| u32_be(bytes, at).ok_or_else(truncated);
    let (depth, kind) = (number(12)?, number(20)?);
    let (map_kind, map_length) = (number(24)?, number(28)? as usize);
    if !matches!(depth, 1 | 4 | 8 | 24 | 32) {
        return Err(damaged(format_args!("it has {depth} bits per pixel")));
    }
    if kind > 5 {
        return Err(damaged(format_args!("it has unknown type {kind}")));
    }
    let colours = match map_length {
        0 => None,
        _ if map_length > 1024 || map_kind != 1 || !matches!(depth, 4 | 8) => {
            return Err(damaged("it has colours that do not fit its pixels"));
        }
        _ => Some(colours(bytes, map_length)?),
    };
    let (width, _) = job.size();
    let used = (width * depth as usize).div_ceil(8);
    let stride = used.next_multiple_of(2);
    let mut rest = bytes.get(HEADER + map_length..).ok_or_else(truncated)?;
    let mut row = vec![0; used];
    let mut run = (0, 0);
    for out in rgb.chunks_exact_mut(width * 3) {
        job.stop.work(width as u64 * 8)?;
        if kind == RUN_LENGTH {
            unpack(&mut rest, &mut run, &mut row)?;
        } else {
            // The padding of the last row may be missing.
            row.copy_from_slice(rest.get(..used).ok_or_else(truncated)?);
            rest = rest.get(stride..).unwrap_or_default();
        }
        let colour = |index: u8, scale: u8| match &colours {
            Some(colours) => colours[usize::from(index)],
            None => [index * scale; 3],
        };
        match depth {
            1 => {
                let bits = row
                    .iter()
                    .flat_map(|byte| (0..8).map(move |nth| byte >> (7 - nth) & 1));
                convert::grey_to_rgb(bits.map(|bit| (1 - bit) * 255), out);
            }
            4 => {
                let halves = row.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                convert::fill(out, halves.map(|half| colour(half, 17)));
            }
            8 => convert::fill(out, row.iter().map(|&byte| colour(byte, 1))),
            _ => {
                let pixels = row.chunks_exact(depth as usize / 8);
                convert::fill(
                    out,
                    pixels.map(|pixel| match kind {
                        RGB => [pixel[0], pixel[1], pixel[2]],
                        _ => [pixel[2], pixel[1], pixel[0]],
                    }),
                );
            }
        }
    }
    Ok(())
}

/// The colour map: all reds, all greens, all blues.
fn colours(bytes: &[u8], length: usize) -> Result<Box<[[u8; 3]; 256]>, ImageError> {
    let map = bytes.get(HEADER..HEADER + length).ok_or_else(truncated)?;
    let count = map.len() / 3;
    if count > 256 {
        return Err(damaged(format_args!("its colour map has {count} colours")));
    }
    let mut colours = Box::new([[0; 3]; 256]);
    for (nth, colour) in colours.iter_mut().take(count).enumerate() {
        *colour = [0, 1, 2].map(|channel| map[channel * count + nth]);
    }
    Ok(colours)
}

/// Fills a row. `run` is a value and how often it comes again, which may go on in the next row.
fn unpack(rest: &mut &[u8], run: &mut (u8, usize), row: &mut [u8]) -> Result<(), ImageError> {
    let mut to = 0;
    while to < row.len() {
        if run.1 > 0 {
            let now = run.1.min(row.len() - to);
            row[to..to + now].fill(run.0);
            run.1 -= now;
            to += now;
            continue;
        }
        let taken = match **rest {
            [0x80, 0, ..] => {
                *run = (0x80, 1);
                2
            }
            [0x80, count, value, ..] => {
                *run = (value, usize::from(count) + 1);
                3
            }
            [0x80, ..] | [] => return Err(truncated()),
            [value, ..] => {
                *run = (value, 1);
                1
            }
        };
        *rest = &rest[taken..];
    }
    Ok(())
}
