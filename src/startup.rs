//! From settings to a service: everything between the command line and the socket.
//!
//! ```text
//! Settings --of each model--choose--> GPUs with their engines | checkpoint on the CPU
//!                         --read----> tokenizer, processor --+--> Models (starting)
//!                         --begin---> weights (CPU)
//! Prepared::load: engines --identify--> index to its model --attach--> Models (ready)
//! ```
//!
//! [`prepare`] finds user errors, downloads, reads the tokenizer, and on the CPU begins to read the
//! weights; it waits for them only where the canaries decide on the precision. [`Prepared::load`] waits
//! for the rest, and loads engines on GPUs.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::engine::Engine;
use crate::http::Spans;
use crate::image::{ImageLimits, Processor};
use crate::index::Indexes;
use crate::service::batcher::Worker;
use crate::service::{Decode, Model, Models, Readiness, Service};
use crate::settings::{Settings, SettingsError};
use siglip2_model::fingerprint::WeightsDigest;

mod canaries;
mod cpu;
mod files;
#[cfg(feature = "tensorrt")]
mod gpu;
mod without_effect;

use cpu::Cpu;

/// Everything that is known before a thread is started or a socket is opened.
pub struct Prepared {
    /// In the order of the models.
    engines: Vec<(Device, Processor)>,
    models: Models,
    indexes: Indexes,
    spans: Option<Spans>,
}

/// What the engines of several models share.
#[derive(Default)]
struct SharedByEngines {
    /// Pinned memory for pictures.
    #[cfg(feature = "tensorrt")]
    arena: Option<crate::tensorrt::run::PinnedMemory>,
}

/// Engines, and the digest of their weights if known.
type Loaded = (Vec<Worker>, Option<WeightsDigest>);

/// Why there is no engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The model, its files or the settings cannot be used here.
    Unusable(String),
    /// The device hangs or is lost: only another process may have it again.
    DeviceGone(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unusable(reason) | Self::DeviceGone(reason)) = self;
        f.write_str(reason)
    }
}

impl Error for LoadError {}

impl LoadError {
    /// The same of an error in preparing: a sentence, unless it says that the device is gone.
    pub fn of(error: Box<dyn Error>) -> Self {
        match error.downcast::<Self>() {
            Ok(known) => *known,
            Err(other) => Self::Unusable(other.to_string()),
        }
    }

    /// What says so.
    pub fn unusable(reason: impl fmt::Display) -> Self {
        Self::Unusable(reason.to_string())
    }

    /// The same, and what it is about before it.
    fn about(self, what: impl fmt::Display) -> Self {
        match self {
            Self::Unusable(reason) => Self::Unusable(format!("{what}: {reason}")),
            Self::DeviceGone(reason) => Self::DeviceGone(format!("{what}: {reason}")),
        }
    }
}

#[cfg(feature = "tensorrt")]
impl From<crate::tensorrt::run::WatchedError> for LoadError {
    fn from(error: crate::tensorrt::run::WatchedError) -> Self {
        use crate::tensorrt::run::WatchedError;
        match error {
            WatchedError::Failed(reason) => Self::Unusable(reason),
            WatchedError::Lost(reason) => Self::DeviceGone(format!("the device is lost: {reason}")),
            hangs @ WatchedError::Hangs { .. } => Self::DeviceGone(hangs.to_string()),
        }
    }
}

/// The device that will compute.
enum Device {
    Cpu(Box<Cpu>),
    #[cfg(feature = "tensorrt")]
    Gpu(gpu::Gpus),
}

impl Device {
    #[cfg(feature = "tensorrt")]
    fn choose(settings: &Settings, limits: ImageLimits) -> Result<Self, Box<dyn Error>> {
        Ok(match gpu::Gpus::choose(settings, limits)? {
            Some(gpus) => Device::Gpu(gpus),
            None => {
                // If a GPU was looked for, a warning has already said what is missing.
                if settings.force_cpu || settings.device == crate::settings::Device::Cpu {
                    without_effect::warn_of_gpu_settings(settings);
                }
                Device::Cpu(Box::new(Cpu::choose(settings)?))
            }
        })
    }

