//! The towers as transformers' `SiglipModel` and `Siglip2Model` have them, in f64, in
//! loops: no scheme of this crate is in it.

use std::ops::Range;

use crate::shape::{Activation, EncoderShape, Positions, TextShape, VisionShape};
use crate::source::Source;
use crate::tower::{Largest, Patches};

/// A matrix: rows of numbers.
type Matrix = Vec<Vec<f64>>;

fn numbers(source: &dyn Source, name: &str) -> Vec<f64> {
    let floats = source.tensor(name).unwrap().floats();
    floats.into_iter().map(f64::from).collect()
}

/// Rows `rows` of `{name}weight` and `{name}bias`.
fn linear_rows(
    source: &dyn Source,
    weight: &str,
    bias: &str,
    rows: Range<usize>,
    x: &Matrix,
) -> Matrix {
    let (weight, bias) = (numbers(source, weight), numbers(source, bias));
    let depth = x[0].len();
    x.iter()
        .map(|x| {
            rows.clone()
                .map(|row| {
                    let weight = &weight[row * depth..(row + 1) * depth];
                    bias[row] + x.iter().zip(weight).map(|(x, w)| x * w).sum::<f64>()
                })
                .collect()
        })
        .collect()
}

fn linear(source: &dyn Source, name: &str, x: &Matrix) -> Matrix {
    let bias = format!("{name}.bias");
    let rows = numbers(source, &bias).len();
    linear_rows(source, &format!("{name}.weight"), &bias, 0..rows, x)
}

fn norm(source: &dyn Source, name: &str, x: &Matrix) -> Matrix {
    let gain = numbers(source, &format!("{name}.weight"));
    let bias = numbers(source, &format!("{name}.bias"));
    x.iter()
        .map(|x| {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
            let scale = 1.0 / (variance + 1e-6).sqrt();
            x.iter()
                .zip(&gain)
                .zip(&bias)
                .map(|((x, g), b)| (x - mean) * scale * g + b)
                .collect()
        })
        .collect()
}

/// The error function, by its series; good to 1e-13 for |x| < 5.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn mlp(source: &dyn Source, name: &str, activation: Activation, x: &Matrix) -> Matrix {
    let hidden = hidden(source, name, activation, x);
    linear(source, &format!("{name}.fc2"), &hidden)
}

fn hidden(source: &dyn Source, name: &str, activation: Activation, x: &Matrix) -> Matrix {
    let mut x = linear(source, &format!("{name}.fc1"), x);
    for x in x.iter_mut().flatten() {
        *x = match activation {
            Activation::GeluTanh => {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (*x + 0.044715 * x.powi(3));
                0.5 * *x * (1.0 + u.tanh())
            }
            Activation::QuickGelu => *x / (1.0 + (-1.702 * *x).exp()),
            Activation::Relu => x.max(0.0),
            Activation::Silu => *x / (1.0 + (-*x).exp()),
            Activation::GeluErf => 0.5 * *x * (1.0 + erf(*x / 2f64.sqrt())),
        };
    }
    x
}

fn attention(heads: usize, q: &Matrix, k: &Matrix, v: &Matrix) -> Matrix {
    let width = q[0].len();
    let head = width / heads;
    q.iter()
        .map(|q| {
            let mut out = vec![0.0; width];
            for first in (0..width).step_by(head) {
                let scores: Vec<f64> = k
                    .iter()
                    .map(|k| {
                        (0..head).map(|i| q[first + i] * k[first + i]).sum::<f64>()
                            / (head as f64).sqrt()
                    })
                    .collect();
                let most = scores.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - most).exp()).sum();
                for (score, v) in scores.iter().zip(v) {
                    for i in 0..head {
                        out[first + i] += (score - most).exp() / sum * v[first + i];
                    }
                }
            }
            out
        })
        .collect()
}

fn add(a: &Matrix, b: &Matrix) -> Matrix {
    a.iter()
        .zip(b)
        .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect())
        .collect()
}

fn encode(source: &dyn Source, name: &str, shape: &EncoderShape, x: Matrix) -> Matrix {
    encode_seen(source, name, shape, x).0
}

/// The rows after all layers, and the largest magnitudes of what enters each layer's products.
fn encode_seen(
    source: &dyn Source,
    name: &str,
    shape: &EncoderShape,
    mut x: Matrix,
) -> (Matrix, Vec<Largest>) {
    let most = |x: &Matrix| {
        x.iter()
            .flatten()
            .fold(0.0, |most: f64, x| most.max(x.abs())) as f32
    };
    let mut seen = Vec::new();
    for layer in 0..shape.layers {
        let at = format!("{name}.encoder.layers.{layer}");
        let y = norm(source, &format!("{at}.layer_norm1"), &x);
        let part = |part: &str| linear(source, &format!("{at}.self_attn.{part}"), &y);
        let mut largest = Largest {
            projections: most(&y),
            ..Largest::default()
        };
        let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(part);
        let root = ((shape.width / shape.heads) as f32).sqrt();
        (largest.queries, largest.keys, largest.values) = (most(&q) / root, most(&k), most(&v));
        let y = attention(shape.heads, &q, &k, &v);
        largest.out = most(&y);
        x = add(&x, &linear(source, &format!("{at}.self_attn.out_proj"), &y));
        let y = norm(source, &format!("{at}.layer_norm2"), &x);
        largest.up = most(&y);
        let name = format!("{at}.mlp");
        let y = hidden(source, &name, shape.activation, &y);
        largest.down = most(&y);
        x = add(&x, &linear(source, &format!("{name}.fc2"), &y));
        seen.push(largest);
    }
    (x, seen)
}

