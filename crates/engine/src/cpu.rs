//! The towers on the CPU, on kernels of our own (the crate `siglip2-cpu`).
//!
//! ```text
//! Config, Weights --pack, on all threads--> Vision, Text
//! Pixels (bytes)  --vision--> Rows
//! token ids       --text----> Rows
//! ```
//!
//! Both towers share one team of threads. What is packed is not read from the mapped
//! files again, and its pages are given back; the vectors of the tokens stay there.

use std::sync::Arc;

use siglip2_cpu::{Dtype, Keep, Source, Team, Tensor};
use siglip2_image::{ImageError, Processor, RgbImage, Target};
use siglip2_model::checkpoint::{Checkpoint, CheckpointError, Config, DType, Weights};
use siglip2_model::graph;

use super::{Batch, Completion, Engine, EngineError, EngineInfo, Pixels, Prepare, Rows};

mod agreement;
mod precision;
mod towers;

pub use precision::{CpuPrecision, Kernel};
use towers::{Shapes, Towers};

/// Patches of a picture that is one row's worth of work, where pictures differ: what google's
/// NaFlex checkpoints have at most.
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
        "in {precision} this model's vectors are too far from FP32's: cosine {worst:.5}, and \
         {least} is asked for; take --precision fp32"
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
    info: EngineInfo,
}

impl CpuEngine {
    /// What an engine of this checkpoint will be, if its canaries are what they should be.
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
        let precision = graph::Precision::Fp32;
        graph::vision(&checkpoint.config.vision, &checkpoint.weights, precision)?;
        graph::text(&checkpoint.config.text, &checkpoint.weights, precision)?;
        Ok(())
    }

    /// Loads both towers of a checkpoint. In half precision they are asked for the
    /// embeddings of canaries, and those are held to the same in FP32: where the kernel
    /// may be chosen by itself, FP32 is taken if they are too far apart.
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
        Self::check(checkpoint)?;
        let team = Team::new(options.threads.max(1));
        let shapes = Shapes::of(&checkpoint.config, processor);
        let source: Arc<dyn Source> = Arc::new(Files(checkpoint.weights.clone()));
        let mut isa = options.kernel.isa();
        let mut towers = Towers::load(isa, &team, &source, &shapes, Keep::Packed)?;
        let mut agreement = None;
        if isa.precision() != siglip2_cpu::Precision::Fp32 {
            let worst = agreement::worst(&towers, &team, &source, &shapes)?;
            tracing::info!(
                kernel = isa.name(),
                cosine = worst,
                "canaries were compared with FP32"
            );
            // Not a number is too little, too.
            if worst >= agreement::LEAST {
                agreement = Some(worst);
            } else if options.kernel.may_fall_back() {
                tracing::warn!(
                    cosine = worst,
                    "half precision is not taken: the canaries are too far from FP32"
                );
                isa = Kernel::fp32().isa();
                towers = Towers::load(isa, &team, &source, &shapes, Keep::Packed)?;
            } else {
                return Err(CpuEngineError::Apart {
                    precision: isa.precision().name(),
                    worst,
                    least: agreement::LEAST,
                });
            }
        }
        source.release();
        Ok(Self {
            info: EngineInfo {
                precision: isa.precision().name(),
                agreement,
                ..Self::describe(&checkpoint.config, options)
            },
            towers,
            team,
            preparer: Arc::new(CpuPrepare {
                processor: processor.clone(),
            }),
        })
    }

    /// Runs a batch; `between` is called wherever another batch could be run.
    fn run(&self, batch: &Batch, between: &mut dyn FnMut()) -> Result<Rows, EngineError> {
        let failed = |error: siglip2_cpu::Error| EngineError::Failed(error.to_string());
        let dimensions = self.info.dimensions;
        let mut values = vec![0.0; batch.len() * dimensions];
        match batch {
            Batch::Images(images) => {
                let images: Vec<&RgbImage> = images.iter().map(|image| &image.0).collect();
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

    /// Pictures of variable resolution are as much work as they have patches: a batch has as
    /// many as its rows would have with google's most, and room for two pictures at least, so
    /// that there can be one of a bulk request beside an interactive one.
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

/// Resizes on any thread; the pixels stay bytes until their batch runs, a quarter
/// of the memory that floats would take in the queue.
struct CpuPrepare {
    processor: Processor,
}

impl Prepare for CpuPrepare {
    fn prepare(&self, image: RgbImage) -> Result<Pixels, ImageError> {
        let target = self.processor.target();
        if target.keeps(image.width(), image.height()) {
            return Ok(Pixels(image));
        }
        self.processor.resize(&image).map(Pixels)
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
