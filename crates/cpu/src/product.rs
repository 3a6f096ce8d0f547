//! The matrix product, over any kernel.
//!
//! ```text
//! for each panel of columns                 (its weights are read once)
//!   for each piece of depth                 (it stays in the first cache)
//!     for each tile of rows                 (its sums stay in registers)
//!       sums += left * right
//!       after the last piece: `done` gets the tile's rows, still in the first cache
//! ```
//!
//! The order in which the products of one sum are added depends on the depth alone: not
//! on how many rows or columns a call has. So a row is the same whatever is computed
//! beside it and however the work was shared out.

use std::ops::Range;

use crate::grid::Even;
use crate::kernel::{Kernel, Tile};
use crate::matrix::{Panels, Rows};
use crate::simd::Simd;

/// Floats of scratch that [`product`] wants for so many rows.
pub fn scratch<K: Kernel>(rows: usize) -> usize {
    rows.next_multiple_of(K::LAYOUT.group) * K::LAYOUT.vectors * K::LAYOUT.lanes
}

/// `left[rows] * right[panels]`, over the words `depth` of the right side's depth, the
/// first of which is the first word of the left side.
///
/// `done(row, column, sums)` gets each row of each panel: `row` is counted in `left`,
/// `column` is the first of the panel, and there are as many sums as the panel has
/// columns, padding included. It runs inside [`Simd::vectorize`].
///
/// # Panics
///
/// When there is less depth, or there are fewer rows or panels, or `sums` is shorter
/// than [`scratch`] says.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "two views, the ranges of them that are multiplied, and what is done with the sums"
)]
pub fn product<K: Kernel>(
    kernel: K,
    left: Rows<'_, K>,
    rows: Range<usize>,
    right: Panels<'_, K>,
    depth: Range<usize>,
    panels: Range<usize>,
    sums: &mut [f32],
    mut done: impl FnMut(usize, usize, &mut [f32]),
) {
    let layout = K::LAYOUT;
    if rows.is_empty() || depth.is_empty() {
        return;
    }
    let pieces = Even::new(depth.len(), layout.step, depth.len().div_ceil(layout.block));
    let tiles = Even::new(rows.len(), layout.group, rows.len().div_ceil(layout.rows));
    let width = layout.vectors * layout.lanes;
    let (pitch, last) = (left.pitch(), panels.end);
    kernel.simd().vectorize(
        #[inline(always)]
        || {
            for panel in panels {
                let vectors = right.vectors_of(panel);
                let columns = vectors * layout.lanes;
                for piece in 0..pieces.parts() {
                    let words = pieces.range(piece);
                    let at =
                        |range: Range<usize>| depth.start + range.start..depth.start + range.end;
                    let block = right.words(panel, at(words.clone()));
                    // What the next piece, or the next panel, will read.
                    let next = if piece + 1 < pieces.parts() {
                        right.words(panel, at(pieces.range(piece + 1)))
                    } else if panel + 1 < last {
                        right.words(panel + 1, at(pieces.range(0)))
                    } else {
                        &[]
                    };
                    let shares = Even::new(next.len(), 16, tiles.parts());
                    for (index, tile) in tiles.ranges().enumerate() {
                        let out = &mut sums[tile.start * width..];
                        let ahead = if index < shares.parts() {
                            &next[shares.range(index)]
                        } else {
                            next
                        };
                        kernel.tile(
                            Tile {
                                left: left.from(rows.start + tile.start, words.start),
                                pitch,
                                rows: tile.len(),
                                right: block,
                                vectors,
                                depth: words.len(),
                                add: piece > 0,
                                ahead,
                            },
                            out,
                        );
                        if piece + 1 == pieces.parts() {
                            for (i, row) in tile.clone().enumerate() {
                                let sums = &mut out[i * columns..(i + 1) * columns];
                                done(rows.start + row, panel * width, sums);
                            }
                        }
                    }
                }
            }
        },
    );
}

#[cfg(test)]
mod tests;
