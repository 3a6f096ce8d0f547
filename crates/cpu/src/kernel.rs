//! Kernels: how an instruction set computes a tile of a matrix product.
//!
//! Everything is stored in words of 32 bits: one `f32`, two BF16 or four bytes that are
//! neighbours along the depth of the product (its K). A kernel says how rows of
//! the left side and columns of the right side are laid out in words ([`Layout`]);
//! packing, blocking and the towers are written once, over [`Kernel`].
//!
//! ```text
//! left side, an Operand: rows              right side, Panels: packed columns
//!
//! GROUP = 1    row 0: word 0, 1, 2 ...     panel: VECTORS x LANES columns
//!              row 1: ...                  [panel][word][column in panel]
//!
//! GROUP = 16   [row / 16][word / 16]       STEP = 16:
//!              [row % 16][word % 16]       [panel][word / 16][vector][word % 16][column in vector]
//! ```
//!
//! With a group of 16, each 16 rows by 16 words are one tile register of 1 KiB.
//!
//! Bytes come with factors (see [`crate::quantize`]): those of the left side's rows stand
//! behind each group of rows, those of the right side's columns beside the panels.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod dot;
mod fp32;
mod int8;
#[cfg(target_arch = "x86_64")]
mod vnni;
#[cfg(target_arch = "x86_64")]
mod wide;

#[cfg(target_arch = "x86_64")]
pub(crate) use amx::rates as tile_rates;
#[cfg(target_arch = "x86_64")]
pub use amx::{Amx, AmxInt8};
#[cfg(target_arch = "x86_64")]
pub use bf16::Avx512Bf16;
pub use fp32::Fp32;
pub use int8::{Int8, PlainBytes};
#[cfg(target_arch = "x86_64")]
pub use vnni::{Vnni256, Vnni512};

use crate::quantize::Affine;
use crate::simd::Simd;

/// How a kernel lays words out, and how large its tiles are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Numbers in a word.
    pub per_word: usize,
    /// Rows of the left side that are laid out together: 1 or 16.
    pub group: usize,
    /// Words of depth that are laid out together: 1 or 16.
    pub step: usize,
    /// Columns of a vector of the right side.
    pub lanes: usize,
    /// Vectors of a panel.
    pub vectors: usize,
    /// Most rows of a tile.
    pub rows: usize,
    /// Most words of depth that a tile takes before the next rows are begun. A panel's piece of
    /// this depth stays in the second cache for floats on AVX2 and AVX-512 and for AVX512-BF16, and in
    /// the first one for all others.
    pub block: usize,
    /// Words behind a group of rows, for the [`Affine`] of each: 0 where numbers have none.
    pub notes: usize,
}

impl Layout {
    /// Words of `depth` numbers, with what the layout adds to them.
    pub const fn words(&self, depth: usize) -> usize {
        depth.div_ceil(self.per_word).next_multiple_of(self.step)
    }

    /// Numbers that a row of `depth` numbers is written with: a whole number of vectors
    /// and of steps.
    pub const fn padded(&self, depth: usize) -> usize {
        let step = self.step * self.per_word;
        depth.next_multiple_of(if step > 16 { step } else { 16 })
    }

    /// Words from one group of rows to the next, for rows of `depth` numbers.
    ///
    /// Single rows whose distance is a multiple of a large power of two would share few
    /// places in the first cache, so they get a line more.
    pub const fn pitch(&self, depth: usize) -> usize {
        let words = self.padded(depth) / self.per_word;
        let words = words.next_multiple_of(16);
        let line = if self.group == 1 && words.is_multiple_of(128) {
            16
        } else {
            0
        };
        (words + line) * self.group + self.notes
    }

    /// Words that hold `rows` rows of `depth` numbers.
    pub const fn area(&self, rows: usize, depth: usize) -> usize {
        rows.div_ceil(self.group) * self.pitch(depth)
    }
}

/// One product of a tile: see [`Kernel::tile`].
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    /// The left side, from the first word of the first row on.
    pub left: &'a [u32],
    /// Words from one group of rows to the next.
    pub pitch: usize,
    /// Rows: at most [`Layout::rows`].
    pub rows: usize,
    /// The right side: the words of a panel, or of a part of its depth.
    pub right: &'a [u32],
    /// Vectors of the panel: at most [`Layout::vectors`].
    pub vectors: usize,
    /// Words of depth, a multiple of [`Layout::step`].
    pub depth: usize,
    /// Whether the product is added to the sums in `out`, or replaces them.
    pub add: bool,
    /// What will be read next, to be fetched meanwhile.
    pub ahead: &'a [u32],
}

/// An instruction set's products. A value is a proof that the processor has it.
pub trait Kernel: Copy + Send + Sync + 'static {
    /// Vectors of floats of the same instruction set.
    type Simd: Simd;
    /// The kernel for attention, and for whatever else needs a finer format.
    type Fine: Kernel<Simd = Self::Simd>;
    /// The layout.
    const LAYOUT: Layout;
    /// Whether it multiplies bytes. Then [`Kernel::tile`] gives the bits of `i32`, which
    /// [`Affine::finish`] makes floats of.
    const QUANTIZED: bool = Self::LAYOUT.notes > 0;

    /// The vectors.
    fn simd(self) -> Self::Simd;

    /// The finer kernel.
    fn fine(self) -> Self::Fine;

    /// Floats to words: `from` is a multiple of 16 long, `to` that divided by
    /// [`Layout::per_word`]. Only bytes have one; others ignore it.
    fn narrow(self, from: &[f32], affine: Affine, to: &mut [u32]);

    /// Writes `rows` rows of `vectors * lanes` sums of products to `out`, one row after the
    /// other. Of a group that is not full, all rows are written; those beyond `rows` are
    /// unspecified.
    ///
    /// # Panics
    ///
    /// When a slice is too short for what is asked.
    fn tile(self, tile: Tile<'_>, out: &mut [f32]);
}
