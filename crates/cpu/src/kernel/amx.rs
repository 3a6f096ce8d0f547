//! AMX: tiles of 16 rows by 64 bytes, which are 32 BF16 or 64 bytes of a row.
//!
//! A tile of the left side is 16 rows by 16 words, one of the right side 16 words of
//! depth by 16 columns; both lie in one piece of 1 KiB (see the layouts in [`super`]).

mod detect;
pub(crate) mod rates;
mod tiles;

use super::bf16::Avx512Bf16;
use super::{Kernel, Layout, Tile};
use crate::quantize::Affine;
use crate::simd::Avx512;

/// Tiles, whatever a word holds.
const fn layout(per_word: usize, notes: usize) -> Layout {
    Layout {
        per_word,
        group: 16,
        step: 16,
        lanes: 16,
        vectors: 2,
        rows: 32,
        // A panel's piece of 16 KiB stays in the first cache.
        block: 128,
        notes,
    }
}

/// BF16 products on tiles.
#[derive(Clone, Copy, Debug)]
pub struct Amx(Avx512Bf16);

impl Amx {
    /// The proof, where the processor has tiles and AVX512-BF16, and the operating system
    /// lets this process use them.
    pub fn detect() -> Option<Self> {
        let bf16 = Avx512Bf16::detect()?;
        detect::tiles().then_some(Self(bf16))
    }

    /// For tests that emulate the instructions.
    #[cfg(test)]
    pub(crate) fn emulated() -> Option<Self> {
        Avx512Bf16::detect().map(Self)
    }
}

impl Kernel for Amx {
    type Simd = Avx512;
    type Fine = Self;
    const LAYOUT: Layout = layout(2, 0);

    #[inline(always)]
    fn simd(self) -> Avx512 {
        self.0.simd()
    }
    #[inline(always)]
    fn fine(self) -> Self {
        self
    }
    #[inline(always)]
    fn narrow(self, from: &[f32], affine: Affine, to: &mut [u32]) {
        self.0.narrow(from, affine, to);
    }
    fn tile(self, tile: Tile<'_>, out: &mut [f32]) {
        // SAFETY: `self` exists only where tiles are there and permitted.
        unsafe { tiles::bf16(&tile, out) }
    }
}

/// Products of bytes on tiles.
#[derive(Clone, Copy, Debug)]
pub struct AmxInt8(Amx);

impl AmxInt8 {
    /// Whoever has tiles for BF16 has them for bytes.
    pub fn new(amx: Amx) -> Self {
        Self(amx)
    }
}

impl Kernel for AmxInt8 {
    type Simd = Avx512;
    type Fine = Amx;
    const LAYOUT: Layout = layout(4, 32);

    #[inline(always)]
    fn simd(self) -> Avx512 {
        self.0.simd()
    }
    #[inline(always)]
    fn fine(self) -> Amx {
        self.0
    }
    #[inline(always)]
    fn narrow(self, from: &[f32], affine: Affine, to: &mut [u32]) {
        affine.bytes(self.simd(), from, to);
    }
    fn tile(self, tile: Tile<'_>, out: &mut [f32]) {
        // SAFETY: `self` exists only where tiles are there and permitted.
        unsafe { tiles::bytes(&tile, out) }
    }
}
