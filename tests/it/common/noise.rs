//! Pixels that any mistake of a resize shows on, and processors for it.
#![allow(dead_code, clippy::unwrap_used)]

use serde_json::{Value, json};
use siglip2_image::{Processor, ProcessorError, RgbImage};

/// The same bytes as `noise` in tools/make_resize_fixtures.py.
pub fn noise(width: u32, height: u32, seed: u64) -> RgbImage {
    let mut state = seed;
    let pixels = (0..width as usize * height as usize * 3)
        .map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            match (state >> 40) & 7 {
                0 => 0,
                1 => 255,
                _ => (state >> 56) as u8,
            }
        })
        .collect();
    RgbImage::new(width, height, pixels).unwrap()
}

/// Noise, each of its pixels a square of `block` pixels: `drawn` in
/// tools/make_naflex_vectors.py.
pub fn drawn(width: u32, height: u32, seed: u64, block: u32) -> RgbImage {
    let coarse = noise(width.div_ceil(block), height.div_ceil(block), seed);
    let pixels = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .flat_map(|(x, y)| {
            let at = (y / block * coarse.width() + x / block) as usize;
            coarse.pixels().as_chunks::<3>().0[at]
        })
        .collect();
    RgbImage::new(width, height, pixels).unwrap()
}

/// Only 0 and 255, in runs of 1 to 16 bytes: filters with negative lobes leave 0..=255
/// by as much as they can.
pub fn extremes(width: u32, height: u32, seed: u64) -> RgbImage {
    let source = noise(width, height, seed);
    let mut value = 0_u8;
    let pixels = source
        .pixels()
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if usize::from(byte % 16) <= at % 16 {
                value = !value;
            }
            value
        })
        .collect();
    RgbImage::new(width, height, pixels).unwrap()
}

/// A processor for squares of `size`, with what else `config` says.
pub fn processor(size: u32, mut config: Value) -> Result<Processor, ProcessorError> {
    config["size"] = json!({"height": size, "width": size});
    Processor::from_json(config.to_string().as_bytes(), size)
}
