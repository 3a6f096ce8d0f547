//! Plain Rust: what the compiler makes of loops over eight floats. On aarch64, where
//! every processor has NEON and a fused multiply-add, that is NEON.

use super::Simd;

const LANES: usize = 8;

/// Plain Rust. Every processor has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

/// Adding 1.5 * 2^23 leaves no room for a fraction: the sum has the nearest whole number
/// in its lowest bits, for magnitudes below 2^22.
const MAGIC: f32 = 12_582_912.0;

/// `a * b + c`. Without the instruction for it, `f32::mul_add` is a call of a library
/// function that is some fifty times slower than two roundings.
#[inline(always)]
fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

#[inline(always)]
fn map2(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type Vector = [f32; LANES];
    const LANES: usize = LANES;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
    #[inline(always)]
    fn splat(self, value: f32) -> [f32; LANES] {
        [value; LANES]
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> [f32; LANES] {
        let from = &from[..LANES];
        std::array::from_fn(|i| from[i])
    }
    #[inline(always)]
    fn store(self, value: [f32; LANES], to: &mut [f32]) {
        to[..LANES].copy_from_slice(&value);
    }
    #[inline(always)]
    fn add(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn mul_add(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        std::array::from_fn(|i| mul_add(a[i], b[i], c[i]))
    }
    #[inline(always)]
    fn max(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn round(self, a: [f32; LANES]) -> [f32; LANES] {
        a.map(|a| (a + MAGIC) - MAGIC)
    }
    #[inline(always)]
    fn scale(self, a: [f32; LANES], n: [f32; LANES]) -> [f32; LANES] {
        map2(a, n, |a, n| {
            a * f32::from_bits(((n as i32).wrapping_add(127) as u32) << 23)
        })
    }
    #[inline(always)]
    fn reciprocal(self, a: [f32; LANES]) -> [f32; LANES] {
        a.map(|a| 1.0 / a)
    }
    #[inline(always)]
    fn copy_sign(self, a: [f32; LANES], sign: [f32; LANES]) -> [f32; LANES] {
        map2(a, sign, f32::copysign)
    }
    #[inline(always)]
    fn whole(self, bits: [f32; LANES]) -> [f32; LANES] {
        bits.map(|bits| bits.to_bits().cast_signed() as f32)
    }
    #[inline(always)]
    fn bytes(self, a: [f32; LANES], to: &mut [u32]) {
        let byte = |i: usize| (a[i] + MAGIC).to_bits() as u8;
        for (word, to) in to[..LANES / 4].iter_mut().enumerate() {
            *to = u32::from_le_bytes(std::array::from_fn(|i| byte(4 * word + i)));
        }
    }
    #[inline(always)]
    fn sum(self, a: [f32; LANES]) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    fn largest(self, a: [f32; LANES]) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
