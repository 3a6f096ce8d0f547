//! The towers on an NVIDIA GPU: engines made by `build-engine`, run by TensorRT.
//!
//! ```text
//! decode threads --> pinned arena --+
//!                                   |  slot k+1:  upload, resize, normalize  (its stream)
//! owner thread --submit-------------+  slot k  :  tower                      (its stream)
//!                                   |  slot k-1:  download
//! completer (two threads a tower) <-+--- waits for events; answers rows, gives slots back
//! ```
//!
//! Nothing is allocated and nothing is compiled once the service is ready: all buffers,
//! contexts and graphs are made at the start, when every batch size runs once. The thread that
//! submits waits for the device only after a failure.
//!
//! * `device`: the GPUs. `memory`, `arena`, `gaps`: their memory, and pinned memory; `event`.
//! * `tower`: an engine and its slots; `slot`, `contexts`, `feed`: everything one batch needs;
//!   `completer`: the threads that wait for it; `cache`: what TensorRT compiled; `warm_up`: how
//!   often each batch size runs at the start.
//! * `needs`: what all of it takes of the GPU's memory.
//! * `steps`: whether a load goes on. `probe`: runs the parts one by one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cudarc::driver::result;

use crate::directory::{DirectoryError, ElementType, EngineDirectory, Manifest, TowerEntry};
use siglip2_engine::{Batch, Completion, Engine, EngineInfo, Prepare};
use siglip2_image::{ImageLimits, Processor};
use siglip2_model::Tower;

mod arena;
mod cache;
mod completer;
mod contexts;
mod device;
mod event;
mod feed;
mod gaps;
mod memory;
mod needs;
mod prepare;
pub mod probe;
mod slot;
mod steps;
mod tower;
mod warm_up;

use crate::error::{DeviceError, Doing};
use crate::kernel::{Element, Planner, ResizeKernel};
use arena::Arena;
use completer::Lost;
use contexts::Tensor;
pub use device::{Gpu, driver_is_present, driver_release, driver_version, end_process, gpus};
use feed::{Feed, ImageFeed, TextFeed, id_bytes};
pub use needs::Needs;
pub use steps::{Steps, WatchedError, watched};
use tower::{LoadedTower, Plan, Shape};

/// Why the GPU engine could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The device or TensorRT failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The engine directory cannot be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The engine differs from its manifest.
    #[error("the engine of the {tower} tower cannot be used: {reason}; rebuild it")]
    Engine {
        /// Which tower.
        tower: Tower,
        /// What is wrong.
        reason: String,
    },
    /// The engine is for another GPU.
    #[error("{} is for {built_for}, but the GPU is {gpu}; build an engine with --gpu {}",
            path.display(), gpu.architecture())]
    OtherGpu {
        /// The engine directory.
        path: std::path::PathBuf,
        /// The GPU it was built for.
        built_for: String,
        /// The GPU of this machine.
        gpu: Gpu,
    },
    /// The GPU has less memory free than the engine takes.
    #[error("{0}")]
    Memory(String),
    /// The system could not start a thread.
    #[error("no thread could be started: {0}")]
    Thread(std::io::Error),
}

/// Options of the GPU engine.
#[derive(Clone, Copy, Debug)]
pub struct TensorRtOptions {
    /// Batches of each tower that may be on the GPU at the same time.
    pub slots: usize,
    /// The largest batch; at most the engine's.
    pub max_batch: Option<usize>,
    /// The largest picture that will be sent.
    pub limits: ImageLimits,
    /// The least number of bytes of pixels that a slot can upload and resize at once; a larger
    /// batch is uploaded in parts. The largest picture always fits. As much is on the GPU for
    /// each slot.
    pub source_bytes: usize,
    /// Whether the work of each batch size is captured as a CUDA graph. TensorRT for RTX does
    /// this itself.
    pub capture: bool,
    /// The fewest and most runs of each batch size at the start; it ends when the library has
    /// captured it.
    pub warm_ups: (usize, usize),
    /// How long the device may go without finishing a batch while it has one.
    pub device_timeout: Duration,
}

