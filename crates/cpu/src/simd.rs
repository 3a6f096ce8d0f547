//! Vectors of `f32`, one type for each instruction set.
//!
//! All that is not a product (softmax, GELU, layer norms, sums) is written once, over
//! [`Simd`]. A value of an implementing type is a proof that the processor has its
//! instructions: only detection makes one.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use portable::Portable;

/// Arithmetic on [`Simd::LANES`] floats at a time.
///
/// The methods are meant to be called inside [`Simd::vectorize`], where they become
/// single instructions; outside they are right and slow.
pub trait Simd: Copy + Send + Sync + 'static {
    /// `LANES` floats.
    type Vector: Copy;
    /// Floats of a vector, at most 16.
    const LANES: usize;

    /// Calls `f` in a function that is compiled for this instruction set.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;

    /// Every lane `value`.
    fn splat(self, value: f32) -> Self::Vector;
    /// The first `LANES` floats of `from`, which has at least so many.
    fn load(self, from: &[f32]) -> Self::Vector;
    /// Writes to the first `LANES` floats of `to`, which has at least so many.
    fn store(self, value: Self::Vector, to: &mut [f32]);
    /// `a + b`.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a - b`.
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b`.
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`, rounded once where the instruction set can.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The larger; `b` where one is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The smaller; `b` where one is NaN.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The nearest whole number.
    fn round(self, a: Self::Vector) -> Self::Vector;
    /// `a * 2^n` for whole `n` from -126 to 127.
    fn scale(self, a: Self::Vector, n: Self::Vector) -> Self::Vector;
    /// `1 / a`, to about 2^-22.
    fn reciprocal(self, a: Self::Vector) -> Self::Vector;
    /// The sign of `sign` with the magnitude of `a`.
    fn copy_sign(self, a: Self::Vector, sign: Self::Vector) -> Self::Vector;
    /// The floats next to the `i32` whose bits the lanes are.
    fn whole(self, bits: Self::Vector) -> Self::Vector;
    /// The whole numbers next to the lanes, ties to even, as bytes: four to a word, the
    /// first the lowest. Lanes are from 0 to 255; what becomes of others may be anything.
    /// Writes to the first `LANES / 4` words of `to`.
    fn bytes(self, a: Self::Vector, to: &mut [u32]);
    /// Transposes a square of words, [`Simd::LANES`] by as many: word `j` of its row `i`, which begins
    /// at `i * from_pitch`, becomes word `i` of row `j`, which begins at `j * to_pitch`.
    #[inline(always)]
    fn transpose(self, from: &[u32], from_pitch: usize, to: &mut [u32], to_pitch: usize) {
        for i in 0..Self::LANES {
            for (j, &word) in from[i * from_pitch..][..Self::LANES].iter().enumerate() {
                to[j * to_pitch + i] = word;
            }
        }
    }
    /// The sum of all lanes, always in the same order.
    fn sum(self, a: Self::Vector) -> f32;
    /// The largest lane; whatever, where one is NaN.
    fn largest(self, a: Self::Vector) -> f32;
}

/// Whether so many words have `lanes` rows of as many words, `pitch` words apart.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn has_square(lanes: usize, pitch: usize, words: usize) -> bool {
    // Divided, as a product may be larger than a number can be.
    words
        .checked_sub(lanes)
        .is_some_and(|rest| pitch <= rest / (lanes - 1))
}
