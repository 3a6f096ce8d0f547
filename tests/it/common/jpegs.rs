//! JPEG files that a decoder on a card takes, of pictures that are drawn here.
#![allow(dead_code, clippy::unwrap_used)]

use mozjpeg::{ColorSpace, Compress};
use siglip2_image::RgbImage;

/// How many pixels across and down share a sample of colour.
pub type Sharing = (u8, u8);

/// Waves of colour, with edges: a picture of its own for each seed.
pub fn waves(width: u32, height: u32, seed: u32) -> RgbImage {
    let wave = |x: u32, y: u32, channel: u32| {
        let (x, y, seed) = (f64::from(x), f64::from(y), f64::from(seed + 1));
        let phase = x / (17.0 + seed * 3.0) + y / (29.0 - seed % 7.0) + f64::from(channel) * seed;
        let edge = if (x as u32 / 64 + y as u32 / 48) % 5 == channel {
            40.0
        } else {
            0.0
        };
        (128.0 + 80.0 * phase.sin() + edge) as u8
    };
    let pixels = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |channel| wave(x, y, channel))))
        .collect();
    RgbImage::new(width, height, pixels).unwrap()
}

/// A baseline file.
pub fn baseline(image: &RgbImage, sharing: Sharing) -> Vec<u8> {
    encode(image, |encoder| {
        encoder.set_chroma_sampling_pixel_sizes(sharing, sharing)
    })
}

/// A progressive file.
pub fn progressive(image: &RgbImage) -> Vec<u8> {
    encode(image, Compress::set_progressive_mode)
}

/// A file in shades of grey.
pub fn grey(image: &RgbImage) -> Vec<u8> {
    encode(image, |encoder| {
        encoder.set_color_space(ColorSpace::JCS_GRAYSCALE)
    })
}

fn encode(image: &RgbImage, set: impl FnOnce(&mut Compress)) -> Vec<u8> {
    let mut encoder = Compress::new(ColorSpace::JCS_RGB);
    encoder.set_fastest_defaults();
    encoder.set_size(image.width() as usize, image.height() as usize);
    encoder.set_quality(85.0);
    set(&mut encoder);
    let mut encoder = encoder.start_compress(Vec::new()).unwrap();
    encoder.write_scanlines(image.pixels()).unwrap();
    encoder.finish().unwrap()
}
