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
//!   `parts`, `patches`: what is different where pictures are of variable resolution;
//!   `completer`: the threads that wait for it; `cache`: what TensorRT compiled; `warm_up`: how
//!   often each batch size runs at the start.
//! * `card`: JPEG files decoded on the card, in memory that `lent` lends.
//! * `needs`: what all of it takes of the GPU's memory.
//! * `steps`: whether a load goes on. `probe`: runs the parts one by one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cudarc::driver::{CudaContext, result};

use crate::directory::{DirectoryError, EngineDirectory, Manifest, TowerEntry};
use siglip2_engine::{Batch, Completion, Engine, EngineInfo, Prepare};
use siglip2_image::{ImageLimits, Processor, Target};
use siglip2_model::Tower;

mod arena;
mod cache;
mod card;
mod completer;
mod contexts;
mod device;
mod event;
mod feed;
mod gaps;
mod lent;
mod memory;
mod needs;
mod parts;
mod patches;
mod prepare;
pub mod probe;
mod slot;
mod steps;
mod tower;
mod warm_up;

use crate::error::{DeviceError, Doing};
use crate::kernel::{Element, Planner, ResizeKernel};
use crate::nvjpeg::NvJpeg;
use arena::Arena;
use card::Judge;
pub use card::card_backend;
use completer::Lost;
use contexts::Tensor;
pub use device::{Gpu, driver_is_present, driver_release, driver_version, end_process, gpus};
pub use feed::PictureTooLarge;
use feed::{Feed, ImageFeed, TextFeed};
pub use needs::{MemoryError, Needs};
use patches::{PackedPatches, PatchFeed};
pub use steps::{Steps, WatchedError, or_end, watched};
use tower::{LoadedTower, Plan, Shape};

/// Why the GPU engine could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The device or TensorRT failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// TensorRT failed because the device is lost to this process.
    #[error("{failed}; {device}")]
    Lost {
        /// What failed.
        #[source]
        failed: DeviceError,
        /// What the device says.
        device: Box<DeviceError>,
    },
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
    /// Pictures become more patches than the engine takes.
    #[error(
        "pictures become up to {wanted} patches, but the engine takes at most {built}: serve it \
         with --max-num-patches {built} (MAX_NUM_PATCHES), or build it with build-engine \
         --max-num-patches {wanted}"
    )]
    Patches {
        /// The most that the engine takes.
        built: usize,
        /// The most that pictures become.
        wanted: usize,
    },
    /// The GPU has less memory free than the engine takes.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The system could not start a thread.
    #[error("no thread could be started: {0}")]
    Thread(#[source] std::io::Error),
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
    /// each slot, and with `nvjpeg` twice as much again.
    pub source_bytes: usize,
    /// Whether the work of each batch size is captured as a CUDA graph. TensorRT for RTX does
    /// this itself.
    pub capture: bool,
    /// The fewest and most runs of each batch size at the start; it ends when the library has
    /// captured it.
    pub warm_ups: (usize, usize),
    /// What decodes JPEG files on the card; without it the CPU does.
    pub nvjpeg: Option<&'static NvJpeg>,
    /// How long the device may go without finishing a batch while it has one.
    pub device_timeout: Duration,
    /// Bytes of the GPU's memory that are left free, for engines that are loaded after this one.
    pub beside: usize,
}

impl Default for TensorRtOptions {
    /// Two slots, so that the copies of one batch overlap the tower of another; 256 MiB of
    /// pixels, which are 36 pictures of 1920 x 1280, or more than 64 of 1024 x 768.
    fn default() -> Self {
        Self {
            source_bytes: 256 << 20,
            slots: 2,
            nvjpeg: None,
            max_batch: None,
            limits: ImageLimits::default(),
            // Even on a slow GPU the largest batch takes about a second.
            device_timeout: Duration::from_secs(60),
            warm_ups: (*warm_up::RUNS.start(), *warm_up::RUNS.end()),
            capture: cfg!(feature = "tensorrt-enterprise"),
            beside: 0,
        }
    }
}

