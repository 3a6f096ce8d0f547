//! From the samples of a TIFF to RGB, as Pillow's unpackers and converters do it.

use super::ifd::Order;
use super::layout::{Colour, Layout};
use crate::convert;

/// Converts all samples (as `chunks::read` returns them) to RGB.
pub(super) fn to_rgb(samples: &[u8], layout: &Layout<'_>) -> Vec<u8> {
    let (width, height) = (layout.width, layout.height);
    let mut rgb = Vec::with_capacity(width * height * 3);
    let row_bytes = layout.row_bytes(width);
    let mut eight = Vec::new();
    let sample_bytes = layout.bits / 8;
    for y in 0..height {
        let row = &samples[y * row_bytes..][..row_bytes];
        match &layout.colour {
            Colour::Clipped { signed } => {
                convert::grey_to_rgb(clipped(row, layout, *signed), &mut rgb);
                continue;
            }
            Colour::Float => {
                convert::grey_to_rgb(floats(row, layout.order), &mut rgb);
                continue;
            }
            _ => {}
        }
        // Everything else has 8 bits for each sample that counts, samples of a pixel
        // side by side.
        eight.clear();
        match (layout.bits, layout.planar) {
            (8, false) => eight.extend_from_slice(row),
            (bits @ (1 | 2 | 4), _) => eight.extend(unpacked(row, width, bits)),
            (_, false) => eight.extend(high_bytes(row, layout.order)),
            (_, true) => {
                let high = if layout.order == Order::Little {
                    sample_bytes - 1
                } else {
                    0
                };
                let plane_bytes = row_bytes * height;
                for x in 0..width {
                    let at = y * row_bytes + x * sample_bytes + high;
                    eight
                        .extend((0..layout.samples).map(|plane| samples[plane * plane_bytes + at]));
                }
            }
        }
        append(&eight, layout, &mut rgb);
    }
    rgb
}

/// Appends one row of 8-bit samples as RGB.
fn append(row: &[u8], layout: &Layout<'_>, rgb: &mut Vec<u8>) {
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
            rgb.extend(pixels.flat_map(|pixel| colours[usize::from(pixel[0])]));
        }
        Colour::Rgb if layout.samples == 3 => rgb.extend_from_slice(row),
        Colour::Rgb => rgb.extend(pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])),
        Colour::Premultiplied => rgb.extend(pixels.flat_map(|pixel| {
            let alpha = u32::from(pixel[3]);
            [pixel[0], pixel[1], pixel[2]].map(|value| match alpha {
                0 => 0,
                _ => (u32::from(value) * 255 / alpha).min(255) as u8,
            })
        })),
        Colour::Cmyk if layout.samples == 4 => convert::cmyk_to_rgb(row, rgb),
        Colour::Cmyk => pixels.for_each(|pixel| convert::cmyk_to_rgb(&pixel[..4], rgb)),
        // Handled by the caller.
        Colour::Clipped { .. } | Colour::Float => {}
    }
}

/// Samples of 1, 2 or 4 bits, the most significant first.
fn unpacked(row: &[u8], count: usize, bits: usize) -> impl Iterator<Item = u8> {
    let mask = (1u8 << bits) - 1;
    row.iter()
        .flat_map(move |&byte| (1..=8 / bits).map(move |nth| (byte >> (8 - nth * bits)) & mask))
        .take(count)
}

/// The upper halves of 16-bit samples.
fn high_bytes(row: &[u8], order: Order) -> impl Iterator<Item = u8> {
    let high = usize::from(order == Order::Little);
    row.as_chunks::<2>()
        .0
        .iter()
        .map(move |sample| sample[high])
}

/// Numbers of 16 or 32 bits, clipped to 0..=255.
fn clipped(row: &[u8], layout: &Layout<'_>, signed: bool) -> impl Iterator<Item = u8> {
    let (order, size) = (layout.order, layout.bits / 8);
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
