//! FP32: a word is a float, and a product the multiply-add of a vector type.

use super::dot::{Dot, by_size};
use super::{Kernel, Layout, Tile};
use crate::quantize::Affine;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Simd};

/// FP32 products by the multiply-add of a vector type.
#[derive(Clone, Copy, Debug)]
pub struct Fp32<S>(S);

impl<S> Fp32<S> {
    /// The kernel over these vectors.
    pub fn new(simd: S) -> Self {
        Self(simd)
    }
}

impl<S: Simd> Dot for Fp32<S> {
    const LANES: usize = S::LANES;
    type Words = S::Vector;
    type Sums = S::Vector;

    #[inline(always)]
    fn compiled<R>(self, f: impl FnOnce() -> R) -> R {
        self.0.vectorize(f)
    }
    #[inline(always)]
    fn zero(self) -> S::Vector {
        self.0.splat(0.0)
    }
    #[inline(always)]
    unsafe fn words(self, at: *const u32) -> S::Vector {
        // SAFETY: the caller's; a word is a float's bits.
        self.0
            .load(unsafe { std::slice::from_raw_parts(at.cast(), S::LANES) })
    }
    #[inline(always)]
    unsafe fn row<const VECTORS: usize>(
        self,
        at: *const u32,
        w: [S::Vector; VECTORS],
        sums: &mut [S::Vector; VECTORS],
    ) {
        // SAFETY: the caller's.
        let a = self.0.splat(unsafe { *at.cast::<f32>() });
        for (sum, w) in sums.iter_mut().zip(w) {
            *sum = self.0.mul_add(a, w, *sum);
        }
    }
    #[inline(always)]
    unsafe fn read(self, at: *const f32) -> S::Vector {
        // SAFETY: the caller's.
        self.0
            .load(unsafe { std::slice::from_raw_parts(at, S::LANES) })
    }
    #[inline(always)]
    unsafe fn write(self, sums: S::Vector, at: *mut f32) {
        // SAFETY: the caller's.
        self.0.store(sums, unsafe {
            std::slice::from_raw_parts_mut(at, S::LANES)
        });
    }
}

/// Floats are words as they are.
fn bits(from: &[f32], to: &mut [u32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from.to_bits();
    }
}

macro_rules! fp32 {
    ($simd:ty, $rows:literal, $vectors:literal, $block:literal, $all_vectors:tt, $all_rows:tt) => {
        impl Kernel for Fp32<$simd> {
            type Simd = $simd;
            type Fine = Self;
            const LAYOUT: Layout = Layout {
                per_word: 1,
                group: 1,
                step: 1,
                lanes: <$simd as Simd>::LANES,
                vectors: $vectors,
                rows: $rows,
                block: $block,
                notes: 0,
            };

            #[inline(always)]
            fn simd(self) -> $simd {
                self.0
            }
            #[inline(always)]
            fn fine(self) -> Self {
                self
            }
            #[inline(always)]
            fn narrow(self, from: &[f32], _: Affine, to: &mut [u32]) {
                bits(from, to);
            }
            fn tile(self, tile: Tile<'_>, out: &mut [f32]) {
                by_size!(self, tile, out, $all_vectors, $all_rows)
            }
        }
    };
}

// 32 registers of four floats there, 16 here.
#[cfg(target_arch = "aarch64")]
fp32!(Portable, 6, 2, 256, [1 2], [1 2 3 4 5 6]);
#[cfg(not(target_arch = "aarch64"))]
fp32!(Portable, 4, 1, 256, [1], [1 2 3 4]);
// The right side of a tile comes from the second cache without a wait, a vector after the other. In pieces
// that stay in the first one, each row's sums are written and read again for each piece, which took 2%
// longer on Zen 4.
//
// 12 sums, 2 vectors and a broadcast in 16 registers.
#[cfg(target_arch = "x86_64")]
fp32!(Avx2, 6, 2, 768, [1 2], [1 2 3 4 5 6]);
// 24 sums, 3 vectors and a broadcast in 32 registers.
#[cfg(target_arch = "x86_64")]
fp32!(Avx512, 8, 3, 768, [1 2 3], [1 2 3 4 5 6 7 8]);