/// Pinned memory for the pictures of all engines of the process, on whatever GPU and of whatever
/// model. Cheap to clone; all clones are the same memory.
#[derive(Clone)]
pub struct PinnedMemory {
    context: Arc<CudaContext>,
    arena: Arc<Arena>,
}

impl PinnedMemory {
    /// Pins so many bytes.
    ///
    /// # Errors
    ///
    /// When the driver cannot pin them.
    pub fn new(gpu: &Gpu, bytes: usize) -> Result<Self, DeviceError> {
        let context = device::context(gpu)?;
        let arena = Arena::new(&context, bytes)?;
        Ok(Self { context, arena })
    }

    /// What makes the pictures of one model ready in it: as they were decoded, or, where pictures
    /// are of variable resolution, in patches. With nvJPEG it takes the files, too, that the card
    /// decodes; pictures in patches are decoded on the CPU.
    ///
    /// # Errors
    ///
    /// When nvJPEG cannot be used.
    pub fn preparer(
        &self,
        processor: &Processor,
        nvjpeg: Option<&'static NvJpeg>,
    ) -> Result<Arc<dyn Prepare>, DeviceError> {
        let arena = Arc::clone(&self.arena);
        Ok(match processor.target().patches() {
            None => Arc::new(prepare::Pinned {
                arena,
                judge: nvjpeg
                    .map(|nvjpeg| Judge::new(&self.context, nvjpeg))
                    .transpose()?,
            }),
            Some((side, _)) => Arc::new(PackedPatches::new(arena, processor, side)),
        })
    }
}

/// [`PinnedMemory::preparer`] with memory of its own.
///
/// # Errors
///
/// Those of [`PinnedMemory::new`] and [`PinnedMemory::preparer`].
pub fn pinned_pictures(
    gpu: &Gpu,
    bytes: usize,
    processor: &Processor,
    nvjpeg: Option<&'static NvJpeg>,
) -> Result<Arc<dyn Prepare>, DeviceError> {
    PinnedMemory::new(gpu, bytes)?.preparer(processor, nvjpeg)
}

/// Both towers on one GPU.
pub struct TensorRtEngine {
    image: LoadedTower,
    text: LoadedTower,
    prepare: Arc<dyn Prepare>,
    info: EngineInfo,
    max_batch_pixels: Option<u64>,
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

    /// Computes what the engine of this directory will take of its GPU's memory.
    ///
    /// # Errors
    ///
    /// When the largest picture is too large for any memory.
    pub fn needs_of(
        manifest: &Manifest,
        processor: &Processor,
        options: &TensorRtOptions,
    ) -> Result<Needs, PictureTooLarge> {
        Needs::of(
            manifest,
            processor,
            &Self::describe(manifest, options),
            options,
        )
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
        let loaded = Self::load_in(&context, gpu, directory, processor, prepare, options, steps);
        loaded.map_err(|error| match error {
            // TensorRT does not say that it is a lost device that it failed on; the driver does.
            LoadError::Device(failed @ DeviceError::TensorRt { .. }) => {
                steps.begin(format!("asking whether {gpu} is lost"));
                let asked = context
                    .bind_to_thread()
                    .and_then(|()| context.synchronize());
                match asked.doing(|| format!("waiting for {gpu}")) {
                    Err(device) if device.is_sticky() => LoadError::Lost {
                        failed,
                        device: Box::new(device),
                    },
                    _ => LoadError::Device(failed),
                }
            }
            other => other,
        })
    }

