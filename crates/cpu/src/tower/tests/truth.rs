//! Whole towers against the same written plainly in f64.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::made::{Made, pictures, shapes, shared, side, texts};
use super::plain;
use crate::kernel::Kernel;
use crate::shape::Positions;
use crate::team::Team;
use crate::testing::{Random, for_each_kernel};
use crate::tower::{Input, Keep, Patches, TextTower, VisionTower, name_of};

fn assert_near(got: &[f32], want: &[f64], most: f64, what: &str) {
    let size = want.iter().map(|v| v * v).sum::<f64>().sqrt();
    let error = got
        .iter()
        .zip(want)
        .map(|(g, w)| (f64::from(*g) - w).powi(2))
        .sum::<f64>()
        .sqrt();
    assert!(
        error <= most * size,
        "{what}: off by {} of its length",
        error / size
    );
}

/// How far a kernel may be from the truth. These towers have random weights, which amplify
/// what is rounded away.
fn most<K: Kernel>() -> f64 {
    match K::LAYOUT.per_word {
        1 => 3e-6,
        2 => 2e-2,
        _ => 6e-2,
    }
}

fn towers_are_the_plain_ones<K: Kernel>(kernel: K, small: bool) {
    let team = Team::new(3);
    for (vision, text) in shapes() {
        if small && vision.encoder.hidden > 1000 {
            continue;
        }
        let source = Arc::new(Made::new(&vision, &text));
        let count = if small { 1 } else { 4 };

        let pictures = pictures(count, side(&vision));
        let views: Vec<&[u8]> = pictures.iter().map(|p| &p[..]).collect();
        let width = vision.encoder.width;
        let tower = VisionTower::load(
            kernel,
            &team,
            &shared(&source),
            vision.clone(),
            Keep::Packed,
        )
        .unwrap();
        assert!(source.released.load(Ordering::Relaxed) >= vision.encoder.layers);
        let mut out = vec![0.0; count * width];
        tower
            .run(&team, Input::Pictures(&views), None, &mut || (), &mut out)
            .unwrap();
        for (picture, got) in pictures.iter().zip(out.chunks(width)) {
            let want = plain::vision(&*source, &vision, plain::patches(&vision, picture));
            assert_near(got, &want, most::<K>(), name_of::<K>());
        }

        let texts = texts(count, &text);
        let views: Vec<&[i32]> = texts.iter().map(|t| &t[..]).collect();
        let width = text.projection;
        let tower = TextTower::load(kernel, &team, source.clone(), text, Keep::Packed).unwrap();
        let mut out = vec![0.0; count * width];
        tower
            .run(&team, &views, None, &mut || (), &mut out)
            .unwrap();
        for (text_ids, got) in texts.iter().zip(out.chunks(width)) {
            let want = plain::text(&*source, &text, text_ids);
            assert_near(got, &want, most::<K>(), name_of::<K>());
        }
    }
}

#[test]
fn towers_are_the_plain_ones_on_every_kernel() {
    for_each_kernel!(|kernel, small| towers_are_the_plain_ones(kernel, small));
}

/// Grids of any kind: wide, high, larger and smaller than the square of vectors, one
/// patch.
fn grids_are_the_plain_ones<K: Kernel>(kernel: K, small: bool) {
    let team = Team::new(2);
    let (mut vision, text) = shapes().remove(0);
    vision.positions = Positions::Resized { side: 4 };
    let source = Arc::new(Made::new(&vision, &text));
    let depth = 3 * vision.patch * vision.patch;
    let mut random = Random::new(10);
    let grids: &[(usize, usize)] = if small {
        &[(2, 5), (1, 1)]
    } else {
        &[(2, 7), (4, 4), (9, 3), (1, 1), (11, 13), (2, 7)]
    };
    let pixels: Vec<Vec<u8>> = grids
        .iter()
        .map(|(h, w)| {
            (0..h * w * depth)
                .map(|_| random.below(256) as u8)
                .collect()
        })
        .collect();
    let pictures: Vec<Patches<'_>> = grids
        .iter()
        .zip(&pixels)
        .map(|(&(height, width), pixels)| Patches {
            pixels,
            height,
            width,
        })
        .collect();
    let width = vision.encoder.width;
    let tower = VisionTower::load(
        kernel,
        &team,
        &shared(&source),
        vision.clone(),
        Keep::Packed,
    )
    .unwrap();
    let mut out = vec![0.0; pictures.len() * width];
    tower
        .run(&team, Input::Patches(&pictures), None, &mut || (), &mut out)
        .unwrap();
    for (picture, got) in pictures.iter().zip(out.chunks(width)) {
        let grid = plain::grid(&*source, &vision, picture);
        let want = plain::vision(&*source, &vision, grid);
        assert_near(got, &want, most::<K>(), name_of::<K>());
    }
}

#[test]
fn grids_of_patches_are_the_plain_ones_on_every_kernel() {
    for_each_kernel!(|kernel, small| grids_are_the_plain_ones(kernel, small));
}
