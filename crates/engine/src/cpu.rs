//! The towers on the CPU, on kernels of our own (the crate `siglip2-cpu`).
//!
//! ```text
//! Config, Weights --pack, on all threads--> Vision, Text
//! Pixels (bytes)  --vision--> Rows
//! token ids       --text----> Rows
//! ```
//!
//! Both towers share one team of threads. Once weights are packed, the pages of the mapped
//! files are given back; only the table of token vectors is read from them later.

use std::sync::Arc;

use siglip2_cpu::{Dtype, Keep, Source, Team, Tensor};
use siglip2_image::{ImageError, Processor, RgbImage, Target};
use siglip2_model::checkpoint::{Checkpoint, CheckpointError, Config, DType, Resolution, Weights};
use siglip2_model::graph;

use super::{Batch, Completion, Engine, EngineError, EngineInfo, Pixels, Prepare, Rows};

mod agreement;
mod calibration;
mod precision;
mod towers;

pub use calibration::{Calibration, CalibrationError, FaultySample, SampleError, Samples};
pub use precision::{CpuPrecision, Kernel, NoKernel};
pub use siglip2_cpu::Peak;
use towers::{Shapes, Towers};

/// Where pictures differ in size, one with this many patches counts as one row of work. It is
/// the maximum of google's NaFlex checkpoints.
const ROW_OF_PATCHES: u64 = 256;

/// How the CPU engine is built.
#[derive(Clone, Copy, Debug)]
pub struct CpuOptions {
    /// Threads that compute.
    pub threads: usize,
    /// The largest batch.
    pub max_batch: usize,
    /// What the products are computed in.
    pub kernel: Kernel,
}

impl CpuOptions {
    /// FP32 on the best kernel that the processor has.
    pub fn fp32(threads: usize, max_batch: usize) -> Self {
        Self {
            threads,
            max_batch,
            kernel: Kernel::fp32(),
        }
    }
}

/// Why there is no CPU engine.
#[derive(Debug, thiserror::Error)]
pub enum CpuEngineError {
    /// The checkpoint does not hold what its configuration calls for.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tower could not be loaded, or failed on its canaries.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The precision that was asked for gives other vectors than FP32.
    #[error(
        "in {precision} this model's vectors are too far from FP32's: their cosine is \
         {worst:.5}, and must be at least {least}; use --precision fp32, or auto"
    )]
    Apart {
        /// What was asked for.
        precision: &'static str,
        /// The worst cosine.
        worst: f64,
        /// What it should have been.
        least: f64,
    },
}

/// Both towers on the CPU.
pub struct CpuEngine {
    towers: Towers,
    team: Team,
    preparer: Arc<CpuPrepare>,
    /// What computes: FP32's if the one that was asked for gave way.
    kernel: Kernel,
    info: EngineInfo,
}

impl CpuEngine {
    /// Describes the engine that [`CpuEngine::load`] returns if its canaries pass.
    pub fn describe(config: &Config, options: CpuOptions) -> EngineInfo {
        EngineInfo {
            name: "siglip2-cpu",
            device: "cpu",
            precision: options.kernel.isa().precision().name(),
            agreement: None,
            dimensions: config.dimensions(),
            max_batch: options.max_batch.max(1),
            slots: 1,
            device_timeout: None,
        }
    }

    /// Whether the checkpoint holds every tensor that its configuration calls for, in
    /// the shape that it calls for. Takes milliseconds; [`CpuEngine::load`] takes
    /// a good part of a second.
    ///
    /// # Errors
    ///
    /// When a tensor is missing or misshapen.
    pub fn check(checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let (config, weights) = (&checkpoint.config, &checkpoint.weights);
        let precision = graph::Precision::Fp32;
        match config.vision.resolution {
            Resolution::Fixed => graph::vision(&config.vision, weights, precision)?,
            // Of what pictures become the tensors know nothing.
            Resolution::Variable => {
                graph::naflex(&config.vision, weights, precision, &[[0.0; 256]; 3])?
            }
        };
        graph::text(&config.text, weights, precision)?;
        Ok(())
    }

    /// Loads both towers of a checkpoint. If they are not in FP32, they embed canaries, whose
    /// embeddings are compared with FP32's. If those are too far apart, a kernel that was
    /// chosen automatically gives way to FP32, and one that was asked for is refused.
    ///
    /// # Errors
    ///
    /// When a tensor is missing or misshapen, the processor does not run the kernel, or
    /// the canaries are too far from FP32.
    pub fn load(
        checkpoint: &Checkpoint,
        processor: &Processor,
        options: CpuOptions,
    ) -> Result<Self, CpuEngineError> {
        Self::load_known(checkpoint, processor, options, None)
    }

