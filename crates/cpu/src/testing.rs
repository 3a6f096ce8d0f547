//! Helpers for the tests of several modules.

#![allow(clippy::unwrap_used)]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) mod tiles;

/// Pseudorandom numbers, the same every time (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    /// About a normal distribution: the sum of four even ones.
    pub fn normal(&mut self) -> f32 {
        let sum: f32 = (0..4).map(|_| self.below(1 << 20) as f32).sum();
        (sum / (1 << 20) as f32 - 2.0) * 1.7
    }
}

/// Calls a function with each kernel that this processor has, and with the tiles, which
/// are emulated where it has none. `small` is true for what is slow: plain Rust under
/// Miri, and the emulated tiles.
macro_rules! for_each_kernel {
    (|$kernel:ident, $small:ident| $call:expr) => {{
        {
            let ($kernel, $small) = (
                $crate::kernel::Fp32::new($crate::simd::Portable),
                cfg!(miri),
            );
            $call;
        }
        {
            let fine = $crate::kernel::Fp32::new($crate::simd::Portable);
            let $kernel = $crate::kernel::Int8::new($crate::kernel::PlainBytes, fine);
            let $small = cfg!(miri);
            $call;
        }
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            if let Some(simd) = $crate::simd::Avx2::detect() {
                let ($kernel, $small) = ($crate::kernel::Fp32::new(simd), false);
                $call;
            }
            if let Some(simd) = $crate::simd::Avx512::detect() {
                let ($kernel, $small) = ($crate::kernel::Fp32::new(simd), false);
                $call;
            }
            if let Some($kernel) = $crate::kernel::Avx512Bf16::detect() {
                let $small = false;
                $call;
            }
            if let Some(bytes) = $crate::kernel::Vnni256::<false>::detect() {
                let fine = $crate::kernel::Fp32::new(bytes.avx2());
                let ($kernel, $small) = ($crate::kernel::Int8::new(bytes, fine), false);
                $call;
            }
            if let Some(bytes) = $crate::kernel::Vnni256::<true>::detect() {
                let fine = $crate::kernel::Fp32::new(bytes.avx2());
                let ($kernel, $small) = ($crate::kernel::Int8::new(bytes, fine), false);
                $call;
            }
            if let Some(bytes) = $crate::kernel::Vnni512::detect() {
                let fine = $crate::kernel::Fp32::new(bytes.avx512());
                let ($kernel, $small) = ($crate::kernel::Int8::new(bytes, fine), false);
                $call;
                if let Some(fine) = $crate::kernel::Avx512Bf16::detect() {
                    let ($kernel, $small) = ($crate::kernel::Int8::new(bytes, fine), false);
                    $call;
                }
            }
            #[cfg(target_os = "linux")]
            if let Some(tiles) = $crate::testing::tiles::kernel() {
                let $small = true;
                {
                    let $kernel = tiles;
                    $call;
                }
                let $kernel = $crate::kernel::AmxInt8::new(tiles);
                $call;
            }
        }
    }};
}
pub(crate) use for_each_kernel;
