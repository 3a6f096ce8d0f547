//! The inverse transform. A block is four registers of two rows each, which are the two that the transform needs
//! together:
//!
//! ```text
//! T0  row 0 | row 4      pair      a0 b0 a1 b1 a2 b2 a3 b3 | a4 b4 ... of rows a and b
//! T1  row 1 | row 5      products  a0 * p + b0 * q, ...: 8 numbers of 32 bits
//! T2  row 2 | row 6      packed    c0 c1 c2 c3 d0 d1 d2 d3 | c4 ... of two rows that come out
//! T3  row 3 | row 7      turned    column 0 | column 4, ...: T0 to T3 of the next pass
//! ```

use std::arch::x86_64::*;

use super::{load, products, store, twice};
use crate::transform::{Block, CONST_BITS, PASS1_BITS, Samples};

#[inline(always)]
fn load_row(row: &[i16; 8]) -> __m128i {
    // SAFETY: the pointer is to 16 bytes, and need not be aligned; SSE2 is in every x86-64.
    unsafe { _mm_loadu_si128(row.as_ptr().cast()) }
}

/// For a shuffle of bytes: of 4 numbers and 4 others, one and one in turn.
const IN_TURN: [u8; 32] = twice([0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15]);

/// For a shuffle of bytes: number `at` of the lower half everywhere in it, and the one four further on in the
/// upper.
const fn everywhere(at: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut to = 0;
    while to < 32 {
        let number = if to < 16 { at } else { at + 4 };
        bytes[to] = number * 2 + to as u8 % 2;
        to += 1;
    }
    bytes
}

/// Two rows, [a | b], as pairs of their numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn paired(rows: __m256i) -> __m256i {
    let quarters = _mm256_permute4x64_epi64::<0b11_01_10_00>(rows);
    _mm256_shuffle_epi8(quarters, load(&IN_TURN))
}

/// One pass; see [`crate::transform`]. What comes in is [0 | 4], [1 | 5], [2 | 6] and [3 | 7]; what
/// goes out is so too, of the columns.
#[inline]
#[target_feature(enable = "avx2")]
fn pass<const DESCALE: i32>(rows: [__m256i; 4]) -> [__m256i; 4] {
    let [in04, in15, in26, in37] = rows;
    let pairs26 = paired(in26);
    let tmp2 = products(pairs26, 4433, 4433 - 15137);
    let tmp3 = products(pairs26, 4433 + 6270, 4433);
    let (in0, in4) = (
        _mm256_castsi256_si128(in04),
        _mm256_extracti128_si256::<1>(in04),
    );
    let wide = |row| _mm256_slli_epi32::<{ CONST_BITS as i32 }>(_mm256_cvtepi16_epi32(row));
    let tmp0 = wide(_mm_add_epi16(in0, in4));
    let tmp1 = wide(_mm_sub_epi16(in0, in4));
    let round = _mm256_set1_epi32(1 << (DESCALE - 1));
    let (tmp0, tmp1) = (_mm256_add_epi32(tmp0, round), _mm256_add_epi32(tmp1, round));
    let even = [
        _mm256_add_epi32(tmp0, tmp3),
        _mm256_add_epi32(tmp1, tmp2),
        _mm256_sub_epi32(tmp1, tmp2),
        _mm256_sub_epi32(tmp0, tmp3),
    ];

    let in31 = _mm256_permute2x128_si256::<0x20>(in37, in15);
    let in75 = _mm256_permute2x128_si256::<0x31>(in37, in15);
    let pairs34 = paired(_mm256_add_epi16(in31, in75));
    let sum3 = products(pairs34, 9633 - 16069, 9633);
    let sum4 = products(pairs34, 9633, 9633 - 3196);
    let pairs17 = paired(_mm256_blend_epi32::<0xf0>(in15, in37));
    let pairs35 = paired(_mm256_blend_epi32::<0xf0>(in37, in15));
    let odd = [
        _mm256_add_epi32(products(pairs17, 12299 - 7373, -7373), sum4),
        _mm256_add_epi32(products(pairs35, 25172 - 20995, -20995), sum3),
        _mm256_add_epi32(products(pairs35, -20995, 16819 - 20995), sum4),
        _mm256_add_epi32(products(pairs17, -7373, 2446 - 7373), sum3),
    ];

    let upper = |n: usize| _mm256_srai_epi32::<DESCALE>(_mm256_add_epi32(even[n], odd[n]));
    let lower = |n: usize| _mm256_srai_epi32::<DESCALE>(_mm256_sub_epi32(even[n], odd[n]));
    turned([
        _mm256_packs_epi32(upper(0), upper(1)),
        _mm256_packs_epi32(upper(2), upper(3)),
        _mm256_packs_epi32(lower(3), lower(2)),
        _mm256_packs_epi32(lower(1), lower(0)),
    ])
}

