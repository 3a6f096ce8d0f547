//! BF16 on AMX: tiles of 16 rows by 64 bytes.
//!
//! ```text
//!                 right: tmm6        tmm7          16 columns each
//! left  tmm4      tmm0 += 4*6   tmm1 += 4*7        16 rows by 32 BF16
//!       tmm5      tmm2 += 5*6   tmm3 += 5*7
//! ```
//!
//! A tile of the left side is 16 rows by 16 words, one of the right side 16 words of
//! depth by 16 columns; both lie in one piece of 1 KiB (see the layouts in
//! [`super`]). Each product configures the tiles anew: another library on the same
//! thread, oneDNN for one, may have released or reshaped them since, and a tile
//! instruction without its configuration ends the process.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use super::bf16::Avx512Bf16;
use super::{Kernel, Layout, Tile};
use crate::simd::Avx512;

/// BF16 products on tiles.
#[derive(Clone, Copy, Debug)]
pub struct Amx(Avx512Bf16);

impl Amx {
    /// The proof, where the processor has tiles for BF16 and AVX512-BF16, and the
    /// operating system lets this process use them.
    pub fn detect() -> Option<Self> {
        static ALLOWED: OnceLock<bool> = OnceLock::new();
        let bf16 = Avx512Bf16::detect()?;
        ALLOWED
            .get_or_init(|| has_tiles() && permitted())
            .then_some(Self(bf16))
    }

    /// For tests that emulate the instructions.
    #[cfg(test)]
    pub(crate) fn emulated() -> Option<Self> {
        Avx512Bf16::detect().map(Self)
    }
}

/// Whether the processor has tiles for BF16 of the size that the kernel is written for,
/// and the operating system saves them.
fn has_tiles() -> bool {
    let features = __cpuid_count(7, 0).edx;
    let (tile, bf16) = (features >> 24 & 1 == 1, features >> 22 & 1 == 1);
    if !tile || !bf16 || !is_x86_feature_detected!("xsave") {
        return false;
    }
    let saved: u32;
    // SAFETY: XGETBV exists, as the operating system has turned XSAVE on (std asks for
    // OSXSAVE); it reads XCR0.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") saved, out("edx") _, options(nomem, nostack));
    }
    // Bit 17 is the tiles' configuration, bit 18 their data.
    if saved >> 17 & 3 != 3 {
        return false;
    }
    // Palette 1: names of tiles, bytes of a row, rows.
    let palette = __cpuid_count(0x1d, 1);
    palette.ebx >> 16 >= 8 && palette.ebx & 0xffff >= 64 && palette.ecx & 0xffff >= 16
}

/// Asks the kernel to let this process use tiles: without, the first tile instruction
/// ends it.
fn permitted() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_ulong = 18;
        // SAFETY: this call changes what the process may do and no memory.
        unsafe {
            libc::syscall(
                libc::SYS_arch_prctl,
                ARCH_REQ_XCOMP_PERM,
                XFEATURE_XTILEDATA,
            ) == 0
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        false
    }
}

