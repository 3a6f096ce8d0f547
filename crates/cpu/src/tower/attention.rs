//! Attention of one head over the rows of one item.
//!
//! ```text
//! keys   ->  panels [head width deep, one column a key]     packed once a head
//! values ->  panels [one word of depth a key, head width]
//! for each tile of queries:
//!   scores  = queries * keys          one strip: a tile's rows by all keys
//!   shares  = exp2(scores - largest)  written as the left side of
//!   out     = shares * values / sum of shares
//! ```
//!
//! There is never more than a strip of scores: 14 rows by 1,024 keys are 56 KiB, which stay
//! in the second cache. The queries are already scaled by `log2(e) / sqrt(head width)`, so
//! the softmax uses powers of two.

mod pack;

use std::ops::Range;

use crate::kernel::{Kernel, Tile};
use crate::math::exp2;
use crate::matrix::{Operand, Panels};
use crate::memory::Buffer;
use crate::simd::Simd;
use pack::{Lines, pack_keys, pack_values};

/// Memory for one thread.
#[derive(Debug)]
pub(crate) struct AttentionScratch {
    keys: Buffer<u32>,
    values: Buffer<u32>,
    queries: Buffer<u32>,
    shares: Buffer<u32>,
    strip: Buffer<f32>,
    row: Buffer<f32>,
    out: Buffer<f32>,
}

impl AttentionScratch {
    pub fn new() -> Self {
        Self {
            keys: Buffer::zeroed(0),
            values: Buffer::zeroed(0),
            queries: Buffer::zeroed(0),
            shares: Buffer::zeroed(0),
            strip: Buffer::zeroed(0),
            row: Buffer::zeroed(0),
            out: Buffer::zeroed(0),
        }
    }
}

/// Queries, keys and values of all rows: row-major, in a kernel's numbers.
#[derive(Clone, Copy)]
pub(crate) struct Projected<'a> {
    pub words: &'a [u32],
    /// Words from one row to the next.
    pub pitch: usize,
    /// Words from the queries of a row to its keys, and from those to its values.
    pub part: usize,
}

/// What a head attends to.
pub(crate) struct Head {
    /// Rows of the item.
    pub rows: Range<usize>,
    /// First number of the head in a row.
    pub first: usize,
    /// Its width.
    pub width: usize,
}

/// The mixed values of the rows `queries`, which are among those of the head;
/// `put(row, values)` gets `head.width` floats for each.
#[inline(always)]
pub(crate) fn attend<K: Kernel>(
    kernel: K,
    scratch: &mut AttentionScratch,
    projected: Projected<'_>,
    head: &Head,
    queries: Range<usize>,
    mut put: impl FnMut(usize, &[f32]),
) {
    let simd = kernel.simd();
    simd.vectorize(
        #[inline(always)]
        || attend_inner(kernel, scratch, projected, head, queries, &mut put),
    );
}

