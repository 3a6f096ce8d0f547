//! The resize and the normalization are those of transformers' default processor,
//! byte for byte and bit for bit. The truth is tests/fixtures/resize.json, made by
//! tools/make_resize_fixtures.py.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use siglip2_embeddings::image::{Processor, ProcessorError, RgbImage};

fn truth() -> Value {
    serde_json::from_str(include_str!("fixtures/resize.json")).unwrap()
}

/// The same bytes as `noise` in tools/make_resize_fixtures.py.
fn noise(width: u32, height: u32, seed: u64) -> RgbImage {
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

fn processor(size: u32, mut config: Value) -> Result<Processor, ProcessorError> {
    config["size"] = json!({"height": size, "width": size});
    Processor::from_json(config.to_string().as_bytes(), size)
}

#[test]
fn resized_pixels_are_those_of_transformers() {
    let truth = truth();
    let cases = truth["cases"].as_array().unwrap();
    assert!(cases.len() >= 150);
    let mut wrong = Vec::new();
    for case in cases {
        let number = |column: usize| case[column].as_u64().unwrap();
        let (width, height) = (number(0) as u32, number(1) as u32);
        let size = number(3) as u32;
        let processor = processor(size, json!({"resample": number(4)})).unwrap();
        let resized = processor.resize(&noise(width, height, number(2))).unwrap();
        assert_eq!(resized.len(), (size * size * 3) as usize);
        if format!("{:x}", Sha256::digest(&resized)) != case[5].as_str().unwrap() {
            wrong.push(format!(
                "{width} x {height} -> {size}, resample {}",
                number(4)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}: {wrong:#?}",
        wrong.len(),
        cases.len()
    );
}

#[test]
fn normalization_tables_are_those_of_transformers() {
    for table in truth()["tables"].as_array().unwrap() {
        let processor = processor(16, table["config"].clone()).unwrap();
        for (channel, values) in processor.normalization().iter().enumerate() {
            for (byte, value) in values.iter().enumerate() {
                let expected = table["bits"][channel][byte].as_str().unwrap();
                assert_eq!(
                    format!("{:08x}", value.to_bits()),
                    expected,
                    "byte {byte} of channel {channel} with {}",
                    table["config"]
                );
            }
        }
    }
}
