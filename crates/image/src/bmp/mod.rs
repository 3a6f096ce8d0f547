//! BMP: Windows and OS/2 bitmaps, read as Pillow's `BmpImagePlugin` reads them.
//!
//! Written here, because the crates differ from Pillow in what they do with skips in
//! run-length coded files, with palettes that are too short, and with bit masks.

mod runs;

use super::convert;
use super::decode::Job;
use super::inspect::{u16_le, u32_le};
use super::{ImageError, ImageFormat};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Bmp, reason)
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

const RAW: u32 = 0;
const RLE8: u32 = 1;
const RLE4: u32 = 2;
const BITFIELDS: u32 = 3;

/// What the two headers say.
struct Info {
    /// Where the pixels begin; 0 means right after the headers and the palette.
    offset: usize,
    /// Size of the second header, which says its version.
    header_size: usize,
    width: u32,
    height: u32,
    top_down: bool,
    bits: u16,
    compression: u32,
    colours: usize,
}

impl Info {
    fn read(bytes: &[u8]) -> Result<Self, ImageError> {
        Self::parse(bytes).ok_or_else(truncated)?
    }

    /// `None` where the file ends before the header does.
    fn parse(bytes: &[u8]) -> Option<Result<Self, ImageError>> {
        let offset = u32_le(bytes, 10)? as usize;
        let header_size = u32_le(bytes, 14)? as usize;
        bytes.get(..14usize.checked_add(header_size)?)?;
        let (width, height, top_down, bits, compression, colours);
        match header_size {
            12 => {
                (width, height) = (u32::from(u16_le(bytes, 18)?), u32::from(u16_le(bytes, 20)?));
                (top_down, compression, colours) = (false, RAW, 0);
                bits = u16_le(bytes, 24)?;
            }
            40 | 52 | 56 | 64 | 108 | 124 => {
                width = u32_le(bytes, 18)?;
                let signed_height = u32_le(bytes, 22)?;
                // Pillow takes the highest byte for the sign.
                top_down = bytes.get(25) == Some(&0xff);
                height = if top_down {
                    signed_height.wrapping_neg()
                } else {
                    signed_height
                };
                bits = u16_le(bytes, 28)?;
                compression = u32_le(bytes, 30)?;
                colours = u32_le(bytes, 46)? as usize;
            }
            _ => {
                return Some(Err(damaged(format_args!(
                    "it has an unknown header of {header_size} bytes"
                ))));
            }
        }
        if !matches!(bits, 1 | 4 | 8 | 16 | 24 | 32) {
            return Some(Err(damaged(format_args!("it has {bits} bits per pixel"))));
        }
        Some(Ok(Self {
            offset,
            header_size,
            width,
            height,
            top_down,
            bits,
            compression,
            colours: if colours == 0 {
                1 << bits.min(16)
            } else {
                colours
            },
        }))
    }

    /// The palette: so much of it as is there, because the header may promise more.
    fn table<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let table = bytes.get(14 + self.header_size..).unwrap_or_default();
        let length = self.colours.saturating_mul(self.entry());
        &table[..table.len().min(length)]
    }

    /// Where the headers end, and the palette or the masks behind them.
    fn behind_headers(&self) -> usize {
        let more = match (self.compression, self.bits) {
            (BITFIELDS, _) if self.header_size < 52 => 12,
            (BITFIELDS, _) | (_, 16..) => 0,
            _ => self.colours.saturating_mul(self.entry()),
        };
        more.saturating_add(14 + self.header_size)
    }

    /// Bytes of one palette entry.
    fn entry(&self) -> usize {
        if self.header_size == 12 { 3 } else { 4 }
    }
}

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    Info::read(bytes).map(|info| (info.width, info.height))
}

/// Where the pixels of a bitmap begin whose first header does not say so.
pub(super) fn behind_headers(bytes: &[u8]) -> Result<usize, ImageError> {
    Info::read(bytes).map(|info| info.behind_headers())
}

/// The same bitmap with another height, from the same bottom or top on. Its headers are there.
pub(super) fn with_height(mut file: Vec<u8>, height: u32) -> Vec<u8> {
    let height = match file.get(25) {
        Some(0xff) => height.wrapping_neg(),
        _ => height,
    };
    let to = match u32_le(&file, 14) {
        Some(12) => file.get_mut(20..22),
        _ => file.get_mut(22..26),
    };
    if let Some(to) = to {
        to.copy_from_slice(&height.to_le_bytes()[..to.len()]);
    }
    file
}