    fn load_in(
        context: &Arc<CudaContext>,
        gpu: &Gpu,
        directory: &EngineDirectory,
        processor: &Processor,
        prepare: Arc<dyn Prepare>,
        options: &TensorRtOptions,
        steps: &Steps,
    ) -> Result<Self, LoadError> {
        let manifest = directory.manifest();
        let info = Self::describe(manifest, options);
        let driver = match driver_release() {
            Some(release) => release,
            None => format!("cuda-{}", driver_version()?),
        };
        let target = processor.target();
        patches::check(manifest, target)?;
        let lost = Lost::new(OnceLock::new());
        let load = |tower: Tower, feed: &mut dyn FnMut(&Shape) -> Result<Feed, DeviceError>| {
            let entry = manifest.tower(tower);
            let shape = shape(tower, manifest, &info, options, target);
            let small = entry.small.as_ref().map(|small| &small.engine.file);
            let files = small.into_iter().chain([&entry.engine.file]);
            let largest = shape.sizes.iter().map(|size| size.rows).max().unwrap_or(1);
            let mut plans = Vec::new();
            for (file, profiles) in files.zip(manifest.profiles_of_engines(tower)) {
                if profiles.iter().all(|[least, ..]| least.rows > largest) {
                    // No batch is so large.
                    continue;
                }
                // A slow disk is not the device's doing.
                steps.begin(format!("reading {file}"));
                plans.push(Plan {
                    bytes: directory.read(file)?,
                    profiles,
                    cache: cache::path(&directory.path().join(file), &gpu.name, &driver),
                });
            }
            LoadedTower::load(context, plans, &shape, &lost, steps, || feed(&shape))
        };

        let looking = || format!("asking for the free memory of {gpu}");
        context.bind_to_thread().doing(looking)?;
        let (free, _) = result::mem_get_info().doing(looking)?;
        let free = free.saturating_sub(options.beside);
        let needs = needs::check(gpu, free, manifest, processor, &info, options)?;
        let free = free >> 20;
        tracing::info!(%gpu, "the engines take {needs}, of {free} MiB that are free");
        context.bind_to_thread().doing(|| format!("using {gpu}"))?;
        let image = match &manifest.patches {
            Some(patches) => load(Tower::Image, &mut |_| {
                Ok(Feed::Patches(PatchFeed::new(patches.size)))
            })?,
            None => {
                let element = Element::of(manifest.towers.image.input.element);
                let cubin = directory.read(&manifest.kernel.file)?;
                let kernel = Arc::new(
                    ResizeKernel::load(&cubin, element)
                        .doing(|| format!("loading {}", manifest.kernel.file))?,
                );
                load(Tower::Image, &mut |shape| {
                    let planner = Planner::new(processor, element);
                    let kernel = Arc::clone(&kernel);
                    let mut feed =
                        ImageFeed::new(context, kernel, planner, options, shape.input_row)?;
                    card::check(context, &mut feed)?;
                    Ok(Feed::Images(Box::new(feed)))
                })?
            }
        };
        let tokens = manifest.text_tokens;
        let ids = manifest.towers.text.input.element;
        let text = load(Tower::Text, &mut |_| {
            TextFeed::new(context, info.max_batch, tokens, ids).map(Feed::Texts)
        })?;
        Ok(Self {
            image,
            text,
            prepare,
            max_batch_pixels: patches::max_batch_pixels(info.max_batch, target),
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

    fn max_batch_pixels(&self) -> Option<u64> {
        self.max_batch_pixels
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
fn shape(
    tower: Tower,
    manifest: &Manifest,
    info: &EngineInfo,
    options: &TensorRtOptions,
    target: Target,
) -> Shape {
    let entry: &TowerEntry = manifest.tower(tower);
    let row = match (tower, &manifest.patches) {
        (Tower::Image, None) => {
            let side = manifest.image_size as i64;
            vec![3, side, side]
        }
        (Tower::Image, Some(patches)) => {
            vec![
                -1,
                siglip2_model::graph::patches::bytes(patches.size) as i64,
            ]
        }
        (Tower::Text, _) => vec![manifest.text_tokens as i64],
    };
    let most = target.patches().map(|(_, most)| most as usize);
    Shape {
        tower,
        input: Tensor {
            name: entry.input.name.clone(),
            row,
        },
        input_row: needs::input_row(tower, manifest),
        output: Tensor {
            name: entry.output.name.clone(),
            row: vec![manifest.dimensions as i64],
        },
        dimensions: manifest.dimensions,
        sizes: manifest.sizes_of(tower, info.max_batch, most),
        max_batch: info.max_batch,
        slots: info.slots,
        urgent: tower == Tower::Text,
        warm_ups: options.warm_ups.0..=options.warm_ups.1,
        capture: options.capture,
    }
}
