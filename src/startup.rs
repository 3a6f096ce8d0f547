//! From settings to a service: everything between the command line and the socket.
//!
//! ```text
//! Settings --choose--> GPUs with their engines | checkpoint on the CPU
//!          --check---> tokenizer, processor --> Service (starting)
//! Prepared::load: engine(s) --attach--> Service (ready)
//! ```
//!
//! [`prepare`] finds user errors and takes milliseconds, unless it downloads;
//! [`Prepared::load`] takes seconds, because it loads the weights.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::http::Spans;
use crate::image::{ImageLimits, Processor};
use crate::service::batcher::Worker;
use crate::service::{Decode, Readiness, Service};
use crate::settings::Settings;
use siglip2_model::fingerprint::WeightsDigest;

mod cpu;
mod files;
#[cfg(feature = "tensorrt")]
mod gpu;
mod without_effect;

use cpu::Cpu;

/// Everything that is known before a thread is started or a socket is opened.
pub struct Prepared {
    device: Device,
    processor: Processor,
    service: Service,
    spans: Option<Spans>,
}

/// Engines, and the digest of their weights if known.
type Loaded = (Vec<Worker>, Option<WeightsDigest>);

/// Why there is no engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The model, its files or the settings cannot be used here.
    Unusable(String),
    /// The device hangs: only another process may have it again.
    Hangs(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unusable(reason) | Self::Hangs(reason)) = self;
        f.write_str(reason)
    }
}

impl Error for LoadError {}

impl From<String> for LoadError {
    fn from(reason: String) -> Self {
        Self::Unusable(reason)
    }
}

#[cfg(feature = "tensorrt")]
impl From<crate::tensorrt::run::WatchedError> for LoadError {
    fn from(error: crate::tensorrt::run::WatchedError) -> Self {
        use crate::tensorrt::run::WatchedError;
        match error {
            WatchedError::Failed(reason) => Self::Unusable(reason),
            hangs @ WatchedError::Hangs { .. } => Self::Hangs(hangs.to_string()),
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
    fn decode(&self, asked: Decode) -> Result<Decode, String> {
        match (self, asked) {
            #[cfg(feature = "tensorrt")]
            (Device::Gpu(gpus), _) if gpus.decodes() => Ok(Decode::Gpu),
            (Device::Cpu(_), Decode::Gpu) => Err(
                "--decode gpu (DECODE) asks for a GPU that decodes, but the service computes on the \
                 CPU: use --decode auto or cpu"
                    .to_owned(),
            ),
            _ => Ok(Decode::Cpu),
        }
    }
}

/// Finds the model and prepares everything but the engine.
///
/// # Errors
///
/// A sentence that says what is wrong, where, and what to do.
pub fn prepare(settings: &Settings) -> Result<Prepared, Box<dyn Error>> {
    settings.check()?;
    let device = Device::choose(settings, settings.service.image_limits())?;
    let (files, engine, is_demo) = match &device {
        Device::Cpu(cpu) => (cpu.files()?, cpu.engine(), cpu.is_demo()),
        #[cfg(feature = "tensorrt")]
        Device::Gpu(gpus) => (gpus.files()?, gpus.engine()?, settings.model == "demo"),
    };
    let processor = files.processor(settings)?;
    without_effect::warn_of_patches(settings, &processor);
    let model = files.model(settings, &engine, &processor, describe(is_demo))?;
    let mut limits = settings.service.clone();
    limits.decode = device.decode(limits.decode)?;
    limits.decode_threads = Some(limits.decode_threads.unwrap_or_else(|| device.decoders()));
    let service = Service::new(model, limits);
    settings.index.give_to(&service)?;
    if is_demo {
        service.warn_of_photos();
    }
    let spans = settings
        .otlp()
        .map(|endpoint| {
            let metrics = Arc::clone(service.metrics());
            Spans::to(endpoint, &settings.otlp_service_name, metrics)
        })
        .transpose()?;
    Ok(Prepared {
        processor,
        service,
        device,
        spans,
    })
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
    /// The service. It describes itself, and refuses to embed until the engine is loaded.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Where to send spans of requests, if anywhere.
    pub fn spans(&self) -> Option<&Spans> {
        self.spans.as_ref()
    }

    /// Describes the device that will compute, for the log.
    pub fn compute(&self) -> String {
        match &self.device {
            Device::Cpu(cpu) => cpu.describe(),
            #[cfg(feature = "tensorrt")]
            Device::Gpu(gpus) => gpus.describe(),
        }
    }

    /// Loads the engine and gives it to the service.
    ///
    /// # Errors
    ///
    /// [`LoadError`], when the runtime rejects the model, the system cannot start a thread, or the
    /// device hangs.
    pub fn load(self) -> Result<(), LoadError> {
        let processor = self.processor;
        let (mut workers, weights) = match self.device {
            Device::Cpu(cpu) => cpu.load(processor.clone())?,
            #[cfg(feature = "tensorrt")]
            Device::Gpu(gpus) => gpus.load(processor.clone())?,
        };
        if let Some(weights) = weights {
            self.service.identify(&weights, &processor);
        }
        self.service
            .check_index()
            .map_err(|error| format!("--index (SEARCH_INDEX): {error}"))?;
        let ids = self.service.readiness_ids()?;
        let none = || "there is no engine".to_owned();
        let first = workers.first_mut().ok_or_else(none)?;
        let readiness =
            Readiness::of(first.engine.as_mut(), ids).map_err(|error| error.to_string())?;
        self.service
            .attach_with(workers, Some(readiness))
            .map_err(|error| error.to_string().into())
    }
}