/// Whether Pillow reads it as black and white or grey.
pub(super) fn is_grey(bytes: &[u8]) -> Result<bool, ImageError> {
    let info = Info::read(bytes)?;
    Ok(matches!(info.bits, 1 | 4 | 8) && grey(&info, info.table(bytes)).is_some())
}

/// Bytes that decoding takes beside the pixels: all indices, if they are run-length coded.
pub(super) fn scratch(bytes: &[u8]) -> Result<u64, ImageError> {
    let info = Info::read(bytes)?;
    Ok(match info.compression {
        RLE8 | RLE4 => u64::from(info.width) * u64::from(info.height) + (4 << 10),
        _ => 4 << 10,
    })
}

/// How the bytes of the rows become pixels.
enum Pixels {
    /// Indices of so many bits into a table.
    Indexed(u16, Box<[[u8; 3]; 256]>),
    /// 16 bits: red in the highest, green of 5 or 6 bits, blue in the lowest.
    Packed { green_bits: u32 },
    /// Bytes per pixel, and where in it red, green and blue are.
    Bytes(usize, [usize; 3]),
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let bytes = job.bytes;
    let info = Info::read(bytes)?;
    let run_length = matches!(info.compression, RLE8 | RLE4);
    let kind = match (info.compression, info.bits) {
        (RAW | RLE8 | RLE4, 1 | 4 | 8) => {
            let table = info.table(bytes);
            let is_too_long = table.len() > 256 * info.entry() && grey(&info, table).is_none();
            if info.colours > 65_536 || is_too_long {
                return Err(damaged(format_args!("it has {} colours", info.colours)));
            }
            indexed(&info, table)
        }
        (RAW, 16) => Pixels::Packed { green_bits: 5 },
        (RAW, 24) => Pixels::Bytes(3, [2, 1, 0]),
        (RAW, 32) => Pixels::Bytes(4, [2, 1, 0]),
        (BITFIELDS, 16 | 24 | 32) => masked(&info, bytes)?,
        (4, _) => {
            return Err(ImageError::Unsupported {
                format: "BMP with an embedded JPEG",
            });
        }
        (5, _) => {
            return Err(ImageError::Unsupported {
                format: "BMP with an embedded PNG",
            });
        }
        (compression, bits) => {
            return Err(damaged(format_args!(
                "it has compression {compression} with {bits} bits per pixel"
            )));
        }
    };
    // Some writers leave the palette out of the offset.
    let start = if info.offset == 14 + info.header_size && info.bits <= 8 {
        info.offset
            .saturating_add(info.colours.saturating_mul(info.entry()))
    } else if info.offset == 0 {
        info.behind_headers()
    } else {
        info.offset
    };
    let (width, height) = job.size();
    let data = bytes.get(start..).ok_or_else(truncated)?;

    let unpacked;
    let (rows, stride, kind) = if run_length {
        let nibbles = info.compression == RLE4;
        unpacked = runs::unpack(data, start, (width, width * height), nibbles, job.stop)?;
        if unpacked.len() < width * height {
            return Err(truncated());
        }
        let kind = match kind {
            Pixels::Indexed(_, mut table) => {
                if grey(&info, info.table(bytes)) == Some(1) {
                    // Black and white, and all that is not 0 is white.
                    table.fill([255; 3]);
                    table[0] = [0; 3];
                }
                Pixels::Indexed(8, table)
            }
            other => other,
        };
        (&unpacked[..], width, kind)
    } else {
        (
            data,
            (width * usize::from(info.bits)).div_ceil(32) * 4,
            kind,
        )
    };
    let used = match &kind {
        Pixels::Indexed(bits, _) => (width * usize::from(*bits)).div_ceil(8),
        Pixels::Packed { .. } => width * 2,
        Pixels::Bytes(size, _) => width * size,
    };
    if used > stride {
        return Err(damaged("its palette does not fit its bits per pixel"));
    }
    for (row, out) in rgb.chunks_exact_mut(width * 3).enumerate() {
        job.stop.work(width as u64 * 4)?;
        let nth = if info.top_down { row } else { height - 1 - row };
        let at = nth * stride;
        // The padding of the last row may be missing, as for Pillow.
        let row = rows.get(at..at + used).ok_or_else(truncated)?;
        row_to_rgb(row, &kind, out);
    }
    Ok(())
}

