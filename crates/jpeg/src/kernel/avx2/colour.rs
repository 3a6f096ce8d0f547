//! YCbCr to RGB, 32 pixels at a time.

use std::arch::x86_64::*;

use super::{load, products, store, twice};
use crate::colour::{self, BLUE, GREEN_BLUE, GREEN_RED, RED};

/// For a shuffle of bytes: what `part`, one of three, of 16 pixels of three bytes has of `channel`.
const fn spread(part: usize, channel: usize) -> [u8; 32] {
    let mut half = [0x80; 16];
    let mut at = 0;
    while at < 16 {
        let byte = part * 16 + at;
        if byte % 3 == channel {
            half[at] = (byte / 3) as u8;
        }
        at += 1;
    }
    twice(half)
}

/// Red, green and blue of 16 pixels, of which each half has 8.
#[inline]
#[target_feature(enable = "avx2")]
fn rgb(light: __m256i, blue: __m256i, red: __m256i) -> [__m256i; 3] {
    let middle = _mm256_set1_epi16(128);
    let (blue, red) = (
        _mm256_sub_epi16(blue, middle),
        _mm256_sub_epi16(red, middle),
    );
    let one = _mm256_set1_epi16(1);
    let rounded = |double, by: i32| {
        let product = _mm256_mulhi_epi16(double, _mm256_set1_epi16(by as i16));
        _mm256_srai_epi16::<1>(_mm256_add_epi16(product, one))
    };
    let half = _mm256_set1_epi32(1 << 15);
    let green = |pairs| {
        let sum = products(pairs, GREEN_BLUE as i16, GREEN_RED as i16);
        _mm256_srai_epi32::<16>(_mm256_add_epi32(sum, half))
    };
    let green = _mm256_packs_epi32(
        green(_mm256_unpacklo_epi16(blue, red)),
        green(_mm256_unpackhi_epi16(blue, red)),
    );
    let (two_blue, two_red) = (_mm256_add_epi16(blue, blue), _mm256_add_epi16(red, red));
    [
        _mm256_add_epi16(_mm256_add_epi16(light, red), rounded(two_red, RED)),
        _mm256_add_epi16(_mm256_sub_epi16(light, red), green),
        _mm256_add_epi16(_mm256_add_epi16(light, two_blue), rounded(two_blue, BLUE)),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn ycc_to_rgb(light: &[u8], blue: &[u8], red: &[u8], out: &mut [u8]) {
    let (pixels, _) = out.as_chunks_mut::<96>();
    let (lights, _) = light.as_chunks::<32>();
    let (blues, _) = blue.as_chunks::<32>();
    let (reds, _) = red.as_chunks::<32>();
    let mut done = 0;
    for (((pixels, lights), blues), reds) in pixels.iter_mut().zip(lights).zip(blues).zip(reds) {
        let (lights, blues, reds) = (load(lights), load(blues), load(reds));
        let zero = _mm256_setzero_si256();
        let low = |samples| _mm256_unpacklo_epi8(samples, zero);
        let high = |samples| _mm256_unpackhi_epi8(samples, zero);
        let [red0, green0, blue0] = rgb(low(lights), low(blues), low(reds));
        let [red1, green1, blue1] = rgb(high(lights), high(blues), high(reds));
        let red = _mm256_packus_epi16(red0, red1);
        let green = _mm256_packus_epi16(green0, green1);
        let blue = _mm256_packus_epi16(blue0, blue1);
        let part = |masks: &[[u8; 32]; 3]| {
            let [of_red, of_green, of_blue] = masks;
            let red = _mm256_shuffle_epi8(red, load(of_red));
            let green = _mm256_shuffle_epi8(green, load(of_green));
            let blue = _mm256_shuffle_epi8(blue, load(of_blue));
            _mm256_or_si256(_mm256_or_si256(red, green), blue)
        };
        let first = part(const { &[spread(0, 0), spread(0, 1), spread(0, 2)] });
        let second = part(const { &[spread(1, 0), spread(1, 1), spread(1, 2)] });
        let third = part(const { &[spread(2, 0), spread(2, 1), spread(2, 2)] });
        let (parts, _) = pixels.as_chunks_mut::<32>();
        store(
            _mm256_permute2x128_si256::<0x20>(first, second),
            &mut parts[0],
        );
        store(_mm256_blend_epi32::<0xf0>(third, first), &mut parts[1]);
        store(
            _mm256_permute2x128_si256::<0x31>(second, third),
            &mut parts[2],
        );
        done += 32;
    }
    let rest = |samples: &'_ [u8]| -> usize { done.min(samples.len()) };
    colour::ycc_to_rgb(
        &light[rest(light)..],
        &blue[rest(blue)..],
        &red[rest(red)..],
        &mut out[done * 3..],
    );
}