/// What LDTILECFG reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Eight tiles of 16 rows of 64 bytes.
static EIGHT_WHOLE_TILES: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Two groups of rows by two vectors. Every step of depth also fetches two lines from
/// `ahead` into the second cache.
///
/// # Safety
///
/// Tiles are there and permitted; `left0` and `left1` have `steps` tiles in a row,
/// `right` has twice as many, `out` 32 rows of 32 floats.
#[inline(always)]
unsafe fn two_by_two<const ADD: bool>(
    left0: *const u32,
    left1: *const u32,
    right: *const u32,
    steps: usize,
    out: *mut f32,
    ahead: *const u32,
) {
    macro_rules! product {
        ($($start:literal),*) => {
            // SAFETY: the caller's. The tiles are configured here and released by nobody
            // in between; all of them are declared as overwritten.
            unsafe {
                asm!(
                    "ldtilecfg [{cfg}]",
                    $($start,)*
                    "2:",
                    "tileloadd tmm6, [{b} + {s}*1]",
                    "tileloadd tmm4, [{a0} + {s}*1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {s}*1 + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a1} + {s}*1]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "prefetcht1 [{pf}]",
                    "prefetcht1 [{pf} + 64]",
                    "add {pf}, 128",
                    "add {b}, 2048",
                    "add {a0}, 1024",
                    "add {a1}, 1024",
                    "dec {n}",
                    "jnz 2b",
                    "tilestored [{c} + {s}*2], tmm0",
                    "tilestored [{c} + {s}*2 + 64], tmm1",
                    "tilestored [{c} + {s}*2 + 2048], tmm2",
                    "tilestored [{c} + {s}*2 + 2112], tmm3",
                    cfg = in(reg) &raw const EIGHT_WHOLE_TILES,
                    a0 = inout(reg) left0 => _,
                    a1 = inout(reg) left1 => _,
                    b = inout(reg) right => _,
                    n = inout(reg) steps => _,
                    pf = inout(reg) ahead => _,
                    c = in(reg) out,
                    s = in(reg) 64_usize,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        };
    }
    if ADD {
        product!(
            "tileloadd tmm0, [{c} + {s}*2]",
            "tileloadd tmm1, [{c} + {s}*2 + 64]",
            "tileloadd tmm2, [{c} + {s}*2 + 2048]",
            "tileloadd tmm3, [{c} + {s}*2 + 2112]"
        );
    } else {
        product!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3"
        );
    }
}

/// One group of rows by two vectors.
///
/// # Safety
///
/// As [`two_by_two`], with 16 rows of 32 floats.
#[inline(always)]
unsafe fn one_by_two<const ADD: bool>(
    left: *const u32,
    right: *const u32,
    steps: usize,
    out: *mut f32,
) {
    macro_rules! product {
        ($($start:literal),*) => {
            // SAFETY: as in `two_by_two`.
            unsafe {
                asm!(
                    "ldtilecfg [{cfg}]",
                    $($start,)*
                    "2:",
                    "tileloadd tmm6, [{b} + {s}*1]",
                    "tileloadd tmm4, [{a0} + {s}*1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {s}*1 + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "add {b}, 2048",
                    "add {a0}, 1024",
                    "dec {n}",
                    "jnz 2b",
                    "tilestored [{c} + {s}*2], tmm0",
                    "tilestored [{c} + {s}*2 + 64], tmm1",
                    cfg = in(reg) &raw const EIGHT_WHOLE_TILES,
                    a0 = inout(reg) left => _,
                    b = inout(reg) right => _,
                    n = inout(reg) steps => _,
                    c = in(reg) out,
                    s = in(reg) 64_usize,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        };
    }
    if ADD {
        product!(
            "tileloadd tmm0, [{c} + {s}*2]",
            "tileloadd tmm1, [{c} + {s}*2 + 64]"
        );
    } else {
        product!("tilezero tmm0", "tilezero tmm1");
    }
}

/// One group of rows by one vector.
///
/// # Safety
///
/// As [`two_by_two`], with `steps` tiles on the right and 16 rows of 16 floats.
#[inline(always)]
unsafe fn one_by_one<const ADD: bool>(
    left: *const u32,
    right: *const u32,
    steps: usize,
    out: *mut f32,
) {
    macro_rules! product {
        ($start:literal) => {
            // SAFETY: as in `two_by_two`.
            unsafe {
                asm!(
                    "ldtilecfg [{cfg}]",
                    $start,
                    "2:",
                    "tileloadd tmm6, [{b} + {s}*1]",
                    "tileloadd tmm4, [{a0} + {s}*1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "add {b}, 1024",
                    "add {a0}, 1024",
                    "dec {n}",
                    "jnz 2b",
                    "tilestored [{c} + {s}*1], tmm0",
                    cfg = in(reg) &raw const EIGHT_WHOLE_TILES,
                    a0 = inout(reg) left => _,
                    b = inout(reg) right => _,
                    n = inout(reg) steps => _,
                    c = in(reg) out,
                    s = in(reg) 64_usize,
                    out("tmm0") _, out("tmm4") _, out("tmm6") _,
                    options(nostack),
                );
            }
        };
    }
    if ADD {
        product!("tileloadd tmm0, [{c} + {s}*1]");
    } else {
        product!("tilezero tmm0");
    }
}

impl Kernel for Amx {
    type Simd = Avx512;
    type Fine = Self;
    const LAYOUT: Layout = Layout {
        per_word: 2,
        group: 16,
        step: 16,
        lanes: 16,
        vectors: 2,
        rows: 32,
        // A panel's piece of 16 KiB stays in the first cache.
        block: 128,
    };

    #[inline(always)]
    fn simd(self) -> Avx512 {
        self.0.simd()
    }
    #[inline(always)]
    fn fine(self) -> Self {
        self
    }
    #[inline(always)]
    fn narrow(self, from: &[f32], to: &mut [u32]) {
        self.0.narrow(from, to);
    }

    fn tile(self, tile: Tile<'_>, out: &mut [f32]) {
        const WORDS: usize = 256;
        let steps = tile.depth / 16;
        let (groups, vectors) = (tile.rows.div_ceil(16), tile.vectors);
        assert!((1..=2).contains(&groups) && (1..=2).contains(&vectors) && steps > 0);
        assert!(tile.depth.is_multiple_of(16), "a depth of broken steps");
        assert!(
            (groups - 1) * tile.pitch + steps * WORDS <= tile.left.len(),
            "the left side is too short"
        );
        assert!(
            steps * vectors * WORDS <= tile.right.len(),
            "the right side is too short"
        );
        assert!(
            groups * vectors * WORDS <= out.len(),
            "the sums have no room"
        );
        let (left, right, out) = (tile.left.as_ptr(), tile.right.as_ptr(), out.as_mut_ptr());
        let second = left.wrapping_add(tile.pitch);
        let half = out.wrapping_add(WORDS);
        let ahead = tile.ahead.as_ptr();
        // SAFETY: `self` exists only where tiles are there and permitted; the lengths
        // were checked above.
        unsafe {
            match (groups, vectors, tile.add) {
                (2, 2, false) => two_by_two::<false>(left, second, right, steps, out, ahead),
                (2, 2, true) => two_by_two::<true>(left, second, right, steps, out, ahead),
                (1, 2, false) => one_by_two::<false>(left, right, steps, out),
                (1, 2, true) => one_by_two::<true>(left, right, steps, out),
                (2, _, false) => {
                    one_by_one::<false>(left, right, steps, out);
                    one_by_one::<false>(second, right, steps, half);
                }
                (2, _, true) => {
                    one_by_one::<true>(left, right, steps, out);
                    one_by_one::<true>(second, right, steps, half);
                }
                (_, _, false) => one_by_one::<false>(left, right, steps, out),
                (_, _, true) => one_by_one::<true>(left, right, steps, out),
            }
        }
    }
}
