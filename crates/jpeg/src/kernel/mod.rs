//! What is computed with vectors, by the vectors that there are.

#[cfg(target_arch = "x86_64")]
mod avx2;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;

use crate::colour;
use crate::transform::{self, Block, Samples};
use crate::upsample::{self, Sums};

/// The vector code of a processor. All give the same samples.
pub(crate) trait Kernel: Copy {
    /// See [`transform::transform`].
    fn transform(self, block: &Block, one_row: bool) -> Samples;

    /// See [`colour::ycc_to_rgb`].
    fn ycc_to_rgb(self, light: &[u8], blue: &[u8], red: &[u8], out: &mut [u8]);

    /// See [`upsample::weigh`].
    fn weigh(self, row: &[u8], beyond: &[u8], sums: &mut [u16]);

    /// See [`upsample::spread`].
    fn spread<const BITS: i32, const LEFT: u16, const RIGHT: u16>(
        self,
        sums: &Sums,
        out: &mut [u8],
    );
}

/// Plain Rust, for the compiler's vectors.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Kernel for Portable {
    #[inline(always)]
    fn transform(self, block: &Block, one_row: bool) -> Samples {
        transform::transform(block, one_row)
    }

    #[inline(always)]
    fn ycc_to_rgb(self, light: &[u8], blue: &[u8], red: &[u8], out: &mut [u8]) {
        colour::ycc_to_rgb(light, blue, red, out);
    }

    #[inline(always)]
    fn weigh(self, row: &[u8], beyond: &[u8], sums: &mut [u16]) {
        upsample::weigh(row, beyond, sums);
    }

    #[inline(always)]
    fn spread<const BITS: i32, const LEFT: u16, const RIGHT: u16>(
        self,
        sums: &Sums,
        out: &mut [u8],
    ) {
        upsample::spread::<BITS, LEFT, RIGHT>(sums.all(), out);
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Calls `test` with every kernel that this processor has but the portable one.
    macro_rules! each {
        ($kernel:ident => $test:block) => {
            if let Some($kernel) = Avx2::detect() {
                $test
            } else {
                println!("skipped: this processor has no AVX2");
            }
        };
    }

    fn row(random: &mut fastrand::Rng, length: usize) -> Vec<u8> {
        let mut row = vec![0; length];
        random.fill(&mut row);
        row
    }

    /// Up to some lengths, and odd long ones.
    fn lengths() -> impl Iterator<Item = usize> {
        (1..200).chain([1919, 4000])
    }

    #[test]
    fn transforms_are_the_same_to_their_overflows() {
        let mut random = fastrand::Rng::with_seed(1);
        each!(kernel => {
            for nth in 0..200_000 {
                // From those that an encoder writes to any.
                let largest = 1_i32 << (4 + nth % 12);
                let rows = [1, 2, 8][random.usize(..3)];
                let mut block = [0; 64];
                for value in &mut block[..rows * 8] {
                    if random.bool() {
                        *value = random.i32(-largest..largest) as i16;
                    }
                }
                // Whether it is told that there is one row or not.
                for one_row in [rows == 1, false] {
                    let expected = Portable.transform(&block, one_row);
                    assert_eq!(kernel.transform(&block, one_row), expected, "{block:?}");
                }
            }
        });
    }

    #[test]
    fn colours_are_the_same_in_rows_of_any_length() {
        let mut random = fastrand::Rng::with_seed(2);
        each!(kernel => {
            for length in lengths() {
                let [light, blue, red] = [(); 3].map(|()| row(&mut random, length));
                let [mut out, mut expected] = [(); 2].map(|()| vec![0; length * 3]);
                Portable.ycc_to_rgb(&light, &blue, &red, &mut expected);
                kernel.ycc_to_rgb(&light, &blue, &red, &mut out);
                assert!(out == expected, "{length}");
            }
        });
    }

    #[test]
    fn interpolated_colours_are_the_same_in_rows_of_any_length() {
        let mut random = fastrand::Rng::with_seed(3);
        each!(kernel => {
            for length in lengths() {
                let [near, far] = [(); 2].map(|()| row(&mut random, length));
                let mut sums = Sums::new(length);
                let [mut out, mut expected] = [(); 2].map(|()| vec![0; length * 2]);
                upsample::both(Portable, &near, &far, &mut sums, &mut expected);
                upsample::both(kernel, &near, &far, &mut sums, &mut out);
                assert!(out == expected, "{length}");
                upsample::across(Portable, &near, &mut sums, &mut expected);
                upsample::across(kernel, &near, &mut sums, &mut out);
                assert!(out == expected, "{length}");
            }
        });
    }
}
