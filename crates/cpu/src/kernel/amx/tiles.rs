//! The products of tiles, for both kinds of numbers.
//!
//! ```text
//!                 right: tmm6        tmm7          16 columns each
//! left  tmm4      tmm0 += 4*6   tmm1 += 4*7        16 rows by 16 words
//!       tmm5      tmm2 += 5*6   tmm3 += 5*7
//! ```
//!
//! Each product configures the tiles anew: another library on the same thread, oneDNN for
//! one, may have released or reshaped them since, and a tile instruction without its
//! configuration ends the process.

use std::arch::asm;

use crate::kernel::Tile;

/// Words of a tile.
const WORDS: usize = 256;

/// What LDTILECFG reads.
#[repr(C, align(64))]
pub(super) struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Eight tiles of 16 rows of 64 bytes.
pub(super) static EIGHT_WHOLE_TILES: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Where a product is read and written.
#[derive(Clone, Copy)]
struct Places {
    /// Tiles of the first and of the second group of rows.
    left: [*const u32; 2],
    /// Tiles of the panel.
    right: *const u32,
    /// Steps of depth, at least one.
    steps: usize,
    /// The sums, row after row.
    out: *mut f32,
    /// What is fetched into the second cache meanwhile, two lines a step.
    ahead: *const u32,
}

