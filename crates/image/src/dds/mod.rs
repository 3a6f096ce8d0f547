//! DDS, textures of DirectX, read as Pillow's `DdsImagePlugin` reads them: the first surface, of
//! masked colours, grey, indices into a palette, or blocks (BC1 to BC5, and BC7).

mod bc7;
mod blocks;

use super::decode::Job;
use super::inspect::{array, u32_le};
use super::{ImageError, ImageFormat, convert};
use blocks::{Block, Kind};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Dds, reason)
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

const MAGIC: &[u8] = b"DDS ";
/// Where the header ends, and the surface or a further header begins.
const HEADER: usize = 128;
/// The further header that "DX10" announces.
const HEADER_10: usize = 20;

/// Whether a file is one.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    match (u32_le(bytes, 4), bytes.len() >= HEADER) {
        (Some(124), true) => {}
        (Some(124) | None, _) => return Err(truncated()),
        (Some(length), _) => {
            return Err(damaged(format_args!("its header has {length} bytes")));
        }
    }
    let side = |at| u32_le(bytes, at).ok_or_else(truncated);
    Ok((side(16)?, side(12)?))
}

/// Bytes that decoding takes beside the pixels: some rows of blocks, and a palette.
pub(super) fn scratch(width: u32) -> u64 {
    u64::from(width) * 16 + (4 << 10)
}

/// What a surface is made of.
enum Surface {
    /// Pixels of so many bytes, of which each mask takes a colour.
    Masked(usize, [u32; 3]),
    /// Pixels of so many bytes, the first of which is grey.
    Grey(usize),
    /// Indices into 256 colours, which lie before them.
    Palette,
    /// Red, green, blue, alpha.
    Rgba,
    Blocks(Kind),
}

/// What the header says, and where the surface begins.
fn surface(bytes: &[u8]) -> Result<(Surface, usize), ImageError> {
    const ALPHA: u32 = 0x1;
    const FOUR_LETTERS: u32 = 0x4;
    const PALETTE: u32 = 0x20;
    const RGB: u32 = 0x40;
    const LUMINANCE: u32 = 0x2_0000;
    let number = |at| u32_le(bytes, at).ok_or_else(truncated);
    let (flags, bits) = (number(80)?, number(88)?);
    let surface = if flags & RGB != 0 {
        let masks = [number(92)?, number(96)?, number(100)?];
        Surface::Masked((bits / 8) as usize, masks)
    } else if flags & LUMINANCE != 0 {
        match (bits, flags & ALPHA) {
            (8, _) => Surface::Grey(1),
            (16, ALPHA) => Surface::Grey(2),
            _ => return Err(damaged(format_args!("its grey has {bits} bits"))),
        }
    } else if flags & PALETTE != 0 {
        return Ok((Surface::Palette, HEADER + 1024));
    } else if flags & FOUR_LETTERS != 0 {
        Surface::Blocks(match &array::<4>(bytes, 84).ok_or_else(truncated)? {
            b"DXT1" => Kind::Bc1,
            b"DXT3" => Kind::Bc2,
            b"DXT5" => Kind::Bc3,
            b"BC4U" | b"ATI1" => Kind::Bc4,
            b"BC5U" | b"ATI2" => Kind::Bc5 { signed: false },
            b"BC5S" => Kind::Bc5 { signed: true },
            b"DX10" => return Ok((of_dxgi(number(HEADER)?)?, HEADER + HEADER_10)),
            _ => return Err(damaged("its compression is unknown")),
        })
    } else {
        return Err(damaged(format_args!(
            "its pixels are of the kind {flags:#x}"
        )));
    };
    Ok((surface, HEADER))
}