    #[cfg(not(feature = "tensorrt"))]
    fn choose(settings: &Settings, _: ImageLimits) -> Result<Self, Box<dyn Error>> {
        if settings.device == crate::settings::Device::Cuda {
            return Err(
                "--device cuda (DEVICE) asks for a GPU, but this binary was built without \
                 TensorRT: build it with --features tensorrt"
                    .into(),
            );
        }
        without_effect::warn_of_unused_gpu(settings);
        without_effect::warn_of_gpu_settings(settings);
        Ok(Device::Cpu(Box::new(Cpu::choose(settings)?)))
    }
}

impl Device {
    /// Loads the engines.
    #[cfg_attr(not(feature = "tensorrt"), allow(unused_variables))]
    fn load(
        self,
        processor: Processor,
        shared: &mut SharedByEngines,
        beside: usize,
    ) -> Result<Loaded, LoadError> {
        match self {
            Device::Cpu(cpu) => cpu.load(),
            #[cfg(feature = "tensorrt")]
            Device::Gpu(gpus) => gpus.load(processor, &mut shared.arena, beside),
        }
    }

    /// The memory of a GPU that its engines need.
    #[cfg_attr(not(feature = "tensorrt"), allow(unused_variables))]
    fn needs(&self, processor: &Processor) -> Result<usize, LoadError> {
        match self {
            Device::Cpu(_) => Ok(0),
            #[cfg(feature = "tensorrt")]
            Device::Gpu(gpus) => gpus.needs(processor),
        }
    }

    /// Describes it for the log.
    fn describe(&self) -> String {
        match self {
            Device::Cpu(cpu) => cpu.describe(),
            #[cfg(feature = "tensorrt")]
            Device::Gpu(gpus) => gpus.describe(),
        }
    }

    /// Threads that decode pictures, where the user does not say how many. A GPU is fed by the
    /// thread that owns its engine and by those that wait for batches: while they wait for a core,
    /// it stands idle.
    fn decoders(&self) -> usize {
        let cores = siglip2_flags::cores();
        match self {
            Device::Cpu(_) => cores,
            #[cfg(feature = "tensorrt")]
            Device::Gpu(_) => cores.saturating_sub(2).max(1),
        }
    }

    /// What decodes photos, once `auto` has been decided.
    fn decode(&self, asked: Decode) -> Result<Decode, SettingsError> {
        match (self, asked) {
            #[cfg(feature = "tensorrt")]
            (Device::Gpu(gpus), _) if gpus.decodes() => Ok(Decode::Gpu),
            (Device::Cpu(_), Decode::Gpu) => Err(SettingsError::DecodeOnCpu),
            _ => Ok(Decode::Cpu),
        }
    }
}

/// Finds the models and prepares everything but the engines.
///
/// # Errors
///
/// A sentence that says what is wrong, where, and what to do.
pub fn prepare(settings: &Settings) -> Result<Prepared, Box<dyn Error>> {
    settings.check()?;
    let mut found = Vec::new();
    for own in settings.of_each() {
        let one = PreparedModel::of(&own).map_err(|error| match settings.also.is_empty() {
            true => error,
            false => LoadError::of(error)
                .about(format_args!("model {}", own.named().1))
                .into(),
        });
        found.push(one?);
    }
    let mut limits = settings.service.clone();
    let decoders = found.iter().map(|one| one.device.decoders()).min();
    limits.decode_threads = limits.decode_threads.or(decoders);
    let demos: Vec<bool> = found.iter().map(|one| one.is_demo).collect();
    let (mut engines, mut models) = (Vec::new(), Vec::new());
    for one in found {
        engines.push((one.device, one.processor));
        models.push(one.model);
    }
    let first = models.remove(0);
    let models = Models::new(first, models, limits)?;
    let of_demos = models.iter().zip(demos).filter(|(_, is_demo)| *is_demo);
    of_demos.for_each(|(service, _)| service.warn_of_photos());
    let indexes = settings.index.open(&models)?;
    let spans = settings
        .otlp()
        .map(|endpoint| {
            let metrics = Arc::clone(models.metrics());
            Spans::to(endpoint, &settings.otlp_service_name, metrics)
        })
        .transpose()?;
    Ok(Prepared {
        engines,
        models,
        indexes,
        spans,
    })
}

/// What readiness is checked by, from an engine of its own thread's; a device that hangs is noticed.
fn embed_first(
    mut engine: Box<dyn Engine>,
    ids: Vec<i32>,
) -> Result<(Box<dyn Engine>, Readiness), LoadError> {
    #[cfg(feature = "tensorrt")]
    if let Some(device_timeout) = engine.info().device_timeout {
        let first = crate::tensorrt::run::watched(device_timeout, move |steps| {
            steps.begin("embedding for the readiness check");
            let readiness = Readiness::of(engine.as_mut(), ids)?;
            Ok((engine, readiness))
        });
        return Ok(first?);
    }
    let readiness = Readiness::of(engine.as_mut(), ids).map_err(LoadError::unusable)?;
    Ok((engine, readiness))
}

