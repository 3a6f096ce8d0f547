//! The transforms of a VP8L stream, and how they are undone (RFC 9649, section 3.4).

use super::super::damaged;
use super::stream::{Reader, read_image};
use super::{Transforms, blocks};
use crate::ImageError;

/// One of them.
pub(super) enum Transform {
    /// Pixels are differences to what their neighbours predict; how, each block says.
    Predicted(Blocks),
    /// Red and blue are differences to parts of green and red; which, each block says.
    Correlated(Blocks),
    /// Green was taken from red and blue.
    GreenSubtracted,
    /// Pixels are indices, several to one if there are few colours.
    Indexed {
        colours: Vec<u32>,
        /// The width of the picture, and of the one with several pixels in one.
        width: usize,
        packed_width: usize,
        /// Several are `1 << bits`.
        bits: u32,
    },
}

/// An image with a pixel for each block of the picture.
pub(super) struct Blocks {
    pixels: Vec<u32>,
    bits: u32,
    stride: usize,
    /// Of the picture.
    width: usize,
}

impl Blocks {
    fn read(reader: &mut Reader<'_>, width: usize, height: usize) -> Result<Self, ImageError> {
        let bits = reader.bits.number(3) + 2;
        let size = (blocks(width, bits), blocks(height, bits));
        let mut pixels = vec![0; size.0 * size.1];
        read_image(reader, size, false, &mut pixels)?;
        Ok(Self {
            pixels,
            bits,
            stride: size.0,
            width,
        })
    }

    #[inline]
    fn at(&self, x: usize, y: usize) -> u32 {
        let at = (y >> self.bits) * self.stride + (x >> self.bits);
        self.pixels.get(at).copied().unwrap_or(0)
    }
}

/// Reads them all, and the width of what is coded.
pub(super) fn read(
    reader: &mut Reader<'_>,
    width: usize,
    height: usize,
) -> Result<(Transforms, usize), ImageError> {
    let mut transforms = Transforms::new();
    let mut coded_width = width;
    let mut seen = [false; 4];
    while reader.bits.flag() {
        let kind = reader.bits.number(2) as usize;
        if std::mem::replace(&mut seen[kind], true) {
            return Err(damaged("it has a transform twice"));
        }
        transforms.push(match kind {
            0 => Transform::Predicted(Blocks::read(reader, coded_width, height)?),
            1 => Transform::Correlated(Blocks::read(reader, coded_width, height)?),
            2 => Transform::GreenSubtracted,
            _ => {
                let indexed = read_colours(reader, coded_width)?;
                if let Transform::Indexed { packed_width, .. } = &indexed {
                    coded_width = *packed_width;
                }
                indexed
            }
        });
        reader.bits.check()?;
    }
    Ok((transforms, coded_width))
}

fn read_colours(reader: &mut Reader<'_>, width: usize) -> Result<Transform, ImageError> {
    let count = reader.bits.number(8) as usize + 1;
    let bits = match count {
        ..=2 => 3,
        3..=4 => 2,
        5..=16 => 1,
        _ => 0,
    };
    let mut colours = vec![0; count];
    read_image(reader, (count, 1), false, &mut colours)?;
    // Each is a difference to the one before.
    let mut last = 0;
    for colour in &mut colours {
        last = add(last, *colour);
        *colour = last;
    }
    // An index beyond them is transparent black.
    colours.resize(256, 0);
    Ok(Transform::Indexed {
        colours,
        width,
        packed_width: blocks(width, bits),
        bits,
    })
}

impl Transform {
    /// Undoes it, in the first pixels of a picture of `height` rows.
    pub(super) fn undo(&self, pixels: &mut [u32], height: usize) {
        match self {
            Self::Predicted(blocks) => predict(blocks, pixels, height),
            Self::Correlated(blocks) => correlate(blocks, pixels, height),
            Self::GreenSubtracted => {
                for argb in pixels {
                    let green = *argb >> 8 & 0xff;
                    let red_blue = (*argb & 0xff_00ff).wrapping_add(green << 16 | green);
                    *argb = *argb & 0xff00_ff00 | red_blue & 0xff_00ff;
                }
            }
            Self::Indexed {
                colours,
                width,
                packed_width,
                bits,
            } => {
                let each = 8 >> bits;
                let mask = (1 << each) - 1;
                // From the end: a row lies behind, or where, it was packed.
                for y in (0..height).rev() {
                    for x in (0..*width).rev() {
                        let packed = pixels[y * packed_width + (x >> bits)] >> 8 & 0xff;
                        let nth = (x & ((1 << bits) - 1)) as u32;
                        let index = packed >> (nth * each) & mask;
                        pixels[y * width + x] = colours[index as usize];
                    }
                }
            }
        }
    }
}