/// The colours of a palette, as far as they are there.
fn entries(info: &Info, table: &[u8]) -> impl Iterator<Item = [u8; 3]> {
    let entries = table.chunks_exact(info.entry());
    entries.map(|entry| [entry[2], entry[1], entry[0]])
}

/// Bits per pixel where a palette is that of black and white, or a grey ramp.
fn grey(info: &Info, table: &[u8]) -> Option<u16> {
    let is_black_and_white = match info.colours {
        1 => entries(info, table).eq([[0; 3]]),
        2 => entries(info, table).eq([[0; 3], [255; 3]]),
        _ => false,
    };
    if is_black_and_white {
        return Some(1);
    }
    let ramp = (0..info.colours).map(|index| [index as u8; 3]);
    (info.colours > 2 && entries(info, table).eq(ramp)).then_some(8)
}

/// The table of a palette bitmap. Pillow looks whether it is a grey ramp and then
/// reads the pixels as grey: of 1 bit for two colours, of 8 otherwise.
fn indexed(info: &Info, table: &[u8]) -> Pixels {
    let mut colours = Box::new(std::array::from_fn(|index| [index as u8; 3]));
    if let Some(bits) = grey(info, table) {
        if bits == 1 {
            colours[1] = [255; 3];
        }
        return Pixels::Indexed(bits, colours);
    }
    // What is behind the end of a short table is black.
    colours.fill([0; 3]);
    for (colour, entry) in colours.iter_mut().zip(entries(info, table)) {
        *colour = entry;
    }
    Pixels::Indexed(info.bits, colours)
}

/// The layouts with bit masks that Pillow takes.
fn masked(info: &Info, bytes: &[u8]) -> Result<Pixels, ImageError> {
    let mask = |nth: usize| u32_le(bytes, 54 + nth * 4).ok_or_else(truncated);
    let rgb = [mask(0)?, mask(1)?, mask(2)?];
    let alpha = if info.header_size >= 56 { mask(3)? } else { 0 };
    Ok(match (info.bits, rgb, alpha) {
        (16, [0xf800, 0x7e0, 0x1f], _) => Pixels::Packed { green_bits: 6 },
        (16, [0x7c00, 0x3e0, 0x1f], _) => Pixels::Packed { green_bits: 5 },
        (24, [0xff_0000, 0xff00, 0xff], _) => Pixels::Bytes(3, [2, 1, 0]),
        (32, [0xff_0000, 0xff00, 0xff], 0 | 0xff00_0000) | (32, [0, 0, 0], 0) => {
            Pixels::Bytes(4, [2, 1, 0])
        }
        (32, [0xff00_0000, 0xff_0000, 0xff00], 0 | 0xff) => Pixels::Bytes(4, [3, 2, 1]),
        (32, [0xff00_0000, 0xff00, 0xff], 0 | 0xff_0000) => Pixels::Bytes(4, [3, 1, 0]),
        (32, [0xff, 0xff00, 0xff_0000], 0xff00_0000) => Pixels::Bytes(4, [0, 1, 2]),
        _ => {
            return Err(ImageError::Unsupported {
                format: "BMP with unusual bit masks",
            });
        }
    })
}

/// Converts one row.
fn row_to_rgb(row: &[u8], kind: &Pixels, rgb: &mut [u8]) {
    match kind {
        Pixels::Indexed(bits, colours) => {
            let per_byte = 8 / bits;
            let mask = ((1u16 << bits) - 1) as u8;
            let indices = row
                .iter()
                .flat_map(|&byte| (1..=per_byte).map(move |nth| (byte >> (8 - nth * bits)) & mask));
            convert::fill(rgb, indices.map(|index| colours[usize::from(index)]));
        }
        Pixels::Packed { green_bits } => {
            let pixels = row.as_chunks::<2>().0.iter();
            let green_max = (1 << green_bits) - 1;
            let unpacked = pixels.map(|&pixel| {
                let pixel = u32::from(u16::from_le_bytes(pixel));
                let red = (pixel >> (5 + green_bits)) & 31;
                let green = (pixel >> 5) & green_max;
                [
                    red * 255 / 31,
                    green * 255 / green_max,
                    (pixel & 31) * 255 / 31,
                ]
                .map(|value| value as u8)
            });
            convert::fill(rgb, unpacked);
        }
        Pixels::Bytes(size, [r, g, b]) => {
            let pixels = row.chunks_exact(*size);
            convert::fill(rgb, pixels.map(|pixel| [pixel[*r], pixel[*g], pixel[*b]]));
        }
    }
}
