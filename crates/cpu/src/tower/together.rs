//! Products that threads share, and the left sides that they are made of.

use std::sync::Mutex;

use super::dealing::{ROWS, shared};
use super::feed::Feed;
use super::linear::Linear;
use super::space::{Scratch, Space};
use crate::error::Error;
use crate::grid::{Block, Even, Grid};
use crate::kernel::Kernel;
use crate::matrix::{Operand, OperandBlock, Rows};
use crate::memory::Buffer;
use crate::product::{product, scratch as scratch_of};
use crate::quantize::Affine;
use crate::simd::Simd;
use crate::team::Team;

/// Where the results of a shared product go.
pub(crate) enum To<'a, K> {
    /// `out = sums + bias`, floats [`stride`](super::layer::stride) apart.
    Floats(&'a mut [f32]),
    /// `out += sums + bias`.
    Added(&'a mut [f32]),
    /// `sums + bias` in the finer kernel's numbers, row-major.
    Fine(&'a mut [u32]),
    /// `activation(sums + bias)` as the left side of the next product.
    Activated(&'a mut [u32], &'a Feed<K>),
    /// `activation(sums + bias)`, floats [`stride`](super::layer::stride) apart.
    ActivatedFloats(&'a mut [f32], &'a Feed<K>),
}

/// Rows of floats as the left side of a product: `write(row, floats)` makes each.
pub(crate) fn fill<'a, K: Kernel>(
    kernel: K,
    words: &'a mut Buffer<u32>,
    row: &mut Buffer<f32>,
    rows: usize,
    width: usize,
    mut write: impl FnMut(usize, &mut [f32]),
) -> Rows<'a, K> {
    let layout = K::LAYOUT;
    words.reserve(layout.area(rows.max(ROWS), width));
    let padded = layout.padded(width);
    row.reserve(padded);
    let row = &mut row[..padded];
    row[width..].fill(0.0);
    let mut left = Operand::<K>::new(words, rows, width);
    kernel.simd().vectorize(
        #[inline(always)]
        || {
            for i in 0..rows {
                write(i, &mut row[..width]);
                left.put_row(kernel, i, row);
            }
        },
    );
    Rows::new(words, rows, width)
}