/// The sum of each channel.
#[inline]
fn add(a: u32, b: u32) -> u32 {
    let alpha_green = (a & 0xff00_ff00).wrapping_add(b & 0xff00_ff00);
    let red_blue = (a & 0x00ff_00ff).wrapping_add(b & 0x00ff_00ff);
    alpha_green & 0xff00_ff00 | red_blue & 0x00ff_00ff
}

/// The mean of each channel, rounded down.
#[inline]
fn mean(a: u32, b: u32) -> u32 {
    (((a ^ b) & 0xfefe_fefe) >> 1) + (a & b)
}

/// Each channel of three pixels, made into one.
#[inline]
fn channels(a: u32, b: u32, c: u32, of: impl Fn(i32, i32, i32) -> i32) -> u32 {
    let (a, b, c) = (a.to_be_bytes(), b.to_be_bytes(), c.to_be_bytes());
    u32::from_be_bytes(std::array::from_fn(|nth| {
        of(a[nth].into(), b[nth].into(), c[nth].into()).clamp(0, 255) as u8
    }))
}

/// Left or top, whichever is nearer to left + top - top left.
#[inline]
fn select(left: u32, top: u32, top_left: u32) -> u32 {
    let far = |a: u32, b: u32| -> u32 {
        let (a, b) = (a.to_be_bytes(), b.to_be_bytes());
        a.iter()
            .zip(b)
            .map(|(&a, b)| u32::from(a.abs_diff(b)))
            .sum()
    };
    if far(left, top_left) <= far(top, top_left) {
        top
    } else {
        left
    }
}

fn predict(blocks: &Blocks, pixels: &mut [u32], height: usize) {
    const BLACK: u32 = 0xff00_0000;
    let width = blocks.width;
    let Some(first) = pixels.first_mut() else {
        return;
    };
    *first = add(*first, BLACK);
    for x in 1..width {
        pixels[x] = add(pixels[x], pixels[x - 1]);
    }
    let block = 1usize << blocks.bits;
    for y in 1..height {
        let row = y * width;
        pixels[row] = add(pixels[row], pixels[row - width]);
        let mut x = 1;
        while x < width {
            let mode = blocks.at(x, y) >> 8 & 15;
            let end = width.min((x / block + 1) * block);
            let span = row + x..row + end;
            x = end;
            // Left, top, top right and top left of a pixel; the top right one of the last in
            // a row is the first of its own.
            macro_rules! each {
                (|$left:ident, $top:ident, $right:ident, $top_left:ident| $value:expr) => {
                    for at in span {
                        let $left = pixels[at - 1];
                        let $top = pixels[at - width];
                        let $right = pixels[at - width + 1];
                        let $top_left = pixels[at - width - 1];
                        let _ = ($left, $top, $right, $top_left);
                        pixels[at] = add(pixels[at], $value);
                    }
                };
            }
            match mode {
                1 => each!(|l, t, r, tl| l),
                2 => each!(|l, t, r, tl| t),
                3 => each!(|l, t, r, tl| r),
                4 => each!(|l, t, r, tl| tl),
                5 => each!(|l, t, r, tl| mean(mean(l, r), t)),
                6 => each!(|l, t, r, tl| mean(l, tl)),
                7 => each!(|l, t, r, tl| mean(l, t)),
                8 => each!(|l, t, r, tl| mean(tl, t)),
                9 => each!(|l, t, r, tl| mean(t, r)),
                10 => each!(|l, t, r, tl| mean(mean(l, tl), mean(t, r))),
                11 => each!(|l, t, r, tl| select(l, t, tl)),
                12 => each!(|l, t, r, tl| channels(l, t, tl, |l, t, tl| l + t - tl)),
                13 => each!(|l, t, r, tl| channels(mean(l, t), tl, 0, |m, tl, _| m + (m - tl) / 2)),
                _ => each!(|l, t, r, tl| BLACK),
            }
        }
    }
}

fn correlate(blocks: &Blocks, pixels: &mut [u32], height: usize) {
    let width = blocks.width;
    // Products of two signed bytes, in units of 1/32.
    let part = |factor: u32, value: u32| {
        (i32::from(factor as u8 as i8) * i32::from(value as u8 as i8)) >> 5
    };
    for (y, row) in pixels.chunks_exact_mut(width).take(height).enumerate() {
        for (x, span) in row.chunks_mut(1 << blocks.bits).enumerate() {
            let factors = blocks.at(x << blocks.bits, y);
            for argb in span {
                let green = *argb >> 8;
                let red = (*argb >> 16).wrapping_add(part(factors, green) as u32) & 0xff;
                let blue = argb
                    .wrapping_add(part(factors >> 8, green) as u32)
                    .wrapping_add(part(factors >> 16, red) as u32)
                    & 0xff;
                *argb = *argb & 0xff00_ff00 | red << 16 | blue;
            }
        }
    }
}
