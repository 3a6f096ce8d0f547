//! The public face of the towers: the kernel is chosen at run time.

mod isa;

use std::sync::Arc;

use crate::error::Error;
#[cfg(target_arch = "x86_64")]
use crate::kernel::{Amx, AmxInt8, Avx512Bf16, Vnni512};
use crate::kernel::{Fp32, Int8, Kernel, PlainBytes};
use crate::shape::{TextShape, VisionShape};
use crate::simd::Portable;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::source::Source;
use crate::team::Team;
use crate::tower::{Input, Keep, Largest, Patches, Picture, TextTower, VisionTower};

#[cfg(target_arch = "x86_64")]
use isa::AvxVnni;
pub use isa::{Isa, Precision};

/// A tower whose kernel is behind it; `I` is what it embeds.
trait Any<I>: Send + Sync {
    fn dimensions(&self) -> usize;
    fn observe(&mut self) -> Result<(), Error>;
    fn largest(&self) -> Vec<Largest>;
    fn run(
        &self,
        team: &Team,
        input: I,
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error>;
}

impl<'a, K: Kernel> Any<Input<'a>> for VisionTower<K> {
    fn dimensions(&self) -> usize {
        self.dimensions()
    }
    fn observe(&mut self) -> Result<(), Error> {
        self.observe()
    }
    fn largest(&self) -> Vec<Largest> {
        self.largest()
    }
    fn run(
        &self,
        team: &Team,
        input: Input<'a>,
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.run(team, input, None, between, out)
    }
}

impl<'a, K: Kernel> Any<&'a [&'a [i32]]> for TextTower<K> {
    fn dimensions(&self) -> usize {
        self.dimensions()
    }
    fn observe(&mut self) -> Result<(), Error> {
        self.observe()
    }
    fn largest(&self) -> Vec<Largest> {
        self.largest()
    }
    fn run(
        &self,
        team: &Team,
        texts: &'a [&'a [i32]],
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.run(team, texts, None, between, out)
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
            Isa::PortableInt8 => {
                let $kernel = Int8::new(PlainBytes, Fp32::new(Portable));
                $load
            }
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => {
                let bytes = AvxVnni::detect().ok_or_else(unavailable)?;
                let $kernel = Int8::new(bytes, Fp32::new(bytes.avx2()));
                $load
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => {
                let bytes = Vnni512::detect().ok_or_else(unavailable)?;
                match Avx512Bf16::detect().filter(|_| Isa::Avx512Bf16.pays()) {
                    Some(fine) => {
                        let $kernel = Int8::new(bytes, fine);
                        $load
                    }
                    None => {
                        let $kernel = Int8::new(bytes, Fp32::new(bytes.avx512()));
                        $load
                    }
                }
            }
            #[cfg(target_arch = "x86_64")]
            Isa::AmxInt8 => {
                let $kernel = AmxInt8::new(Amx::detect().ok_or_else(unavailable)?);
                $load
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => Err(unavailable()),
        }
    }};
}

/// The vision tower of a checkpoint.
pub struct Vision(Box<dyn for<'a> Any<Input<'a>>>);

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

    /// From now on notes how large the numbers become that enter each layer's products.
    ///
    /// # Errors
    ///
    /// When the kernel is not one of FP32.
    pub fn observe(&mut self) -> Result<(), Error> {
        self.0.observe()
    }

    /// What was seen of each layer since [`Vision::observe`]; empty without it.
    pub fn largest(&self) -> Vec<Largest> {
        self.0.largest()
    }

    /// Floats of an embedding.
    pub fn dimensions(&self) -> usize {
        self.0.dimensions()
    }

    /// Embeds pictures of the side that the tower takes. `out` gets the pooled output of
    /// each, not normalized, one after the other.
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
        self.0.run(team, Input::Pictures(pictures), between, out)
    }

    /// Embeds pictures with grids of any size (NaFlex). Each attends only to its own patches:
    /// there is no padding, and so no mask.
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
        self.0.run(team, Input::Patches(pictures), between, out)
    }
}

/// The text tower of a checkpoint.
pub struct Text(Box<dyn for<'a> Any<&'a [&'a [i32]]>>);

impl Text {
    /// Packs the weights of the text tower, on all threads of the team. The table of token
    /// vectors is read from the source whenever it is needed.
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

    /// From now on notes how large the numbers become that enter each layer's products.
    ///
    /// # Errors
    ///
    /// When the kernel is not one of FP32.
    pub fn observe(&mut self) -> Result<(), Error> {
        self.0.observe()
    }

    /// What was seen of each layer since [`Text::observe`]; empty without it.
    pub fn largest(&self) -> Vec<Largest> {
        self.0.largest()
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
    /// When a text or `out` has another length, a token id is not in the vocabulary,
    /// or a thread panicked.
    pub fn run(
        &self,
        team: &Team,
        texts: &[&[i32]],
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.0.run(team, texts, between, out)
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