/// The same by all threads.
pub(crate) fn narrow<K: Kernel>(
    kernel: K,
    team: &Team,
    threads: &[Mutex<Scratch>],
    words: &mut Buffer<u32>,
    rows: usize,
    width: usize,
    write: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<(), Error> {
    words.reserve(K::LAYOUT.area(rows, width));
    narrow_into(kernel, team, threads, words, rows, width, write)
}

/// As [`narrow`], in memory that is large enough.
pub(crate) fn narrow_into<K: Kernel>(
    kernel: K,
    team: &Team,
    threads: &[Mutex<Scratch>],
    words: &mut [u32],
    rows: usize,
    width: usize,
    write: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<(), Error> {
    let layout = K::LAYOUT;
    let pitch = layout.pitch(width);
    let groups = rows.div_ceil(layout.group);
    // A row takes a microsecond: fewer than some are not worth a thread.
    let parts = Even::new(groups, 8_usize.div_ceil(layout.group), team.size());
    let grid = Grid::new(
        &mut words[..groups * pitch],
        pitch,
        parts,
        Even::new(pitch, 1, 1),
    );
    let padded = layout.padded(width);
    team.each(parts.parts(), |member, piece| {
        let scratch = &mut *Space::scratch(threads, member);
        scratch.row.reserve(padded);
        let numbers = &mut scratch.row[..padded];
        numbers[width..].fill(0.0);
        let mut block = grid.take(piece, 0);
        let groups = block.rows();
        let mut left = OperandBlock::<K>::new(&mut block);
        kernel.simd().vectorize(
            #[inline(always)]
            || {
                for row in groups.start * layout.group..(groups.end * layout.group).min(rows) {
                    write(row, &mut numbers[..width]);
                    left.put_row(kernel, row, numbers, width);
                }
            },
        );
    })?;
    Ok(())
}

/// One product, shared by all threads, or a sum of several: `lefts[i] * linears[i]`, where
/// the first has the bias.
pub(crate) fn together<K: Kernel>(
    kernel: K,
    team: &Team,
    threads: &[Mutex<Scratch>],
    lefts: &[Rows<'_, K>],
    linears: &[Linear<K>],
    to: To<'_, K>,
) -> Result<(), Error> {
    let (Some(left), Some(linear)) = (lefts.first(), linears.first()) else {
        return Ok(());
    };
    let layout = K::LAYOUT;
    let simd = kernel.simd();
    let panels = linear.panels();
    let (by_rows, by_panels) = shared::<K>(left.rows(), panels.count(), team.size());
    let share = Share {
        kernel,
        threads,
        lefts,
        linears,
        by_rows,
        by_panels,
    };
    let pieces = by_rows.parts() * by_panels.parts();
    let panel = Linear::<K>::panel_width();
    let pitch = linear.bias.len();
    let columns = (panels.count() * panel).min(pitch);
    let by_columns = Even::new(columns, panel, by_panels.parts());
    match to {
        To::Floats(out) => share.floats(
            team,
            Grid::new(out, pitch, by_rows, by_columns),
            #[inline(always)]
            |_, column, sums, to| {
                add(simd, sums, &linear.bias[column..]);
                to.copy_from_slice(sums);
            },
        )?,
        To::Added(out) => share.floats(
            team,
            Grid::new(out, pitch, by_rows, by_columns),
            #[inline(always)]
            |index, column, sums, to| {
                if index == 0 {
                    add(simd, sums, &linear.bias[column..]);
                }
                add(simd, to, sums);
            },
        )?,
        To::ActivatedFloats(out, feed) => share.floats(
            team,
            Grid::new(out, pitch, by_rows, by_columns),
            #[inline(always)]
            |_, column, sums, to| {
                feed.activate(simd, sums, column);
                to.copy_from_slice(sums);
            },
        )?,
        To::Fine(out) => {
            let fine = K::Fine::LAYOUT.per_word;
            let (words, rows) = (pitch / fine, left.rows());
            let by_columns = Even::new(columns / fine, panel / fine, by_panels.parts());
            let grid = Grid::new(&mut out[..rows * words], words, by_rows, by_columns);
            team.each(pieces, |member, piece| {
                let mut block = grid.take(share.row(piece), share.column(piece));
                share.piece(
                    member,
                    piece,
                    #[inline(always)]
                    |_, row, column, sums| {
                        fine_row(kernel, linear, &mut block, row, column, sums);
                    },
                );
            })?;
        }
        To::Activated(out, feed) => {
            let depth = linear.weights.columns();
            let pitch = layout.pitch(depth);
            let groups = left.rows().div_ceil(layout.group);
            let unit = layout.group.max(layout.rows) / layout.group;
            let by_groups = Even::new(groups, unit, by_rows.parts());
            let unit = panel / layout.per_word * layout.group;
            let words = (panels.count() * unit).min(pitch);
            let by_words = Even::new(words, unit, by_panels.parts());
            let grid = Grid::new(&mut out[..groups * pitch], pitch, by_groups, by_words);
            team.each(pieces, |member, piece| {
                let mut block = grid.take(share.row(piece), share.column(piece));
                let mut hidden = OperandBlock::<K>::new(&mut block);
                share.piece(
                    member,
                    piece,
                    #[inline(always)]
                    |_, row, column, sums| {
                        feed.activate(simd, sums, column);
                        hidden.put(kernel, row, column, sums);
                        // The last panel may have fewer columns than a step has numbers.
                        if layout.step > 1 && sums.len() < panel {
                            hidden.put(
                                kernel,
                                row,
                                column + sums.len(),
                                &[0.0; 64][..panel - sums.len()],
                            );
                        }
                    },
                );
            })?;
        }
    }
    Ok(())
}

/// A product that is dealt out, by rows and by panels.
struct Share<'a, K> {
    kernel: K,
    threads: &'a [Mutex<Scratch>],
    lefts: &'a [Rows<'a, K>],
    linears: &'a [Linear<K>],
    by_rows: Even,
    by_panels: Even,
}

impl<K: Kernel> Share<'_, K> {
    fn row(&self, piece: usize) -> usize {
        piece / self.by_panels.parts()
    }

    fn column(&self, piece: usize) -> usize {
        piece % self.by_panels.parts()
    }

    /// One piece, product by product: `done(product, row, column, sums)`.
    #[inline(always)]
    fn piece(
        &self,
        member: usize,
        piece: usize,
        mut done: impl FnMut(usize, usize, usize, &mut [f32]),
    ) {
        let scratch = &mut *Space::scratch(self.threads, member);
        let rows = self.by_rows.range(self.row(piece));
        let range = self.by_panels.range(self.column(piece));
        scratch.sums.reserve(scratch_of::<K>(rows.len()));
        for (index, (left, linear)) in self.lefts.iter().zip(self.linears).enumerate() {
            product(
                self.kernel,
                *left,
                rows.clone(),
                linear.panels(),
                range.clone(),
                &mut scratch.sums,
                #[inline(always)]
                |row, column, sums| {
                    done(index, row, column, sums);
                },
            );
        }
    }

    /// All pieces, by all threads, where the results are floats: `write(product, column,
    /// sums, floats)` gets the floats that the sums go to.
    #[inline(always)]
    fn floats(
        &self,
        team: &Team,
        grid: Grid<'_, f32>,
        write: impl Fn(usize, usize, &mut [f32], &mut [f32]) + Sync,
    ) -> Result<(), Error> {
        team.each(
            self.by_rows.parts() * self.by_panels.parts(),
            |member, piece| {
                let mut block = grid.take(self.row(piece), self.column(piece));
                let first = block.columns().start;
                self.piece(
                    member,
                    piece,
                    #[inline(always)]
                    |index, row, column, sums| {
                        let to = &mut block.row(row)[column - first..][..sums.len()];
                        write(index, column, sums, to);
                    },
                );
            },
        )?;
        Ok(())
    }
}

/// `to += from`.
#[inline(always)]
pub(crate) fn add<S: Simd>(simd: S, to: &mut [f32], from: &[f32]) {
    for (to, from) in to
        .chunks_exact_mut(S::LANES)
        .zip(from.chunks_exact(S::LANES))
    {
        simd.store(simd.add(simd.load(to), simd.load(from)), to);
    }
}

/// `sums + bias` in the finer kernel's numbers.
#[inline(always)]
pub(crate) fn fine_row<K: Kernel>(
    kernel: K,
    linear: &Linear<K>,
    block: &mut Block<'_, u32>,
    row: usize,
    column: usize,
    sums: &mut [f32],
) {
    let simd = kernel.simd();
    add(simd, sums, &linear.bias[column..]);
    let fine = K::Fine::LAYOUT.per_word;
    let at = column / fine - block.columns().start;
    let out = &mut block.row(row)[at..at + sums.len() / fine];
    kernel.fine().narrow(sums, Affine::NONE, out);
}
