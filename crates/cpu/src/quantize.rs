//! Numbers as bytes, for kernels that multiply bytes.
//!
//! ```text
//! a row of the left side          x ~ least + step * b      b from 0 to 255
//! a column of the right side      w ~ scale * q             q from -127 to 127
//!
//! sum of x * w  ~  step * scale * (sum of b * q)  +  least * (scale * sum of q)
//!                  [row] [column]  exact, in i32     [row]    [column], packed with w
//! ```
//!
//! A row's range is measured when the row is written, so it fits whatever the row holds.
//! What stands where a row is padded does not matter: the right side has zeros there.

use crate::kernel::Kernel;
use crate::simd::Simd;

/// Numbers of a row are `least + step * b`, for bytes `b`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// What the byte 0 stands for.
    pub least: f32,
    /// The distance of two neighbours. NaN where a number of the row is not finite: then
    /// all that is made of the row is NaN.
    pub step: f32,
    /// `1 / step`, or 0 where the whole row is one number.
    inverse: f32,
}

/// Below this the reciprocal would not be finite; the numbers are as good as equal.
const SMALLEST_STEP: f32 = 1e-35;

/// The most that a product of two bytes adds up to stays in an `i32` as long as there are
/// no more of them: `2^31 / (255 * 127)`, rounded down to a round number.
pub const DEEPEST: usize = 65_536;

impl Affine {
    /// For kernels whose numbers have no range.
    pub const NONE: Self = Self {
        least: 0.0,
        step: 1.0,
        inverse: 1.0,
    };

    /// From the first number and the distance of two.
    #[inline(always)]
    pub fn new(least: f32, step: f32) -> Self {
        Self {
            least,
            step,
            inverse: if step >= SMALLEST_STEP {
                1.0 / step
            } else {
                0.0
            },
        }
    }

    /// The range of a row: its least number is the byte 0, its largest the byte 255.
    #[inline(always)]
    pub fn of<S: Simd>(simd: S, row: &[f32]) -> Self {
        let (least, most) = extremes(simd, row);
        Self::new(least, (most - least) / 255.0)
    }

    /// Numbers to bytes; `from` is a multiple of 16 long, `to` a quarter of that.
    #[inline(always)]
    pub fn bytes<S: Simd>(self, simd: S, from: &[f32], to: &mut [u32]) {
        let (least, inverse) = (simd.splat(self.least), simd.splat(self.inverse));
        for (from, to) in from
            .chunks_exact(S::LANES)
            .zip(to.chunks_exact_mut(S::LANES / 4))
        {
            simd.bytes(simd.mul(simd.sub(simd.load(from), least), inverse), to);
        }
    }

    /// Sums of products of this row's bytes, which are the bits of `i32`, to floats.
    #[inline(always)]
    pub fn finish<S: Simd>(self, simd: S, sums: &mut [f32], columns: Columns<'_>) {
        let (least, step) = (simd.splat(self.least), simd.splat(self.step));
        let sums = sums.chunks_exact_mut(S::LANES);
        let scales = columns.scales.chunks_exact(S::LANES);
        let totals = columns.totals.chunks_exact(S::LANES);
        for ((sums, scales), totals) in sums.zip(scales).zip(totals) {
            let factor = simd.mul(step, simd.load(scales));
            let offset = simd.mul(least, simd.load(totals));
            let whole = simd.whole(simd.load(sums));
            simd.store(simd.mul_add(whole, factor, offset), sums);
        }
    }
}

/// The least and the largest of some numbers; NaN where one is not finite, or where there
/// are none.
#[inline(always)]
fn extremes<S: Simd>(simd: S, row: &[f32]) -> (f32, f32) {
    let Some(&first) = row.first() else {
        return (f32::NAN, f32::NAN);
    };
    let zero = simd.splat(0.0);
    // Times zero, a number that is not finite is NaN.
    let (mut least, mut most, mut odd) = (simd.splat(first), simd.splat(first), zero);
    let vectors = row.chunks_exact(S::LANES);
    let rest = vectors.remainder();
    for numbers in vectors {
        let numbers = simd.load(numbers);
        least = simd.min(least, numbers);
        most = simd.max(most, numbers);
        odd = simd.mul_add(numbers, zero, odd);
    }
    let mut odd = simd.sum(odd);
    let mut most = simd.largest(most);
    let mut least = -simd.largest(simd.sub(zero, least));
    for &number in rest {
        least = least.min(number);
        most = most.max(number);
        odd += number * 0.0;
    }
    (least + odd, most + odd)
}