impl Default for TensorRtOptions {
    /// Two slots, so that the copies of one batch overlap the tower of another; 256 MiB of
    /// pixels, which are 36 pictures of 1920 x 1280, or more than 64 of 1024 x 768.
    fn default() -> Self {
        Self {
            source_bytes: 256 << 20,
            slots: 2,
            max_batch: None,
            limits: ImageLimits::default(),
            // Even on a slow GPU the largest batch takes about a second.
            device_timeout: Duration::from_secs(60),
            warm_ups: (*warm_up::RUNS.start(), *warm_up::RUNS.end()),
            capture: cfg!(feature = "tensorrt-enterprise"),
        }
    }
}

/// Pinned memory for decoded pictures, for the engines of all GPUs.
///
/// # Errors
///
/// When the driver cannot pin it.
pub fn pinned_pictures(gpu: &Gpu, bytes: usize) -> Result<Arc<dyn Prepare>, DeviceError> {
    let context = device::context(gpu)?;
    Ok(Arc::new(prepare::Pinned(Arena::new(&context, bytes)?)))
}

/// Both towers on one GPU.
pub struct TensorRtEngine {
    image: LoadedTower,
    text: LoadedTower,
    prepare: Arc<dyn Prepare>,
    info: EngineInfo,
    needs: Needs,
}

impl TensorRtEngine {
    /// Describes the engine of this directory.
    pub fn describe(manifest: &Manifest, options: &TensorRtOptions) -> EngineInfo {
        let most = options.max_batch.unwrap_or(manifest.max_batch);
        EngineInfo {
            name: "tensorrt",
            device: "cuda",
            precision: manifest.precision.name(),
            agreement: None,
            dimensions: manifest.dimensions,
            max_batch: most.clamp(1, manifest.max_batch),
            slots: options.slots.max(1),
            device_timeout: Some(options.device_timeout),
        }
    }

