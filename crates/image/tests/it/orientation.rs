//! Turned pictures are Pillow's. The truth is tests/fixtures/orientation.json, made by
//! tools/make_orientation_fixtures.py: what `ImageOps.exif_transpose(Image.open(f))
//! .convert("RGB")` gives for pictures whose metadata says an orientation in every way that
//! Pillow reads, and in some that it does not.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use siglip2_image::{ImageLimits, decode, inspect};

use crate::fixtures::repository;

#[test]
fn pictures_are_turned_as_pillow_turns_them() {
    let turning = ImageLimits {
        apply_orientation: true,
        ..ImageLimits::default()
    };
    let truth = std::fs::read(repository("tests/fixtures/orientation.json")).unwrap();
    let truth: Vec<Value> = serde_json::from_slice(&truth).unwrap();
    assert!(truth.len() >= 100);
    let mut wrong = Vec::new();
    for picture in &truth {
        let name = picture["name"].as_str().unwrap();
        let file = BASE64_STANDARD
            .decode(picture["file"].as_str().unwrap())
            .unwrap();
        let header = inspect(&file, &turning).unwrap();
        let image = decode(&file, &turning).unwrap();
        assert_eq!(
            (header.width, header.height),
            (image.width(), image.height())
        );
        let digest = format!("{:x}", Sha256::digest(image.pixels()));
        let size = (picture["width"].as_u64(), picture["height"].as_u64());
        if size != (Some(header.width.into()), Some(header.height.into()))
            || !digest.starts_with(picture["sha256"].as_str().unwrap())
        {
            wrong.push(format!("{name}: {:?}", header.orientation));
        }
        // Unless it is asked for, all but TIFF lie as they are stored.
        if !name.starts_with("tiff") {
            let stored = inspect(&file, &ImageLimits::default()).unwrap();
            assert_eq!((stored.width, stored.height), (13, 9), "{name}");
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
