//! Bytes by VPDPBUSD: four products of an unsigned and a signed byte, added to an `i32`
//! without saturation. Four times the rate of FP32's multiply-add.

use std::arch::x86_64::*;

use super::dot::{Dot, by_size};
use super::int8::Bytes;
use super::wide::dot_512;
use super::{Layout, Tile};
use crate::simd::{Avx2, Avx512};

/// Sixteen sums at a time (AVX512-VNNI).
#[derive(Clone, Copy, Debug)]
pub struct Vnni512(Avx512);

impl Vnni512 {
    /// The proof, where the processor has AVX512-VNNI.
    pub fn detect() -> Option<Self> {
        let simd = Avx512::detect()?;
        is_x86_feature_detected!("avx512vnni").then_some(Self(simd))
    }

    /// The vectors.
    pub fn avx512(self) -> Avx512 {
        self.0
    }
}

/// # Safety
///
/// The processor has the named features.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn with_avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}

dot_512!(Vnni512, with_avx512, "vpdpbusd", "avx512f,avx512vnni");

impl Bytes for Vnni512 {
    type Simd = Avx512;
    const LAYOUT: Layout = Layout {
        per_word: 4,
        group: 1,
        step: 1,
        lanes: 16,
        vectors: 2,
        rows: 14,
        block: 192,
        notes: 16,
    };

    #[inline(always)]
    fn simd(self) -> Avx512 {
        self.0
    }
    fn tile(self, tile: Tile<'_>, out: &mut [f32]) {
        by_size!(self, tile, out, [1 2], [1 2 3 4 5 6 7 8 9 10 11 12 13 14])
    }
}

/// Eight sums at a time, for processors without AVX-512.
///
/// There are two encodings of the instruction: AVX-VNNI's, and that of AVX512-VNNI with
/// vectors of this length (`EVEX`), which is there so that processors with AVX-512 alone
/// can run the tests of everything else.
#[derive(Clone, Copy, Debug)]
pub struct Vnni256<const EVEX: bool>(Avx2);

impl<const EVEX: bool> Vnni256<EVEX> {
    /// The proof, where the processor has AVX-VNNI, or AVX512-VNNI and AVX512-VL.
    pub fn detect() -> Option<Self> {
        let simd = Avx2::detect()?;
        let has = if EVEX {
            is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vl")
        } else {
            is_x86_feature_detected!("avxvnni")
        };
        has.then_some(Self(simd))
    }

    /// The vectors.
    pub fn avx2(self) -> Avx2 {
        self.0
    }
}

/// # Safety
///
/// The processor has the named features.
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn with_avx_vnni<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// # Safety
///
/// The processor has the named features.
#[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512vnni")]
unsafe fn with_avx512vl<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// # Safety
///
/// The processor has the named features.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn dot_256(sums: __m256i, a: __m256i, w: __m256i) -> __m256i {
    _mm256_dpbusd_avx_epi32(sums, a, w)
}

/// # Safety
///
/// The processor has the named features.
#[inline]
#[target_feature(enable = "avx512vl,avx512vnni")]
unsafe fn dot_256_evex(sums: __m256i, a: __m256i, w: __m256i) -> __m256i {
    _mm256_dpbusd_epi32(sums, a, w)
}

impl<const EVEX: bool> Dot for Vnni256<EVEX> {
    const LANES: usize = 8;
    type Words = __m256i;
    type Sums = __m256i;

    #[inline(always)]
    fn compiled<R>(self, f: impl FnOnce() -> R) -> R {
        // SAFETY: `self` exists only where the processor has these features.
        unsafe {
            if EVEX {
                with_avx512vl(f)
            } else {
                with_avx_vnni(f)
            }
        }
    }
    #[inline(always)]
    fn zero(self) -> __m256i {
        // SAFETY: the token's.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn words(self, at: *const u32) -> __m256i {
        // SAFETY: the caller's, and the token's.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }
    #[inline(always)]
    unsafe fn row<const VECTORS: usize>(
        self,
        at: *const u32,
        w: [__m256i; VECTORS],
        sums: &mut [__m256i; VECTORS],
    ) {
        // SAFETY: the caller's, and `self` exists only where the processor has this encoding.
        unsafe {
            let a = _mm256_set1_epi32((*at).cast_signed());
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = if EVEX {
                    dot_256_evex(*sum, a, w)
                } else {
                    dot_256(*sum, a, w)
                };
            }
        }
    }
    #[inline(always)]
    unsafe fn read(self, at: *const f32) -> __m256i {
        // SAFETY: the caller's, and the token's.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }
    #[inline(always)]
    unsafe fn write(self, sums: __m256i, at: *mut f32) {
        // SAFETY: the caller's, and the token's.
        unsafe { _mm256_storeu_si256(at.cast(), sums) }
    }
}

impl<const EVEX: bool> Bytes for Vnni256<EVEX> {
    type Simd = Avx2;
    const LAYOUT: Layout = Layout {
        per_word: 4,
        group: 1,
        step: 1,
        lanes: 8,
        vectors: 2,
        rows: 6,
        block: 256,
        notes: 16,
    };

    #[inline(always)]
    fn simd(self) -> Avx2 {
        self.0
    }
    fn tile(self, tile: Tile<'_>, out: &mut [f32]) {
        by_size!(self, tile, out, [1 2], [1 2 3 4 5 6])
    }
}
