//! The resize and the normalization are those of transformers' default processor,
//! byte for byte and bit for bit. The truth is tests/fixtures/resize.json, made by
//! tools/make_resize_fixtures.py.

use crate::noise::{noise, processor};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use siglip2_image::{Filter, Processor, RgbImage};

fn truth() -> Value {
    serde_json::from_str(include_str!("../../../../tests/fixtures/resize.json")).unwrap()
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
        assert_eq!((resized.width(), resized.height()), (size, size));
        if format!("{:x}", Sha256::digest(resized.pixels())) != case[5].as_str().unwrap() {
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

/// What preprocessor_config.json of google/siglip2-base-patch16-224 looks like.
const REAL: &str = r#"{
    "do_convert_rgb": null, "do_normalize": true, "do_rescale": true, "do_resize": true,
    "image_mean": [0.5, 0.5, 0.5], "image_processor_type": "SiglipImageProcessor",
    "image_std": [0.5, 0.5, 0.5], "processor_class": "SiglipProcessor", "resample": 2,
    "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224}
}"#;

#[test]
fn real_configurations_are_read() {
    let real = Processor::from_json(REAL.as_bytes(), 224).unwrap();
    assert_eq!(real.size(), 224);
    assert_eq!(real.filter(), Filter::Bilinear);
    assert_eq!(real.normalization()[0][0], -1.0);
    assert_eq!(real.normalization()[2][255], 1.0);
    for class in [
        "SiglipImageProcessorFast",
        "SiglipFeatureExtractor",
        "SiglipImageProcessorPil",
    ] {
        let config = REAL.replace("SiglipImageProcessor", class);
        assert!(
            Processor::from_json(config.as_bytes(), 224).is_ok(),
            "{class}"
        );
    }
    // The defaults of the class.
    let empty = Processor::from_json(b"{}", 224).unwrap();
    assert_eq!(empty.filter(), Filter::Bicubic);
    assert_eq!(empty.normalization(), real.normalization());
}

#[test]
fn unusable_configurations_say_what_is_wrong() {
    let error = |config: &str| {
        Processor::from_json(config.as_bytes(), 224)
            .unwrap_err()
            .to_string()
    };
    let changed = |from: &str, to: &str| {
        assert!(REAL.contains(from));
        error(&REAL.replace(from, to))
    };
    for (from, to, expected) in [
        (
            r#""height": 224"#,
            r#""height": 256"#,
            "preprocessor_config.json resizes to 224 x 256, but the model takes 224 x 224: \
             use the file that belongs to the checkpoint",
        ),
        (
            r#"{"height": 224, "width": 224}"#,
            r#"{"shortest_edge": 224}"#,
            "preprocessor_config.json resizes to {\"shortest_edge\":224}, but the model takes \
             224 x 224: use the file that belongs to the checkpoint",
        ),
        (
            r#""resample": 2"#,
            r#""resample": 5"#,
            "preprocessor_config.json has resample 5; 0 (nearest), 1 (Lanczos), 2 (bilinear) \
             and 3 (bicubic) are supported",
        ),
        (
            r#""do_resize": true"#,
            r#""do_resize": false"#,
            "preprocessor_config.json has do_resize false, which is not supported",
        ),
        (
            r#""image_std": [0.5, 0.5, 0.5]"#,
            r#""image_std": [0.5, 0, 0.5]"#,
            "preprocessor_config.json has an unusable image_std: three finite numbers, no \
             deviation 0",
        ),
        (
            "SiglipImageProcessor",
            "Siglip2ImageProcessor",
            "preprocessor_config.json is for Siglip2ImageProcessor; SiglipImageProcessor, \
             ViTImageProcessor and CLIPImageProcessor are supported",
        ),
    ] {
        assert_eq!(changed(from, to), expected);
    }
    assert!(error("{").starts_with("preprocessor_config.json cannot be read: "));
    assert!(error("[]").starts_with("preprocessor_config.json cannot be read: "));
    assert!(Processor::from_json(b"{}", 256).is_err());
}

#[test]
fn an_image_has_exactly_its_pixels() {
    assert!(RgbImage::new(2, 1, vec![0; 6]).is_some());
    assert!(RgbImage::new(2, 1, vec![0; 5]).is_none());
    assert!(RgbImage::new(0, 1, vec![]).is_none());
    assert!(RgbImage::new(u32::MAX, u32::MAX, vec![]).is_none());
}
