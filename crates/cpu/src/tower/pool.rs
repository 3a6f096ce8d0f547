//! The pooling head: one learned query, the probe, attends to all patches of a picture;
//! then a feed-forward network.
//!
//! The probe is the same for every picture, so its scores need no keys: those of a head
//! are `(Wq probe + bq) . (Wk x + bk) = u . x + c` with `u = Wk^T (Wq probe + bq)`. The
//! number `c` is the same for all patches, so it does not change the softmax. And the shares
//! of a head add up to one, so `sum share (Wv x + bv) = Wv (sum share x) + bv`: rows are
//! mixed first and projected afterwards. What remains are a few products with one row for
//! each picture.

use std::ops::Range;

use super::feed::Feed;
use super::layer::stride;
use super::linear::{Linear, Norm, Part};
use super::space::Space;
use super::together::{To, narrow, together};
use crate::error::Error;
use crate::grid::Even;
use crate::kernel::Kernel;
use crate::math::exp2;
use crate::matrix::Rows;
use crate::memory::Buffer;
use crate::shape::EncoderShape;
use crate::simd::Simd;
use crate::source::{Source, Tensor, fetch};
use crate::team::Team;

/// The head of the vision tower, and the layer norm before it.
#[derive(Debug)]
pub(crate) struct Pool<K> {
    shape: EncoderShape,
    before: Norm,
    /// `u` of each head, [`stride`] apart, times `log2(e) / sqrt(head width)`.
    probes: Buffer<f32>,
    values: Linear<K>,
    out: Linear<K>,
    between: Norm,
    feed: Feed<K>,
}

impl<K: Kernel> Pool<K> {
    pub fn load(
        kernel: K,
        team: &Team,
        source: &dyn Source,
        shape: EncoderShape,
    ) -> Result<Self, Error> {
        let width = shape.width;
        let name = "vision_model.head";
        let weight = fetch(
            source,
            &format!("{name}.attention.in_proj_weight"),
            &[3 * width, width],
        )?;
        let bias = fetch(
            source,
            &format!("{name}.attention.in_proj_bias"),
            &[3 * width],
        )?;
        let probe = fetch(source, &format!("{name}.probe"), &[1, 1, width])?;
        let values = Part {
            weight,
            bias: Some(bias),
            rows: 2 * width..3 * width,
            input: 0,
            column: 0,
            factor: 1.0,
        };
        let pool = Self {
            shape,
            before: Norm::load(source, "vision_model.post_layernorm", width, shape.epsilon)?,
            probes: probes(team, &shape, weight, bias, probe)?,
            values: Linear::of(kernel, team, width, width, &[values])?,
            out: Linear::load(
                kernel,
                team,
                source,
                &format!("{name}.attention.out_proj"),
                width,
                width,
            )?,
            between: Norm::load(source, &format!("{name}.layernorm"), width, shape.epsilon)?,
            feed: Feed::load(kernel, team, source, &format!("{name}.mlp"), &shape)?,
        };
        source.release();
        Ok(pool)
    }