/// By a number of DirectX 10. Pillow takes only some of the variants that name sRGB.
fn of_dxgi(format: u32) -> Result<Surface, ImageError> {
    Ok(Surface::Blocks(match format {
        27..=29 => return Ok(Surface::Rgba),
        70 | 71 => Kind::Bc1,
        73 | 74 => Kind::Bc2,
        76 | 77 => Kind::Bc3,
        79 | 80 => Kind::Bc4,
        82 | 83 => Kind::Bc5 { signed: false },
        84 => Kind::Bc5 { signed: true },
        95 | 96 => {
            let format = "DDS with floats in its blocks (BC6H)";
            return Err(ImageError::Unsupported { format });
        }
        97..=99 => Kind::Bc7,
        _ => {
            return Err(damaged(format_args!(
                "its pixels are of the DXGI format {format}"
            )));
        }
    }))
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let (surface, at) = surface(job.bytes)?;
    let data = job.bytes.get(at..).ok_or_else(truncated)?;
    let (width, height) = job.size();
    let kind = match surface {
        Surface::Blocks(kind) => return read_blocks(job, kind, data, rgb),
        other => other,
    };
    let pixel = match kind {
        Surface::Masked(bytes, _) | Surface::Grey(bytes) => bytes,
        Surface::Palette => 1,
        Surface::Rgba | Surface::Blocks(_) => 4,
    };
    let stride = width.checked_mul(pixel).filter(|&stride| stride > 0);
    let stride = stride.ok_or_else(|| damaged("its pixels have no bytes"))?;
    let needed = stride.checked_mul(height);
    let data = needed.and_then(|needed| data.get(..needed));
    let rows = data.ok_or_else(truncated)?.chunks_exact(stride);
    for (row, out) in rows.zip(rgb.chunks_exact_mut(width * 3)) {
        job.stop.work(width as u64 * 10 + stride as u64)?;
        let pixels = row.chunks_exact(pixel);
        match &kind {
            Surface::Masked(_, masks) => convert::fill(
                out,
                pixels.map(|pixel| {
                    let value = pixel.iter().take(4).rev();
                    let value = value.fold(0, |value, &byte| value << 8 | u32::from(byte));
                    masks.map(|mask| masked(value, mask))
                }),
            ),
            Surface::Grey(_) => convert::grey_to_rgb(pixels.map(|pixel| pixel[0]), out),
            Surface::Palette => {
                let colour = |index: u8| array(job.bytes, HEADER + 4 * usize::from(index));
                let colours = pixels.map(|pixel| colour(pixel[0]).unwrap_or_default());
                convert::fill(out, colours);
            }
            Surface::Rgba | Surface::Blocks(_) => convert::drop_extra::<4>(row, out),
        }
    }
    Ok(())
}

/// What a mask takes of a pixel, in 8 bits: with Pillow's arithmetic, which divides first.
fn masked(value: u32, mask: u32) -> u8 {
    if mask == 0 {
        return 0;
    }
    let shift = mask.trailing_zeros();
    let part = f64::from((value & mask) >> shift) / f64::from(mask >> shift);
    (part * 255.0) as u8
}

/// A picture in blocks of 4 x 4 pixels, those at the edges as well.
fn read_blocks(job: &Job<'_>, kind: Kind, data: &[u8], rgb: &mut [u8]) -> Result<(), ImageError> {
    /// Nanoseconds for a block.
    const BLOCK: u64 = 250;
    let (width, height) = job.size();
    let across = width.div_ceil(4);
    let stride = across * kind.bytes();
    let needed = stride.checked_mul(height.div_ceil(4));
    let data = needed.and_then(|needed| data.get(..needed));
    let rows = data.ok_or_else(truncated)?.chunks_exact(stride);
    for (row, band) in rows.zip(rgb.chunks_mut(width * 3 * 4)) {
        job.stop.work(across as u64 * BLOCK)?;
        for (x, block) in row.chunks_exact(kind.bytes()).enumerate() {
            let block: Block = kind.pixels(block);
            for (line, pixels) in band
                .chunks_exact_mut(width * 3)
                .zip(block.as_chunks::<4>().0)
            {
                let to = line.get_mut(x * 12..).unwrap_or_default();
                convert::fill(to, *pixels);
            }
        }
    }
    Ok(())
}
