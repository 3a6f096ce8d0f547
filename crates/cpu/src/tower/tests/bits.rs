//! What the bits of an embedding do not depend on.

use std::ops::Range;
use std::sync::Arc;

use super::made::{Made, pictures, shapes, shared, side, texts};
use crate::kernel::Kernel;
use crate::shape::Positions;
use crate::team::Team;
use crate::testing::{Random, for_each_kernel};
use crate::tower::dealing::Way;
use crate::tower::{Input, Keep, Patches, TextTower, VisionTower, name_of};

/// Any number of threads, apart or together, alone or in a batch: the same bits.
fn bits_do_not_depend_on_how<K: Kernel>(kernel: K, small: bool) {
    let (vision, text) = shapes().remove(if small { 0 } else { 2 });
    let source = Arc::new(Made::new(&vision, &text));
    let count = if small { 2 } else { 5 };
    let pictures = pictures(count, side(&vision));
    let pictures: Vec<&[u8]> = pictures.iter().map(|p| &p[..]).collect();
    let texts = texts(count, &text);
    let texts: Vec<&[i32]> = texts.iter().map(|t| &t[..]).collect();
    let one = Team::new(1);
    let tower =
        VisionTower::load(kernel, &one, &shared(&source), vision.clone(), Keep::Packed).unwrap();
    let words = TextTower::load(kernel, &one, source.clone(), text, Keep::Packed).unwrap();
    let run = |team: &Team, range: Range<usize>, way| {
        let mut images = vec![0.0; range.len() * vision.encoder.width];
        let input = Input::Pictures(&pictures[range.clone()]);
        tower
            .run(team, input, way, &mut || (), &mut images)
            .unwrap();
        let mut rows = vec![0.0; range.len() * text.projection];
        words
            .run(team, &texts[range], way, &mut || (), &mut rows)
            .unwrap();
        images.extend(rows);
        images.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let all = run(&one, 0..count, Some(Way::Apart));
    for threads in [1, 2, 3, 7] {
        if threads > 2 && (small || cfg!(miri)) {
            continue;
        }
        let team = Team::new(threads);
        for way in [None, Some(Way::Apart), Some(Way::Together)] {
            assert_eq!(
                run(&team, 0..count, way),
                all,
                "{} {threads} {way:?}",
                name_of::<K>()
            );
        }
        let alone = run(&team, 1..2, Some(Way::Together));
        let (image, row) = alone.split_at(vision.encoder.width);
        let (images, rows) = all.split_at(count * vision.encoder.width);
        assert_eq!(image, &images[image.len()..2 * image.len()]);
        assert_eq!(row, &rows[row.len()..2 * row.len()]);
    }
}

#[test]
fn bits_do_not_depend_on_threads_or_company() {
    for_each_kernel!(|kernel, small| bits_do_not_depend_on_how(kernel, small));
}

/// What a run leaves behind in its memory, NaN above all, is not seen by the next.
fn nothing_is_left_behind<K: Kernel>(kernel: K, small: bool) {
    let team = Team::new(2);
    let (mut vision, text) = shapes().remove(0);
    vision.positions = Positions::Resized { side: 3 };
    vision.normalization[1][255] = f32::NAN;
    let source = Arc::new(Made::new(&vision, &text));
    let tower = VisionTower::load(
        kernel,
        &team,
        &shared(&source),
        vision.clone(),
        Keep::Packed,
    )
    .unwrap();
    let depth = 3 * vision.patch * vision.patch;
    let mut random = Random::new(11);
    let sane: Vec<u8> = (0..6 * depth).map(|_| random.below(255) as u8).collect();
    let sane = Patches {
        pixels: &sane,
        height: 2,
        width: 3,
    };
    let (height, width) = if small { (3, 3) } else { (9, 8) };
    let mad = vec![255; height * width * depth];
    let mad = Patches {
        pixels: &mad,
        height,
        width,
    };
    let run = |pictures: &[Patches<'_>]| {
        let mut out = vec![0.0; pictures.len() * vision.encoder.width];
        tower
            .run(&team, Input::Patches(pictures), None, &mut || (), &mut out)
            .unwrap();
        out
    };
    let before = run(&[sane]);
    let among = run(&[mad, sane, mad]);
    let (first, rest) = among.split_at(before.len());
    assert!(first.iter().all(|v| v.is_nan()));
    assert_eq!(rest[..before.len()], before);
    assert_eq!(run(&[sane]), before);
}

#[test]
fn a_mad_picture_touches_no_other() {
    for_each_kernel!(|kernel, small| nothing_is_left_behind(kernel, small));
}

#[test]
fn a_run_lets_another_in_after_each_layer() {
    let kernel = crate::kernel::Fp32::new(crate::simd::Portable);
    let team = Team::new(2);
    let (vision, text) = shapes().remove(0);
    let source = Arc::new(Made::new(&vision, &text));
    let tower = VisionTower::load(
        kernel,
        &team,
        &shared(&source),
        vision.clone(),
        Keep::Packed,
    )
    .unwrap();
    let words = TextTower::load(kernel, &team, source, text, Keep::Packed).unwrap();
    let picture = pictures(1, side(&vision)).remove(0);
    let ids = texts(1, &text).remove(0);
    let mut row = vec![0.0; text.projection];
    words
        .run(&team, &[&ids], None, &mut || (), &mut row)
        .unwrap();
    let mut alone = vec![0.0; vision.encoder.width];
    tower
        .run(
            &team,
            Input::Pictures(&[&picture]),
            None,
            &mut || (),
            &mut alone,
        )
        .unwrap();

    let mut turns = 0;
    let mut interrupted = vec![0.0; vision.encoder.width];
    let mut between = || {
        turns += 1;
        let mut again = vec![0.0; text.projection];
        words
            .run(&team, &[&ids], None, &mut || (), &mut again)
            .unwrap();
        assert_eq!(again, row);
        // Even of the same tower.
        let mut again = vec![0.0; vision.encoder.width];
        tower
            .run(
                &team,
                Input::Pictures(&[&picture]),
                None,
                &mut || (),
                &mut again,
            )
            .unwrap();
        assert_eq!(again, alone);
    };
    tower
        .run(
            &team,
            Input::Pictures(&[&picture]),
            None,
            &mut between,
            &mut interrupted,
        )
        .unwrap();
    assert_eq!(turns, vision.encoder.layers);
    assert_eq!(interrupted, alone);
}

#[test]
fn a_tower_that_keeps_nothing_is_the_same() {
    for_each_kernel!(|kernel, _small| {
        let team = Team::new(2);
        let (vision, text) = shapes().remove(0);
        let source = Arc::new(Made::new(&vision, &text));
        let picture = pictures(1, side(&vision)).remove(0);
        let ids = texts(1, &text).remove(0);
        let both = [Keep::Packed, Keep::Nothing].map(|keep| {
            let tower =
                VisionTower::load(kernel, &team, &shared(&source), vision.clone(), keep).unwrap();
            let mut out = vec![0.0; vision.encoder.width + text.projection];
            let (image, row) = out.split_at_mut(vision.encoder.width);
            tower
                .run(&team, Input::Pictures(&[&picture]), None, &mut || (), image)
                .unwrap();
            let tower = TextTower::load(kernel, &team, source.clone(), text, keep).unwrap();
            tower.run(&team, &[&ids], None, &mut || (), row).unwrap();
            out
        });
        assert_eq!(both[0], both[1]);
    });
}
