//! [`Dot`] on vectors of 512 bits, whose rows are written in assembly.
//!
//! With intrinsics the compiler reads the words of several `k` ahead of their turn, has no registers
//! to keep them in, and tiles of 12 and 13 rows take half as long again.
//!
//! [`Dot`]: super::dot::Dot

/// Implements `Dot` for a kernel: by this instruction, in functions compiled by `$compiled`, where
/// the processor has these features. Sums are vectors of bits, be they floats or integers.
macro_rules! dot_512 {
    ($kernel:ty, $compiled:path, $dot:literal, $features:literal) => {
        impl $crate::kernel::dot::Dot for $kernel {
            const LANES: usize = 16;
            type Words = __m512i;
            type Sums = __m512i;

            #[inline(always)]
            fn compiled<R>(self, f: impl FnOnce() -> R) -> R {
                // SAFETY: `self` exists only where the processor has these features.
                unsafe { $compiled(f) }
            }
            #[inline(always)]
            fn zero(self) -> __m512i {
                // SAFETY: the token's.
                unsafe { _mm512_setzero_si512() }
            }
            #[inline(always)]
            unsafe fn words(self, at: *const u32) -> __m512i {
                // SAFETY: the caller's, and the token's.
                unsafe { _mm512_loadu_si512(at.cast()) }
            }
            #[inline(always)]
            unsafe fn row<const VECTORS: usize>(
                self,
                at: *const u32,
                w: [__m512i; VECTORS],
                sums: &mut [__m512i; VECTORS],
            ) {
                /// # Safety
                ///
                /// The processor has the named features, and a word can be read there.
                #[inline]
                #[target_feature(enable = $features)]
                unsafe fn one(at: *const u32, w: __m512i, sum: &mut __m512i) {
                    let _a: __m512i;
                    // SAFETY: reads one word, as the caller allows, and writes to no more than
                    // the registers that are named.
                    unsafe {
                        std::arch::asm!(
                            "vpbroadcastd {a}, dword ptr [{at}]",
                            concat!($dot, " {sum}, {a}, {w}"),
                            at = in(reg) at,
                            a = out(zmm_reg) _a,
                            w = in(zmm_reg) w,
                            sum = inout(zmm_reg) *sum,
                            options(pure, readonly, nostack, preserves_flags),
                        );
                    }
                }

                /// # Safety
                ///
                /// As for `one`.
                #[inline]
                #[target_feature(enable = $features)]
                unsafe fn two(
                    at: *const u32,
                    [w0, w1]: [__m512i; 2],
                    [sum0, sum1]: [&mut __m512i; 2],
                ) {
                    let _a: __m512i;
                    // SAFETY: as in `one`.
                    unsafe {
                        std::arch::asm!(
                            "vpbroadcastd {a}, dword ptr [{at}]",
                            concat!($dot, " {sum0}, {a}, {w0}"),
                            concat!($dot, " {sum1}, {a}, {w1}"),
                            at = in(reg) at,
                            a = out(zmm_reg) _a,
                            w0 = in(zmm_reg) w0,
                            w1 = in(zmm_reg) w1,
                            sum0 = inout(zmm_reg) *sum0,
                            sum1 = inout(zmm_reg) *sum1,
                            options(pure, readonly, nostack, preserves_flags),
                        );
                    }
                }

                if let ([w0, w1], [sum0, sum1]) = (&w[..], &mut sums[..]) {
                    // SAFETY: the caller's, and the token's.
                    unsafe { two(at, [*w0, *w1], [sum0, sum1]) };
                    return;
                }
                for (w, sum) in w.into_iter().zip(sums) {
                    // SAFETY: the caller's, and the token's.
                    unsafe { one(at, w, sum) };
                }
            }
            #[inline(always)]
            unsafe fn read(self, at: *const f32) -> __m512i {
                // SAFETY: the caller's, and the token's.
                unsafe { _mm512_loadu_si512(at.cast()) }
            }
            #[inline(always)]
            unsafe fn write(self, sums: __m512i, at: *mut f32) {
                // SAFETY: the caller's, and the token's.
                unsafe { _mm512_storeu_si512(at.cast(), sums) }
            }
        }
    };
}

pub(super) use dot_512;
