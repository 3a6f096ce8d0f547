//! How fast the processor is in a kernel's own instruction: what its products are measured by.

use std::time::{Duration, Instant};

use crate::run::Isa;
use crate::team::{Panicked, Team};

/// What all threads reach together where nothing has to be read or written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// The instruction.
    pub instruction: &'static str,
    /// Operations a second; a multiplication and the addition of its product are two.
    pub per_second: f64,
}

/// Pieces of a round for each thread: one that is late does not hold up the others for long.
const PIECES: usize = 8;

/// Turns of a piece: about a millisecond.
const TURNS: usize = 100_000;

/// An instruction in a loop.
struct Measured {
    instruction: &'static str,
    /// Operations of one turn of the loop.
    operations: usize,
    /// Takes so many turns, at least one, on a processor that has the instruction.
    run: unsafe fn(usize),
}

/// The rate of the instruction that the kernel's products are made of: the best of many
/// rounds within this time. None for kernels in plain Rust, which have no instruction of their own,
/// and for those that the processor does not run.
///
/// # Errors
///
/// When a thread panicked.
pub fn peak(isa: Isa, team: &Team, time: Duration) -> Result<Option<Peak>, Panicked> {
    let Some(measured) = measured(isa) else {
        return Ok(None);
    };
    let pieces = PIECES * team.size();
    let operations = (pieces * TURNS * measured.operations) as f64;
    let (began, mut per_second) = (Instant::now(), 0.0_f64);
    while per_second == 0.0 || began.elapsed() < time {
        let round = Instant::now();
        // SAFETY: the kernel is available, and with it its instruction.
        team.each(pieces, |_, _| unsafe { (measured.run)(TURNS) })?;
        let seconds = round.elapsed().as_secs_f64().max(1e-9);
        per_second = per_second.max(operations / seconds);
    }
    Ok(Some(Peak {
        instruction: measured.instruction,
        per_second,
    }))
}

#[cfg(not(target_arch = "x86_64"))]
fn measured(_: Isa) -> Option<Measured> {
    None
}

#[cfg(target_arch = "x86_64")]
use x86::measured;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;

    use super::{Isa, Measured};
    use crate::kernel::tile_rates;

    /// Defines a function that executes `$op $sum, $a, $b` on each of these sums, so many times. There
    /// are enough of them that none waits for its last value.
    macro_rules! rate {
        ($name:ident, $clear:literal, $op:literal, $a:tt, $b:tt, [$($sum:tt)*]) => {
            /// # Safety
            ///
            /// The processor has the instruction; `turns` is not 0.
            unsafe fn $name(turns: usize) {
                // SAFETY: the caller's; all registers that it writes are named.
                unsafe {
                    asm!(
                        concat!($clear, " ", $a, ", ", $a, ", ", $a),
                        concat!($clear, " ", $b, ", ", $b, ", ", $b),
                        $(concat!($clear, " ", $sum, ", ", $sum, ", ", $sum),)*
                        "2:",
                        $(concat!($op, " ", $sum, ", ", $a, ", ", $b),)*
                        "dec {turns}",
                        "jnz 2b",
                        turns = inout(reg) turns => _,
                        out($a) _,
                        out($b) _,
                        $(out($sum) _,)*
                        options(nomem, nostack),
                    );
                }
            }
        };
    }

    /// Twenty-four sums of 512 bits.
    macro_rules! rate_512 {
        ($name:ident, $op:literal) => {
            rate!($name, "vpxord", $op, "zmm24", "zmm25", [
                "zmm0" "zmm1" "zmm2" "zmm3" "zmm4" "zmm5" "zmm6" "zmm7"
                "zmm8" "zmm9" "zmm10" "zmm11" "zmm12" "zmm13" "zmm14" "zmm15"
                "zmm16" "zmm17" "zmm18" "zmm19" "zmm20" "zmm21" "zmm22" "zmm23"
            ]);
        };
    }

    /// Twelve sums of 256 bits.
    macro_rules! rate_256 {
        ($name:ident, $op:literal) => {
            rate!($name, "vpxor", $op, "ymm12", "ymm13", [
                "ymm0" "ymm1" "ymm2" "ymm3" "ymm4" "ymm5"
                "ymm6" "ymm7" "ymm8" "ymm9" "ymm10" "ymm11"
            ]);
        };
    }

    rate_256!(fma_256, "vfmadd231ps");
    rate_512!(fma_512, "vfmadd231ps");
    rate_512!(bf16_512, "vdpbf16ps");
    rate_256!(bytes_256, "{{vex}} vpdpbusd");
    rate_512!(bytes_512, "vpdpbusd");

    /// The loop of this kernel, where the processor has it.
    pub(super) fn measured(isa: Isa) -> Option<Measured> {
        if !isa.available() {
            return None;
        }
        let (instruction, operations, run): (_, _, unsafe fn(usize)) = match isa {
            Isa::Portable | Isa::PortableInt8 => return None,
            Isa::Avx2 => ("vfmadd231ps, 256 bits", 12 * 8 * 2, fma_256),
            Isa::Avx512 => ("vfmadd231ps, 512 bits", 24 * 16 * 2, fma_512),
            Isa::Avx512Bf16 => ("vdpbf16ps, 512 bits", 24 * 32 * 2, bf16_512),
            Isa::AvxVnni => ("vpdpbusd, 256 bits", 12 * 32 * 2, bytes_256),
            Isa::Avx512Vnni => ("vpdpbusd, 512 bits", 24 * 64 * 2, bytes_512),
            Isa::AmxBf16 => ("tdpbf16ps", 4 * 16 * 16 * 32 * 2, tile_rates::bf16),
            Isa::AmxInt8 => ("tdpbusd", 4 * 16 * 16 * 64 * 2, tile_rates::bytes),
        };
        Some(Measured {
            instruction,
            operations,
            run,
        })
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_kernel_with_an_instruction_has_a_rate() {
        let team = Team::new(2);
        for isa in Isa::ALL {
            let plain = matches!(isa, Isa::Portable | Isa::PortableInt8);
            match peak(isa, &team, Duration::ZERO).unwrap() {
                Some(peak) => {
                    assert!(isa.available() && !plain);
                    assert!(
                        peak.per_second.is_finite() && peak.per_second > 0.0,
                        "{peak:?}"
                    );
                }
                None => assert!(plain || !isa.available()),
            }
        }
    }

    /// Where tiles are emulated, their loops run to their ends, too.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[test]
    fn the_loops_of_tiles_end() {
        if crate::testing::tiles::kernel().is_some() {
            // SAFETY: tiles are there, or emulated.
            unsafe {
                crate::kernel::tile_rates::bf16(3);
                crate::kernel::tile_rates::bytes(3);
            }
        }
    }
}
