//! Whole towers against the same written plainly in f64, on every kernel.

#![allow(clippy::unwrap_used)]

mod plain;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::error::Error;
use crate::shape::{Activation, EncoderShape, Positions, TextShape, VisionShape, normalization};
use crate::source::{Dtype, Source, Tensor};
use crate::team::Team;
use crate::testing::{Random, for_each_kernel};

fn shared(source: &Arc<Made>) -> Arc<dyn Source> {
    Arc::clone(source) as Arc<dyn Source>
}

/// A checkpoint in memory, whose tensors have random numbers.
pub(super) struct Made {
    tensors: HashMap<String, (Vec<usize>, Vec<u8>)>,
    random: Random,
    released: AtomicUsize,
}

impl Source for Made {
    fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let (shape, bytes) = self.tensors.get(name)?;
        Some(Tensor {
            dtype: Dtype::F32,
            shape,
            bytes,
        })
    }
    fn release(&self) {
        self.released.fetch_add(1, Ordering::Relaxed);
    }
}

impl Made {
    fn add(&mut self, name: &str, shape: &[usize], centre: f32, spread: f32) {
        let count: usize = shape.iter().product();
        let bytes = (0..count)
            .flat_map(|_| (centre + spread * self.random.normal()).to_le_bytes())
            .collect();
        self.tensors
            .insert(name.to_owned(), (shape.to_vec(), bytes));
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        let spread = 1.0 / (inputs as f32).sqrt();
        self.add(&format!("{name}.weight"), &[outputs, inputs], 0.0, spread);
        self.add(&format!("{name}.bias"), &[outputs], 0.0, 0.1);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(&format!("{name}.weight"), &[width], 1.0, 0.1);
        self.add(&format!("{name}.bias"), &[width], 0.0, 0.1);
    }

    fn mlp(&mut self, name: &str, shape: &EncoderShape) {
        self.linear(&format!("{name}.fc1"), shape.hidden, shape.width);
        self.linear(&format!("{name}.fc2"), shape.width, shape.hidden);
    }

    fn encoder(&mut self, name: &str, shape: &EncoderShape) {
        for layer in 0..shape.layers {
            let at = format!("{name}.encoder.layers.{layer}");
            self.norm(&format!("{at}.layer_norm1"), shape.width);
            self.norm(&format!("{at}.layer_norm2"), shape.width);
            for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                self.linear(&format!("{at}.self_attn.{part}"), shape.width, shape.width);
            }
            self.mlp(&format!("{at}.mlp"), shape);
        }
    }

    pub fn new(vision: &VisionShape, text: &TextShape) -> Self {
        let mut made = Self {
            tensors: HashMap::new(),
            random: Random::new(7),
            released: AtomicUsize::new(0),
        };
        let width = vision.encoder.width;
        let patch = vision.patch;
        let embeddings = "vision_model.embeddings";
        let (dimensions, places) = match vision.positions {
            Positions::Square { side } => (vec![width, 3, patch, patch], (side / patch).pow(2)),
            Positions::Resized { side } => (vec![width, 3 * patch * patch], side * side),
        };
        made.add(
            &format!("{embeddings}.patch_embedding.weight"),
            &dimensions,
            0.0,
            0.05,
        );
        made.add(
            &format!("{embeddings}.patch_embedding.bias"),
            &[width],
            0.0,
            0.1,
        );
        made.add(
            &format!("{embeddings}.position_embedding.weight"),
            &[places, width],
            0.0,
            0.5,
        );
        made.encoder("vision_model", &vision.encoder);
        made.norm("vision_model.post_layernorm", width);
        let head = "vision_model.head";
        made.add(&format!("{head}.probe"), &[1, 1, width], 0.0, 1.0);
        made.add(
            &format!("{head}.attention.in_proj_weight"),
            &[3 * width, width],
            0.0,
            0.1,
        );
        made.add(
            &format!("{head}.attention.in_proj_bias"),
            &[3 * width],
            0.0,
            0.1,
        );
        made.linear(&format!("{head}.attention.out_proj"), width, width);
        made.norm(&format!("{head}.layernorm"), width);
        made.mlp(&format!("{head}.mlp"), &vision.encoder);

        let width = text.encoder.width;
        made.add(
            "text_model.embeddings.token_embedding.weight",
            &[text.vocabulary, width],
            0.0,
            0.5,
        );
        made.add(
            "text_model.embeddings.position_embedding.weight",
            &[text.stored_positions, width],
            0.0,
            0.5,
        );
        made.encoder("text_model", &text.encoder);
        made.norm("text_model.final_layer_norm", width);
        made.linear("text_model.head", text.projection, width);
        made
    }
}

fn encoder(
    width: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    activation: Activation,
) -> EncoderShape {
    EncoderShape {
        width,
        hidden,
        layers,
        heads,
        activation,
        epsilon: 1e-6,
    }
}

/// Shapes that differ where kernels do: widths that no panel divides, heads of 24, 16
/// and 72, hidden widths of more than a chunk, both activations.
fn shapes() -> Vec<(VisionShape, TextShape)> {
    use Activation::{GeluErf, GeluTanh};
    let made = |vision: EncoderShape, patch, side, text: EncoderShape, positions| {
        (
            VisionShape {
                encoder: vision,
                patch,
                positions: Positions::Square { side },
                normalization: normalization([0.5, 0.4, 0.3], [0.5, 0.6, 0.7]),
            },
            TextShape {
                encoder: text,
                vocabulary: 50,
                positions,
                stored_positions: positions + 3,
                projection: vision.width,
            },
        )
    };
    let mut shapes = vec![made(
        encoder(48, 70, 2, 2, GeluTanh),
        7,
        30,
        encoder(20, 35, 2, 2, GeluErf),
        9,
    )];
    if !cfg!(miri) {
        shapes.extend([
            made(
                encoder(144, 215, 2, 2, GeluTanh),
                14,
                60,
                encoder(96, 130, 2, 4, GeluTanh),
                64,
            ),
            made(
                encoder(64, 1600, 1, 1, GeluErf),
                8,
                72,
                encoder(64, 1540, 2, 4, GeluTanh),
                33,
            ),
        ]);
    }
    shapes
}

