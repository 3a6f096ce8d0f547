//! What a kernel is: an instruction set's way to compute a tile of a matrix product.
//!
//! Everything is stored in words of 32 bits: one `f32`, two BF16 or four bytes that
//! follow each other along the depth of the product (its K). A kernel says how rows of
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

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod dot;
mod fp32;

#[cfg(target_arch = "x86_64")]
pub use amx::Amx;
#[cfg(target_arch = "x86_64")]
pub use bf16::Avx512Bf16;
pub use fp32::Fp32;

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
    /// Words of depth that a tile takes before the next rows come: as many as leave a
    /// panel's piece in the first cache.
    pub block: usize,
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
        (words + line) * self.group
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
    /// Whether the product is added to what is there.
    pub add: bool,
    /// What will be read next, to be fetched meanwhile.
    pub ahead: &'a [u32],
}

/// An instruction set's products. A value is a proof that the processor has it.
pub trait Kernel: Copy + Send + Sync + 'static {
    /// Vectors of floats of the same instruction set.
    type Simd: Simd;
    /// What computes attention, and what else stays in a finer format.
    type Fine: Kernel<Simd = Self::Simd>;
    /// The layout.
    const LAYOUT: Layout;

    /// The vectors.
    fn simd(self) -> Self::Simd;

    /// The finer kernel.
    fn fine(self) -> Self::Fine;

    /// Floats to words: `from` is a multiple of 16 long, `to` that divided by
    /// [`Layout::per_word`].
    fn narrow(self, from: &[f32], to: &mut [u32]);

    /// `rows` rows of `vectors * lanes` sums of products into `out`, one row after the
    /// other (a group that is not full is written in full, the rest being anything).
    ///
    /// # Panics
    ///
    /// When a slice is too short for what is asked.
    fn tile(self, tile: Tile<'_>, out: &mut [f32]);
}