/// Rows that are packed two by two, as columns.
#[inline]
#[target_feature(enable = "avx2")]
fn turned(packed: [__m256i; 4]) -> [__m256i; 4] {
    let mask = load(&IN_TURN);
    let [rows01, rows23, rows45, rows67] = packed;
    let (rows01, rows23) = (
        _mm256_shuffle_epi8(rows01, mask),
        _mm256_shuffle_epi8(rows23, mask),
    );
    let (rows45, rows67) = (
        _mm256_shuffle_epi8(rows45, mask),
        _mm256_shuffle_epi8(rows67, mask),
    );
    let (of01, of23) = (
        _mm256_unpacklo_epi32(rows01, rows23),
        _mm256_unpackhi_epi32(rows01, rows23),
    );
    let (to01, to23) = (
        _mm256_unpacklo_epi32(rows45, rows67),
        _mm256_unpackhi_epi32(rows45, rows67),
    );
    [
        _mm256_unpacklo_epi64(of01, to01),
        _mm256_unpackhi_epi64(of01, to01),
        _mm256_unpacklo_epi64(of23, to23),
        _mm256_unpackhi_epi64(of23, to23),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn transform(block: &Block, one_row: bool) -> Samples {
    let rows = block.as_chunks::<8>().0;
    let columns = if one_row {
        let row = _mm_slli_epi16::<{ PASS1_BITS as i32 }>(load_row(&rows[0]));
        let row = _mm256_broadcastsi128_si256(row);
        [
            _mm256_shuffle_epi8(row, load(&const { everywhere(0) })),
            _mm256_shuffle_epi8(row, load(&const { everywhere(1) })),
            _mm256_shuffle_epi8(row, load(&const { everywhere(2) })),
            _mm256_shuffle_epi8(row, load(&const { everywhere(3) })),
        ]
    } else {
        let two = |upper: usize, lower: usize| {
            _mm256_set_m128i(load_row(&rows[lower]), load_row(&rows[upper]))
        };
        pass::<{ (CONST_BITS - PASS1_BITS) as i32 }>([two(0, 4), two(1, 5), two(2, 6), two(3, 7)])
    };
    let [rows04, rows15, rows26, rows37] =
        pass::<{ (CONST_BITS + PASS1_BITS + 3) as i32 }>(columns);
    let middle = _mm256_set1_epi8(i8::MIN);
    let rows0145 = _mm256_xor_si256(_mm256_packs_epi16(rows04, rows15), middle);
    let rows2367 = _mm256_xor_si256(_mm256_packs_epi16(rows26, rows37), middle);
    let mut samples = [[0; 8]; 8];
    let (halves, _) = samples.as_flattened_mut().as_chunks_mut::<32>();
    store(
        _mm256_permute2x128_si256::<0x20>(rows0145, rows2367),
        &mut halves[0],
    );
    store(
        _mm256_permute2x128_si256::<0x31>(rows0145, rows2367),
        &mut halves[1],
    );
    samples
}
