//! Starting on the CPU: a checkpoint, run by this project's own kernels.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::canaries::Canaries;
use super::files::Files;
use super::{LoadError, Loaded};
use crate::checkpoint::Checkpoint;
use crate::engine::cpu::{CpuEngine, CpuEngineError, CpuOptions, CpuPrecision, Kernel};
use crate::engine::{Engine, EngineInfo};
use crate::image::Processor;
use crate::service::batcher::Worker;
use crate::settings::{Precision, Settings, SettingsError};
use siglip2_model::files::ModelFiles;
use siglip2_model::fingerprint::WeightsDigest;

/// A lower bound on the largest batch on the CPU. More than a few rows per thread make a batch
/// no faster, and whatever arrives meanwhile waits longer.
const MIN_BATCH: usize = 4;

/// The same where nobody waits for single rows: between two batches the threads of the engine wait
/// for its owner, which matters to small models.
const MIN_BULK_BATCH: usize = 32;

/// Rows of a thread, where nobody waits for single rows.
const BULK_ROWS: usize = 4;

/// A checkpoint whose weights are being read.
pub(super) struct Cpu {
    checkpoint: Checkpoint,
    processor: Processor,
    options: CpuOptions,
    weights: Weights,
}

/// An engine, and the digest of its weights.
type Read = (CpuEngine, WeightsDigest);

/// Weights that are read in the background, while the tokenizer is, which takes one thread about as
/// long as all others take for the weights.
enum Weights {
    Reading(JoinHandle<Result<Read, CpuEngineError>>),
    Read(Box<Read>),
}

/// Held while weights are read: of several models only one at a time is in memory twice, in its
/// files and packed.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Weights {
    /// Begins to hash the weights and to pack them, one after the other: both read the whole
    /// checkpoint, and give its pages back.
    fn begin(
        checkpoint: Checkpoint,
        processor: Processor,
        options: CpuOptions,
        canaries: Option<PathBuf>,
    ) -> io::Result<Self> {
        let read = move || {
            let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            let digest = WeightsDigest::of(&checkpoint, options.threads);
            checkpoint.weights.release();
            let canaries = kept(canaries, &digest, &processor, options.kernel);
            let known = canaries.as_ref().and_then(Canaries::known);
            let engine = CpuEngine::load_known(&checkpoint, &processor, options, known)?;
            keep(canaries, known, engine.info().agreement);
            Ok((engine, digest))
        };
        let thread = thread::Builder::new().name("load-weights".into());
        Ok(Self::Reading(thread.spawn(read)?))
    }

    /// Waits until they are read.
    fn read(self) -> Result<Box<Read>, LoadError> {
        match self {
            Self::Read(read) => Ok(read),
            Self::Reading(thread) => match thread.join() {
                Ok(read) => read.map(Box::new).map_err(LoadError::unusable),
                // Its message has been printed.
                Err(_) => Err(LoadError::unusable("reading the weights panicked")),
            },
        }
    }
}

impl Cpu {
    /// Finds the checkpoint, checks that it has the tensors its configuration requires, and begins
    /// to read them.
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
        let processor = Files::of(&checkpoint)?.processor(settings)?;
        Ok(Self {
            weights: Weights::begin(
                without_tokenizer(&checkpoint),
                processor.clone(),
                options,
                settings.canary_cache(),
            )?,
            checkpoint,
            processor,
            options,
        })
    }

    pub(super) fn files(&self) -> Result<Files<'_>, Box<dyn Error>> {
        Files::of(&self.checkpoint)
    }

    /// Waits for the weights unless it computes in FP32: otherwise only the canaries decide on the
    /// precision.
    pub(super) fn settled(self) -> Result<Self, LoadError> {
        if self.options.kernel.is_fp32() {
            return Ok(self);
        }
        Ok(Self {
            weights: Weights::Read(self.weights.read()?),
            ..self
        })
    }

    /// What will compute.
    pub(super) fn engine(&self) -> EngineInfo {
        match &self.weights {
            Weights::Read(read) => read.0.info(),
            Weights::Reading(_) => CpuEngine::describe(&self.checkpoint.config, self.options),
        }
    }

    pub(super) fn is_demo(&self) -> bool {
        self.checkpoint.is_demo
    }

    /// Describes it for the log.
    pub(super) fn describe(&self) -> String {
        let (threads, asked) = (self.options.threads, self.options.kernel);
        let Weights::Read(read) = &self.weights else {
            return format!("{threads} threads, {}, {}", asked.name(), asked.precision());
        };
        let (engine, _) = &**read;
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

    /// Waits for the weights. A rebuild uses the same mapped files.
    pub(super) fn load(self) -> Result<Loaded, LoadError> {
        let Self {
            checkpoint,
            processor,
            options,
            weights,
        } = self;
        let kept = without_tokenizer(&checkpoint);
        drop(checkpoint);
        let (engine, digest) = *weights.read()?;
        let rebuild = move || {
            CpuEngine::load(&kept, &processor, options)
                .map(|engine| Box::new(engine) as Box<dyn Engine>)
        };
        let worker = Worker {
            engine: Box::new(engine),
            rebuild: Some(Box::new(move || Ok(rebuild()?))),
        };
        Ok((vec![worker], Some(digest)))
    }
}

/// What canaries showed at earlier starts, if this kernel has any.
fn kept(
    directory: Option<PathBuf>,
    weights: &WeightsDigest,
    processor: &Processor,
    kernel: Kernel,
) -> Option<Canaries> {
    let directory = directory.filter(|_| !kernel.is_fp32())?;
    let size = format!("{:?}", processor.target());
    Canaries::new(&directory, weights, kernel.name(), &size)
        .inspect_err(|error| tracing::debug!(%error, "what canaries show is not kept"))
        .ok()
}

/// Keeps what they showed now.
fn keep(canaries: Option<Canaries>, known: Option<f64>, found: Option<f64>) {
    if let (Some(canaries), None, Some(found)) = (canaries, known, found)
        && let Err(error) = canaries.keep(found)
    {
        tracing::debug!(%error, "what the canaries showed could not be kept");
    }
}

/// What an engine needs of a checkpoint: all but the tokenizer's 34 MB of JSON.
fn without_tokenizer(checkpoint: &Checkpoint) -> Checkpoint {
    Checkpoint {
        config: checkpoint.config.clone(),
        files: ModelFiles::default(),
        weights: checkpoint.weights.clone(),
        is_demo: checkpoint.is_demo,
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
