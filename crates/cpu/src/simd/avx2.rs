//! AVX2 with FMA: eight floats.

use std::arch::x86_64::*;

use super::{Simd, has_square};

const LANES: usize = 8;

/// The processor has AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The proof, where the processor and the operating system have these instructions.
    pub fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        has.then_some(Self(()))
    }
}

/// # Safety
///
/// The processor has the named features.
#[target_feature(enable = "avx2,fma")]
unsafe fn with_features<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Each is one instruction or two; a token is the proof that the processor has them.
macro_rules! instructions {
    ($(fn $name:ident($($arg:ident),*) = $e:expr;)*) => { $(
        #[inline(always)]
        fn $name(self, $($arg: __m256),*) -> __m256 {
            // SAFETY: `self` exists only where the processor has AVX2 and FMA.
            unsafe { $e }
        }
    )* };
}

impl Simd for Avx2 {
    type Vector = __m256;
    const LANES: usize = LANES;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        // SAFETY: `self` exists only where the processor has these features.
        unsafe { with_features(f) }
    }
    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: `self` exists only where the processor has AVX2.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> __m256 {
        let from = &from[..LANES];
        // SAFETY: eight floats were just borrowed; the load needs no alignment.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, value: __m256, to: &mut [f32]) {
        let to = &mut to[..LANES];
        // SAFETY: eight floats were just borrowed; the store needs no alignment.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), value) }
    }
    instructions! {
        fn add(a, b) = _mm256_add_ps(a, b);
        fn sub(a, b) = _mm256_sub_ps(a, b);
        fn mul(a, b) = _mm256_mul_ps(a, b);
        fn mul_add(a, b, c) = _mm256_fmadd_ps(a, b, c);
        fn max(a, b) = _mm256_max_ps(a, b);
        fn min(a, b) = _mm256_min_ps(a, b);
        fn round(a) = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        fn scale(a, n) = {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        };
        fn reciprocal(a) = _mm256_div_ps(_mm256_set1_ps(1.0), a);
        fn copy_sign(a, sign) = {
            let mask = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(mask, a), _mm256_and_ps(mask, sign))
        };
    }
    #[inline(always)]
    fn whole(self, bits: __m256) -> __m256 {
        // SAFETY: `self` exists only where the processor has AVX2.
        unsafe { _mm256_cvtepi32_ps(_mm256_castps_si256(bits)) }
    }
    #[inline(always)]
    fn bytes(self, a: __m256, to: &mut [u32]) {
        let to = &mut to[..LANES / 4];
        // SAFETY: `self` exists only where the processor has AVX2; eight bytes were just
        // borrowed, and the store needs no alignment.
        unsafe {
            let whole = _mm256_cvtps_epi32(a);
            let (low, high) = (
                _mm256_castsi256_si128(whole),
                _mm256_extracti128_si256::<1>(whole),
            );
            let pairs = _mm_packus_epi32(low, high);
            _mm_storel_epi64(to.as_mut_ptr().cast(), _mm_packus_epi16(pairs, pairs));
        }
    }
    #[inline(always)]
    fn transpose(self, from: &[u32], from_pitch: usize, to: &mut [u32], to_pitch: usize) {
        assert!(has_square(LANES, from_pitch, from.len()), "too few words");
        assert!(
            has_square(LANES, to_pitch, to.len()),
            "no room for the words"
        );
        // SAFETY: `self` exists only where the processor has AVX2; all rows of both squares are within
        // what was borrowed, as was just checked, and need no alignment.
        unsafe {
            let row = |i: usize| _mm256_loadu_si256(from.as_ptr().add(i * from_pitch).cast());
            // Of four rows at a time, in each 128 bits the four words of a column.
            let mut fours = [_mm256_setzero_si256(); LANES];
            for (k, four) in fours.chunks_exact_mut(4).enumerate() {
                let (a, b, c, d) = (row(4 * k), row(4 * k + 1), row(4 * k + 2), row(4 * k + 3));
                let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
                four[0] = _mm256_unpacklo_epi64(ab, cd);
                four[1] = _mm256_unpackhi_epi64(ab, cd);
                let (ab, cd) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
                four[2] = _mm256_unpacklo_epi64(ab, cd);
                four[3] = _mm256_unpackhi_epi64(ab, cd);
            }
            let mut put = |j: usize, row| {
                _mm256_storeu_si256(to.as_mut_ptr().add(j * to_pitch).cast(), row);
            };
            for j in 0..4 {
                let (a, b) = (fours[j], fours[4 + j]);
                put(j, _mm256_permute2x128_si256::<0x20>(a, b));
                put(4 + j, _mm256_permute2x128_si256::<0x31>(a, b));
            }
        }
    }
    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        // SAFETY: `self` exists only where the processor has AVX2.
        unsafe {
            let s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let s = _mm_add_ps(s, _mm_movehl_ps(s, s));
            _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps::<1>(s, s)))
        }
    }
    #[inline(always)]
    fn largest(self, a: __m256) -> f32 {
        // SAFETY: `self` exists only where the processor has AVX2.
        unsafe {
            let s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let s = _mm_max_ps(s, _mm_movehl_ps(s, s));
            _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps::<1>(s, s)))
        }
    }
}
