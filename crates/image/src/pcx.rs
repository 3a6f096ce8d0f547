//! PCX, read as Pillow's `PcxImagePlugin` reads it: 1 bit, 2 or 4 planes of 1 bit, 8 bits with
//! or without colours at the end of the file, and three planes of 8 bits. All of them are run-length
//! coded, whatever the header says, and a run that goes beyond its row is refused.

use super::decode::Job;
use super::inspect::{array, u16_le};
use super::{ImageError, ImageFormat, convert};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Pcx, reason)
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

/// Whether a file is one.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    matches!(bytes, [10, 0 | 2 | 3 | 5, ..])
}

/// Where the runs begin.
const HEADER: usize = 128;
/// Bytes of the header that Pillow asks for.
const READ: usize = 68;
/// A mark and 256 colours, at the end of the file.
const COLOURS: usize = 1 + 768;

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let number = |at| u16_le(bytes, at).map(u32::from).ok_or_else(truncated);
    if bytes.len() < READ {
        return Err(truncated());
    }
    let (left, top) = (number(4)?, number(6)?);
    let side = |end: u32, start: u32| (end + 1).checked_sub(start).filter(|&side| side > 0);
    side(number(8)?, left)
        .zip(side(number(10)?, top))
        .ok_or_else(|| damaged("its edges are the wrong way round"))
}

/// Bytes that decoding takes beside the pixels: a row of each plane, padded.
pub(super) fn scratch(width: u32) -> u64 {
    u64::from(width) * 4 + (4 << 10)
}

/// What the planes are.
enum Pixels {
    BlackAndWhite,
    /// So many planes of 1 bit, the lowest first.
    Bits(usize),
    Grey,
    Palette(Box<[[u8; 3]; 256]>),
    Rgb,
}

impl Pixels {
    fn of(bytes: &[u8]) -> Result<Self, ImageError> {
        let [_, version, _, bits] = array(bytes, 0).ok_or_else(truncated)?;
        let [planes] = array(bytes, 65).ok_or_else(truncated)?;
        Ok(match (version, bits, planes) {
            (_, 1, 1) => Self::BlackAndWhite,
            (_, 1, 2 | 4) => Self::Bits(planes.into()),
            (5, 8, 1) => {
                // A file that is too short for colours is grey.
                let at = bytes.len().saturating_sub(COLOURS);
                let (mark, colours) = (bytes[at], bytes[at + 1..].as_chunks::<3>().0);
                let is_ramp = (0..=255u8)
                    .zip(colours)
                    .all(|(level, colour)| *colour == [level; 3]);
                match colours.first_chunk::<256>() {
                    Some(colours) if mark == 12 && !is_ramp => Self::Palette(Box::new(*colours)),
                    _ => Self::Grey,
                }
            }
            (5, 8, 3) => Self::Rgb,
            _ => {
                return Err(damaged(format_args!(
                    "it has {planes} planes of {bits} bits in version {version}"
                )));
            }
        })
    }
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let bytes = job.bytes;
    let pixels = Pixels::of(bytes)?;
    let (width, _) = job.size();
    let (plane, planes) = match pixels {
        Pixels::BlackAndWhite => (width.div_ceil(8), 1),
        Pixels::Bits(planes) => (width.div_ceil(8), planes),
        Pixels::Grey | Pixels::Palette(_) => (width, 1),
        Pixels::Rgb => (width, 3),
    };
    // Not every writer pads to whole words.
    let stride = match u16_le(bytes, 66) {
        Some(stride) if usize::from(stride) == plane => plane,
        _ => plane.next_multiple_of(2),
    };
    let mut rest = bytes.get(HEADER..).ok_or_else(truncated)?;
    let mut row = vec![0; stride * planes];
    for out in rgb.chunks_exact_mut(width * 3) {
        job.stop.work(width as u64 * 8)?;
        unpack(&mut rest, &mut row)?;
        let mut lines = row.chunks_exact(stride);
        let mut line = || lines.next().unwrap_or_default();
        match &pixels {
            Pixels::BlackAndWhite => {
                let line = line();
                convert::grey_to_rgb((0..width).map(|x| bit(line, x) * 255), out);
            }
            Pixels::Bits(planes) => {
                let lines = [0; 4].map(|_: u8| line());
                let index = |x| {
                    let bits = lines.iter().take(*planes).enumerate();
                    bits.fold(0, |index, (nth, line)| index | bit(line, x) << nth)
                };
                let colour = |x| array(bytes, 16 + 3 * usize::from(index(x))).unwrap_or_default();
                convert::fill(out, (0..width).map(colour));
            }
            Pixels::Grey => convert::grey_to_rgb(line().iter().copied(), out),
            Pixels::Palette(colours) => {
                let indices = line().iter().map(|&index| usize::from(index));
                convert::fill(out, indices.map(|index| colours[index]));
            }
            Pixels::Rgb => {
                let [red, green, blue] = [0; 3].map(|_: u8| line());
                let pixels = red.iter().zip(green).zip(blue);
                convert::fill(out, pixels.map(|((&r, &g), &b)| [r, g, b]));
            }
        }
    }
    Ok(())
}

/// The bit of a pixel, the most significant of a byte first.
fn bit(line: &[u8], x: usize) -> u8 {
    line.get(x / 8).map_or(0, |byte| byte >> (7 - x % 8) & 1)
}

/// Fills a row of all planes.
fn unpack(rest: &mut &[u8], row: &mut [u8]) -> Result<(), ImageError> {
    let mut to = 0;
    while to < row.len() {
        let (&first, behind) = rest.split_first().ok_or_else(truncated)?;
        *rest = behind;
        if first < 0xc0 {
            row[to] = first;
            to += 1;
            continue;
        }
        let (&value, behind) = rest.split_first().ok_or_else(truncated)?;
        *rest = behind;
        let end = to + usize::from(first & 0x3f);
        let run = row.get_mut(to..end);
        run.ok_or_else(|| damaged("a run goes beyond its row"))?
            .fill(value);
        to = end;
    }
    Ok(())
}
