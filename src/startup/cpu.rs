//! Starting on the CPU: a checkpoint, run by this project's own kernels.

use std::borrow::Cow;
use std::error::Error;
use std::thread::JoinHandle;

use super::Loaded;
use super::files::Files;
use crate::checkpoint::Checkpoint;
use crate::engine::cpu::{CpuEngine, CpuEngineError, CpuOptions, CpuPrecision, Kernel};
use crate::engine::{Engine, EngineInfo};
use crate::image::Processor;
use crate::service::batcher::Worker;
use crate::settings::{Precision, Settings, SettingsError};
use siglip2_model::fingerprint::WeightsDigest;

/// A lower bound on the largest batch on the CPU. More than a few rows per thread make a batch
/// no faster, and whatever arrives meanwhile waits longer.
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
    /// Loaded already unless it computes in FP32: only its canaries decide on the precision.
    engine: Option<CpuEngine>,
    digest: Digest,
}

/// The digest of the weights, computed in the background while the tokenizer is read: that
/// takes one thread a good part of the time that the weights take.
struct Digest(Option<JoinHandle<WeightsDigest>>);

impl Digest {
    fn start(checkpoint: &Checkpoint, threads: usize) -> Self {
        let weights = checkpoint.weights.clone();
        let hash = move || WeightsDigest::of(&weights, threads);
        // Without a thread it is computed when it is asked for.
        let thread = std::thread::Builder::new().name("weights-digest".into());
        Self(thread.spawn(hash).ok())
    }

    fn get(self, checkpoint: &Checkpoint, threads: usize) -> WeightsDigest {
        let done = self.0.and_then(|thread| thread.join().ok());
        done.unwrap_or_else(|| WeightsDigest::of(&checkpoint.weights, threads))
    }
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
            digest: Digest::start(&checkpoint, options.threads),
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
        let (threads, asked) = (self.options.threads, self.options.kernel);
        let Some(engine) = &self.engine else {
            return format!("{threads} threads, {}, {}", asked.name(), asked.precision());
        };
        let kernel = engine.kernel();
        let (name, precision) = (kernel.name(), kernel.precision());
        let cosine = engine.info().agreement.unwrap_or(f64::NAN);
        if kernel.is_fp32() {
            let refused = asked.name();
            format!(
                "{threads} threads, {name}, {precision}, because {refused} has a cosine of only {cosine:.6} to it"
            )
        } else {
            format!("{threads} threads, {name}, {precision}, cosine to FP32 {cosine:.6}")
        }
    }

    /// Loads the weights, and waits for their digest. A rebuild uses the same mapped files.
    pub(super) fn load(mut self, processor: Processor) -> Result<Loaded, CpuEngineError> {
        // Kept for a rebuild, without the tokenizer's 34 MB of JSON, which are not needed
        // again.
        self.checkpoint.files.tokenizer = Cow::default();
        let Self {
            checkpoint,
            options,
            engine,
            digest,
        } = self;
        // Before an engine in FP32 is loaded: both would read the whole checkpoint, and the
        // engine gives pages back.
        let digest = digest.get(&checkpoint, options.threads);
        checkpoint.weights.release();
        let load = move || {
            CpuEngine::load(&checkpoint, &processor, options)
                .map(|engine| Box::new(engine) as Box<dyn Engine>)
        };
        let worker = Worker {
            engine: match engine {
                Some(engine) => Box::new(engine),
                None => load()?,
            },
            rebuild: Some(Box::new(move || Ok(load()?))),
        };
        Ok((vec![worker], Some(digest)))
    }
}

/// The kernel that the settings ask for.
fn kernel(settings: &Settings) -> Result<Kernel, Box<dyn Error>> {
    if let Some(name) = &settings.cpu_kernel {
        return Ok(Kernel::named(name)?);
    }
    let precision = match settings.precision {
        Precision::Auto => CpuPrecision::Auto,
        Precision::Fp32 => CpuPrecision::Fp32,
        Precision::Bf16 => CpuPrecision::Bf16,
        Precision::Int8 => CpuPrecision::Int8,
        Precision::Fp16 | Precision::Fp8 => {
            let name = match settings.precision {
                Precision::Fp8 => "fp8",
                _ => "fp16",
            };
            return Err(SettingsError::PrecisionOfGpus(name).into());
        }
    };
    Ok(Kernel::of(precision)?)
}
