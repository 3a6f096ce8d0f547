//! BF16 on AVX512-BF16: VDPBF16PS adds the products of two pairs to a float, at twice
//! the rate of FP32 on Zen 4 and Zen 5 (Intel's processors have tiles for it).

use std::arch::x86_64::*;

use super::dot::by_size;
use super::wide::dot_512;
use super::{Kernel, Layout, Tile};
use crate::quantize::Affine;
use crate::simd::Avx512;

/// BF16 products by VDPBF16PS.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Bf16(Avx512);

impl Avx512Bf16 {
    /// The proof, where the processor has AVX512-BF16.
    pub fn detect() -> Option<Self> {
        let simd = Avx512::detect()?;
        is_x86_feature_detected!("avx512bf16").then_some(Self(simd))
    }
}

/// # Safety
///
/// The processor has the named features.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn with_features<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Sixteen floats to eight words.
///
/// # Safety
///
/// The processor has the named features, and so many are there.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
unsafe fn narrow(from: *const f32, to: *mut u32) {
    // SAFETY: the caller's; __m256bh and __m256i are 32 bytes of plain numbers.
    unsafe {
        let pairs = _mm512_cvtneps_pbh(_mm512_loadu_ps(from));
        _mm256_storeu_si256(to.cast(), std::mem::transmute::<__m256bh, __m256i>(pairs));
    }
}

dot_512!(Avx512Bf16, with_features, "vdpbf16ps", "avx512f,avx512bf16");

impl Kernel for Avx512Bf16 {
    type Simd = Avx512;
    type Fine = Self;
    const LAYOUT: Layout = Layout {
        per_word: 2,
        group: 1,
        step: 1,
        lanes: 16,
        vectors: 2,
        rows: 14,
        // As for floats: 1% faster than 192 in batches of 8.
        block: 768,
        notes: 0,
    };

    #[inline(always)]
    fn simd(self) -> Avx512 {
        self.0
    }
    #[inline(always)]
    fn fine(self) -> Self {
        self
    }
    #[inline(always)]
    fn narrow(self, from: &[f32], _: Affine, to: &mut [u32]) {
        for (from, to) in from.chunks_exact(16).zip(to.chunks_exact_mut(8)) {
            // SAFETY: `self` exists only where the processor has these features, and
            // the chunks are as long as they are.
            unsafe { narrow(from.as_ptr(), to.as_mut_ptr()) };
        }
    }
    fn tile(self, tile: Tile<'_>, out: &mut [f32]) {
        by_size!(self, tile, out, [1 2], [1 2 3 4 5 6 7 8 9 10 11 12 13 14])
    }
}
