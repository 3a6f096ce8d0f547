//! Which kernel the towers run on.

use siglip2_cpu::{Isa, Precision};

/// What the CPU's products are computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuPrecision {
    /// BF16 if the processor is made to be faster in it and the model's vectors hardly change,
    /// otherwise FP32.
    Auto,
    /// FP32.
    Fp32,
    /// BF16.
    Bf16,
    /// Bytes in the products of the layers; never chosen by `Auto`.
    Int8,
}

/// Why there is no kernel of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKernel {
    /// The processor has no instructions for BF16.
    #[error(
        "--precision bf16 (PRECISION): this processor has neither AMX nor AVX512-BF16; take fp32, \
         or auto"
    )]
    Bf16,
    /// The processor has no instructions that make INT8 faster than FP32.
    #[error(
        "--precision int8 (PRECISION): this processor has neither AMX nor VNNI, and without them \
         bytes are slower than FP32; take fp32, or auto"
    )]
    Int8,
    /// No kernel has this name.
    #[error("--cpu-kernel (CPU_KERNEL) must be one of {}", Isa::ALL.map(Isa::name).join(", "))]
    Unknown,
    /// The processor does not run the kernel of this name.
    #[error("--cpu-kernel (CPU_KERNEL): this processor does not run {0}")]
    NotHere(String),
}

/// A kernel that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    isa: Isa,
    chosen: bool,
}

impl Kernel {
    /// The kernel for a precision.
    ///
    /// # Errors
    ///
    /// When the processor has none for it.
    pub fn of(precision: CpuPrecision) -> Result<Self, NoKernel> {
        let half = Isa::best(Precision::Bf16);
        match precision {
            CpuPrecision::Fp32 => Ok(Self::fp32()),
            CpuPrecision::Auto => Ok(match half.filter(|isa| isa.pays()) {
                Some(isa) => Self { isa, chosen: false }.or_fp32(),
                None => Self::fp32(),
            }),
            CpuPrecision::Bf16 => match half {
                Some(isa) => Ok(Self { isa, chosen: false }),
                None => Err(NoKernel::Bf16),
            },
            CpuPrecision::Int8 => match Isa::best(Precision::Int8).filter(|isa| isa.pays()) {
                Some(isa) => Ok(Self { isa, chosen: false }),
                None => Err(NoKernel::Int8),
            },
        }
    }

    /// The kernel of this name, whatever else the processor has: for tests and
    /// measurements.
    ///
    /// # Errors
    ///
    /// When there is none of this name, or the processor does not run it.
    pub fn named(name: &str) -> Result<Self, NoKernel> {
        let isa = Isa::named(name.trim()).ok_or(NoKernel::Unknown)?;
        if !isa.available() {
            return Err(NoKernel::NotHere(name.to_owned()));
        }
        Ok(Self { isa, chosen: false })
    }

    /// The same, which gives way to FP32 where the canaries are too far from it.
    pub fn or_fp32(self) -> Self {
        Self {
            chosen: true,
            ..self
        }
    }

    /// Every kernel that this processor has.
    pub fn all() -> impl Iterator<Item = Self> {
        let isas = Isa::ALL.into_iter().filter(|isa| isa.available());
        isas.map(|isa| Self { isa, chosen: false })
    }

    /// The best one for FP32.
    pub fn fp32() -> Self {
        Self {
            // Plain Rust runs everywhere.
            isa: Isa::best(Precision::Fp32).unwrap_or(Isa::Portable),
            chosen: false,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.isa.name()
    }

    /// What it computes in: `fp32`, `bf16` or `int8`.
    pub fn precision(self) -> &'static str {
        self.isa.precision().name()
    }

    /// Whether it computes in FP32.
    pub fn is_fp32(self) -> bool {
        self.isa.precision() == Precision::Fp32
    }

    /// The cosine to FP32 that every canary must have: a fraction below what the kernel's
    /// numbers are known to give (docs/precision.md).
    pub fn least_cosine(self) -> f64 {
        match self.isa.precision() {
            Precision::Fp32 => 1.0,
            Precision::Bf16 => 0.999,
            Precision::Int8 => 0.995,
        }
    }

    /// Whether FP32 may be used instead.
    pub(super) fn may_fall_back(self) -> bool {
        self.chosen
    }

    pub(super) fn isa(self) -> Isa {
        self.isa
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_kernel_is_what_was_asked_for_or_a_sentence() {
        assert!(Kernel::of(CpuPrecision::Fp32).unwrap().is_fp32());
        let auto = Kernel::of(CpuPrecision::Auto).unwrap();
        assert!(auto.isa().available() && auto.isa().pays());
        match Kernel::of(CpuPrecision::Bf16) {
            Ok(kernel) => assert!(!kernel.is_fp32() && !kernel.may_fall_back()),
            Err(reason) => assert_eq!(reason, NoKernel::Bf16),
        }
        match Kernel::of(CpuPrecision::Int8) {
            Ok(kernel) => {
                assert_eq!(kernel.isa().precision(), Precision::Int8);
                assert!(kernel.isa().pays() && !kernel.may_fall_back());
            }
            Err(reason) => assert_eq!(reason, NoKernel::Int8),
        }
        assert_ne!(auto.isa().precision(), Precision::Int8);
        assert!(Kernel::named("portable").unwrap().is_fp32());
        let error = Kernel::named("sse").unwrap_err().to_string();
        assert!(
            error.contains("avx2") && error.contains("CPU_KERNEL"),
            "{error}"
        );
        for isa in Isa::ALL {
            assert_eq!(Kernel::named(isa.name()).is_ok(), isa.available());
        }
    }
}
