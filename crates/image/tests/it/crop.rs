//! Pictures that keep their aspect and lose what is around their middle, and configurations of
//! older kinds: as transformers' image processors do it, byte for byte. The truth is
//! tests/fixtures/crop.json, made by tools/make_crop_fixtures.py.

use crate::noise::noise;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use siglip2_image::{Processor, Target};

fn truth() -> Value {
    serde_json::from_str(include_str!("../../../../tests/fixtures/crop.json")).unwrap()
}

fn sha256(bytes: impl AsRef<[u8]>) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

#[test]
fn pixels_are_those_of_transformers() {
    let truth = truth();
    let processors: Vec<Processor> = truth["configs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|config| {
            let side = config["side"].as_u64().unwrap() as u32;
            Processor::from_json(config["config"].to_string().as_bytes(), side).unwrap()
        })
        .collect();
    let cases = truth["cases"].as_array().unwrap();
    assert!(cases.len() >= 270);
    let mut wrong = Vec::new();
    let mut refused = 0;
    for case in cases {
        let number = |column: usize| case[column].as_u64().unwrap();
        let (width, height) = (number(1) as u32, number(2) as u32);
        let processor = &processors[number(0) as usize];
        let resized = processor.resize(&noise(width, height, number(3)));
        let Some(expected) = case[4].as_str() else {
            let error = resized.unwrap_err().to_string();
            assert!(error.contains("0 x") || error.contains("x 0"), "{error}");
            refused += 1;
            continue;
        };
        let resized = resized.unwrap();
        assert_eq!(resized.width(), processor.size());
        if sha256(resized.pixels()) != expected {
            wrong.push(format!(
                "{width} x {height}: {}",
                truth["configs"][number(0) as usize]
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}: {wrong:#?}",
        wrong.len(),
        cases.len()
    );
    assert_eq!(refused, 2);
}

#[test]
fn values_are_those_of_each_class() {
    for (class, expected) in truth()["tables"].as_object().unwrap() {
        let config = json!({
            "image_processor_type": class, "do_center_crop": false,
            "size": {"height": 16, "width": 16},
        });
        let processor = Processor::from_json(config.to_string().as_bytes(), 16).unwrap();
        let values = processor.normalization().iter().flatten();
        let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(sha256(bytes), expected.as_str().unwrap(), "{class}");
    }
}

#[test]
fn what_is_no_square_in_the_end_is_refused() {
    let read = |config: &Value| Processor::from_json(config.to_string().as_bytes(), 224);
    let clip = json!({"image_processor_type": "CLIPFeatureExtractor"});
    assert!(matches!(
        read(&clip).unwrap().target(),
        Target::Middle { .. }
    ));
    assert!(read(&clip).unwrap().check_uncut().is_err());
    let square = json!({"size": [224, 224]});
    assert!(read(&square).unwrap().check_uncut().is_ok());
    for (config, said) in [
        (json!({"size": 224}), "a shortest edge of 224"),
        (json!({"size": {"longest_edge": 224}}), "longest_edge"),
        (json!({"size": [224, 200]}), "200 x 224"),
        (json!({"size": [224]}), "[224]"),
        (json!({"size": 0}), "0"),
        (json!({"do_center_crop": true}), "crop_size"),
        (
            json!({"do_center_crop": true, "crop_size": 200}),
            "cuts out 200 x 200",
        ),
        (
            json!({"image_processor_type": "CLIPImageProcessor", "crop_size": [224, 200]}),
            "cuts out 200 x 224",
        ),
        (json!({"size": 224, "max_size": 300}), "max_size"),
        (
            json!({"image_processor_type": "ConvNextImageProcessor"}),
            "ConvNext",
        ),
    ] {
        let error = read(&config).unwrap_err().to_string();
        assert!(error.contains(said), "{config}: {error}");
    }
}

/// Only the middle is made: a picture of one row would become 14 million pixels wide.
#[test]
fn a_picture_that_would_become_endless_is_refused() {
    let clip = br#"{"image_processor_type": "CLIPImageProcessor"}"#;
    let processor = Processor::from_json(clip, 224).unwrap();
    assert!(processor.resize(&noise(4000, 1, 0)).is_ok());
    let error = processor.resize(&noise(60_000, 1, 0)).unwrap_err();
    assert!(error.to_string().contains("13440000 x 224"), "{error}");
}
