//! The tiles' instructions alone, in a loop, to measure their rate.

use std::arch::asm;

use super::tiles::EIGHT_WHOLE_TILES;

/// Defines a function that executes the instruction on each of four tiles, so many times. Four are
/// enough that none waits for its last value: a product of tiles takes 52 cycles, and one is begun
/// every 16.
macro_rules! rate {
    ($(#[$doc:meta])* $name:ident, $dot:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// Tiles are there and permitted; `turns` is not 0.
        pub(crate) unsafe fn $name(turns: usize) {
            // SAFETY: the caller's; all tiles are declared as overwritten.
            unsafe {
                asm!(
                    "ldtilecfg [{cfg}]",
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    "tilezero tmm4", "tilezero tmm5",
                    "2:",
                    concat!($dot, " tmm0, tmm4, tmm5"),
                    concat!($dot, " tmm1, tmm4, tmm5"),
                    concat!($dot, " tmm2, tmm4, tmm5"),
                    concat!($dot, " tmm3, tmm4, tmm5"),
                    "dec {turns}",
                    "jnz 2b",
                    cfg = in(reg) &raw const EIGHT_WHOLE_TILES,
                    turns = inout(reg) turns => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

rate! {
    /// Products of BF16.
    bf16, "tdpbf16ps"
}
rate! {
    /// Products of bytes.
    bytes, "tdpbusd"
}
