//! What is noted of a layer's activations, against the same written plainly in f64.

use std::sync::Arc;

use super::made::{Made, pictures, shapes, shared, side, texts};
use super::plain;
use crate::kernel::{Fp32, Int8, PlainBytes};
use crate::simd::Portable;
use crate::team::Team;
use crate::tower::{Input, Keep, Largest, TextTower, VisionTower};

fn numbers(largest: &Largest) -> [f32; 7] {
    let Largest {
        projections,
        queries,
        keys,
        values,
        out,
        up,
        down,
    } = *largest;
    [projections, queries, keys, values, out, up, down]
}

/// The largest of two pictures, noted in one run and in two.
#[test]
fn the_largest_activations_are_those_of_the_plain_towers() {
    let kernel = Fp32::new(Portable);
    let team = Team::new(2);
    for (vision, text) in shapes() {
        let source = Arc::new(Made::new(&vision, &text));
        let pictures = pictures(2, side(&vision));
        let views: Vec<&[u8]> = pictures.iter().map(|it| &it[..]).collect();
        let width = vision.encoder.width;
        let load = || {
            let mut tower = VisionTower::load(
                kernel,
                &team,
                &shared(&source),
                vision.clone(),
                Keep::Packed,
            )
            .unwrap();
            tower.observe().unwrap();
            tower
        };
        let run = |tower: &VisionTower<_>, views: &[&[u8]]| {
            let mut out = vec![0.0; views.len() * width];
            let input = Input::Pictures(views);
            tower.run(&team, input, None, &mut || (), &mut out).unwrap();
        };
        let (at_once, one_by_one) = (load(), load());
        run(&at_once, &views);
        run(&one_by_one, &views[..1]);
        run(&one_by_one, &views[1..]);
        assert_eq!(at_once.largest(), one_by_one.largest());

        let want: Vec<Vec<Largest>> = pictures
            .iter()
            .map(|picture| plain::seen(&*source, &vision, plain::patches(&vision, picture)))
            .collect();
        let got = at_once.largest();
        assert_eq!(got.len(), vision.encoder.layers);
        for (layer, got) in got.iter().enumerate() {
            let (first, second) = (numbers(&want[0][layer]), numbers(&want[1][layer]));
            for (index, got) in numbers(got).into_iter().enumerate() {
                let want = first[index].max(second[index]);
                let apart = (got - want).abs() / want;
                assert!(apart < 1e-4, "layer {layer}, {index}: {got}, {want}");
            }
        }
    }
}

/// Without being asked nothing is noted, and of texts the last layer has one token of each.
#[test]
fn texts_are_observed_and_only_when_that_is_asked_for() {
    let (vision, text) = shapes().remove(0);
    let team = Team::new(1);
    let source = Arc::new(Made::new(&vision, &text));
    let kernel = Fp32::new(Portable);
    let mut tower = TextTower::load(kernel, &team, source, text, Keep::Packed).unwrap();
    let texts = texts(2, &text);
    let views: Vec<&[i32]> = texts.iter().map(|it| &it[..]).collect();
    let mut out = vec![0.0; 2 * text.projection];
    tower
        .run(&team, &views, None, &mut || (), &mut out)
        .unwrap();
    assert_eq!(tower.largest(), []);

    tower.observe().unwrap();
    let plain = out.clone();
    tower
        .run(&team, &views, None, &mut || (), &mut out)
        .unwrap();
    assert_eq!(out, plain);
    let layers = tower.largest();
    assert_eq!(layers.len(), text.encoder.layers);
    assert!(
        layers
            .iter()
            .all(|it| numbers(it).iter().all(|it| *it > 0.0))
    );
}

#[test]
fn a_number_that_is_not_finite_stays_noted() {
    let (vision, text) = shapes().remove(0);
    let team = Team::new(1);
    let mut made = Made::new(&vision, &text);
    let name = "vision_model.encoder.layers.1.mlp.fc1.bias";
    let (_, bytes) = made.tensors.get_mut(name).unwrap();
    bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let source = Arc::new(made);
    let kernel = Fp32::new(Portable);
    let load = |vision| VisionTower::load(kernel, &team, &shared(&source), vision, Keep::Packed);
    let mut tower = load(vision.clone()).unwrap();
    tower.observe().unwrap();
    let pictures = pictures(1, side(&vision));
    let mut out = vec![0.0; vision.encoder.width];
    let input = [&pictures[0][..]];
    let input = Input::Pictures(&input);
    tower.run(&team, input, None, &mut || (), &mut out).unwrap();
    let layers = tower.largest();
    assert!(layers[0].down.is_finite() && !layers[1].down.is_finite());
    assert!(layers[1].up.is_finite());
}

#[test]
fn other_kernels_are_not_observed() {
    let (vision, text) = shapes().remove(0);
    let team = Team::new(1);
    let source = Arc::new(Made::new(&vision, &text));
    let kernel = Int8::new(PlainBytes, Fp32::new(Portable));
    let mut tower = TextTower::load(kernel, &team, source, text, Keep::Packed).unwrap();
    let said = tower.observe().unwrap_err().to_string();
    assert!(said.contains("only FP32"), "{said}");
}
