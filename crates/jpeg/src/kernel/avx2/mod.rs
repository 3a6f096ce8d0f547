//! AVX2: 16 numbers of 16 bits, or 8 of 32, side by side.

// Vector instructions are there only where the processor has them, and load from pointers.
#![allow(unsafe_code)]

mod colour;
mod transform;
mod upsample;

use std::arch::x86_64::*;

use super::Kernel;
use crate::transform::{Block, Samples};
use crate::upsample::Sums;

/// Shows that the processor has AVX2.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// `None` where it has not.
    pub(crate) fn detect() -> Option<Self> {
        let detected = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2");
        detected.then_some(Self(()))
    }
}

impl Kernel for Avx2 {
    #[inline(always)]
    fn transform(self, block: &Block, one_row: bool) -> Samples {
        // SAFETY: there is a `self` only where the processor has AVX2.
        unsafe { transform::transform(block, one_row) }
    }

    #[inline(always)]
    fn ycc_to_rgb(self, light: &[u8], blue: &[u8], red: &[u8], out: &mut [u8]) {
        // SAFETY: there is a `self` only where the processor has AVX2.
        unsafe { colour::ycc_to_rgb(light, blue, red, out) }
    }

    #[inline(always)]
    fn weigh(self, row: &[u8], beyond: &[u8], sums: &mut [u16]) {
        // SAFETY: there is a `self` only where the processor has AVX2.
        unsafe { upsample::weigh(row, beyond, sums) }
    }

    #[inline(always)]
    fn spread<const BITS: i32, const LEFT: u16, const RIGHT: u16>(
        self,
        sums: &Sums,
        out: &mut [u8],
    ) {
        // SAFETY: there is a `self` only where the processor has AVX2.
        unsafe { upsample::spread::<BITS, LEFT, RIGHT>(sums, out) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the pointer is to 32 bytes, and need not be aligned.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(value: __m256i, bytes: &mut [u8; 32]) {
    // SAFETY: the pointer is to 32 bytes, and need not be aligned.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) }
}

/// The same 16 bytes in both halves.
const fn twice(half: [u8; 16]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 32 {
        bytes[at] = half[at % 16];
        at += 1;
    }
    bytes
}

/// The sum of the first of each pair times `first` and the second times `second`.
#[inline]
#[target_feature(enable = "avx2")]
fn products(pairs: __m256i, first: i16, second: i16) -> __m256i {
    let both = i32::from(second) << 16 | i32::from(first as u16);
    _mm256_madd_epi16(pairs, _mm256_set1_epi32(both))
}