/// Defines a function with one kind of product: `$clear` or `$load` before, `$step` for
/// each step of depth, `$store` after. A step of a panel is `$panel` bytes.
macro_rules! tiles {
    (
        $(#[$doc:meta])* $name:ident, panel $panel:literal,
        load [$($load:literal),*], clear [$($clear:literal),*],
        step [$($step:expr),*], store [$($store:literal),*]
    ) => {
        $(#[$doc])*
        #[inline(always)]
        unsafe fn $name<const ADD: bool>(at: Places) {
            macro_rules! run {
                ($start:tt) => {
                    // SAFETY: the caller's. The tiles are configured here and released by
                    // nobody in between; all of them are declared as overwritten.
                    unsafe { tiles!(@asm at, $panel, $start, [$($step),*], [$($store),*]) }
                };
            }
            if ADD {
                run!([$($load),*])
            } else {
                run!([$($clear),*])
            }
        }
    };
    (@asm $at:ident, $panel:literal, [$($start:literal),*], [$($step:expr),*], [$($store:literal),*]) => {
        asm!(
            "ldtilecfg [{cfg}]",
            $($start,)*
            "2:",
            $($step,)*
            "prefetcht1 [{pf}]",
            "prefetcht1 [{pf} + 64]",
            "add {pf}, 128",
            concat!("add {b}, ", $panel),
            "add {a0}, 1024",
            "add {a1}, 1024",
            "dec {n}",
            "jnz 2b",
            $($store,)*
            cfg = in(reg) &raw const EIGHT_WHOLE_TILES,
            a0 = inout(reg) $at.left[0] => _,
            a1 = inout(reg) $at.left[1] => _,
            b = inout(reg) $at.right => _,
            n = inout(reg) $at.steps => _,
            pf = inout(reg) $at.ahead => _,
            c = in(reg) $at.out,
            s = in(reg) 64_usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// Defines `$name`, which computes a tile of a product with the instruction `$dot`.
macro_rules! products {
    ($(#[$doc:meta])* $name:ident, $dot:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// Tiles are there and permitted.
        ///
        /// # Panics
        ///
        /// When a slice is too short for what is asked.
        pub(super) unsafe fn $name(tile: &Tile<'_>, out: &mut [f32]) {
            tiles! {
                /// Two groups of rows by two vectors.
                ///
                /// # Safety
                ///
                /// Tiles are there and permitted, and so is all of [`Places`].
                two_by_two, panel 2048,
                load [
                    "tileloadd tmm0, [{c} + {s}*2]",
                    "tileloadd tmm1, [{c} + {s}*2 + 64]",
                    "tileloadd tmm2, [{c} + {s}*2 + 2048]",
                    "tileloadd tmm3, [{c} + {s}*2 + 2112]"
                ],
                clear ["tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3"],
                step [
                    "tileloadd tmm6, [{b} + {s}*1]",
                    "tileloadd tmm4, [{a0} + {s}*1]",
                    concat!($dot, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm7, [{b} + {s}*1 + 1024]",
                    concat!($dot, " tmm1, tmm4, tmm7"),
                    "tileloadd tmm5, [{a1} + {s}*1]",
                    concat!($dot, " tmm2, tmm5, tmm6"),
                    concat!($dot, " tmm3, tmm5, tmm7")
                ],
                store [
                    "tilestored [{c} + {s}*2], tmm0",
                    "tilestored [{c} + {s}*2 + 64], tmm1",
                    "tilestored [{c} + {s}*2 + 2048], tmm2",
                    "tilestored [{c} + {s}*2 + 2112], tmm3"
                ]
            }
            tiles! {
                /// One group of rows by two vectors.
                ///
                /// # Safety
                ///
                /// As `two_by_two`; the second group of rows is not read.
                one_by_two, panel 2048,
                load ["tileloadd tmm0, [{c} + {s}*2]", "tileloadd tmm1, [{c} + {s}*2 + 64]"],
                clear ["tilezero tmm0", "tilezero tmm1"],
                step [
                    "tileloadd tmm6, [{b} + {s}*1]",
                    "tileloadd tmm4, [{a0} + {s}*1]",
                    concat!($dot, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm7, [{b} + {s}*1 + 1024]",
                    concat!($dot, " tmm1, tmm4, tmm7")
                ],
                store ["tilestored [{c} + {s}*2], tmm0", "tilestored [{c} + {s}*2 + 64], tmm1"]
            }
            tiles! {
                /// One group of rows by one vector.
                ///
                /// # Safety
                ///
                /// As `one_by_two`, with one tile a step on the right.
                one_by_one, panel 1024,
                load ["tileloadd tmm0, [{c} + {s}*1]"],
                clear ["tilezero tmm0"],
                step [
                    "tileloadd tmm6, [{b} + {s}*1]",
                    "tileloadd tmm4, [{a0} + {s}*1]",
                    concat!($dot, " tmm0, tmm4, tmm6")
                ],
                store ["tilestored [{c} + {s}*1], tmm0"]
            }

            let (groups, vectors, at) = places(tile, out);
            let second = Places {
                left: [at.left[1]; 2],
                out: at.out.wrapping_add(WORDS),
                ..at
            };
            // SAFETY: the caller's; the lengths were checked in `places`.
            unsafe {
                match (groups, vectors, tile.add) {
                    (2, 2, false) => two_by_two::<false>(at),
                    (2, 2, true) => two_by_two::<true>(at),
                    (1, 2, false) => one_by_two::<false>(at),
                    (1, 2, true) => one_by_two::<true>(at),
                    (2, _, false) => {
                        one_by_one::<false>(at);
                        one_by_one::<false>(second);
                    }
                    (2, _, true) => {
                        one_by_one::<true>(at);
                        one_by_one::<true>(second);
                    }
                    (_, _, false) => one_by_one::<false>(at),
                    (_, _, true) => one_by_one::<true>(at),
                }
            }
        }
    };
}

products! {
    /// Products of BF16, summed in floats.
    bf16, "tdpbf16ps"
}
products! {
    /// Products of unsigned bytes on the left and signed ones on the right, summed in
    /// `i32`.
    bytes, "tdpbusd"
}

/// Groups of rows, vectors, and where all of it is, if it is there.
fn places(tile: &Tile<'_>, out: &mut [f32]) -> (usize, usize, Places) {
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
    let left = tile.left.as_ptr();
    let places = Places {
        left: [left, left.wrapping_add(tile.pitch)],
        right: tile.right.as_ptr(),
        steps,
        out: out.as_mut_ptr(),
        ahead: tile.ahead.as_ptr(),
    };
    (groups, vectors, places)
}