    /// Loads both engines of a directory onto a GPU and runs every batch size. It does not
    /// check the vectors: [`crate::directory::measure`] does. `steps` are told what is being done.
    ///
    /// # Errors
    ///
    /// When the directory is for another GPU, a file cannot be read, or the device or
    /// TensorRT fails, for example because memory runs out.
    pub fn load(
        gpu: &Gpu,
        directory: &EngineDirectory,
        processor: &Processor,
        prepare: Arc<dyn Prepare>,
        options: &TensorRtOptions,
        steps: &Steps,
    ) -> Result<Self, LoadError> {
        let manifest = directory.manifest();
        if manifest.gpu.name != gpu.architecture() {
            return Err(LoadError::OtherGpu {
                path: directory.path().to_owned(),
                built_for: manifest.gpu.name.clone(),
                gpu: gpu.clone(),
            });
        }
        steps.begin(format!("opening {gpu}"));
        let context = device::context(gpu)?;
        let info = Self::describe(manifest, options);
        let driver = match driver_release() {
            Some(release) => release,
            None => format!("cuda-{}", driver_version()?),
        };
        let lost = Lost::new(OnceLock::new());
        let load = |tower: Tower, feed: &mut dyn FnMut(&Shape) -> Result<Feed, DeviceError>| {
            let entry = manifest.tower(tower);
            let shape = shape(tower, manifest, &info, options);
            let small = entry.small.as_ref().map(|small| &small.engine.file);
            let files = small.into_iter().chain([&entry.engine.file]);
            let mut plans = Vec::new();
            for (file, profiles) in files.zip(manifest.profiles_by_engine()) {
                let profiles = profiles.iter().map(|&[least, _, most]| (least, most));
                let profiles: Vec<_> = profiles.collect();
                let largest = shape.buckets.last().copied().unwrap_or(1);
                if profiles.iter().all(|&(least, _)| least > largest) {
                    // No batch is so large.
                    continue;
                }
                plans.push(Plan {
                    bytes: directory.read(file)?,
                    profiles,
                    cache: cache::path(&directory.path().join(file), &gpu.name, &driver),
                });
            }
            LoadedTower::load(&context, plans, &shape, &lost, steps, || feed(&shape))
        };

        let element = Element::of(manifest.towers.image.input.element);
        let planner = Planner::new(processor, element);
        let looking = || format!("asking for the free memory of {gpu}");
        context.bind_to_thread().doing(looking)?;
        let (free, _) = result::mem_get_info().doing(looking)?;
        let needs = needs::check(gpu, free, manifest, &planner, &info, options)
            .map_err(LoadError::Memory)?;
        let free = free >> 20;
        tracing::info!(%gpu, "the engines take {needs}, of {free} MiB that are free");
        let cubin = directory.read(&manifest.kernel.file)?;
        context.bind_to_thread().doing(|| format!("using {gpu}"))?;
        let kernel = Arc::new(
            ResizeKernel::load(&cubin, element)
                .doing(|| format!("loading {}", manifest.kernel.file))?,
        );
        let image = load(Tower::Image, &mut |shape| {
            let planner = Planner::new(processor, element);
            let kernel = Arc::clone(&kernel);
            let feed = ImageFeed::new(&context, kernel, planner, options, shape.input_row)?;
            Ok(Feed::Images(Box::new(feed)))
        })?;
        let tokens = manifest.text_tokens;
        let ids = manifest.towers.text.input.element;
        let text = load(Tower::Text, &mut |_| {
            TextFeed::new(&context, info.max_batch, tokens, ids).map(Feed::Texts)
        })?;
        Ok(Self {
            image,
            text,
            prepare,
            info,
            needs,
        })
    }

    /// What it takes of its GPU's memory, as computed before it was loaded.
    pub fn needs(&self) -> Needs {
        self.needs
    }
}

impl Engine for TensorRtEngine {
    fn info(&self) -> EngineInfo {
        self.info.clone()
    }

    fn preparer(&self) -> Arc<dyn Prepare> {
        Arc::clone(&self.prepare)
    }

    fn submit(&mut self, batch: Batch, done: Completion) {
        match batch.tower() {
            Tower::Image => self.image.submit(batch, done),
            Tower::Text => self.text.submit(batch, done),
        }
    }
}

/// The sizes that the slots of a tower are made for.
fn shape(tower: Tower, manifest: &Manifest, info: &EngineInfo, options: &TensorRtOptions) -> Shape {
    let entry: &TowerEntry = manifest.tower(tower);
    let side = manifest.image_size as i64;
    let (row, input_row) = match tower {
        Tower::Image => {
            let bytes = match entry.input.element {
                ElementType::Fp32 => 4,
                _ => 2,
            };
            let pixels = 3 * manifest.image_size * manifest.image_size;
            (vec![3, side, side], pixels * bytes)
        }
        Tower::Text => (
            vec![manifest.text_tokens as i64],
            manifest.text_tokens * id_bytes(entry.input.element),
        ),
    };
    // A maximum below the engine's still runs in the smallest bucket that holds it.
    let mut buckets = manifest.buckets.clone();
    let needed = buckets.partition_point(|&bucket| bucket < info.max_batch) + 1;
    buckets.truncate(needed);
    Shape {
        tower,
        input: Tensor {
            name: entry.input.name.clone(),
            row,
        },
        input_row,
        output: Tensor {
            name: entry.output.name.clone(),
            row: vec![manifest.dimensions as i64],
        },
        dimensions: manifest.dimensions,
        buckets,
        slots: info.slots,
        urgent: tower == Tower::Text,
        warm_ups: options.warm_ups.0..=options.warm_ups.1,
        capture: options.capture,
    }
}
