//! VP8L, the lossless coding of WebP (RFC 9649, section 3).
//!
//! ```text
//! bits --codes--> prefix codes --stream--> ARGB, coded
//!      --transforms, backwards--> ARGB --> RGB
//! ```

mod bits;
mod codes;
mod stream;
mod transforms;

use super::{Out, damaged};
use crate::ImageError;
use crate::convert;
use crate::work::Stop;
use bits::Bits;
use stream::{Reader, read_image};
use transforms::Transform;

/// Bytes that decoding takes beside the pixels: ARGB, a quarter as much for what there may
/// be of each 4 x 4 pixels (groups of codes, predictors, colour factors), and the tables.
pub(super) fn scratch(width: u64, height: u64, packed: usize) -> u64 {
    let blocks = width.div_ceil(4) * height.div_ceil(4);
    let codes = codes::most_tables(packed) + codes::most_groups(blocks);
    width * height * 4 + 3 * blocks * 4 + codes + (256 << 10)
}

/// Decodes a frame to the rows of `out`.
pub(super) fn decode(
    packed: &[u8],
    (width, height): (u32, u32),
    out: &mut Out<'_>,
    stop: &Stop<'_>,
) -> Result<(), ImageError> {
    // The signature, and sides that were read before.
    let mut bits = Bits::new(packed.get(1..).unwrap_or_default());
    bits.number(28);
    let _alpha = bits.flag();
    if bits.number(3) != 0 {
        return Err(damaged("its lossless frame is of an unknown version"));
    }
    let pixels = decode_pixels(bits, packed.len(), width as usize, height as usize, stop)?;
    for (y, row) in pixels.chunks_exact(width as usize).enumerate() {
        stop.work(u64::from(width))?;
        convert::fill(
            out.row(y),
            row.iter().map(|&argb| {
                let [_, red, green, blue] = argb.to_be_bytes();
                [red, green, blue]
            }),
        );
    }
    Ok(())
}

/// Decodes alpha, to see whether it can be: a frame with broken alpha is refused.
pub(super) fn check_alpha(
    alpha: &[u8],
    (width, height): (u32, u32),
    stop: &Stop<'_>,
) -> Result<(), ImageError> {
    let (width, height) = (width as usize, height as usize);
    let short = || damaged("its alpha is cut short");
    let (&flags, packed) = alpha.split_first().ok_or_else(short)?;
    match flags & 3 {
        0 if packed.len() >= width * height => Ok(()),
        0 => Err(short()),
        1 => decode_pixels(Bits::new(packed), packed.len(), width, height, stop).map(drop),
        _ => Err(damaged("its alpha has an unknown compression")),
    }
}

/// ARGB, row for row.
fn decode_pixels(
    bits: Bits<'_>,
    packed: usize,
    width: usize,
    height: usize,
    stop: &Stop<'_>,
) -> Result<Vec<u32>, ImageError> {
    let mut reader = Reader {
        bits,
        stop,
        most_tables: codes::most_tables(packed),
    };
    let (transforms, coded_width) = transforms::read(&mut reader, width, height)?;
    // At full width from the start: a palette that packs several pixels in one unpacks them
    // within it.
    let mut pixels = vec![0; width * height];
    read_image(&mut reader, (coded_width, height), true, &mut pixels)?;
    for transform in transforms.iter().rev() {
        stop.work(width as u64 * height as u64 * 6)?;
        transform.undo(&mut pixels, height);
    }
    Ok(pixels)
}

/// The sides of an image that has one pixel for each block of `1 << bits`.
fn blocks(side: usize, bits: u32) -> usize {
    side.div_ceil(1 << bits)
}

/// What is left of the pixels when they are dropped does not matter.
type Transforms = Vec<Transform>;
