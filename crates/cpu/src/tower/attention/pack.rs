//! Keys and values of a head as right sides of products.
//!
//! A word at a time this takes as long as all else that attention does beside its products, so both
//! move vectors where a vector is whole.

use crate::kernel::Kernel;
use crate::matrix::{Panels, place_in_panel};
use crate::memory::Buffer;
use crate::simd::Simd;

/// A head's part of the rows of an item.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    /// From the first word of the first row on.
    pub words: &'a [u32],
    /// Words from one row to the next.
    pub pitch: usize,
    /// Rows.
    pub count: usize,
}

impl<'a> Lines<'a> {
    /// `len` words of a row from the word `first` on.
    #[inline(always)]
    fn words(&self, row: usize, first: usize, len: usize) -> &'a [u32] {
        &self.words[row * self.pitch + first..][..len]
    }
}

/// The panels of a right side of this many columns: how many vectors each has, its first column, and
/// its words.
#[inline(always)]
fn panels<K: Kernel>(
    packed: &mut [u32],
    depth: usize,
    columns: usize,
    mut each: impl FnMut(usize, usize, &mut [u32]),
) {
    let layout = K::LAYOUT;
    let vectors = columns.div_ceil(layout.lanes);
    for panel in 0..vectors.div_ceil(layout.vectors) {
        let has = (vectors - panel * layout.vectors).min(layout.vectors);
        let first = panel * layout.vectors * layout.lanes;
        let start = first * depth;
        each(
            has,
            first,
            &mut packed[start..start + has * layout.lanes * depth],
        );
    }
}

/// Keys as columns: a transposition of words.
#[inline(always)]
pub(super) fn pack_keys<K: Kernel>(
    kernel: K,
    packed: &mut Buffer<u32>,
    width: usize,
    keys: Lines<'_>,
) {
    const {
        assert!(
            K::Simd::LANES == K::LAYOUT.lanes,
            "vectors are not a panel's"
        );
        assert!(K::LAYOUT.step == 1 || K::LAYOUT.step == K::LAYOUT.lanes);
    }
    let layout = K::LAYOUT;
    let lanes = layout.lanes;
    let area = Panels::<K>::area(width, keys.count);
    packed.reserve(area);
    let (depth, words) = (layout.words(width), width / layout.per_word);
    let packed = &mut packed[..area];
    if depth != words || !keys.count.is_multiple_of(lanes) {
        packed.fill(0);
    }
    panels::<K>(
        packed,
        depth,
        keys.count,
        #[inline(always)]
        |has, first, panel| {
            // How far apart the next words of a column lie.
            let pitch = if layout.step == 1 { has * lanes } else { lanes };
            for column in (0..has * lanes).step_by(lanes) {
                let here = (keys.count - first - column).min(lanes);
                let mut done = 0;
                while here == lanes && done + lanes <= words {
                    kernel.simd().transpose(
                        &keys.words[(first + column) * keys.pitch + done..],
                        keys.pitch,
                        &mut panel[place_in_panel(layout, has, column, done)..],
                        pitch,
                    );
                    done += lanes;
                }
                for column in column..column + here {
                    let rest = keys.words(first + column, done, words - done);
                    for (word, &value) in (done..).zip(rest) {
                        panel[place_in_panel(layout, has, column, word)] = value;
                    }
                }
            }
        },
    );
}

/// Values as rows of depth: two rows to a word where a word holds two numbers.
#[inline(always)]
pub(super) fn pack_values<K: Kernel>(packed: &mut Buffer<u32>, width: usize, values: Lines<'_>) {
    const NOTHING: [u32; 64] = [0; 64];

    let layout = K::LAYOUT;
    let (lanes, per_word) = (layout.lanes, layout.per_word);
    let count = values.count;
    let area = Panels::<K>::area(count, width);
    packed.reserve(area);
    let depth = layout.words(count);
    let packed = &mut packed[..area];
    if !width.is_multiple_of(lanes) || depth * per_word != count {
        packed.fill(0);
    }
    panels::<K>(
        packed,
        depth,
        width,
        #[inline(always)]
        |has, first, panel| {
            for word in 0..count.div_ceil(per_word) {
                for column in (0..has * lanes).step_by(lanes) {
                    let to = &mut panel[place_in_panel(layout, has, column, word)..][..lanes];
                    let from = (first + column) / per_word;
                    let here = (width - first - column).min(lanes);
                    if per_word == 1 {
                        if here == lanes {
                            to.copy_from_slice(values.words(word, from, lanes));
                        } else {
                            to[..here].copy_from_slice(values.words(word, from, here));
                        }
                        continue;
                    }
                    let pairs = |row: usize, len: usize| {
                        if row < count {
                            values.words(row, from, len)
                        } else {
                            &NOTHING[..len]
                        }
                    };
                    if here == lanes {
                        let (a, b) = (pairs(2 * word, lanes / 2), pairs(2 * word + 1, lanes / 2));
                        interleave(a, b, to);
                    } else {
                        let (a, b) = (pairs(2 * word, here / 2), pairs(2 * word + 1, here / 2));
                        interleave(a, b, to);
                    }
                }
            }
        },
    );
}

/// Of two rows of pairs of numbers, pairs of the two rows' numbers.
#[inline(always)]
fn interleave(a: &[u32], b: &[u32], to: &mut [u32]) {
    for ((to, a), b) in to.chunks_exact_mut(2).zip(a).zip(b) {
        to[0] = a & 0xffff | b << 16;
        to[1] = a >> 16 | b & 0xffff_0000;
    }
}