fn pictures(count: usize, side: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(8);
    (0..count)
        .map(|_| {
            (0..3 * side * side)
                .map(|_| random.below(256) as u8)
                .collect()
        })
        .collect()
}

fn texts(count: usize, shape: &TextShape) -> Vec<Vec<i32>> {
    let mut random = Random::new(9);
    (0..count)
        .map(|_| {
            (0..shape.positions)
                .map(|_| random.below(shape.vocabulary as u64) as i32)
                .collect()
        })
        .collect()
}

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

fn most<K: Kernel>() -> f64 {
    if K::LAYOUT.per_word == 1 { 3e-6 } else { 2e-2 }
}

fn side(shape: &VisionShape) -> usize {
    match shape.positions {
        Positions::Square { side } | Positions::Resized { side } => side,
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

/// Any number of threads, apart or together, alone or in a batch: the same bits.
fn bits_do_not_depend_on_how<K: Kernel>(kernel: K, small: bool) {
    let (vision, text) = shapes().remove(if small { 0 } else { 1 });
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

#[test]
fn what_is_wrong_is_said() {
    let kernel = crate::kernel::Fp32::new(crate::simd::Portable);
    let team = Team::new(1);
    let (vision, text) = shapes().remove(0);
    let mut made = Made::new(&vision, &text);
    made.tensors.get_mut("vision_model.head.probe").unwrap().0 = vec![1, 48];
    made.tensors
        .get_mut("text_model.head.bias")
        .unwrap()
        .1
        .pop();
    made.tensors.remove("text_model.final_layer_norm.bias");
    let made: Arc<dyn Source> = Arc::new(made);
    let error = VisionTower::load(kernel, &team, &made, vision.clone(), Keep::Packed)
        .err()
        .unwrap();
    assert!(
        matches!(&error, Error::Misshapen { name, .. } if name.ends_with("probe")),
        "{error}"
    );
    let load = |made: Arc<dyn Source>| {
        TextTower::load(kernel, &team, made, text, Keep::Packed)
            .err()
            .unwrap()
    };
    assert_eq!(
        load(made),
        Error::Missing("text_model.final_layer_norm.bias".into())
    );
    let mut made = Made::new(&vision, &text);
    made.tensors
        .get_mut("text_model.head.bias")
        .unwrap()
        .1
        .pop();
    assert_eq!(
        load(Arc::new(made)),
        Error::Short("text_model.head.bias".into())
    );

    let made = Arc::new(Made::new(&vision, &text));
    let words = TextTower::load(kernel, &team, made.clone(), text, Keep::Packed).unwrap();
    let mut ids = texts(1, &text).remove(0);
    let mut row = vec![0.0; text.projection];
    let run = |ids: &[i32], row: &mut [f32]| words.run(&team, &[ids], None, &mut || (), row);
    assert!(matches!(run(&ids[1..], &mut row), Err(Error::Input(_))));
    assert!(matches!(run(&ids, &mut row[1..]), Err(Error::Input(_))));
    for wrong in [-1, text.vocabulary as i32] {
        ids[3] = wrong;
        let error = run(&ids, &mut row).unwrap_err();
        assert!(
            error.to_string().contains(&format!("token id {wrong} ")),
            "{error}"
        );
    }
    let tower =
        VisionTower::load(kernel, &team, &shared(&made), vision.clone(), Keep::Packed).unwrap();
    let run = |input: Input<'_>| {
        let mut out = vec![0.0; vision.encoder.width];
        tower.run(&team, input, None, &mut || (), &mut out)
    };
    assert!(matches!(
        run(Input::Pictures(&[&[0; 7]])),
        Err(Error::Input(_))
    ));
    let patches = Patches {
        pixels: &[],
        height: 1,
        width: 1,
    };
    assert!(matches!(
        run(Input::Patches(&[patches])),
        Err(Error::Input(_))
    ));
}

#[test]
fn waves_cover_all_items_in_order() {
    for (count, length, threads) in [
        (1, 196, 2),
        (8, 196, 2),
        (32, 64, 1),
        (3, 4000, 2),
        (0, 5, 2),
    ] {
        let mut next = 0;
        for wave in waves(&vec![length; count], threads) {
            assert_eq!(wave.start, next);
            assert!(wave.len() <= (2 * WAVE * threads / length).max(1));
            next = wave.end;
        }
        assert_eq!(next, count);
    }
}

#[test]
fn waves_of_unequal_items_are_no_larger_than_waves_or_one_item() {
    let lengths = [1024, 3, 256, 256, 600, 900, 1, 1, 5000, 4, 4];
    for threads in [1, 2, 4] {
        let mut next = 0;
        for wave in waves(&lengths, threads) {
            assert_eq!(wave.start, next);
            let rows: usize = lengths[wave.clone()].iter().sum();
            assert!(
                wave.len() == 1 || rows <= WAVE * threads,
                "{wave:?}: {rows}"
            );
            next = wave.end;
        }
        assert_eq!(next, lengths.len());
    }
    assert_eq!(waves(&[1000, 1, 2], 1), [0..1, 1..3]);
}
