//! Interpolated colours, 16 samples at a time.

use std::arch::x86_64::*;

use super::store;
use crate::upsample::{self, Sums};

#[inline]
#[target_feature(enable = "avx2")]
fn load_wide(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: the pointer is to 16 bytes, and need not be aligned.
    _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_sums(sums: &[u16; 16]) -> __m256i {
    // SAFETY: the pointer is to 32 bytes, and need not be aligned.
    unsafe { _mm256_loadu_si256(sums.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn three_times(value: __m256i) -> __m256i {
    _mm256_add_epi16(value, _mm256_add_epi16(value, value))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn weigh(row: &[u8], beyond: &[u8], sums: &mut [u16]) {
    let (rows, _) = row.as_chunks::<16>();
    let (beyonds, _) = beyond.as_chunks::<16>();
    let (chunks, _) = sums.as_chunks_mut::<16>();
    let mut done = 0;
    for ((row, beyond), sums) in rows.iter().zip(beyonds).zip(chunks) {
        let sum = _mm256_add_epi16(three_times(load_wide(row)), load_wide(beyond));
        // SAFETY: the pointer is to 32 bytes, and need not be aligned.
        unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), sum) };
        done += 16;
    }
    upsample::weigh(&row[done..], &beyond[done..], &mut sums[done..]);
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn spread<const BITS: i32, const LEFT: u16, const RIGHT: u16>(
    sums: &Sums,
    out: &mut [u8],
) {
    let all = sums.all();
    let (chunks, _) = out.as_chunks_mut::<32>();
    let mut done = 0;
    for out in chunks {
        let three = |at: usize| all.get(at..).and_then(|sums| sums.first_chunk::<16>());
        let (Some(before), Some(here), Some(after)) =
            (three(done), three(done + 1), three(done + 2))
        else {
            break;
        };
        let tripled = three_times(load_sums(here));
        let left = _mm256_add_epi16(load_sums(before), _mm256_set1_epi16(LEFT as i16));
        let right = _mm256_add_epi16(load_sums(after), _mm256_set1_epi16(RIGHT as i16));
        let even = _mm256_srli_epi16::<BITS>(_mm256_add_epi16(tripled, left));
        let odd = _mm256_srli_epi16::<BITS>(_mm256_add_epi16(tripled, right));
        store(_mm256_or_si256(even, _mm256_slli_epi16::<8>(odd)), out);
        done += 16;
    }
    upsample::spread::<BITS, LEFT, RIGHT>(&all[done..], &mut out[done * 2..]);
}