/// The factors of some columns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns<'a> {
    /// `scale` of each.
    pub scales: &'a [f32],
    /// `scale * sum of q` of each.
    pub totals: &'a [f32],
}

/// The bytes of a column's numbers, of which the first `depth` count; gives its scale and
/// total. A number that is not finite makes both NaN.
pub fn column<K: Kernel>(kernel: K, numbers: &[f32], depth: usize, to: &mut [u32]) -> [f32; 2] {
    let (least, most) = extremes(kernel.simd(), &numbers[..depth]);
    let scale = (most.max(-least) + 0.0 * (most + least)) / 127.0;
    // 128 stands for zero; with its highest bit turned a byte is that much less.
    kernel.narrow(numbers, Affine::new(-128.0 * scale, scale), to);
    to.iter_mut().for_each(|word| *word ^= 0x8080_8080);
    let bytes = to.iter().flat_map(|word| word.to_le_bytes());
    let total: i32 = bytes
        .take(depth)
        .map(|byte| i32::from(byte.cast_signed()))
        .sum();
    [scale, scale * total as f32]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Fp32;
    use crate::simd::Portable;
    use crate::testing::{Random, for_each_kernel};

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn a_row_is_within_half_a_step_of_its_bytes_on_every_instruction_set() {
        for_each_kernel!(|kernel, _small| {
            let simd = kernel.simd();
            let mut random = Random::new(3);
            for length in [1_usize, 2, 15, 16, 17, 40, 333] {
                let mut row: Vec<f32> = (0..length).map(|_| random.normal() * 3.0).collect();
                let affine = Affine::of(simd, &row);
                row.resize(length.next_multiple_of(16), 0.0);
                let mut words = vec![0; row.len() / 4];
                affine.bytes(simd, &row, &mut words);
                let got = bytes(&words);
                for (x, b) in row[..length].iter().zip(&got) {
                    let back = affine.least + affine.step * f32::from(*b);
                    assert!(
                        (x - back).abs() <= affine.step * 0.5001 + 1e-6,
                        "{x}, {back}"
                    );
                }
                // The same bytes as in plain Rust.
                let plain = Affine::of(Portable, &row[..length]);
                assert_eq!((plain.least, plain.step), (affine.least, affine.step));
                let mut words = vec![0; row.len() / 4];
                plain.bytes(Portable, &row, &mut words);
                assert_eq!(bytes(&words)[..length], got[..length]);
            }
        });
    }

    #[test]
    fn a_row_of_one_number_is_that_number() {
        for number in [0.0, -3.5, 1e30, 1e-40] {
            let affine = Affine::of(Portable, &[number; 20]);
            let mut words = [0; 4];
            affine.bytes(Portable, &[number; 16], &mut words);
            assert_eq!(affine.least, number);
            assert_eq!(words, [0; 4]);
        }
    }

    #[test]
    fn a_number_that_is_not_finite_makes_the_step_nan_wherever_it_stands() {
        for_each_kernel!(|kernel, _small| {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in [0, 5, 16, 34, 36] {
                    let mut row = vec![1.0; 37];
                    row[at] = bad;
                    assert!(Affine::of(kernel.simd(), &row).step.is_nan());
                }
            }
        });
    }

    #[test]
    fn a_column_of_whole_numbers_is_exact_and_zeros_stay_zeros() {
        let kernel = Fp32::new(Portable);
        let bytes_of = crate::kernel::Int8::new(crate::kernel::PlainBytes, kernel);
        let mut numbers = vec![0.0; 32];
        for (i, number) in numbers[..20].iter_mut().enumerate() {
            *number = i as f32 * 3.0 - 30.0;
        }
        numbers[3] = -127.0;
        let mut words = [0; 8];
        let [scale, total] = column(bytes_of, &numbers, 20, &mut words);
        assert_eq!(scale, 1.0);
        assert_eq!(total, numbers[..20].iter().sum::<f32>());
        for (byte, number) in bytes(&words).iter().zip(&numbers) {
            assert_eq!(f32::from(byte.cast_signed()), *number);
        }
        numbers[7] = f32::NAN;
        assert!(column(bytes_of, &numbers, 20, &mut words)[0].is_nan());
    }
}
