//! From the samples of a TIFF to RGB, as Pillow's unpackers and converters do it.

use super::ifd::Order;
use super::lab;
use super::layout::{Colour, Compression, Layout};
use crate::convert;

/// Converts rows of an image to RGB.
pub(super) struct Converter<'a> {
    layout: &'a Layout<'a>,
    /// One row with 8 bits for each sample, those of a pixel side by side.
    eight: Vec<u8>,
}

impl<'a> Converter<'a> {
    pub(super) fn new(layout: &'a Layout<'a>) -> Self {
        Self {
            layout,
            eight: Vec::new(),
        }
    }

    /// Converts one row, whose planes are each on its own.
    pub(super) fn convert(&mut self, planes: &[Vec<u8>], rgb: &mut [u8]) {
        let Self { layout, eight } = self;
        let [row, others @ ..] = planes else {
            return;
        };
        match &layout.colour {
            Colour::Clipped { signed } => {
                return match layout.bits {
                    12 => convert::grey_to_rgb(of_twelve_bits(row), rgb),
                    _ => convert::grey_to_rgb(clipped(row, layout, *signed), rgb),
                };
            }
            Colour::Float => return convert::grey_to_rgb(floats(row, signed_order(layout)), rgb),
            _ => {}
        }
        if layout.bits == 8 && others.is_empty() {
            return from_eight(row, layout, rgb);
        }
        eight.clear();
        let sample_bytes = (layout.bits / 8).max(1);
        let high = match layout.order {
            Order::Little => sample_bytes - 1,
            Order::Big => 0,
        };
        match layout.bits {
            bits @ (1 | 2 | 4) => eight.extend(unpacked(row, bits)),
            _ if others.is_empty() => {
                eight.extend(row.chunks_exact(sample_bytes).map(|sample| sample[high]));
            }
            _ => {
                for at in (high..row.len()).step_by(sample_bytes) {
                    eight.extend(planes.iter().map(|plane| plane[at]));
                }
            }
        }
        from_eight(eight, layout, rgb);
    }
}

/// Converts one row of 8-bit samples.
fn from_eight(row: &[u8], layout: &Layout<'_>, rgb: &mut [u8]) {
    let pixels = row.chunks_exact(layout.samples);
    match &layout.colour {
        Colour::Grey { inverted } => {
            let scale = match layout.bits {
                1 => 255,
                2 => 85,
                4 => 17,
                _ => 1,
            };
            let flip = if *inverted { 255 } else { 0 };
            convert::grey_to_rgb(pixels.map(|pixel| (pixel[0] * scale) ^ flip), rgb);
        }
        Colour::Palette(colours) => {
            convert::fill(rgb, pixels.map(|pixel| colours[usize::from(pixel[0])]));
        }
        Colour::Rgb => convert::fill(rgb, pixels.map(|pixel| [pixel[0], pixel[1], pixel[2]])),
        Colour::Premultiplied => convert::fill(
            rgb,
            pixels.map(|pixel| {
                let alpha = u32::from(pixel[3]);
                [pixel[0], pixel[1], pixel[2]].map(|value| match alpha {
                    0 => 0,
                    _ => (u32::from(value) * 255 / alpha).min(255) as u8,
                })
            }),
        ),
        Colour::Ycc(tables) => {
            let pixels = row.as_chunks::<3>().0.iter();
            match tables {
                Some(tables) => convert::fill(rgb, pixels.map(|&pixel| tables.rgb(pixel))),
                None => convert::fill(rgb, pixels.map(|&pixel| convert::ycc_as_pillow(pixel))),
            }
        }
        Colour::Cmyk => convert::cmyk_to_rgb(row, layout.samples, rgb),
        Colour::Lab => {
            let pixels = row.as_chunks::<3>().0.iter();
            convert::fill(rgb, lab::to_rgb(pixels, layout.planar));
        }
        // Handled by the caller.
        Colour::Clipped { .. } | Colour::Float => {}
    }
}

/// Samples of 1, 2 or 4 bits, the most significant first.
fn unpacked(row: &[u8], bits: usize) -> impl Iterator<Item = u8> {
    let mask = (1u8 << bits) - 1;
    row.iter()
        .flat_map(move |&byte| (1..=8 / bits).map(move |nth| (byte >> (8 - nth * bits)) & mask))
}

/// The order of bytes in which Pillow reads floats and numbers with a sign. libtiff has turned those
/// of a big-endian file round where it unpacks them, and Pillow takes them for big-endian still.
fn signed_order(layout: &Layout<'_>) -> Order {
    match layout.compression {
        Compression::None => layout.order,
        _ => Order::Little,
    }
}

/// Numbers of 16 or 32 bits, clipped to 0..=255.
fn clipped(row: &[u8], layout: &Layout<'_>, signed: bool) -> impl Iterator<Item = u8> {
    let size = layout.bits / 8;
    let order = if signed {
        signed_order(layout)
    } else {
        layout.order
    };
    row.chunks_exact(size).map(move |bytes| {
        let number = bytes
            .iter()
            .enumerate()
            .fold(0u32, |number, (nth, &byte)| match order {
                Order::Little => number | u32::from(byte) << (8 * nth),
                Order::Big => number << 8 | u32::from(byte),
            });
        let number = match (signed, size) {
            (true, 2) => i64::from(number as u16 as i16),
            (true, _) => i64::from(number as i32),
            (false, _) => i64::from(number),
        };
        number.clamp(0, 255) as u8
    })
}

/// Numbers of 12 bits, the most significant first, clipped to 0..=255.
fn of_twelve_bits(row: &[u8]) -> impl Iterator<Item = u8> {
    let clip = |number: u16| number.min(255) as u8;
    row.chunks(3).flat_map(move |bytes| {
        let [first, middle, last] = [0, 1, 2].map(|at| u16::from(*bytes.get(at).unwrap_or(&0)));
        [
            clip(first << 4 | middle >> 4),
            clip((middle & 15) << 8 | last),
        ]
    })
}

/// 32-bit floats, clipped to 0..=255 and cut to whole numbers.
fn floats(row: &[u8], order: Order) -> impl Iterator<Item = u8> {
    row.as_chunks::<4>().0.iter().map(move |&bytes| {
        let value = match order {
            Order::Little => f32::from_le_bytes(bytes),
            Order::Big => f32::from_be_bytes(bytes),
        };
        // A cast saturates: it is exactly Pillow's clipping.
        value as u8
    })
}
