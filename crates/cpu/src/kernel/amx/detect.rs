//! Whether this process may use tiles.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// Whether the processor has tiles and the operating system lets this process use them.
pub(super) fn tiles() -> bool {
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    *ALLOWED.get_or_init(|| there() && permitted())
}

/// Whether the processor has tiles of the size that the kernels are written for, with
/// products of BF16 and of bytes, and the operating system saves them. (All processors
/// with tiles have both.)
fn there() -> bool {
    let features = __cpuid_count(7, 0).edx;
    let (bf16, tile, int8) = (features >> 22, features >> 24, features >> 25);
    if bf16 & tile & int8 & 1 == 0 || !is_x86_feature_detected!("xsave") {
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

/// Asks the operating system to let this process use tiles: without its permission, the
/// first tile instruction ends the process.
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
