//! The matrix product, over any kernel.
//!
//! ```text
//! for each panel of columns                 (its weights are read once)
//!   for each piece of depth                 (it stays in the first or second cache)
//!     for each tile of rows                 (its sums stay in registers)
//!       sums += left * right
//!       after the last piece: sums of bytes become floats, and `done` gets the tile's
//!       rows, still in the first cache
//! ```
//!
//! The order in which the products of one sum are added depends only on the depth, and not
//! on how many rows or columns a call has. So a row has the same bits whatever else is
//! computed, and however the work is shared out.

use std::ops::Range;

use crate::grid::Even;
use crate::kernel::{Kernel, Tile};
use crate::matrix::{Panels, Rows};
use crate::simd::Simd;

/// Floats of scratch that [`product`] needs for this many rows.
pub fn scratch<K: Kernel>(rows: usize) -> usize {
    rows.next_multiple_of(K::LAYOUT.group) * K::LAYOUT.vectors * K::LAYOUT.lanes
}

/// `left[rows] * right[panels]`.
///
/// `done(row, column, sums)` gets each row of each panel: `row` is counted in `left`,
/// `column` is the first of the panel, and there are as many sums as the panel has
/// columns, padding included. It runs inside [`Simd::vectorize`].
///
/// # Panics
///
/// When the left side has less depth, there are fewer rows or panels, or `sums` is shorter
/// than [`scratch`] says.
#[inline(always)]
pub fn product<K: Kernel>(
    kernel: K,
    left: Rows<'_, K>,
    rows: Range<usize>,
    right: Panels<'_, K>,
    panels: Range<usize>,
    sums: &mut [f32],
    mut done: impl FnMut(usize, usize, &mut [f32]),
) {
    let layout = K::LAYOUT;
    let depth = right.depth();
    if rows.is_empty() || depth == 0 {
        return;
    }
    let pieces = Even::new(depth, layout.step, depth.div_ceil(layout.block));
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
                    let block = right.words(panel, words.clone());
                    // What the next piece, or the next panel, will read.
                    let next = if piece + 1 < pieces.parts() {
                        right.words(panel, pieces.range(piece + 1))
                    } else if panel + 1 < last {
                        right.words(panel + 1, pieces.range(0))
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
                                if K::QUANTIZED {
                                    let affine = left.affine(rows.start + row);
                                    affine.finish(kernel.simd(), sums, right.factors(panel));
                                }
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