    /// Embeds the pictures whose patches are the rows `items` of `space.stream`; `out`
    /// has `width` floats for each.
    pub fn run(
        &self,
        kernel: K,
        team: &Team,
        space: &mut Space,
        items: &[Range<usize>],
        out: &mut [f32],
    ) -> Result<(), Error> {
        let (width, heads) = (self.shape.width, self.shape.heads);
        let pitch = stride(width);
        let count = items.len();
        let simd = kernel.simd();
        let mut mixed = Buffer::<f32>::zeroed(count * heads * pitch);
        {
            let parts = Even::new(count * heads, heads, count);
            let grid = crate::grid::Grid::new(&mut mixed, pitch, parts, Even::new(pitch, 1, 1));
            let stream = &*space.stream;
            team.each(count, |_, item| {
                let mut block = grid.take(item, 0);
                let rows = items[item].clone();
                let stream = &stream[rows.start * pitch..rows.end * pitch];
                simd.vectorize(
                    #[inline(always)]
                    || {
                        self.mix(
                            simd,
                            stream,
                            #[inline(always)]
                            |head, at, value| {
                                simd.store(value, &mut block.row(item * heads + head)[at..]);
                            },
                        )
                    },
                );
            })?;
        }
        // The values of head `h` are the rows that head `h` mixed, times the columns of head
        // `h`. All rows times all columns would be `heads` times the work.
        let mut values = Buffer::<f32>::zeroed(count * pitch);
        let head = self.shape.head();
        for index in 0..heads {
            let Space { threads, left, .. } = space;
            narrow(
                kernel,
                team,
                threads,
                left,
                count,
                width,
                #[inline(always)]
                |row, to| {
                    to.copy_from_slice(&mixed[(row * heads + index) * pitch..][..width]);
                },
            )?;
            let view = Rows::<K>::new(left, count, width);
            self.head_values(kernel, view, index * head..(index + 1) * head, &mut values);
        }
        let Space {
            threads,
            left,
            stream,
            ..
        } = &mut *space;
        narrow(
            kernel,
            team,
            threads,
            left,
            count,
            width,
            #[inline(always)]
            |row, to| {
                to.copy_from_slice(&values[row * pitch..][..width]);
            },
        )?;
        let view = Rows::<K>::new(left, count, width);
        together(
            kernel,
            team,
            threads,
            &[view],
            std::slice::from_ref(&self.out),
            To::Floats(&mut stream[..count * pitch]),
        )?;
        self.feed
            .together(kernel, team, space, &self.between, count)?;
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            out.copy_from_slice(&space.stream[row * pitch..][..width]);
        }
        Ok(())
    }

    /// The columns `columns` of the values of all rows.
    fn head_values(&self, kernel: K, left: Rows<'_, K>, columns: Range<usize>, out: &mut [f32]) {
        let panel = Linear::<K>::panel_width();
        let pitch = stride(self.shape.width);
        let panels = self.values.panels();
        let mut sums = vec![0.0; crate::product::scratch::<K>(left.rows())];
        let range = columns.start / panel..columns.end.div_ceil(panel);
        crate::product::product(
            kernel,
            left,
            0..left.rows(),
            panels,
            range,
            &mut sums,
            #[inline(always)]
            |row, column, sums| {
                for (at, &sum) in sums.iter().enumerate() {
                    let column = column + at;
                    if columns.contains(&column) {
                        out[row * pitch + column] = sum + self.values.bias[column];
                    }
                }
            },
        );
    }

    /// What each head mixes of the rows of one picture, in vectors.
    #[inline(always)]
    fn mix<S: Simd>(&self, simd: S, stream: &[f32], mut put: impl FnMut(usize, usize, S::Vector)) {
        let (width, heads) = (self.shape.width, self.shape.heads);
        let pitch = stride(width);
        let count = stream.len() / pitch;
        let mut normed = vec![0.0; count * pitch];
        let mut scores = vec![0.0; heads * count];
        for (row, (x, to)) in stream
            .chunks_exact(pitch)
            .zip(normed.chunks_exact_mut(pitch))
            .enumerate()
        {
            self.before.apply(simd, &x[..width], &mut to[..width]);
            // Four heads at a time, each in a sum of its own.
            for first in (0..heads).step_by(4) {
                let probe = |i: usize| {
                    let head = (first + i).min(heads - 1);
                    &self.probes[head * pitch..(head + 1) * pitch]
                };
                let probes = [probe(0), probe(1), probe(2), probe(3)];
                let mut sums = [simd.splat(0.0); 4];
                for at in (0..pitch).step_by(S::LANES) {
                    let x = simd.load(&to[at..]);
                    for (sum, probe) in sums.iter_mut().zip(probes) {
                        *sum = simd.mul_add(x, simd.load(&probe[at..]), *sum);
                    }
                }
                for (i, &sum) in sums.iter().enumerate().take(heads - first) {
                    scores[(first + i) * count + row] = simd.sum(sum);
                }
            }
        }
        for scores in scores.chunks_exact_mut(count) {
            let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for score in scores.iter_mut() {
                let mut lanes = [0.0; 16];
                simd.store(exp2(simd, simd.splat(*score - most)), &mut lanes);
                *score = lanes[0];
                sum += *score;
            }
            let inverse = 1.0 / sum;
            scores.iter_mut().for_each(|score| *score *= inverse);
        }
        for first in (0..heads).step_by(4) {
            let head = |i: usize| (first + i).min(heads - 1);
            let shares: [&[f32]; 4] =
                std::array::from_fn(|i| &scores[head(i) * count..(head(i) + 1) * count]);
            for at in (0..pitch).step_by(S::LANES) {
                let mut sums = [simd.splat(0.0); 4];
                for (row, x) in normed.chunks_exact(pitch).enumerate() {
                    let x = simd.load(&x[at..]);
                    for (sum, shares) in sums.iter_mut().zip(shares) {
                        *sum = simd.mul_add(simd.splat(shares[row]), x, *sum);
                    }
                }
                for (i, &sum) in sums.iter().enumerate().take(heads - first) {
                    put(first + i, at, sum);
                }
            }
        }
    }
}

/// `u` of each head, in f64 up to the last step.
fn probes(
    team: &Team,
    shape: &EncoderShape,
    weight: Tensor<'_>,
    bias: Tensor<'_>,
    probe: Tensor<'_>,
) -> Result<Buffer<f32>, Error> {
    let (width, head) = (shape.width, shape.head());
    let pitch = stride(width);
    let scale = f64::from(std::f32::consts::LOG2_E) / (head as f64).sqrt();
    let (bias, probe) = (bias.floats(), probe.floats());
    let mut all = Buffer::zeroed(shape.heads * pitch);
    let grid = crate::grid::Grid::new(
        &mut all,
        pitch,
        Even::new(shape.heads, 1, shape.heads),
        Even::new(pitch, 1, 1),
    );
    team.each(shape.heads, |_, index| {
        let mut block = grid.take(index, 0);
        let mut sums = vec![0.0; width];
        let mut row = vec![0.0; width];
        let range = index * head..(index + 1) * head;
        for (at, &bias) in range.clone().zip(&bias[range]) {
            weight.read(at * width, &mut row);
            let product: f64 = row
                .iter()
                .zip(&probe)
                .map(|(&w, &p)| f64::from(w) * f64::from(p))
                .sum();
            let query = product + f64::from(bias);
            weight.read((width + at) * width, &mut row);
            for (sum, &key) in sums.iter_mut().zip(&row) {
                *sum += query * f64::from(key);
            }
        }
        for (out, sum) in block.row(index).iter_mut().zip(&sums) {
            *out = (sum * scale) as f32;
        }
    })?;
    drop(grid);
    Ok(all)
}
