//! What is computed with vectors, by the vectors that there are.

#[cfg(target_arch = "x86_64")]
mod avx2;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;

use crate::colour;
use crate::transform::{self, Block, Samples};

/// The vector code of a processor. All give the same samples.
pub(crate) trait Kernel: Copy {
    /// See [`transform::transform`].
    fn transform(self, block: &Block, one_row: bool) -> Samples;

    /// See [`colour::ycc_to_rgb`].
    fn ycc_to_rgb(self, light: &[u8], blue: &[u8], red: &[u8], out: &mut [u8]);
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `test` with every kernel that this processor has but the portable one.
    fn each(
        mut test: impl FnMut(&dyn Fn(&Block, bool) -> Samples, &dyn Fn([&[u8]; 3], &mut [u8])),
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = Avx2::detect() {
            test(
                &|block, one_row| avx2.transform(block, one_row),
                &|[light, blue, red], out| avx2.ycc_to_rgb(light, blue, red, out),
            );
        }
    }

    #[test]
    fn transforms_are_the_same_to_their_overflows() {
        let mut random = fastrand::Rng::with_seed(1);
        each(|transform, _| {
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
                let one_row = rows == 1;
                let expected = Portable.transform(&block, one_row);
                assert_eq!(transform(&block, one_row), expected, "{block:?}");
                // Whether it is told that there is one row or not.
                assert_eq!(transform(&block, false), Portable.transform(&block, false));
            }
        });
    }

    #[test]
    fn colours_are_the_same_in_rows_of_any_length() {
        let mut random = fastrand::Rng::with_seed(2);
        each(|_, ycc_to_rgb| {
            for length in (0..200).chain([1919, 4000]) {
                let [light, blue, red] = [(); 3].map(|()| {
                    let mut row = vec![0; length];
                    random.fill(&mut row);
                    row
                });
                let mut expected = vec![0; length * 3];
                Portable.ycc_to_rgb(&light, &blue, &red, &mut expected);
                let mut out = vec![0; length * 3];
                ycc_to_rgb([&light, &blue, &red], &mut out);
                assert!(out == expected, "{length}");
            }
        });
    }
}
