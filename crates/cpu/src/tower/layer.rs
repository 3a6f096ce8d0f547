//! The weights of one layer.

use super::linear::{Linear, Norm, Part};
use crate::error::Error;
use crate::grid::Even;
use crate::kernel::Kernel;
use crate::math::{gelu_erf, gelu_tanh, relu, sigmoid_gated};
use crate::shape::{Activation, EncoderShape};
use crate::simd::Simd;
use crate::source::{Source, fetch};
use crate::team::Team;

/// Hidden numbers of a row that are made and used up at a time.
pub(crate) const CHUNK: usize = 768;

/// One layer.
#[derive(Debug)]
pub(crate) struct Layer<K> {
    pub before: Norm,
    pub projections: Linear<K>,
    pub out: Linear<K>,
    pub between: Norm,
    pub feed: Feed<K>,
}

/// The feed-forward network.
#[derive(Debug)]
pub(crate) struct Feed<K> {
    pub up: Linear<K>,
    pub down: Linear<K>,
    activation: Activation,
}

impl<K: Kernel> Feed<K> {
    pub fn load(
        kernel: K,
        team: &Team,
        source: &dyn Source,
        name: &str,
        shape: &EncoderShape,
    ) -> Result<Self, Error> {
        Ok(Self {
            up: Linear::load(
                kernel,
                team,
                source,
                &format!("{name}.fc1"),
                shape.hidden,
                shape.width,
            )?,
            down: Linear::load(
                kernel,
                team,
                source,
                &format!("{name}.fc2"),
                shape.width,
                shape.hidden,
            )?,
            activation: shape.activation,
        })
    }

    /// The hidden numbers in chunks, in numbers. Whole panels and whole steps.
    pub fn chunks(&self) -> Even {
        let hidden = self.down.weights.depth();
        let unit = Linear::<K>::panel_width().max(K::LAYOUT.step * K::LAYOUT.per_word);
        Even::new(hidden, unit, hidden.div_ceil(CHUNK))
    }

    #[inline(always)]
    pub fn activate<S: Simd>(&self, simd: S, sums: &mut [f32], bias: &[f32]) {
        for (sums, bias) in sums
            .chunks_exact_mut(S::LANES)
            .zip(bias.chunks_exact(S::LANES))
        {
            let x = simd.add(simd.load(sums), simd.load(bias));
            let y = match self.activation {
                Activation::GeluTanh => gelu_tanh(simd, x),
                Activation::GeluErf => gelu_erf(simd, x),
                Activation::QuickGelu => sigmoid_gated(simd, x, 1.702),
                Activation::Relu => relu(simd, x),
                Activation::Silu => sigmoid_gated(simd, x, 1.0),
            };
            simd.store(y, sums);
        }
    }
}

impl<K: Kernel> Layer<K> {
    pub fn load(
        kernel: K,
        team: &Team,
        source: &dyn Source,
        name: &str,
        shape: &EncoderShape,
    ) -> Result<Self, Error> {
        let width = shape.width;
        let attention = format!("{name}.self_attn");
        // log2(e) / sqrt(head width): attention raises two, not e, to the scores.
        let scale = std::f32::consts::LOG2_E / (shape.head() as f32).sqrt();
        let mut parts = Vec::new();
        for (index, part) in ["q_proj", "k_proj", "v_proj"].into_iter().enumerate() {
            parts.push(Part {
                weight: fetch(
                    source,
                    &format!("{attention}.{part}.weight"),
                    &[width, width],
                )?,
                bias: Some(fetch(
                    source,
                    &format!("{attention}.{part}.bias"),
                    &[width],
                )?),
                rows: 0..width,
                column: index * stride(width),
                factor: if index == 0 { scale } else { 1.0 },
            });
        }
        let norm = |part: &str| Norm::load(source, &format!("{name}.{part}"), width, shape.epsilon);
        let layer = Self {
            before: norm("layer_norm1")?,
            projections: Linear::of(kernel, team, width, 3 * stride(width), &parts)?,
            out: Linear::load(
                kernel,
                team,
                source,
                &format!("{attention}.out_proj"),
                width,
                width,
            )?,
            between: norm("layer_norm2")?,
            feed: Feed::load(kernel, team, source, &format!("{name}.mlp"), shape)?,
        };
        source.release();
        Ok(layer)
    }
}

/// Numbers from one row of a matrix of this width to the next.
pub(crate) const fn stride(width: usize) -> usize {
    width.next_multiple_of(16)
}
