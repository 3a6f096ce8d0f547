//! The feed-forward network: `x + down(activation(up(norm(x))))`.
//!
//! Hidden numbers are made and used up in chunks, so that those of a piece of rows stay in
//! the second cache. Each chunk of `down` is a product of its own:
//!
//! ```text
//! floats, BF16   up: sums + bias, activation --> left side of down      written in place
//! bytes          up: sums + bias, activation --> floats --> left side   a row's range is known
//!                                                                       when its chunk is whole
//! ```

use std::ops::Range;
use std::sync::Mutex;

use super::dealing::ROWS;
use super::layer::stride;
use super::linear::{Linear, Norm, Part};
use super::space::{Scratch, Space};
use super::together::{To, add, fill, narrow, together};
use crate::error::Error;
use crate::grid::{Block, Even};
use crate::kernel::Kernel;
use crate::math::{gelu_erf, gelu_tanh, relu, sigmoid_gated};
use crate::matrix::{Operand, Rows};
use crate::memory::Buffer;
use crate::product::{product, scratch as scratch_of};
use crate::shape::{Activation, EncoderShape};
use crate::simd::Simd;
use crate::source::{Source, fetch};
use crate::team::Team;

/// Hidden numbers of a row that are made and used up at a time, about.
const CHUNK: usize = 768;

