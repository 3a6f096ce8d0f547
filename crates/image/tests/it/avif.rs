//! AVIF files give Pillow's pixels. The truth is tests/fixtures/avif/expected.json, made by
//! tools/make_avif_fixtures.py.

use std::cell::Cell;

use serde_json::Value;
use sha2::{Digest, Sha256};
use siglip2_image::{ImageError, ImageFormat, ImageLimits, Stop, decode, decode_into, inspect};

use crate::fixtures::repository;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(repository("tests/fixtures/avif").join(name)).unwrap()
}

fn truth() -> serde_json::Map<String, Value> {
    let truth: Value = serde_json::from_slice(&file("expected.json")).unwrap();
    truth["files"].as_object().unwrap().clone()
}

#[test]
fn every_kind_gives_the_pixels_of_pillow() {
    let (mut equal, mut wrong) = (0, Vec::new());
    for (name, expected) in truth() {
        let ours = decode(&file(&name), &ImageLimits::default());
        match (&ours, expected["sha256"].as_str()) {
            (Ok(image), Some(sha256)) => {
                let size = (u64::from(image.width()), u64::from(image.height()));
                let theirs = (expected["width"].as_u64(), expected["height"].as_u64());
                let digest = format!("{:x}", Sha256::digest(image.pixels()));
                if theirs != (Some(size.0), Some(size.1)) || digest != sha256 {
                    wrong.push(format!("{name}: other pixels than {expected}"));
                } else {
                    equal += 1;
                }
            }
            (Err(_), None) => {}
            // libavif stretches a picture to the size that its boxes say.
            (Err(_), Some(_)) if name == "wrong_larger.avif" => {}
            _ => wrong.push(format!("{name}: {ours:?}, Pillow: {expected}")),
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(equal > 90, "{equal}");
}

/// If it is asked for, they are turned as `ImageOps.exif_transpose` turns them.
#[test]
fn pictures_are_turned_as_their_boxes_say() {
    let turning = ImageLimits {
        apply_orientation: true,
        ..ImageLimits::default()
    };
    let mut turned = 0;
    for (name, expected) in truth() {
        let Some(sha256) = expected["turned"].as_str() else {
            continue;
        };
        let image = decode(&file(&name), &turning).unwrap();
        let width = expected["turned_width"].as_u64();
        assert_eq!(width, Some(image.width().into()), "{name}");
        let digest = format!("{:x}", Sha256::digest(image.pixels()));
        assert_eq!(digest, sha256, "{name}");
        turned += 1;
    }
    assert_eq!(turned, 12);
}

/// What the boxes say is held against the bitstream before anything is decoded: nothing is
/// allocated, and nobody is asked whether to go on.
#[test]
fn contradictions_are_refused_from_the_headers() {
    for name in ["wrong_larger.avif", "wrong_zero.avif", "wrong_grid.avif"] {
        let error = inspect(&file(name), &ImageLimits::default()).unwrap_err();
        let damaged = matches!(
            error,
            ImageError::Damaged {
                format: ImageFormat::Avif,
                ..
            }
        );
        assert!(damaged, "{name}: {error:?}");
    }
    let error = inspect(&file("wrong_huge.avif"), &ImageLimits::default()).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error:?}");
    assert_eq!(
        inspect(&file("wrong_larger.avif"), &ImageLimits::default())
            .unwrap_err()
            .to_string(),
        "the AVIF image is damaged: its boxes say 370 x 230 pixels, its AV1 at most 37 x 23"
    );
}

/// A file of many tiles that are all the same bytes.
#[test]
fn tiles_that_lie_over_each_other_are_refused() {
    let mut bytes = file("grid_420.avif");
    // The location of each item: number, data reference, one piece, offset, length.
    let places: Vec<usize> = (1..=7u16)
        .filter_map(|id| {
            let head = [&id.to_be_bytes()[..], &[0, 0, 0, 1]].concat();
            bytes.windows(6).position(|bytes| bytes == head)
        })
        .collect();
    assert_eq!(places.len(), 7);
    let longest = places
        .iter()
        .max_by_key(|at| bytes[**at + 10..**at + 14].to_vec())
        .copied()
        .unwrap();
    let piece = bytes[longest + 6..longest + 14].to_vec();
    for at in &places[1..] {
        bytes[at + 6..at + 14].copy_from_slice(&piece);
    }
    assert_eq!(
        decode(&bytes, &ImageLimits::default())
            .unwrap_err()
            .to_string(),
        "the AVIF image is damaged: its pictures lie over each other"
    );
}

/// Ended before it is decoded, while its rows are converted, and between tiles.
#[test]
fn decoding_ends_when_nobody_waits() {
    for name in ["8_420.avif", "grid_444.avif", "alpha_8_420_multiplied.avif"] {
        let bytes = file(name);
        let asked = Cell::new(0);
        let stopped = || {
            asked.set(asked.get() + 1);
            true
        };
        let stop = Stop::when(&stopped);
        let limits = ImageLimits::default();
        let header = inspect(&bytes, &limits).unwrap();
        let ended = decode_into(&bytes, &header, &limits, None, &stop);
        assert_eq!(ended, Err(ImageError::Stopped), "{name}");
        assert_eq!(asked.get(), 1, "{name}: no more is asked");
    }
}

/// No byte of a file, however wrong, makes the decoder panic. The number of tries can be
/// raised with `FUZZ_TRIES`.
#[test]
fn nothing_panics_on_broken_files() {
    let tries = std::env::var("FUZZ_TRIES").map_or(4, |tries| tries.parse().unwrap());
    let limits = ImageLimits {
        max_pixels: 1_000_000,
        max_picture_bytes: 64 << 20,
        ..ImageLimits::default()
    };
    let mut random = fastrand::Rng::with_seed(2);
    for name in truth().keys() {
        let original = file(name);
        for _ in 0..tries {
            let mut bytes = original.clone();
            for _ in 0..=random.usize(..4) {
                let at = random.usize(..bytes.len());
                bytes[at] = match random.usize(..4) {
                    0 => 0,
                    1 => 0xff,
                    2 => bytes[at] ^ 1 << random.usize(..8),
                    _ => random.u8(..),
                };
            }
            if random.usize(..8) == 0 {
                bytes.truncate(1 + random.usize(..bytes.len()));
            }
            if let Ok(image) = decode(&bytes, &limits) {
                let length = image.width() as usize * image.height() as usize * 3;
                assert_eq!(image.pixels().len(), length, "{name}");
            }
        }
    }
}