/// The largest magnitudes of what enters each layer's products, for one picture.
pub fn seen(
    source: &dyn Source,
    shape: &VisionShape,
    embed: impl FnOnce(&dyn Source) -> Matrix,
) -> Vec<Largest> {
    encode_seen(source, "vision_model", &shape.encoder, embed(source)).1
}

/// The patches of a picture, embedded, with their positions.
pub fn patches(shape: &VisionShape, picture: &[u8]) -> impl FnOnce(&dyn Source) -> Matrix {
    let Positions::Square { side } = shape.positions else {
        panic!("a square")
    };
    let size = shape.patch;
    let across = side / size;
    let rows: Matrix = (0..across * across)
        .map(|patch| {
            let mut row = Vec::new();
            for channel in 0..3 {
                for y in 0..size {
                    for x in 0..size {
                        let (y, x) = (patch / across * size + y, patch % across * size + x);
                        let value = picture[(y * side + x) * 3 + channel];
                        row.push(f64::from(shape.normalization[channel][usize::from(value)]));
                    }
                }
            }
            row
        })
        .collect();
    move |source: &dyn Source| {
        let name = "vision_model.embeddings";
        let positions = numbers(source, &format!("{name}.position_embedding.weight"));
        let x = linear(source, &format!("{name}.patch_embedding"), &rows);
        let width = x[0].len();
        add(&x, &positions.chunks(width).map(<[f64]>::to_vec).collect())
    }
}

/// The same of a grid of patches: positions as torch resizes them, by the definition of
/// its filter, both ways at once.
pub fn grid(
    source: &dyn Source,
    shape: &VisionShape,
    picture: &Patches<'_>,
) -> impl FnOnce(&dyn Source) -> Matrix {
    let Positions::Resized { side } = shape.positions else {
        panic!("a grid")
    };
    let size = shape.patch;
    let rows: Matrix = (0..picture.height * picture.width)
        .map(|patch| {
            let mut row = Vec::new();
            for y in 0..size {
                for x in 0..size {
                    let y = patch / picture.width * size + y;
                    let x = patch % picture.width * size + x;
                    for channel in 0..3 {
                        let at = (y * picture.width * size + x) * 3 + channel;
                        let value = usize::from(picture.pixels[at]);
                        row.push(f64::from(shape.normalization[channel][value]));
                    }
                }
            }
            row
        })
        .collect();
    let name = "vision_model.embeddings";
    let positions = numbers(source, &format!("{name}.position_embedding.weight"));
    let width = shape.encoder.width;
    let shares = |place: usize, to: usize| -> Vec<f64> {
        let scale = side as f64 / to as f64;
        let support = scale.max(1.0);
        let centre = scale * (place as f64 + 0.5);
        let shares: Vec<f64> = (0..side)
            .map(|source| (1.0 - ((source as f64 + 0.5 - centre) / support).abs()).max(0.0))
            .collect();
        let sum: f64 = shares.iter().sum();
        shares.into_iter().map(|share| share / sum).collect()
    };
    let mut resized = Matrix::new();
    for y in 0..picture.height {
        for x in 0..picture.width {
            let (down, across) = (shares(y, picture.height), shares(x, picture.width));
            let mut row = vec![0.0; width];
            for (v, down) in down.iter().enumerate() {
                for (u, across) in across.iter().enumerate() {
                    let from = &positions[(v * side + u) * width..][..width];
                    row.iter_mut()
                        .zip(from)
                        .for_each(|(o, p)| *o += down * across * p);
                }
            }
            resized.push(row);
        }
    }
    move |source: &dyn Source| {
        add(
            &linear(source, "vision_model.embeddings.patch_embedding", &rows),
            &resized,
        )
    }
}

/// The embedding of a picture.
pub fn vision(
    source: &dyn Source,
    shape: &VisionShape,
    embed: impl FnOnce(&dyn Source) -> Matrix,
) -> Vec<f64> {
    let x = encode(source, "vision_model", &shape.encoder, embed(source));
    let x = norm(source, "vision_model.post_layernorm", &x);
    let (width, name) = (shape.encoder.width, "vision_model.head");
    let probe = vec![numbers(source, &format!("{name}.probe"))];
    let part = |index: usize, x: &Matrix| {
        let at = format!("{name}.attention.in_proj_");
        linear_rows(
            source,
            &format!("{at}weight"),
            &format!("{at}bias"),
            index * width..(index + 1) * width,
            x,
        )
    };
    let y = attention(
        shape.encoder.heads,
        &part(0, &probe),
        &part(1, &x),
        &part(2, &x),
    );
    let y = linear(source, &format!("{name}.attention.out_proj"), &y);
    let z = norm(source, &format!("{name}.layernorm"), &y);
    add(
        &y,
        &mlp(source, &format!("{name}.mlp"), shape.encoder.activation, &z),
    )
    .remove(0)
}

/// The embedding of a text.
pub fn text(source: &dyn Source, shape: &TextShape, ids: &[i32]) -> Vec<f64> {
    let width = shape.encoder.width;
    let tokens = numbers(source, "text_model.embeddings.token_embedding.weight");
    let positions = numbers(source, "text_model.embeddings.position_embedding.weight");
    let x = ids
        .iter()
        .enumerate()
        .map(|(at, &id)| {
            (0..width)
                .map(|i| tokens[id as usize * width + i] + positions[at * width + i])
                .collect()
        })
        .collect();
    let x = encode(source, "text_model", &shape.encoder, x);
    let x = norm(
        source,
        "text_model.final_layer_norm",
        &vec![x[ids.len() - 1].clone()],
    );
    linear(source, "text_model.head", &x).remove(0)
}
