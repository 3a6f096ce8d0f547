//! A linear layer: packed weights and a bias, and how both are read from a checkpoint.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::layer::stride;
use crate::error::Error;
use crate::kernel::Kernel;
use crate::matrix::{Packed, Panels};
use crate::source::{Source, Tensor, fetch};
use crate::team::Team;

/// `y = W x + b`.
#[derive(Debug)]
pub(crate) struct Linear<K> {
    pub weights: Packed<K>,
    /// As many as the panels have columns.
    pub bias: Vec<f32>,
}

/// Rows of a weight that become columns of a packed one.
pub(crate) struct Part<'a> {
    pub weight: Tensor<'a>,
    pub bias: Option<Tensor<'a>>,
    /// Rows of the weight, and numbers of the bias.
    pub rows: Range<usize>,
    /// The first number of each of these rows that is an input.
    pub input: usize,
    /// The first column.
    pub column: usize,
    /// Both are multiplied by this.
    pub factor: f32,
}

impl<K: Kernel> Linear<K> {
    /// The layer `{name}.weight`, `{name}.bias`.
    pub fn load(
        kernel: K,
        team: &Team,
        source: &dyn Source,
        name: &str,
        outputs: usize,
        inputs: usize,
    ) -> Result<Self, Error> {
        let weight = fetch(source, &format!("{name}.weight"), &[outputs, inputs])?;
        let bias = fetch(source, &format!("{name}.bias"), &[outputs])?;
        let part = Part {
            weight,
            bias: Some(bias),
            rows: 0..outputs,
            input: 0,
            column: 0,
            factor: 1.0,
        };
        Self::of(kernel, team, inputs, outputs, &[part])
    }

    /// A layer made of parts of others; columns that are in no part are zeros.
    pub fn of(
        kernel: K,
        team: &Team,
        inputs: usize,
        outputs: usize,
        parts: &[Part<'_>],
    ) -> Result<Self, Error> {
        let mut weights = Packed::<K>::zeroed(inputs, outputs);
        let place = |column: usize| {
            parts
                .iter()
                .find(|part| (part.column..part.column + part.rows.len()).contains(&column))
                .map(|part| (part, part.rows.start + column - part.column))
        };
        let panels: Vec<_> = weights
            .panels_mut()
            .map(|panel| Mutex::new(Some(panel)))
            .collect();
        team.each(panels.len(), |_, index| {
            let panel = panels[index]
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            let Some(panel) = panel else {
                return;
            };
            panel.fill(kernel, |column, numbers| {
                let Some((part, row)) = place(column) else {
                    return false;
                };
                let length: usize = part.weight.shape[1..].iter().product();
                part.weight.read(row * length + part.input, numbers);
                if part.factor != 1.0 {
                    numbers.iter_mut().for_each(|number| *number *= part.factor);
                }
                true
            });
        })?;
        drop(panels);
        let mut bias = vec![0.0; outputs.next_multiple_of(16)];
        for (column, out) in bias[..outputs].iter_mut().enumerate() {
            if let Some((part, row)) = place(column)
                && let Some(bias) = part.bias
            {
                let mut number = [0.0];
                bias.read(row, &mut number);
                *out = number[0] * part.factor;
            }
        }
        Ok(Self { weights, bias })
    }

    /// Its weights, for products.
    pub fn panels(&self) -> Panels<'_, K> {
        self.weights.view()
    }

    /// Columns of a panel, but for the last.
    pub const fn panel_width() -> usize {
        K::LAYOUT.vectors * K::LAYOUT.lanes
    }
}

/// Gain and bias of a layer norm.
#[derive(Debug)]
pub(crate) struct Norm {
    pub gain: Vec<f32>,
    pub bias: Vec<f32>,
    pub epsilon: f32,
}

impl Norm {
    /// The layer norm `{name}.weight`, `{name}.bias`.
    pub fn load(
        source: &dyn Source,
        name: &str,
        width: usize,
        epsilon: f32,
    ) -> Result<Self, Error> {
        Ok(Self {
            gain: fetch(source, &format!("{name}.weight"), &[width])?.floats(),
            bias: fetch(source, &format!("{name}.bias"), &[width])?.floats(),
            epsilon,
        })
    }

    /// Of the row `row` of a stream, whose rows are [`stride`] apart.
    #[inline(always)]
    pub fn apply_at<S: crate::simd::Simd>(
        &self,
        simd: S,
        stream: &[f32],
        row: usize,
        out: &mut [f32],
    ) {
        let width = self.gain.len();
        self.apply(simd, &stream[row * stride(width)..][..width], out);
    }

    /// Of one row.
    #[inline(always)]
    pub fn apply<S: crate::simd::Simd>(&self, simd: S, x: &[f32], out: &mut [f32]) {
        crate::math::layer_norm(simd, x, &self.gain, &self.bias, self.epsilon, out);
    }
}
