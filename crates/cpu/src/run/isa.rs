//! Which kernels there are, and which of them this processor has.

#[cfg(target_arch = "x86_64")]
use crate::kernel::{Amx, Avx512Bf16, Vnni256, Vnni512};
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};

/// VPDPBUSD on processors without AVX-512.
#[cfg(target_arch = "x86_64")]
pub(super) type AvxVnni = Vnni256<false>;

/// What the products of a tower are computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Floats.
    Fp32,
    /// The operands of products in BF16; sums, softmax, layer norms and the residual
    /// stream in FP32.
    Bf16,
    /// The products of the layers in bytes, with a factor for each row of activations and
    /// for each output; all else as in BF16 or FP32, whichever is faster.
    Int8,
}

impl Precision {
    /// `fp32`, `bf16` or `int8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

/// The kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// FP32 in plain Rust, on any processor (on aarch64 the compiler makes NEON of it; run there under emulation only).
    Portable,
    /// FP32 on AVX2 with FMA.
    Avx2,
    /// FP32 on AVX-512.
    Avx512,
    /// BF16 on AVX512-BF16.
    Avx512Bf16,
    /// BF16 on AMX tiles.
    AmxBf16,
    /// Bytes in plain Rust.
    PortableInt8,
    /// Bytes on AVX-VNNI, the rest in FP32 on AVX2.
    AvxVnni,
    /// Bytes on AVX512-VNNI, the rest in BF16 where that pays, else in FP32.
    Avx512Vnni,
    /// Bytes on AMX tiles, the rest in BF16 on AMX.
    AmxInt8,
}

impl Isa {
    /// All of them, each precision's slowest first.
    pub const ALL: [Self; 9] = [
        Self::Portable,
        Self::Avx2,
        Self::Avx512,
        Self::Avx512Bf16,
        Self::AmxBf16,
        Self::PortableInt8,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::AmxInt8,
    ];

    /// Its name, as the hidden setting and the log have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::AmxBf16 => "amx-bf16",
            Self::PortableInt8 => "portable-int8",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512Vnni => "avx512-vnni",
            Self::AmxInt8 => "amx-int8",
        }
    }

    /// The kernel of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// What it computes in.
    pub fn precision(self) -> Precision {
        match self {
            Self::Portable | Self::Avx2 | Self::Avx512 => Precision::Fp32,
            Self::Avx512Bf16 | Self::AmxBf16 => Precision::Bf16,
            Self::PortableInt8 | Self::AvxVnni | Self::Avx512Vnni | Self::AmxInt8 => {
                Precision::Int8
            }
        }
    }

    /// Whether this processor and its operating system run it.
    pub fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Self::Portable | Self::PortableInt8 => true,
            Self::Avx2 => Avx2::detect().is_some(),
            Self::Avx512 => Avx512::detect().is_some(),
            Self::Avx512Bf16 => Avx512Bf16::detect().is_some(),
            Self::AmxBf16 | Self::AmxInt8 => Amx::detect().is_some(),
            Self::AvxVnni => AvxVnni::detect().is_some(),
            Self::Avx512Vnni => Vnni512::detect().is_some(),
        };
        #[cfg(not(target_arch = "x86_64"))]
        return matches!(self, Self::Portable | Self::PortableInt8);
    }

    /// The fastest kernel of a precision that this processor has.
    pub fn best(precision: Precision) -> Option<Self> {
        Self::ALL
            .into_iter()
            .rev()
            .find(|isa| isa.precision() == precision && isa.available())
    }

    /// Whether it is faster than FP32 on this processor, by what is known of its make:
    /// not by a measurement, because the same machine must come to the same vectors at
    /// every start.
    ///
    /// Tiles always are, and so are instructions for bytes. VDPBF16PS has twice the rate of
    /// FP32's multiply-add on AMD's Zen 4 and Zen 5 (measured: 473 and 236 GFLOP/s on two
    /// cores), and half of it on Intel's processors.
    pub fn pays(self) -> bool {
        match self {
            Self::Portable | Self::Avx2 | Self::Avx512 => true,
            Self::PortableInt8 => false,
            Self::Avx512Bf16 => self.available() && is_amd(),
            Self::AmxBf16 | Self::AvxVnni | Self::Avx512Vnni | Self::AmxInt8 => self.available(),
        }
    }
}

/// Whether AMD made the processor.
fn is_amd() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let vendor = std::arch::x86_64::__cpuid(0);
        [vendor.ebx, vendor.edx, vendor.ecx]
            .map(u32::to_le_bytes)
            .concat()
            == b"AuthenticAMD"
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// The tests of this crate run every kernel that the processor has. Which those are is part of
    /// what a passed run says, so it is written past the harness, which would hide it.
    #[test]
    fn says_which_kernels_were_tested() {
        let (has, lacks): (Vec<Isa>, Vec<Isa>) =
            Isa::ALL.into_iter().partition(|isa| isa.available());
        assert!(has.contains(&Isa::Portable) && has.contains(&Isa::PortableInt8));
        #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
        let emulates = crate::testing::tiles::kernel().is_some();
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
        let emulates = false;
        let told = |isa: &Isa| match isa {
            Isa::AmxBf16 | Isa::AmxInt8 if emulates => format!("{} (emulated)", isa.name()),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Isa::AvxVnni if Vnni256::<true>::detect().is_some() => {
                format!("{} (AVX512-VNNI's encoding in its place)", isa.name())
            }
            _ => format!("{} (not run)", isa.name()),
        };
        let names = |isas: &[Isa]| {
            isas.iter()
                .map(|isa| isa.name())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let lacks: Vec<String> = lacks.iter().map(told).collect();
        let _ = writeln!(
            std::io::stderr(),
            "note: kernels of this processor, all tested: {}; it lacks: {}",
            names(&has),
            if lacks.is_empty() {
                "none".into()
            } else {
                lacks.join(", ")
            },
        );
    }
}
