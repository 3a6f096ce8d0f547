//! Starting on the CPU: a checkpoint, run by this project's own kernels.

use std::borrow::Cow;
use std::error::Error;

use super::Loaded;
use super::files::Files;
use crate::checkpoint::Checkpoint;
use crate::engine::cpu::{CpuEngine, CpuOptions, CpuPrecision, Kernel};
use crate::engine::{Engine, EngineInfo};
use crate::image::Processor;
use crate::service::batcher::Worker;
use crate::settings::{Precision, Settings};
use siglip2_model::fingerprint::WeightsDigest;

/// A lower bound on the largest batch on the CPU. The engine distributes a batch to its threads
/// row by row, so more than a few rows per thread make it no faster, and a text that arrives
/// meanwhile waits for all of them.
const MIN_BATCH: usize = 4;

/// The same where nobody waits for single rows: between two batches the threads of the engine wait
/// for its owner, which matters to small models.
const MIN_BULK_BATCH: usize = 32;

/// Rows of a thread, where nobody waits for single rows.
const BULK_ROWS: usize = 4;

/// A checkpoint that can be loaded.
pub(super) struct Cpu {
    checkpoint: Checkpoint,
    options: CpuOptions,
    /// Loaded already if it may compute in half precision: only its canaries decide that.
    engine: Option<CpuEngine>,
}

impl Cpu {
    /// Finds the checkpoint, and checks that it has the tensors its configuration requires.
    pub(super) fn choose(settings: &Settings) -> Result<Self, Box<dyn Error>> {
        let hub = &settings.hub;
        let kernel = kernel(settings)?;
        let checkpoint = settings.source()?.open(&hub.revision, &hub.settings())?;
        CpuEngine::check(&checkpoint)?;
        let cores = siglip2_flags::cores();
        let options = CpuOptions {
            threads: settings.compute_threads.unwrap_or(cores),
            max_batch: settings.max_batch.unwrap_or(match settings.is_bulk {
                true => (cores * BULK_ROWS).max(MIN_BULK_BATCH),
                false => cores.max(MIN_BATCH),
            }),
            kernel,
        };
        let engine = if kernel.is_fp32() {
            None
        } else {
            let processor = Files::of(&checkpoint)?.processor(settings)?;
            Some(CpuEngine::load(&checkpoint, &processor, options)?)
        };
        Ok(Self {
            checkpoint,
            options,
            engine,
        })
    }

    pub(super) fn files(&self) -> Result<Files<'_>, Box<dyn Error>> {
        Files::of(&self.checkpoint)
    }

    pub(super) fn engine(&self) -> EngineInfo {
        match &self.engine {
            Some(engine) => engine.info(),
            None => CpuEngine::describe(&self.checkpoint.config, self.options),
        }
    }

    pub(super) fn is_demo(&self) -> bool {
        self.checkpoint.is_demo
    }

    /// Describes it for the log.
    pub(super) fn describe(&self) -> String {
        let (threads, info) = (self.options.threads, self.engine());
        let kernel = self.options.kernel.name();
        match info.agreement {
            Some(cosine) => format!("{threads} threads, {kernel}, cosine to FP32 {cosine:.6}"),
            None => format!("{threads} threads, {kernel}, {}", info.precision),
        }
    }

    /// Loads the weights, and hashes them. A rebuild uses the same mapped files.
    pub(super) fn load(mut self, processor: Processor) -> Result<Loaded, String> {
        // Kept for a rebuild, without the tokenizer's 34 MB of JSON, which are not needed
        // again.
        self.checkpoint.files.tokenizer = Cow::default();
        let Self {
            checkpoint,
            options,
            engine,
        } = self;
        // Before the engine is loaded, which then reads from the page cache.
        let digest = WeightsDigest::of(&checkpoint.weights, options.threads);
        checkpoint.weights.release();
        let load = move || {
            CpuEngine::load(&checkpoint, &processor, options)
                .map(|engine| Box::new(engine) as Box<dyn Engine>)
                .map_err(|error| error.to_string())
        };
        let worker = Worker {
            engine: match engine {
                Some(engine) => Box::new(engine),
                None => load()?,
            },
            rebuild: Some(Box::new(load)),
        };
        Ok((vec![worker], Some(digest)))
    }
}

/// The kernel that the settings ask for.
fn kernel(settings: &Settings) -> Result<Kernel, String> {
    if let Some(name) = &settings.cpu_kernel {
        return Kernel::named(name);
    }
    Kernel::of(match settings.precision {
        Precision::Auto => CpuPrecision::Auto,
        Precision::Fp32 => CpuPrecision::Fp32,
        Precision::Bf16 => CpuPrecision::Bf16,
        Precision::Fp16 => {
            return Err(
                "--precision fp16 (PRECISION) is for GPUs; on the CPU take auto, bf16 or fp32"
                    .to_owned(),
            );
        }
    })
}
