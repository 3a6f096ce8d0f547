//! TIFF and BigTIFF: the first page, read as Pillow and its libtiff read it.
//!
//! ```text
//! bytes --ifd----> tags of the first directory
//!       --layout-> what the samples are, where the strips or tiles lie
//!       --chunks-> samples, unpacked and side by side
//!       --colour-> RGB --orient--> as the orientation tag says
//! ```
//!
//! Written here, because Pillow's set of sample layouts (clipped 16-bit grey, palettes,
//! premultiplied alpha, reversed bits, planes) is not that of the `tiff` crate, and
//! the decompressors that are the hard part are in the tree anyway.
//!
//! Decoded: uncompressed, LZW, Deflate, PackBits and (new-style) JPEG. Recognized and
//! refused: fax, Zstandard, LZMA, WebP and old-style JPEG compression, Lab colour, and
//! YCbCr without JPEG.

mod chunks;
mod colour;
mod ifd;
mod layout;

use super::{Header, ImageError, ImageFormat, ImageLimits};
use ifd::{Directory, tag};
use layout::Layout;

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Tiff, reason)
}

fn truncated() -> ImageError {
    damaged("the file is truncated")
}

/// The orientation tag (1 to 8): rows and columns swapped from 5 on.
fn orientation(directory: &Directory<'_>) -> u64 {
    let orientation = directory.number(tag::ORIENTATION);
    orientation.filter(|tag| (1..=8).contains(tag)).unwrap_or(1)
}

/// Width and height as they will be decoded: after the orientation tag.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let directory = Directory::read(bytes)?;
    let side = |tag| {
        directory
            .number(tag)
            .and_then(|side| u32::try_from(side).ok())
            .ok_or_else(|| damaged("its first directory has no size"))
    };
    let (width, height) = (side(tag::WIDTH)?, side(tag::HEIGHT)?);
    Ok(if orientation(&directory) >= 5 {
        (height, width)
    } else {
        (width, height)
    })
}

/// Decodes to RGB.
pub(super) fn decode(
    bytes: &[u8],
    header: &Header,
    limits: &ImageLimits,
) -> Result<Vec<u8>, ImageError> {
    let directory = Directory::read(bytes)?;
    let orientation = orientation(&directory);
    let (width, height) = match orientation {
        5.. => (header.height, header.width),
        _ => (header.width, header.height),
    };
    let layout = Layout::read(&directory, width, height)?;
    if layout.bytes() > limits.max_decoder_bytes {
        return Err(ImageError::TooComplex {
            format: ImageFormat::Tiff,
            reason: format!("its samples need {} bytes", layout.bytes()),
        });
    }
    let samples = chunks::read(bytes, &layout, limits)?;
    let rgb = colour::to_rgb(&samples, &layout);
    Ok(orient(rgb, width as usize, height as usize, orientation))
}

/// Turns and flips as Pillow's `exif_transpose`, which it applies to TIFF alone.
fn orient(rgb: Vec<u8>, width: usize, height: usize, orientation: u64) -> Vec<u8> {
    if orientation == 1 {
        return rgb;
    }
    let (pixels, _) = rgb.as_chunks::<3>();
    let (out_width, out_height) = match orientation {
        5.. => (height, width),
        _ => (width, height),
    };
    let mut out = Vec::with_capacity(rgb.len());
    for y in 0..out_height {
        for x in 0..out_width {
            let (from_x, from_y) = match orientation {
                2 => (width - 1 - x, y),
                3 => (width - 1 - x, height - 1 - y),
                4 => (x, height - 1 - y),
                5 => (y, x),
                6 => (y, height - 1 - x),
                7 => (width - 1 - y, height - 1 - x),
                _ => (width - 1 - y, x),
            };
            out.extend_from_slice(&pixels[from_y * width + from_x]);
        }
    }
    out
}
