//! The towers as the outside sees them: a kernel chosen at run time.

use std::sync::Arc;

use crate::error::Error;
#[cfg(target_arch = "x86_64")]
use crate::kernel::{Amx, Avx512Bf16};
use crate::kernel::{Fp32, Kernel};
use crate::shape::{TextShape, VisionShape};
use crate::simd::Portable;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::source::Source;
use crate::team::Team;
use crate::tower::{Input, Keep, Patches, Picture, TextTower, VisionTower, Way};

/// What the products of a tower are computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Floats.
    Fp32,
    /// The operands of products in BF16; sums, softmax, layer norms and the residual
    /// stream in FP32.
    Bf16,
}

impl Precision {
    /// `fp32` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
        }
    }
}

/// The kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// FP32 in plain Rust, on any processor (on aarch64 that is NEON).
    Portable,
    /// FP32 on AVX2 with FMA.
    Avx2,
    /// FP32 on AVX-512.
    Avx512,
    /// BF16 on AVX512-BF16.
    Avx512Bf16,
    /// BF16 on AMX tiles.
    AmxBf16,
}

impl Isa {
    /// All of them, each precision's slowest first.
    pub const ALL: [Self; 5] = [
        Self::Portable,
        Self::Avx2,
        Self::Avx512,
        Self::Avx512Bf16,
        Self::AmxBf16,
    ];

    /// Its name, as the hidden setting and the log have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::AmxBf16 => "amx-bf16",
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
        }
    }

    /// Whether this processor and its operating system run it.
    pub fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Self::Portable => true,
            Self::Avx2 => Avx2::detect().is_some(),
            Self::Avx512 => Avx512::detect().is_some(),
            Self::Avx512Bf16 => Avx512Bf16::detect().is_some(),
            Self::AmxBf16 => Amx::detect().is_some(),
        };
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::Portable;
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
    /// Tiles always are. VDPBF16PS has twice the rate of FP32's multiply-add on AMD's
    /// Zen 4 and Zen 5 (measured: 473 and 236 GFLOP/s on two cores), and half of it on
    /// Intel's processors.
    pub fn pays(self) -> bool {
        match self {
            Self::Portable | Self::Avx2 | Self::Avx512 => true,
            Self::AmxBf16 => self.available(),
            Self::Avx512Bf16 => self.available() && is_amd(),
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

/// A vision tower whose kernel is behind it.
trait AnyVision: Send + Sync {
    fn dimensions(&self) -> usize;
    fn run(
        &self,
        team: &Team,
        input: Input<'_>,
        way: Option<Way>,
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error>;
}

impl<K: Kernel> AnyVision for VisionTower<K> {
    fn dimensions(&self) -> usize {
        self.dimensions()
    }
    fn run(
        &self,
        team: &Team,
        input: Input<'_>,
        way: Option<Way>,
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.run(team, input, way, between, out)
    }
}

/// A text tower whose kernel is behind it.
trait AnyText: Send + Sync {
    fn dimensions(&self) -> usize;
    fn run(
        &self,
        team: &Team,
        texts: &[&[i32]],
        way: Option<Way>,
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error>;
}

impl<K: Kernel> AnyText for TextTower<K> {
    fn dimensions(&self) -> usize {
        self.dimensions()
    }
    fn run(
        &self,
        team: &Team,
        texts: &[&[i32]],
        way: Option<Way>,
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.run(team, texts, way, between, out)
    }
}

/// Calls `$load` with the kernel of `$isa`, where this processor has it.
macro_rules! with_kernel {
    ($isa:expr, |$kernel:ident| $load:expr) => {{
        let isa: Isa = $isa;
        let unavailable = || Error::Unavailable(isa.name());
        match isa {
            Isa::Portable => {
                let $kernel = Fp32::new(Portable);
                $load
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                let $kernel = Fp32::new(Avx2::detect().ok_or_else(unavailable)?);
                $load
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                let $kernel = Fp32::new(Avx512::detect().ok_or_else(unavailable)?);
                $load
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => {
                let $kernel = Avx512Bf16::detect().ok_or_else(unavailable)?;
                $load
            }
            #[cfg(target_arch = "x86_64")]
            Isa::AmxBf16 => {
                let $kernel = Amx::detect().ok_or_else(unavailable)?;
                $load
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => Err(unavailable()),
        }
    }};
}

/// The vision tower of a checkpoint.
pub struct Vision(Box<dyn AnyVision>);

impl Vision {
    /// Packs the weights of the vision tower, on all threads of the team.
    ///
    /// # Errors
    ///
    /// When the processor has no such kernel, the kernel cannot run the shape, or a
    /// tensor is missing or misshapen.
    pub fn load(
        isa: Isa,
        team: &Team,
        source: &Arc<dyn Source>,
        shape: &VisionShape,
        keep: Keep,
    ) -> Result<Self, Error> {
        with_kernel!(isa, |kernel| {
            let tower = VisionTower::load(kernel, team, source, shape.clone(), keep)?;
            Ok(Self(Box::new(tower)))
        })
    }

    /// Floats of an embedding.
    pub fn dimensions(&self) -> usize {
        self.0.dimensions()
    }

    /// Embeds pictures of the side that the tower takes. `out` gets the pooled output of each, not
    /// normalized, one after the other.
    ///
    /// Between any two layers all threads of the team are free, and `between` is called:
    /// it may run another batch on the same team, of this tower or another.
    ///
    /// # Errors
    ///
    /// When a picture or `out` has another size, or a thread panicked.
    pub fn run(
        &self,
        team: &Team,
        pictures: &[Picture<'_>],
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.0
            .run(team, Input::Pictures(pictures), None, between, out)
    }

    /// Embeds pictures of any grid of patches (NaFlex). Each sees its own patches alone:
    /// there is no padding, so there is no mask.
    ///
    /// # Errors
    ///
    /// As [`Vision::run`].
    pub fn run_patches(
        &self,
        team: &Team,
        pictures: &[Patches<'_>],
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.0
            .run(team, Input::Patches(pictures), None, between, out)
    }
}

/// The text tower of a checkpoint.
pub struct Text(Box<dyn AnyText>);

impl Text {
    /// Packs the weights of the text tower, on all threads of the team. The vectors of
    /// the tokens stay with the source.
    ///
    /// # Errors
    ///
    /// As [`Vision::load`].
    pub fn load(
        isa: Isa,
        team: &Team,
        source: &Arc<dyn Source>,
        shape: &TextShape,
        keep: Keep,
    ) -> Result<Self, Error> {
        with_kernel!(isa, |kernel| {
            let tower = TextTower::load(kernel, team, Arc::clone(source), *shape, keep)?;
            Ok(Self(Box::new(tower)))
        })
    }

    /// Floats of an embedding.
    pub fn dimensions(&self) -> usize {
        self.0.dimensions()
    }

    /// Embeds texts, each of as many token ids as the tower has positions; see
    /// [`Vision::run`].
    ///
    /// # Errors
    ///
    /// When a text or `out` has another length, a token id is none of the vocabulary's,
    /// or a thread panicked.
    pub fn run(
        &self,
        team: &Team,
        texts: &[&[i32]],
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.0.run(team, texts, None, between, out)
    }
}

impl std::fmt::Debug for Vision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vision").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Text").finish_non_exhaustive()
    }
}