#[inline(always)]
fn attend_inner<K: Kernel>(
    kernel: K,
    scratch: &mut AttentionScratch,
    projected: Projected<'_>,
    head: &Head,
    queries: Range<usize>,
    put: &mut impl FnMut(usize, &[f32]),
) {
    let layout = K::LAYOUT;
    let simd = kernel.simd();
    let lanes = layout.lanes;
    let (width, count) = (head.width, head.rows.len());
    let words = width / layout.per_word;
    let first = head.first / layout.per_word;
    let query = |row: usize| &projected.words[row * projected.pitch + first..][..words];

    let all = |part: usize| Lines {
        words: &projected.words
            [head.rows.start * projected.pitch + part * projected.part + first..],
        pitch: projected.pitch,
        count,
    };
    pack_keys(kernel, &mut scratch.keys, width, all(1));
    let keys = Panels::<K>::new(&scratch.keys, width, count);
    pack_values::<K>(&mut scratch.values, width, all(2));
    let values = Panels::<K>::new(&scratch.values, count, width);

    let padded = count.next_multiple_of(lanes);
    let shares_row = layout.padded(count);
    scratch.queries.reserve(layout.area(layout.rows, width));
    scratch.shares.reserve(layout.area(layout.rows, count));
    scratch
        .strip
        .reserve(layout.rows * padded.max(layout.vectors * lanes));
    scratch.row.reserve(shares_row);
    scratch
        .out
        .reserve(layout.rows * width.next_multiple_of(lanes));
    let row_buffer = &mut scratch.row[..shares_row];
    row_buffer.fill(0.0);
    let panel_width = layout.vectors * lanes;

    // Tiles of equal height, as far as that goes.
    let tiles = crate::grid::Even::new(
        queries.len(),
        layout.group,
        queries.len().div_ceil(layout.rows),
    );
    for tile in tiles.ranges() {
        let rows = tile.len();
        let tall = rows.next_multiple_of(layout.group);
        let mut left = Operand::<K>::new(&mut scratch.queries, layout.rows, width);
        for i in 0..rows {
            left.put_words(i, 0, query(queries.start + tile.start + i));
        }
        let left = left.view();
        for panel in 0..keys.count() {
            kernel.tile(
                Tile {
                    left: left.from(0, 0),
                    pitch: left.pitch(),
                    rows,
                    right: keys.words(panel, 0..keys.depth()),
                    vectors: keys.vectors_of(panel),
                    depth: keys.depth(),
                    add: false,
                    ahead: &[],
                },
                &mut scratch.strip[panel * panel_width * tall..],
            );
        }

        let mut inverse = [0.0; 32];
        let mut shares = Operand::<K>::new(&mut scratch.shares, layout.rows, count);
        for (i, inverse) in inverse.iter_mut().enumerate().take(rows) {
            // The row's part of each panel in the strip.
            let segment = |panel: usize| {
                let width = keys.width(panel);
                let start = panel * panel_width * tall + i * width;
                start..start + width
            };
            let last = segment(keys.count() - 1);
            let beyond = padded - count;
            scratch.strip[last.end - beyond..last.end].fill(f32::NEG_INFINITY);
            let mut most = simd.splat(f32::NEG_INFINITY);
            for panel in 0..keys.count() {
                for scores in scratch.strip[segment(panel)].chunks_exact(lanes) {
                    most = simd.max(most, simd.load(scores));
                }
            }
            let most = simd.splat(simd.largest(most));
            let mut sum = simd.splat(0.0);
            for panel in 0..keys.count() {
                let start = panel * panel_width;
                let scores = scratch.strip[segment(panel)].chunks_exact(lanes);
                for (j, scores) in scores.enumerate() {
                    let share = exp2(simd, simd.sub(simd.load(scores), most));
                    simd.store(share, &mut row_buffer[start + j * lanes..]);
                }
            }
            row_buffer[count..padded].fill(0.0);
            for shares in row_buffer[..padded].chunks_exact(lanes) {
                sum = simd.add(sum, simd.load(shares));
            }
            *inverse = 1.0 / simd.sum(sum);
            shares.put(kernel, i, 0, row_buffer);
        }

        let shares = shares.view();
        for panel in 0..values.count() {
            let columns = values.width(panel);
            kernel.tile(
                Tile {
                    left: shares.from(0, 0),
                    pitch: shares.pitch(),
                    rows,
                    right: values.words(panel, 0..values.depth()),
                    vectors: values.vectors_of(panel),
                    depth: values.depth(),
                    add: false,
                    ahead: &[],
                },
                &mut scratch.strip,
            );
            let start = panel * panel_width;
            for (i, &inverse) in inverse[..rows].iter().enumerate() {
                let factor = simd.splat(inverse);
                let out = &mut scratch.out[i * width.next_multiple_of(lanes) + start..][..columns];
                let mixed = scratch.strip[i * columns..(i + 1) * columns].chunks_exact(lanes);
                for (mixed, out) in mixed.zip(out.chunks_exact_mut(lanes)) {
                    simd.store(simd.mul(simd.load(mixed), factor), out);
                }
            }
        }
        for i in 0..rows {
            let out = &scratch.out[i * width.next_multiple_of(lanes)..][..width];
            put(queries.start + tile.start + i, out);
        }
    }
}
