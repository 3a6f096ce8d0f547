//! Pictures of variable resolution. Each test is started by the one of the same name in
//! ../naflex.rs.

use std::collections::VecDeque;

use siglip2_embeddings::engine::{Batch, Engine, Pixels};
use siglip2_embeddings::image::RgbImage;
use siglip2_embeddings::tensorrt::directory::measure;

use super::{Waiting, check, directory, load_with, small, submit};
use crate::common::noise::noise;
use crate::gpu::model::{self, Recipe};

/// Pictures that become few patches and many: narrow ones cannot be enlarged to the most.
const SIZES: [(u32, u32); 13] = [
    (64, 64),
    (1, 1),
    (1, 2),
    (2, 2),
    (1, 40),
    (40, 1),
    (200, 150),
    (7, 300),
    (300, 7),
    (1, 900),
    (333, 17),
    (500, 400),
    (65, 64),
];

/// Hundreds of random batches of pictures with few and many patches, as many in flight as there
/// are slots: every row equals the one that its item gives alone, though padding is different.
#[test]
#[ignore = "run on the stand-in by another test"]
fn rows_are_right_in_batches_of_all_grids() {
    // The engine takes 300 patches, and is asked for 256: that is within its largest size.
    let recipe = Recipe::naflex(300);
    let processor = recipe.processor().of_most(256);
    let row = |image: &RgbImage| {
        let image = processor.resize(image).unwrap();
        // It is of whole patches, and of no more than the engine takes, so it stays as it is.
        recipe.packed_row(&image)
    };
    let album: Vec<(RgbImage, Vec<f32>)> = SIZES
        .iter()
        .zip(0..)
        .map(|(&(width, height), seed)| {
            let image = noise(width, height, seed);
            let row = row(&image);
            (image, row)
        })
        .collect();
    let (mut engine, prepare) = load_with(small(), 8 << 20, &processor).unwrap();
    let counts: Vec<u32> = album
        .iter()
        .map(|(image, _)| prepare.prepare(image.clone()).unwrap().size().1)
        .collect();
    for bucket in [1..=64, 65..=128, 129..=300] {
        let is_there = counts.iter().any(|count| bucket.contains(count));
        assert!(is_there, "no picture has {bucket:?} of {counts:?}");
    }
    let directory = directory();
    let (canary, manifest) = (directory.canary().unwrap(), directory.manifest());
    let cosines = measure(&mut engine, &canary, manifest, "the stand-in").unwrap();
    let precision = manifest.precision;
    let said = (cosines.fault(precision), cosines.doubt(precision));
    assert_eq!(said, (None, None));

    let info = engine.info();
    // 8 rows of 256 patches, each a few pixels longer than its own.
    assert_eq!(engine.max_batch_pixels(), Some(8 * 256 * (256 + 3)));
    let mut under_way: VecDeque<Waiting> = VecDeque::new();
    let mut state = 3_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for _ in 0..400 {
        if under_way.len() == info.slots {
            check(under_way.pop_front().unwrap());
        }
        let rows = 1 + random(info.max_batch);
        let chosen: Vec<_> = (0..rows).map(|_| &album[random(album.len())]).collect();
        let pixels = chosen
            .iter()
            .map(|(image, _)| prepare.prepare(image.clone()).unwrap());
        let batch = Batch::Images(pixels.collect());
        let expected = chosen.iter().map(|(_, row)| row.clone()).collect();
        under_way.push_back((submit(&mut engine, batch), expected));
    }
    under_way.into_iter().for_each(check);
    // Not packed: an error, and the engine goes on.
    let odd = Batch::Images(vec![Pixels::Decoded(noise(16, 16, 1))]);
    let refused = submit(&mut engine, odd)
        .recv_timeout(super::PATIENCE)
        .unwrap();
    assert!(refused.unwrap_err().to_string().contains("not the patches"));
    let huge = Batch::Images(vec![Pixels::Decoded(noise(259, 301, 1))]);
    let refused = submit(&mut engine, huge)
        .recv_timeout(super::PATIENCE)
        .unwrap();
    assert!(refused.unwrap_err().to_string().contains("301 patches"));
    let (image, row) = &album[0];
    let batch = Batch::Images(vec![prepare.prepare(image.clone()).unwrap()]);
    check((submit(&mut engine, batch), vec![row.clone()]));
}

/// Loads an engine for pictures of up to TEST_PATCHES patches, and prints the result.
#[test]
#[ignore = "run on the stand-in by another test"]
fn load_and_tell() {
    let most = std::env::var("TEST_PATCHES").unwrap().parse().unwrap();
    let processor = match most {
        0 => model::processor(),
        most => Recipe::naflex(256).processor().of_most(most),
    };
    match load_with(small(), 1 << 20, &processor) {
        Ok((mut engine, _)) => {
            let directory = directory();
            let (canary, manifest) = (directory.canary().unwrap(), directory.manifest());
            let cosines = measure(&mut engine, &canary, manifest, "the stand-in").unwrap();
            println!(
                "FAULT {}",
                cosines.fault(manifest.precision).unwrap_or_default()
            );
            println!("NEEDS {}", engine.needs());
        }
        Err(error) => println!("REFUSED {error}"),
    }
}
