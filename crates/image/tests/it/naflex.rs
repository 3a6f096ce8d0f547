//! Pictures of variable resolution: grids, pixels and their values are those of transformers'
//! `Siglip2ImageProcessor`, bit for bit. The truth is in tests/fixtures/golden, made by
//! tools/make_naflex_vectors.py.

use crate::noise::drawn;
use serde_json::Value;
use sha2::{Digest, Sha256};
use siglip2_image::{Filter, Processor, RgbImage, Target};

/// The values of a picture's patches: patches row by row, within each its pixels row by row,
/// each pixel's channels side by side.
fn values(processor: &Processor, image: &RgbImage, patch: usize) -> Vec<u8> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let table = processor.normalization();
    let mut values = Vec::with_capacity(width * height * 12);
    for (down, across) in (0..height / patch).flat_map(|y| (0..width / patch).map(move |x| (y, x)))
    {
        for y in down * patch..(down + 1) * patch {
            let row = &image.pixels()[(y * width + across * patch) * 3..][..patch * 3];
            for (at, &byte) in row.iter().enumerate() {
                values.extend(table[at % 3][usize::from(byte)].to_le_bytes());
            }
        }
    }
    values
}

#[test]
fn grids_and_values_are_those_of_transformers() {
    for (patch, expected, config) in [
        (
            16,
            include_str!("../../../../tests/fixtures/golden/naflex16/expected.json"),
            include_str!("../../../../tests/fixtures/golden/naflex16/preprocessor_config.json"),
        ),
        (
            14,
            include_str!("../../../../tests/fixtures/golden/naflex14/expected.json"),
            include_str!("../../../../tests/fixtures/golden/naflex14/preprocessor_config.json"),
        ),
    ] {
        let truth: Value = serde_json::from_str(expected).unwrap();
        let pictures = truth["pictures"].as_array().unwrap();
        assert!(pictures.len() >= 36);
        let mut wrong = Vec::new();
        for picture in pictures {
            let number = |key: &str| picture[key].as_u64().unwrap();
            let (width, height) = (number("width") as u32, number("height") as u32);
            let most = number("max_num_patches") as u32;
            let processor = Processor::naflex(config.as_bytes(), patch, most).unwrap();
            let image = drawn(width, height, number("seed"), number("block") as u32);
            let resized = processor.resize(&image).unwrap();
            let grid = [resized.height() / patch, resized.width() / patch];
            let name = format!("{width} x {height}, {most} patches");
            assert_eq!(serde_json::json!(grid), picture["grid"], "{name}");
            let values = values(&processor, &resized, patch as usize);
            if format!("{:x}", Sha256::digest(values)) != picture["sha256"].as_str().unwrap() {
                wrong.push(name);
            }
        }
        assert!(wrong.is_empty(), "patches of {patch}: {wrong:#?}");
    }
}

#[test]
fn configurations_are_read() {
    let empty = Processor::naflex(b"{}", 16, 256).unwrap();
    assert_eq!(empty.filter(), Filter::Bilinear);
    assert_eq!(
        empty.target(),
        Target::Patches {
            patch: 16,
            most: 256
        }
    );
    for class in ["Siglip2ImageProcessorFast", "Siglip2ImageProcessorPil"] {
        let config = format!(r#"{{"image_processor_type": "{class}"}}"#);
        assert!(Processor::naflex(config.as_bytes(), 16, 256).is_ok());
    }
    let error = |config: &[u8]| Processor::naflex(config, 16, 256).unwrap_err().to_string();
    let other = error(br#"{"image_processor_type": "SiglipImageProcessor"}"#);
    assert!(other.contains("SiglipImageProcessor"), "{other}");
    assert!(error(br#"{"do_resize": false}"#).contains("do_resize"));
    assert!(error(b"[]").contains("cannot be read"));
}
