//! Bytes, four to a word: unsigned on the left, signed on the right, summed in `i32`.
//!
//! Only an encoder's products are computed in bytes. The finer kernel beside it does the
//! rest: attention, the patches, the pooling head.

use super::dot::{Dot, by_size};
use super::{Kernel, Layout, Tile};
use crate::quantize::Affine;
use crate::simd::{Portable, Simd};

/// Instructions that multiply bytes.
pub trait Bytes: Copy + Send + Sync + 'static {
    /// The vectors beside them.
    type Simd: Simd;
    /// The layout; its notes are not 0.
    const LAYOUT: Layout;

    /// The vectors.
    fn simd(self) -> Self::Simd;

    /// As [`Kernel::tile`].
    fn tile(self, tile: Tile<'_>, out: &mut [f32]);
}

/// Products of bytes, and a finer kernel.
#[derive(Clone, Copy, Debug)]
pub struct Int8<B, F> {
    bytes: B,
    fine: F,
}

impl<B, F> Int8<B, F> {
    /// Both must be of the same instruction set.
    pub fn new(bytes: B, fine: F) -> Self {
        Self { bytes, fine }
    }
}

impl<B: Bytes, F: Kernel<Simd = B::Simd>> Kernel for Int8<B, F> {
    type Simd = B::Simd;
    type Fine = F;
    const LAYOUT: Layout = B::LAYOUT;

    #[inline(always)]
    fn simd(self) -> B::Simd {
        self.bytes.simd()
    }
    #[inline(always)]
    fn fine(self) -> F {
        self.fine
    }
    #[inline(always)]
    fn narrow(self, from: &[f32], affine: Affine, to: &mut [u32]) {
        affine.bytes(self.simd(), from, to);
    }
    #[inline(always)]
    fn tile(self, tile: Tile<'_>, out: &mut [f32]) {
        self.bytes.tile(tile, out);
    }
}

/// Products of bytes in plain Rust: what the others are held to. It is slower than FP32.
#[derive(Clone, Copy, Debug)]
pub struct PlainBytes;

const LANES: usize = 8;

impl Dot for PlainBytes {
    const LANES: usize = LANES;
    type Words = [u32; LANES];
    type Sums = [i32; LANES];

    #[inline(always)]
    fn compiled<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
    #[inline(always)]
    fn zero(self) -> [i32; LANES] {
        [0; LANES]
    }
    #[inline(always)]
    unsafe fn words(self, at: *const u32) -> [u32; LANES] {
        // SAFETY: the caller's.
        unsafe { at.cast::<[u32; LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn row<const VECTORS: usize>(
        self,
        at: *const u32,
        w: [[u32; LANES]; VECTORS],
        sums: &mut [[i32; LANES]; VECTORS],
    ) {
        // SAFETY: the caller's.
        let a = unsafe { *at }.to_le_bytes();
        for (sums, w) in sums.iter_mut().zip(w) {
            for (sum, w) in sums.iter_mut().zip(w) {
                let products = a
                    .iter()
                    .zip(w.to_le_bytes())
                    .map(|(&a, w)| i32::from(a) * i32::from(w.cast_signed()));
                // At most DEEPEST of them: no overflow.
                *sum += products.sum::<i32>();
            }
        }
    }
    #[inline(always)]
    unsafe fn read(self, at: *const f32) -> [i32; LANES] {
        // SAFETY: the caller's; a float's bits are as good as an integer's.
        unsafe { at.cast::<[i32; LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn write(self, sums: [i32; LANES], at: *mut f32) {
        // SAFETY: the caller's.
        unsafe { at.cast::<[i32; LANES]>().write_unaligned(sums) }
    }
}

impl Bytes for PlainBytes {
    type Simd = Portable;
    const LAYOUT: Layout = Layout {
        per_word: 4,
        group: 1,
        step: 1,
        lanes: LANES,
        vectors: 1,
        rows: 4,
        block: 256,
        notes: 16,
    };

    fn simd(self) -> Portable {
        Portable
    }
    fn tile(self, tile: Tile<'_>, out: &mut [f32]) {
        by_size!(self, tile, out, [1], [1 2 3 4])
    }
}
