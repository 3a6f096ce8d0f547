//! Starting on a GPU: libraries, GPUs and the engine directories for them.
//!
//! ```text
//! --device auto: libraries? GPU? engine? --all found--> GPU
//!                        |--something missing--> one warning, and the CPU
//! --device cuda: if something is missing, the service does not start
//! ```
//!
//! Once a GPU has been chosen its engine is loaded and compared with the vectors that were
//! computed when it was built. An engine that gives other vectors is refused. It is never
//! silently replaced by the CPU, which would hide that the node does a hundredth of its work.

use std::error::Error;
use std::sync::Arc;

use siglip2_model::files::ModelFiles;

use super::files::Files;
use super::{LoadError, Loaded};
use crate::engine::{Engine, EngineInfo, Prepare};
use crate::image::{ImageLimits, Processor};
use crate::service::Decode;
use crate::service::batcher::Worker;
use crate::settings::{self, Device, Settings, SettingsError};
use crate::tensorrt::directory::{Architecture, EngineDirectory, measure};
use crate::tensorrt::libraries::{Libraries, Search};
use crate::tensorrt::nvjpeg::{Backend, NvJpeg};
use crate::tensorrt::run::{
    Gpu, PinnedMemory, Steps, TensorRtEngine, TensorRtOptions, WatchedError, card_backend, gpus,
    watched,
};
use siglip2_model::fingerprint::WeightsDigest;
use siglip2_model::graph;

/// GPUs, each with its engine.
pub(super) struct Gpus {
    seats: Vec<(Gpu, EngineDirectory)>,
    options: TensorRtOptions,
    pinned_bytes: usize,
}

impl Gpus {
    /// The GPUs to compute on; none if the CPU is to be used.
    ///
    /// # Errors
    ///
    /// What is missing, if a GPU was required.
    pub(super) fn choose(
        settings: &Settings,
        limits: ImageLimits,
    ) -> Result<Option<Self>, Box<dyn Error>> {
        if settings.force_cpu || settings.device == Device::Cpu {
            return Ok(None);
        }
        match Self::find(settings, limits) {
            Ok(found) => Ok(Some(found)),
            Err(error) => match LoadError::of(error) {
                // A GPU that hangs is a fault of this machine, which computing on the CPU would hide.
                gone @ LoadError::DeviceGone(_) => Err(gone.into()),
                LoadError::Unusable(reason) if settings.device == Device::Cuda => {
                    Err(format!("--device cuda (DEVICE) asks for a GPU: {reason}").into())
                }
                LoadError::Unusable(reason) => {
                    tracing::warn!("computing on the CPU: {reason}");
                    Ok(None)
                }
            },
        }
    }

    fn find(settings: &Settings, limits: ImageLimits) -> Result<Self, Box<dyn Error>> {
        let there = watched(settings.gpu.device_timeout(), |steps| {
            steps.begin("looking for GPUs");
            // Whatever it says, there is no GPU to compute on.
            gpus().map_err(|error| WatchedError::Failed(error.to_string()))
        })
        .map_err(LoadError::from)?;
        if there.is_empty() {
            return Err("there is no NVIDIA GPU, or no driver for it".into());
        }
        let default = TensorRtOptions::default();
        let search = Search::new(settings.gpu.tensorrt_lib.clone(), None);
        let libraries = watched(settings.gpu.device_timeout(), move |steps| {
            steps.begin("opening TensorRT's libraries");
            Libraries::open(&search).map_err(|error| WatchedError::Failed(error.to_string()))
        })
        .map_err(LoadError::from)?;
        let seats = settings
            .gpu
            .gpus()
            .iter()
            .map(|&ordinal| {
                let gpu = there.iter().find(|gpu| gpu.ordinal == ordinal);
                let gpu = gpu.ok_or_else(|| {
                    let names: Vec<String> = there.iter().map(Gpu::to_string).collect();
                    format!(
                        "--gpus (GPUS) names GPU {ordinal}, but there are only: {}",
                        names.join(", ")
                    )
                })?;
                let directory = directory(settings, gpu)?;
                directory.runs_in(&libraries.version, &libraries.runtime)?;
                Ok((gpu.clone(), directory))
            })
            .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        let nvjpeg = card_decoder(settings, &seats)?;
        Ok(Self {
            seats,
            options: TensorRtOptions {
                nvjpeg,
                max_batch: settings.max_batch,
                limits,
                device_timeout: settings.gpu.device_timeout(),
                source_bytes: settings
                    .gpu
                    .gpu_picture_memory
                    .unwrap_or(default.source_bytes),
                ..default
            },
            pinned_bytes: usize::try_from(settings.service.picture_memory())?,
        })
    }