    /// Like [`CpuEngine::load`], where it may be `known` which worst cosine to FP32 the canaries of
    /// these weights have on this kernel ([`EngineInfo::agreement`] of an earlier engine): they are not embedded
    /// again then.
    ///
    /// # Errors
    ///
    /// Those of [`CpuEngine::load`].
    pub fn load_known(
        checkpoint: &Checkpoint,
        processor: &Processor,
        options: CpuOptions,
        known: Option<f64>,
    ) -> Result<Self, CpuEngineError> {
        Self::check(checkpoint)?;
        let team = Team::new(options.threads.max(1));
        let shapes = Shapes::of(&checkpoint.config, processor);
        let source: Arc<dyn Source> = Arc::new(Files(checkpoint.weights.clone()));
        let load =
            |kernel: Kernel| Towers::load(kernel.isa(), &team, &source, &shapes, Keep::Packed);
        let mut kernel = options.kernel;
        let mut agreement = None;
        let mut towers = None;
        if !kernel.is_fp32() {
            let worst = match known {
                Some(worst) => worst,
                None => {
                    let asked = towers.insert(load(kernel)?);
                    agreement::worst(asked, &team, &source, &shapes)?
                }
            };
            tracing::info!(
                kernel = kernel.name(),
                cosine = worst,
                "canaries were compared with FP32{}",
                if known.is_some() {
                    " at an earlier start"
                } else {
                    ""
                }
            );
            agreement = Some(worst);
            let least = kernel.least_cosine();
            // NaN is too little, too.
            let agrees = worst >= least;
            if !agrees && !kernel.may_fall_back() {
                return Err(CpuEngineError::Apart {
                    precision: kernel.precision(),
                    worst,
                    least,
                });
            }
            if !agrees {
                let fp32 = Kernel::fp32();
                tracing::warn!(
                    kernel = fp32.name(),
                    refused = kernel.name(),
                    cosine = worst,
                    least,
                    "taking FP32: in {} the canaries are too far from it",
                    kernel.precision()
                );
                kernel = fp32;
                // The other's weights go first: the peak of memory is that of one engine.
                towers = None;
            }
        }
        let towers = match towers {
            Some(towers) => towers,
            None => load(kernel)?,
        };
        source.release();
        Ok(Self {
            info: EngineInfo {
                precision: kernel.precision(),
                agreement,
                ..Self::describe(&checkpoint.config, options)
            },
            towers,
            team,
            kernel,
            preparer: Arc::new(CpuPrepare {
                processor: processor.clone(),
            }),
        })
    }

    /// What computes: [`CpuOptions::kernel`], or the one for FP32 that it gave way to.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// How fast its threads are together in the kernel's own instruction, in operations a second,
    /// and which that is: what its products can reach at most. Takes a second; none for kernels in
    /// plain Rust.
    ///
    /// # Errors
    ///
    /// When a thread panicked.
    pub fn peak(&self) -> Result<Option<Peak>, EngineError> {
        let time = std::time::Duration::from_secs(1);
        siglip2_cpu::peak(self.kernel.isa(), &self.team, time)
            .map_err(|error| EngineError::Failed(error.to_string()))
    }

    /// Runs a batch; `between` is called wherever another batch could be run.
    fn run(&self, batch: &Batch, between: &mut dyn FnMut()) -> Result<Rows, EngineError> {
        let failed = |error: siglip2_cpu::Error| EngineError::Failed(error.to_string());
        let dimensions = self.info.dimensions;
        let mut values = vec![0.0; batch.len() * dimensions];
        match batch {
            Batch::Images(images) => {
                let images: Option<Vec<&RgbImage>> = images.iter().map(Pixels::decoded).collect();
                let images = images.ok_or_else(|| {
                    EngineError::Failed("an image was not decoded for the CPU".into())
                })?;
                self.towers
                    .images(&self.team, &images, between, &mut values)
                    .map_err(failed)?;
            }
            Batch::Texts(texts) => {
                let texts: Vec<&[i32]> = texts.iter().map(Vec::as_slice).collect();
                let text = &self.towers.text;
                text.run(&self.team, &texts, between, &mut values)
                    .map_err(failed)?;
            }
        }
        Rows::new(dimensions, values)
    }
}

impl Engine for CpuEngine {
    fn info(&self) -> EngineInfo {
        self.info.clone()
    }

    /// A picture of variable resolution is as much work as it has patches. A batch has as many
    /// patches as its rows would have if each had google's maximum, and room for at least two
    /// pictures, so that one of a bulk request fits beside an interactive one.
    fn max_batch_pixels(&self) -> Option<u64> {
        match self.preparer.processor.target() {
            Target::Square { .. } | Target::Middle { .. } => None,
            Target::Patches { patch, most } => {
                let rows = self.info.max_batch as u64 * ROW_OF_PATCHES;
                Some(rows.max(2 * u64::from(most)) * u64::from(patch).pow(2))
            }
        }
    }

    fn preparer(&self) -> Arc<dyn Prepare> {
        Arc::clone(&self.preparer) as Arc<dyn Prepare>
    }

    fn submit(&mut self, batch: Batch, done: Completion) {
        done.finish(self.run(&batch, &mut || ()));
    }

    fn submit_and_rest(
        &mut self,
        batch: Batch,
        done: Completion,
        next: &mut dyn FnMut() -> Option<(Batch, Completion)>,
    ) {
        let rows = self.run(&batch, &mut || {
            while let Some((batch, done)) = next() {
                done.finish(self.run(&batch, &mut || ()));
            }
        });
        done.finish(rows);
    }
}

/// Resizes on any thread. Pixels stay bytes until their batch runs: in the queue that takes a
/// quarter of the memory of floats.
struct CpuPrepare {
    processor: Processor,
}

impl Prepare for CpuPrepare {
    fn processor(&self) -> Option<&Processor> {
        Some(&self.processor)
    }

    fn prepare(&self, image: RgbImage) -> Result<Pixels, ImageError> {
        let target = self.processor.target();
        if target.keeps(image.width(), image.height()) {
            return Ok(Pixels::Decoded(image));
        }
        self.processor.resize(&image).map(Pixels::Decoded)
    }
}

/// A checkpoint's tensors, as the kernels ask for them.
struct Files(Weights);

impl Source for Files {
    fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let (tensor, bytes) = self.0.find(name)?;
        Some(Tensor {
            dtype: match tensor.dtype {
                DType::F32 => Dtype::F32,
                DType::F16 => Dtype::F16,
                DType::BF16 => Dtype::BF16,
            },
            shape: &tensor.shape,
            bytes,
        })
    }

    fn release(&self) {
        self.0.release();
    }
}
