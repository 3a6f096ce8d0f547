//! The weights of one layer.

use super::feed::Feed;
use super::linear::{Linear, Norm, Part};
use crate::error::Error;
use crate::kernel::Kernel;
use crate::shape::EncoderShape;
use crate::source::{Source, fetch};
use crate::team::Team;

/// One layer.
#[derive(Debug)]
pub(crate) struct Layer<K> {
    pub before: Norm,
    pub projections: Linear<K>,
    pub out: Linear<K>,
    pub between: Norm,
    pub feed: Feed<K>,
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
                input: 0,
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