    /// Whether photos are decoded on the GPUs.
    pub(super) fn decodes(&self) -> bool {
        self.options.nvjpeg.is_some()
    }

    fn first(&self) -> Result<&EngineDirectory, Box<dyn Error>> {
        let first = self.seats.first().ok_or("--gpus (GPUS) names no GPU")?;
        Ok(&first.1)
    }

    pub(super) fn files(&self) -> Result<Files<'static>, Box<dyn Error>> {
        let directory = self.first()?;
        let manifest = directory.manifest();
        let files = ModelFiles::read(directory.path(), |file| {
            Ok::<_, Box<dyn Error>>(directory.read_optional(file)?)
        })?;
        Files::new(
            files,
            directory.path(),
            manifest.logit_scale,
            manifest.logit_bias,
        )
    }

    pub(super) fn engine(&self) -> Result<EngineInfo, Box<dyn Error>> {
        let manifest = self.first()?.manifest();
        Ok(TensorRtEngine::describe(manifest, &self.options))
    }

    /// The memory that a GPU needs for them: the most of those that have one.
    pub(super) fn needs(&self, processor: &Processor) -> Result<usize, LoadError> {
        let needs = self.seats.iter().map(|(_, directory)| {
            TensorRtEngine::needs_of(directory.manifest(), processor, &self.options)
                .map(|needs| needs.bytes())
                .map_err(LoadError::unusable)
        });
        needs
            .collect::<Result<Vec<_>, _>>()
            .map(|all| all.into_iter().max().unwrap_or(0))
    }

    /// Describes them for the log.
    pub(super) fn describe(&self) -> String {
        let names: Vec<String> = self
            .seats
            .iter()
            .map(|(gpu, directory)| format!("{gpu}, engine {}", directory.path().display()))
            .collect();
        names.join("; ")
    }

    /// Loads every engine onto its GPU, and checks it against its canary. A device that hangs
    /// meanwhile is noticed.
    ///
    /// `beside` is what models that are loaded later need: the start ends before anything is loaded
    /// if all together do not fit.
    ///
    /// All models write their pictures into one arena, as large as the memory that all requests
    /// together may have for pictures: the first to load makes it.
    pub(super) fn load(
        self,
        processor: Processor,
        arena: &mut Option<PinnedMemory>,
        beside: usize,
    ) -> Result<Loaded, LoadError> {
        processor.check_uncut().map_err(LoadError::unusable)?;
        let digest = self.digest()?;
        let options = self.options;
        let (first, _) = self
            .seats
            .first()
            .ok_or_else(|| LoadError::unusable("there is no GPU"))?;
        let (first, bytes) = (first.clone(), self.pinned_bytes);
        let (kept, pictures) = (arena.clone(), processor.clone());
        let (pinned, prepare) = watched(options.device_timeout, move |steps| {
            steps.begin("pinning memory for pictures");
            let pinned = match kept {
                Some(pinned) => pinned,
                None => PinnedMemory::new(&first, bytes)?,
            };
            let prepare = pinned.preparer(&pictures, options.nvjpeg)?;
            Ok((pinned, prepare))
        })?;
        *arena = Some(pinned);
        let workers: Result<_, LoadError> = self
            .seats
            .into_iter()
            .map(|(gpu, directory)| {
                let (prepare, processor) = (Arc::clone(&prepare), processor.clone());
                let load = move |beside| {
                    let (gpu, directory) = (gpu.clone(), directory.clone());
                    let (prepare, processor) = (Arc::clone(&prepare), processor.clone());
                    let options = TensorRtOptions { beside, ..options };
                    watched(options.device_timeout, move |steps| {
                        let loaded = load(&gpu, &directory, &processor, &prepare, &options, steps);
                        loaded.map_err(|error| error.on(&gpu))
                    })
                };
                Ok(Worker {
                    engine: load(beside)?,
                    // By then the others have their memory.
                    rebuild: Some(Box::new(move || Ok(load(0)?))),
                })
            })
            .collect();
        Ok((workers?, digest))
    }

    /// The digest of the weights, which must be the same for all GPUs: a client cannot know
    /// which of them answers.
    fn digest(&self) -> Result<Option<WeightsDigest>, LoadError> {
        let mut directories = self.seats.iter().map(|(_, directory)| directory);
        let Some(first) = directories.next() else {
            return Ok(None);
        };
        let weights = |directory: &EngineDirectory| {
            let manifest = directory.manifest();
            (manifest.weights_sha256.clone(), manifest.precision)
        };
        if let Some(other) = directories.find(|other| weights(other) != weights(first)) {
            return Err(LoadError::Unusable(format!(
                "the engines in {} and {} are not of the same weights and precision: build both \
                 from one checkpoint with build-engine",
                first.path().display(),
                other.path().display()
            )));
        }
        let digest = first.manifest().weights_digest.clone();
        if digest.is_none() {
            tracing::warn!(
                directory = %first.path().display(),
                "these engines were built before the digest of the weights was kept: vectors \
                 have no fingerprint until build-engine has built them anew"
            );
        }
        Ok(digest)
    }
}

