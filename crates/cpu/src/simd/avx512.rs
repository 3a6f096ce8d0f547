//! AVX-512: sixteen floats.

use std::arch::x86_64::*;

use super::{Simd, has_square};

const LANES: usize = 16;

/// The processor has AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

impl Avx512 {
    /// The proof, where the processor and the operating system have these instructions.
    pub fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        has.then_some(Self(()))
    }
}

/// # Safety
///
/// The processor has the named features.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn with_features<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Each is one instruction; a token is the proof that the processor has it.
macro_rules! instructions {
    ($(fn $name:ident($($arg:ident),*) = $e:expr;)*) => { $(
        #[inline(always)]
        fn $name(self, $($arg: __m512),*) -> __m512 {
            // SAFETY: `self` exists only where the processor has AVX-512.
            unsafe { $e }
        }
    )* };
}

impl Simd for Avx512 {
    type Vector = __m512;
    const LANES: usize = LANES;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        // SAFETY: `self` exists only where the processor has these features.
        unsafe { with_features(f) }
    }
    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: `self` exists only where the processor has AVX-512.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> __m512 {
        let from = &from[..LANES];
        // SAFETY: sixteen floats were just borrowed; the load needs no alignment.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, value: __m512, to: &mut [f32]) {
        let to = &mut to[..LANES];
        // SAFETY: sixteen floats were just borrowed; the store needs no alignment.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }
    instructions! {
        fn add(a, b) = _mm512_add_ps(a, b);
        fn sub(a, b) = _mm512_sub_ps(a, b);
        fn mul(a, b) = _mm512_mul_ps(a, b);
        fn mul_add(a, b, c) = _mm512_fmadd_ps(a, b, c);
        fn max(a, b) = _mm512_max_ps(a, b);
        fn min(a, b) = _mm512_min_ps(a, b);
        fn round(a) = _mm512_roundscale_ps::<0>(a);
        fn scale(a, n) = _mm512_scalef_ps(a, n);
        // One step of Newton's doubles the 14 bits.
        fn reciprocal(a) = {
            let r = _mm512_rcp14_ps(a);
            _mm512_mul_ps(r, _mm512_fnmadd_ps(a, r, _mm512_set1_ps(2.0)))
        };
        fn copy_sign(a, sign) = {
            let mask = _mm512_set1_ps(-0.0);
            _mm512_or_ps(_mm512_andnot_ps(mask, a), _mm512_and_ps(mask, sign))
        };
    }
    #[inline(always)]
    fn whole(self, bits: __m512) -> __m512 {
        // SAFETY: `self` exists only where the processor has AVX-512.
        unsafe { _mm512_cvtepi32_ps(_mm512_castps_si512(bits)) }
    }
    #[inline(always)]
    fn bytes(self, a: __m512, to: &mut [u32]) {
        let to = &mut to[..LANES / 4];
        // SAFETY: `self` exists only where the processor has AVX-512; sixteen bytes were
        // just borrowed, and the store needs no alignment.
        unsafe {
            let bytes = _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(a));
            _mm_storeu_si128(to.as_mut_ptr().cast(), bytes);
        }
    }
    #[inline(always)]
    fn transpose(self, from: &[u32], from_pitch: usize, to: &mut [u32], to_pitch: usize) {
        assert!(has_square(LANES, from_pitch, from.len()), "too few words");
        assert!(
            has_square(LANES, to_pitch, to.len()),
            "no room for the words"
        );
        // SAFETY: `self` exists only where the processor has AVX-512; all rows of both squares are
        // within what was borrowed, as was just checked, and need no alignment.
        unsafe {
            let row = |i: usize| _mm512_loadu_si512(from.as_ptr().add(i * from_pitch).cast());
            // Of four rows at a time, in each 128 bits the four words of a column.
            let mut fours = [_mm512_setzero_si512(); LANES];
            for (k, four) in fours.chunks_exact_mut(4).enumerate() {
                let (a, b, c, d) = (row(4 * k), row(4 * k + 1), row(4 * k + 2), row(4 * k + 3));
                let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
                four[0] = _mm512_unpacklo_epi64(ab, cd);
                four[1] = _mm512_unpackhi_epi64(ab, cd);
                let (ab, cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
                four[2] = _mm512_unpacklo_epi64(ab, cd);
                four[3] = _mm512_unpackhi_epi64(ab, cd);
            }
            let mut put = |j: usize, row| {
                _mm512_storeu_si512(to.as_mut_ptr().add(j * to_pitch).cast(), row);
            };
            const EVEN: i32 = 0b10_00_10_00;
            const ODD: i32 = 0b11_01_11_01;
            for j in 0..4 {
                let (a, b, c, d) = (fours[j], fours[4 + j], fours[8 + j], fours[12 + j]);
                let (ab, cd) = (
                    _mm512_shuffle_i32x4::<EVEN>(a, b),
                    _mm512_shuffle_i32x4::<EVEN>(c, d),
                );
                put(j, _mm512_shuffle_i32x4::<EVEN>(ab, cd));
                put(8 + j, _mm512_shuffle_i32x4::<ODD>(ab, cd));
                let (ab, cd) = (
                    _mm512_shuffle_i32x4::<ODD>(a, b),
                    _mm512_shuffle_i32x4::<ODD>(c, d),
                );
                put(4 + j, _mm512_shuffle_i32x4::<EVEN>(ab, cd));
                put(12 + j, _mm512_shuffle_i32x4::<ODD>(ab, cd));
            }
        }
    }
    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        // SAFETY: `self` exists only where the processor has AVX-512.
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    fn largest(self, a: __m512) -> f32 {
        // SAFETY: `self` exists only where the processor has AVX-512.
        unsafe { _mm512_reduce_max_ps(a) }
    }
}