/// A model that was found, and what will compute it.
struct PreparedModel {
    device: Device,
    processor: Processor,
    model: Model,
    is_demo: bool,
}

impl PreparedModel {
    fn of(settings: &Settings) -> Result<Self, Box<dyn Error>> {
        let (device, tokenizer) = match Device::choose(settings, settings.service.image_limits())? {
            Device::Cpu(cpu) => {
                // The weights are read meanwhile.
                let tokenizer = cpu.files()?.tokenizer(settings)?;
                (Device::Cpu(Box::new(cpu.settled()?)), Some(tokenizer))
            }
            #[cfg(feature = "tensorrt")]
            gpus => (gpus, None),
        };
        let (files, engine, is_demo) = match &device {
            Device::Cpu(cpu) => (cpu.files()?, cpu.engine(), cpu.is_demo()),
            #[cfg(feature = "tensorrt")]
            Device::Gpu(gpus) => (gpus.files()?, gpus.engine()?, settings.named().0 == "demo"),
        };
        let tokenizer = match tokenizer {
            Some(tokenizer) => tokenizer,
            None => files.tokenizer(settings)?,
        };
        let processor = files.processor(settings)?;
        without_effect::warn_of_patches(settings, &processor);
        let description = describe(is_demo);
        let mut model = files.model(settings, &engine, &processor, tokenizer, description);
        model.info.decode = device.decode(settings.service.decode)?;
        Ok(Self {
            processor,
            model,
            is_demo,
            device,
        })
    }
}

fn describe(is_demo: bool) -> &'static str {
    if is_demo {
        "A small model for trying out the service: it knows only drawn pictures of coloured \
         shapes, and is useless for photos"
    } else {
        "SigLIP2 embeddings of images and texts in one vector space"
    }
}

impl Prepared {
    /// The service of the first model. It describes itself, and refuses to embed until the
    /// engine is loaded.
    pub fn service(&self) -> &Service {
        self.models.first()
    }

    /// All models.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// Where to send spans of requests, if anywhere.
    pub fn spans(&self) -> Option<&Spans> {
        self.spans.as_ref()
    }

    /// Describes what will compute each model, for the log.
    pub fn compute(&self) -> String {
        let devices = self.engines.iter().map(|(device, _)| device.describe());
        devices.collect::<Vec<_>>().join(" | ")
    }

    /// Whether the CPU computes any model.
    pub fn is_on_cpu(&self) -> bool {
        self.engines
            .iter()
            .any(|(device, _)| matches!(device, Device::Cpu(_)))
    }

    /// Loads the engines, one after the other, and gives them to their services.
    ///
    /// # Errors
    ///
    /// [`LoadError`], when the runtime rejects a model, the system cannot start a thread, or the
    /// device hangs.
    pub fn load(self) -> Result<(), LoadError> {
        let mut shared = SharedByEngines::default();
        let mut loaded = Vec::new();
        let needs = self.engines.iter();
        let needs = needs.map(|(device, processor)| device.needs(processor));
        let mut left: usize = needs.sum::<Result<_, LoadError>>()?;
        for ((device, processor), service) in self.engines.into_iter().zip(self.models.iter()) {
            left = left.saturating_sub(device.needs(&processor)?);
            let (mut workers, weights) = device.load(processor.clone(), &mut shared, left)?;
            if let Some(weights) = weights {
                service.identify(&weights, &processor);
            }
            let ids = service.readiness_ids().map_err(LoadError::unusable)?;
            if workers.is_empty() {
                return Err(LoadError::unusable("there is no engine"));
            }
            let Worker { engine, rebuild } = workers.remove(0);
            let (engine, readiness) = embed_first(engine, ids)?;
            workers.insert(0, Worker { engine, rebuild });
            loaded.push((service, workers, readiness));
        }
        self.indexes
            .give_to(&self.models)
            .map_err(LoadError::unusable)?;
        for (service, workers, readiness) in loaded {
            service
                .attach_with(workers, Some(readiness))
                .map_err(LoadError::unusable)?;
        }
        Ok(())
    }
}