/// nvJPEG, if it is to decode photos and can on every GPU.
fn card_decoder(
    settings: &Settings,
    seats: &[(Gpu, EngineDirectory)],
) -> Result<Option<&'static NvJpeg>, Box<dyn Error>> {
    let asked = settings.service.decode;
    if asked == Decode::Cpu {
        return Ok(None);
    }
    let in_patches =
        |(_, directory): &(Gpu, EngineDirectory)| directory.manifest().patches.is_some();
    if seats.iter().any(in_patches) {
        return match asked {
            Decode::Gpu => Err(
                "--decode gpu (DECODE) is not for models of variable resolution (NaFlex), whose \
                 pictures are resized on the CPU and must be decoded there: use --decode auto or cpu"
                    .into(),
            ),
            _ => Ok(None),
        };
    }
    let open = || -> Result<&'static NvJpeg, LoadError> {
        let search = Search::new(None, None).with_nvjpeg(settings.gpu.nvjpeg_lib.clone());
        let nvjpeg = NvJpeg::open(&search).map_err(LoadError::unusable)?;
        for (gpu, _) in seats {
            let on = gpu.clone();
            let backend = watched(settings.gpu.device_timeout(), move |steps| {
                steps.begin("opening nvJPEG");
                Ok(card_backend(&on, nvjpeg)?)
            })?;
            if asked == Decode::Auto && backend != Backend::Engine {
                return Err(LoadError::Unusable(format!("{gpu} has no JPEG engine")));
            }
            tracing::info!(%gpu, "photos are decoded by nvJPEG {}, {backend}", nvjpeg.version());
        }
        Ok(nvjpeg)
    };
    match (open(), asked) {
        (Ok(nvjpeg), _) => Ok(Some(nvjpeg)),
        (Err(gone @ LoadError::DeviceGone(_)), _) => Err(gone.into()),
        (Err(error), Decode::Auto) => {
            tracing::warn!("photos are decoded on the CPU: {error}");
            Ok(None)
        }
        (Err(error), _) => Err(format!("--decode gpu (DECODE) asks for nvJPEG: {error}").into()),
    }
}

fn load(
    gpu: &Gpu,
    directory: &EngineDirectory,
    processor: &Processor,
    prepare: &Arc<dyn Prepare>,
    options: &TensorRtOptions,
    steps: &Steps,
) -> Result<Box<dyn Engine>, WatchedError> {
    let prepare = Arc::clone(prepare);
    let mut engine = TensorRtEngine::load(gpu, directory, processor, prepare, options, steps)?;
    let canary = directory.canary()?;
    steps.begin("comparing vectors with the canary's");
    let manifest = directory.manifest();
    let cosines = measure(&mut engine, &canary, manifest, &gpu.name)?;
    if let Some(fault) = cosines.fault(manifest.precision) {
        return Err(fault.into());
    }
    if let Some(doubt) = cosines.doubt(manifest.precision) {
        tracing::warn!("{doubt}");
    }
    tracing::info!(%gpu, image = cosines.image, text = cosines.text, "canary vectors are right");
    Ok(Box::new(engine))
}

/// The engine directory for a GPU: the one named by the user, or the one that build-engine
/// makes for this model, GPU and precision.
fn directory(settings: &Settings, gpu: &Gpu) -> Result<EngineDirectory, Box<dyn Error>> {
    if let Some(path) = &settings.gpu.engine_dir {
        return Ok(EngineDirectory::open(path)?);
    }
    let architecture: Architecture = gpu.architecture().parse()?;
    let found = EngineDirectory::find(
        settings.gpu.engines(),
        settings.named().0,
        architecture,
        graph_precision(settings.precision)?,
    )?;
    Ok(found)
}

/// What the graph of an engine computes in.
fn graph_precision(precision: settings::Precision) -> Result<graph::Precision, SettingsError> {
    match precision {
        settings::Precision::Auto | settings::Precision::Fp16 => Ok(graph::Precision::Fp16),
        settings::Precision::Bf16 => Ok(graph::Precision::Bf16),
        settings::Precision::Fp32 => Ok(graph::Precision::Fp32),
        settings::Precision::Fp8 => Ok(graph::Precision::Fp8),
        settings::Precision::Int8 => Err(SettingsError::PrecisionOfCpus),
    }
}
