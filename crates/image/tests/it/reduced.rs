//! JPEGs decoded at a part of their size, as Pillow's `Image.draft` does it.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};
use siglip2_image::{
    Header, ImageLimits, Processor, Resize, Stop, Target, decode, decode_rows, inspect,
};

use crate::jpegs::{baseline, waves};

fn for_square(side: u32) -> ImageLimits {
    ImageLimits {
        reduce_for: Some(Target::Square { side }),
        ..ImageLimits::default()
    }
}

#[test]
fn they_are_the_pictures_that_pillow_drafts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let list = std::fs::read(root.join("tests/fixtures/reduced.json")).unwrap();
    let list: Vec<Value> = serde_json::from_slice(&list).unwrap();
    assert!(list.len() > 30, "{}", list.len());
    for one in &list {
        let file = std::fs::read(root.join(one["file"].as_str().unwrap())).unwrap();
        let side = |at: usize| one["size"][at].as_u64().unwrap() as u32;
        let by = one["by"].as_u64().unwrap();
        let whole = inspect(&file, &ImageLimits::default()).unwrap();
        // The largest square for which it is reduced so much.
        let limits = for_square(side(0).min(side(1)) / 2);
        let header = inspect(&file, &limits).unwrap();
        if u64::from(header.reduction) > by {
            // Short sides, rounded up, may be enough at less.
            continue;
        }
        assert_eq!(u64::from(header.reduction), by, "{one}");
        assert_eq!((header.width, header.height), (side(0), side(1)), "{one}");
        assert_eq!(header.width, whole.width.div_ceil(by as u32), "{one}");
        let image = decode(&file, &limits).unwrap();
        let digest: String = Sha256::digest(image.pixels())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(digest, one["sha256"].as_str().unwrap(), "{one}");
    }
}

fn reduction(width: u32, height: u32, target: Target) -> u8 {
    let file = baseline(&waves(width, height, 1), (2, 2));
    let limits = ImageLimits {
        reduce_for: Some(target),
        ..ImageLimits::default()
    };
    let header = inspect(&file, &limits).unwrap();
    let by = u32::from(header.reduction);
    assert_eq!(header.width, width.div_ceil(by));
    assert_eq!(header.height, height.div_ceil(by));
    header.reduction
}

#[test]
fn both_sides_stay_twice_as_long_as_they_become() {
    let square = Target::Square { side: 64 };
    for (width, height, by) in [
        (255, 256, 2),
        (254, 600, 1),
        (256, 256, 2),
        (511, 511, 4),
        (508, 4000, 2),
        (512, 512, 4),
        (1024, 1100, 8),
        (4000, 1024, 8),
    ] {
        assert_eq!(reduction(width, height, square), by, "{width} x {height}");
    }
    let middle = Target::Middle {
        resize: Resize::ShortestEdge {
            shortest: 100,
            longest: None,
        },
        side: 64,
    };
    assert_eq!(reduction(800, 1200, middle), 4);
    assert_eq!(reduction(600, 1200, middle), 2);
    // Patches: the grid stays the same.
    let patches = Target::Patches {
        patch: 16,
        most: 64,
    };
    for (width, height) in [(1024, 1024), (1001, 777), (1999, 333), (640, 1283)] {
        let by = u32::from(reduction(width, height, patches));
        let grid = patches.size(width, height);
        assert_eq!(patches.size(width.div_ceil(by), height.div_ceil(by)), grid);
    }
    assert!(reduction(1024, 1024, patches) > 1);
}

#[test]
fn other_formats_and_other_limits_reduce_nothing() {
    let file = baseline(&waves(1024, 1024, 2), (2, 2));
    let whole: Header = inspect(&file, &ImageLimits::default()).unwrap();
    assert_eq!((whole.reduction, whole.width), (1, 1024));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/images");
    let png = std::fs::read(root.join("png_rgb_8.png")).unwrap();
    assert_eq!(inspect(&png, &for_square(1)).unwrap().reduction, 1);
}

/// Row by row as in one piece, also turned; and close to what becomes of the whole picture.
#[test]
fn they_are_resized_like_whole_ones() {
    let file = baseline(&waves(1031, 1040, 3), (2, 2));
    let turned = {
        let mut exif = b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        let length = (exif.len() - 2) as u16;
        exif[2..4].copy_from_slice(&length.to_be_bytes());
        [&file[..2], &exif, &file[2..]].concat()
    };
    let config = br#"{"size": {"height": 64, "width": 64}, "resample": 2}"#;
    let processor = Processor::from_json(config, 64).unwrap();
    for (file, apply_orientation) in [(&file, false), (&turned, true)] {
        let limits = ImageLimits {
            apply_orientation,
            ..for_square(64)
        };
        let header = inspect(file, &limits).unwrap();
        assert_eq!(header.reduction, 8);
        let swapped = if apply_orientation {
            (130, 129)
        } else {
            (129, 130)
        };
        assert_eq!((header.width, header.height), swapped);
        let whole = processor.resize(&decode(file, &limits).unwrap()).unwrap();
        let rows = decode_rows(file, &header, &limits, &processor, &Stop::never()).unwrap();
        assert_eq!(rows.finish().unwrap(), whole);
        let unreduced = ImageLimits {
            reduce_for: None,
            ..limits
        };
        let right = processor
            .resize(&decode(file, &unreduced).unwrap())
            .unwrap();
        let apart = right.pixels().iter().zip(whole.pixels());
        let apart: u64 = apart.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = apart as f64 / right.pixels().len() as f64;
        assert!(mean > 0.0 && mean < 2.0, "{mean}");
    }
}