/// The feed-forward network.
#[derive(Debug)]
pub(crate) struct Feed<K> {
    up: Linear<K>,
    /// One for each chunk of hidden numbers; the first has the bias.
    down: Vec<Linear<K>>,
    chunks: Even,
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
        let (width, hidden) = (shape.width, shape.hidden);
        let up = Linear::load(kernel, team, source, &format!("{name}.fc1"), hidden, width)?;
        let weight = fetch(source, &format!("{name}.fc2.weight"), &[width, hidden])?;
        let bias = fetch(source, &format!("{name}.fc2.bias"), &[width])?;
        let chunks = Self::chunks(hidden);
        let down = |chunk: Range<usize>| {
            let part = Part {
                weight,
                bias: (chunk.start == 0).then_some(bias),
                rows: 0..width,
                input: chunk.start,
                column: 0,
                factor: 1.0,
            };
            Linear::of(kernel, team, chunk.len(), width, &[part])
        };
        Ok(Self {
            up,
            down: chunks.ranges().map(down).collect::<Result<_, _>>()?,
            chunks,
            activation: shape.activation,
        })
    }

    /// The hidden numbers in chunks: whole panels and whole steps.
    fn chunks(hidden: usize) -> Even {
        let unit = Linear::<K>::panel_width().max(K::LAYOUT.step * K::LAYOUT.per_word);
        Even::new(hidden, unit, hidden.div_ceil(CHUNK))
    }

    /// `activation(sums + bias)`.
    #[inline(always)]
    pub fn activate<S: Simd>(&self, simd: S, sums: &mut [f32], column: usize) {
        for (sums, bias) in sums
            .chunks_exact_mut(S::LANES)
            .zip(self.up.bias[column..].chunks_exact(S::LANES))
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

    /// The whole network on the rows of a block of the stream, by one thread.
    pub fn apart(&self, kernel: K, norm: &Norm, scratch: &mut Scratch, block: &mut Block<'_, f32>) {
        let rows = block.rows();
        let (first, count, width) = (rows.start, rows.len(), norm.gain.len());
        let layout = K::LAYOUT;
        let simd = kernel.simd();
        let Scratch {
            left,
            hidden,
            floats,
            sums,
            row,
            ..
        } = scratch;
        let left = fill(
            kernel,
            left,
            row,
            count,
            width,
            #[inline(always)]
            |i, out| norm.apply(simd, &block.row(first + i)[..width], out),
        );
        sums.reserve(scratch_of::<K>(count));
        let up = self.up.panels();
        let panel = Linear::<K>::panel_width();
        for (chunk, down) in self.chunks.ranges().zip(&self.down) {
            let panels = chunk.start / panel..chunk.end.div_ceil(panel);
            let hidden = if K::QUANTIZED {
                let pitch = stride(chunk.len()).max(panels.len() * panel);
                floats.reserve(count.max(ROWS) * pitch.max(CHUNK));
                product(
                    kernel,
                    left,
                    0..count,
                    up,
                    panels,
                    sums,
                    #[inline(always)]
                    |row, column, sums| {
                        self.activate(simd, sums, column);
                        let to = row * pitch + column - chunk.start;
                        floats[to..to + sums.len()].copy_from_slice(sums);
                    },
                );
                fill(
                    kernel,
                    hidden,
                    row,
                    count,
                    chunk.len(),
                    #[inline(always)]
                    |i, out| out.copy_from_slice(&floats[i * pitch..][..chunk.len()]),
                )
            } else {
                hidden.reserve(layout.area(count.max(ROWS), chunk.len().max(CHUNK)));
                let mut operand = Operand::<K>::new(hidden, count, chunk.len());
                let written = panels.clone().map(|p| up.width(p)).sum::<usize>();
                zero_tail(
                    kernel,
                    &mut operand,
                    count,
                    written,
                    layout.padded(chunk.len()),
                );
                product(
                    kernel,
                    left,
                    0..count,
                    up,
                    panels,
                    sums,
                    #[inline(always)]
                    |row, column, sums| {
                        self.activate(simd, sums, column);
                        operand.put(kernel, row, column - chunk.start, sums);
                    },
                );
                Rows::new(hidden, count, chunk.len())
            };
            let panels = down.panels();
            product(
                kernel,
                hidden,
                0..count,
                panels,
                0..panels.count(),
                sums,
                #[inline(always)]
                |row, column, sums| {
                    if chunk.start == 0 {
                        add(simd, sums, &down.bias[column..]);
                    }
                    let to = &mut block.row(first + row)[column..][..sums.len()];
                    add(simd, to, sums);
                },
            );
        }
    }

    /// The whole network on the first rows of the stream, shared by all threads.
    pub fn together(
        &self,
        kernel: K,
        team: &Team,
        space: &mut Space,
        norm: &Norm,
        rows: usize,
    ) -> Result<(), Error> {
        let width = norm.gain.len();
        let pitch = stride(width);
        let Space {
            threads,
            stream,
            left,
            hidden,
            floats,
            ..
        } = space;
        narrow(
            kernel,
            team,
            threads,
            left,
            rows,
            width,
            #[inline(always)]
            |row, out| norm.apply_at(kernel.simd(), &stream[..], row, out),
        )?;
        let view = Rows::<K>::new(left, rows, width);
        let up = std::slice::from_ref(&self.up);
        let depth = self.up.weights.columns();
        let lefts: Vec<Rows<'_, K>> = if K::QUANTIZED {
            floats.reserve(rows * stride(depth));
            let floats = &mut floats[..rows * stride(depth)];
            let to = To::ActivatedFloats(floats, self);
            together(kernel, team, threads, &[view], up, to)?;
            self.quantize(kernel, team, threads, floats, rows, hidden)?
        } else {
            hidden.reserve(K::LAYOUT.area(rows, depth));
            let to = To::Activated(hidden, self);
            together(kernel, team, threads, &[view], up, to)?;
            let view = Rows::<K>::new(hidden, rows, depth);
            let starts = self.chunks.ranges().map(|chunk| chunk.start);
            starts
                .map(|start| view.at_depth(start / K::LAYOUT.per_word))
                .collect()
        };
        let to = To::Added(&mut stream[..rows * pitch]);
        together(kernel, team, threads, &lefts, &self.down, to)
    }

    /// The chunks of hidden floats as left sides, one behind the other in `hidden`.
    fn quantize<'a>(
        &self,
        kernel: K,
        team: &Team,
        threads: &[Mutex<Scratch>],
        floats: &[f32],
        rows: usize,
        hidden: &'a mut Buffer<u32>,
    ) -> Result<Vec<Rows<'a, K>>, Error> {
        let pitch = stride(self.up.weights.columns());
        let area = |chunk: &Range<usize>| K::LAYOUT.area(rows, chunk.len());
        hidden.reserve(self.chunks.ranges().map(|chunk| area(&chunk)).sum());
        let mut rest = &mut hidden[..];
        let mut lefts = Vec::new();
        for chunk in self.chunks.ranges() {
            let (words, others) = rest.split_at_mut(area(&chunk));
            rest = others;
            super::together::narrow_into(
                kernel,
                team,
                threads,
                words,
                rows,
                chunk.len(),
                #[inline(always)]
                |row, out| {
                    out.copy_from_slice(&floats[row * pitch + chunk.start..][..chunk.len()]);
                },
            )?;
            lefts.push(Rows::new(words, rows, chunk.len()));
        }
        Ok(lefts)
    }
}

/// Zeros in a left side from the number `from` to `to`, where a step of depth is wider
/// than what is written.
fn zero_tail<K: Kernel>(kernel: K, left: &mut Operand<'_, K>, rows: usize, from: usize, to: usize) {
    if from < to {
        let from = from / 16 * 16;
        for row in 0..rows {
            left.put(kernel, row, from, &[0.0; 128][..to - from]);
        }
    }
}
