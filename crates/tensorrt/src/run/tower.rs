//! One tower on one GPU: its TensorRT engine, its slots, and the threads that wait for
//! batches in flight.
#![allow(unsafe_code)]

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream, result};
use trtx::{CudaEngine, Runtime, RuntimeConfig};

use super::LoadError;
use super::cache::Cache;
use super::completer::{Completer, Lost};
use super::contexts::{Binding, Computes, Contexts, Profile, Tensor};
use super::event::Event;
use super::feed::Feed;
use super::memory::{DeviceBuffer, PinnedBuffer};
use super::parts::parts;
use super::patches;
use super::slot::{Slot, SlotBuffers};
use super::steps::Steps;
use crate::directory::BatchSize;
use crate::error::{DeviceError, Doing};
use crate::logger;
use siglip2_engine::{Batch, Completion, EngineError};

/// The sizes that a tower's slots are made for.
pub(super) struct Shape {
    pub(super) tower: siglip2_engine::Tower,
    pub(super) input: Tensor,
    /// Bytes of one row of the input; where rows have patches, of one patch.
    pub(super) input_row: usize,
    pub(super) output: Tensor,
    /// Floats of one row of the output.
    pub(super) dimensions: usize,
    /// The sizes that batches are padded to.
    pub(super) sizes: Vec<BatchSize>,
    /// The largest batch, in rows. It may have several parts of smaller sizes.
    pub(super) max_batch: usize,
    pub(super) slots: usize,
    /// Whether the GPU runs small batches of this tower before other work.
    pub(super) urgent: bool,
    /// The fewest and most runs of each size at the start.
    pub(super) warm_ups: RangeInclusive<usize>,
    /// Whether this program captures the work of a size as a CUDA graph.
    pub(super) capture: bool,
}

/// An engine of a tower.
pub(super) struct Plan {
    /// The serialized engine.
    pub(super) bytes: Vec<u8>,
    pub(super) profiles: Vec<Profile>,
    /// The file that keeps what TensorRT compiled of it.
    pub(super) cache: PathBuf,
}

/// See the module. Its fields are dropped in this order, as TensorRT requires: first all
/// batches finish, then the slots are dropped with their contexts, then the engine, then the
/// runtime.
pub(super) struct LoadedTower {
    completer: Completer,
    /// Recorded after the tower of the batch started last.
    last: Option<Arc<Event>>,
    sizes: Vec<BatchSize>,
    /// Whether its rows have patches.
    has_patches: bool,
    lost: Lost,
    _engines: Vec<CudaEngine<'static>>,
    _runtime: Runtime<'static>,
    context: Arc<CudaContext>,
}

// SAFETY: TensorRT's runtime, engine and contexts may be used from any thread, by one at a
// time (developer guide, "Thread Safety"); `&mut self` and ownership ensure that. The CUDA
// context is made current on every thread that uses them (`submit`, `drop`).
unsafe impl Send for LoadedTower {}

impl LoadedTower {
    /// Loads serialized engines, makes all contexts and buffers, and runs every size on
    /// every slot. A size is computed by the first engine that takes it. `feed` makes a slot's
    /// upload buffers.
    pub(super) fn load(
        context: &Arc<CudaContext>,
        plans: Vec<Plan>,
        shape: &Shape,
        lost: &Lost,
        steps: &Steps,
        mut feed: impl FnMut() -> Result<Feed, DeviceError>,
    ) -> Result<Self, LoadError> {
        let tower = shape.tower;
        let loading = || format!("loading the {tower} tower");
        steps.begin(loading());
        context.bind_to_thread().doing(loading)?;
        let mut runtime = runtime().doing(loading)?;
        let mut engines = Vec::new();
        for plan in plans {
            let engine = runtime
                .deserialize_cuda_engine(&plan.bytes)
                .doing(loading)?;
            check_tensors(&engine, shape, plan.profiles.len())?;
            engines.push(Computes {
                engine,
                profiles: plan.profiles,
                cache: Cache::open(&plan.cache),
            });
        }
        // Of a part; all parts of a batch together have no more rows than the largest batch.
        let rows = shape.sizes.iter().map(|size| size.rows).max().unwrap_or(1);
        let work = shape
            .sizes
            .iter()
            .map(|size| size.work())
            .max()
            .unwrap_or(1);
        let most = rows.max(shape.max_batch);
        let mut slots = Vec::new();
        let mut dear = Vec::new();
        for number in 1..=shape.slots.max(1) {
            steps.begin(format!("making slot {number} of the {tower} tower"));
            let stream = stream(context, shape.urgent)?;
            let buffers = SlotBuffers {
                input: DeviceBuffer::new(context, work * shape.input_row, "inputs")?,
                output: DeviceBuffer::new(context, rows * shape.output_bytes(), "embeddings")?,
                rows: PinnedBuffer::new(context, most * shape.output_bytes(), "embeddings")?,
            };
            let contexts = Contexts::new(
                context,
                &mut engines,
                |it| config(&mut it.engine, &mut it.cache),
                &Binding {
                    sizes: &shape.sizes,
                    input: (&shape.input, &buffers.input),
                    output: (&shape.output, &buffers.output),
                    stream: &stream,
                },
            )?;
            let mut slot = Slot::new(
                context,
                stream,
                contexts,
                feed()?,
                buffers,
                shape.dimensions,
            )?;
            for &size in &shape.sizes {
                let of = size.patches.map(|patches| format!(" of {patches} patches"));
                let (rows, of) = (size.rows, of.unwrap_or_default());
                steps.begin(format!("running the first batches of {rows} {tower}s{of}"));
                let warm_up = slot.warm_up(size, &shape.warm_ups, shape.capture)?;
                tracing::debug!(%tower, slot = number, %size, "warm-up: {warm_up}");
                if !warm_up.is_cheap() {
                    dear.push(format!("{size} (slot {number}: {warm_up})"));
                }
            }
            slots.push(slot);
        }
        if !dear.is_empty() {
            tracing::info!(
                %tower,
                batches = dear.join(", "),
                "TensorRT launches these batch sizes kernel by kernel, and not as a CUDA graph"
            );
        }
        let keep = |it: Computes| {
            it.cache.save();
            it.engine
        };
        let engines = engines.into_iter().map(keep).collect();
        let name = tower.to_string();
        Ok(Self {
            completer: Completer::new(&name, slots, lost).map_err(LoadError::Thread)?,
            last: None,
            has_patches: shape.sizes.iter().any(|size| size.patches.is_some()),
            sizes: shape.sizes.clone(),
            lost: Arc::clone(lost),
            _engines: engines,
            _runtime: runtime,
            context: Arc::clone(context),
        })
    }

    /// Submits a batch.
    pub(super) fn submit(&mut self, batch: Batch, done: Completion) {
        if let Some(reason) = self.lost.get() {
            return done.finish(Err(EngineError::Lost(reason.clone())));
        }
        if batch.is_empty() {
            return done.finish(Err(EngineError::Failed("an empty batch".into())));
        }
        if let Err(error) = self
            .context
            .bind_to_thread()
            .doing(|| "using the GPU".to_owned())
        {
            return done.finish(Err(error.into()));
        }
        let patches = match &batch {
            Batch::Images(images) if self.has_patches => Some(patches::counts(images)),
            _ => None,
        };
        let parts = parts(&self.sizes, batch.len(), patches.as_deref());
        let slot = parts.and_then(|parts| Some((parts, self.completer.slot()?)));
        let Some((parts, slot)) = slot else {
            let why = match patches.and_then(|patches| patches.into_iter().max()) {
                Some(most) => format!(
                    "there is no free slot for a batch of {} with up to {most} patches",
                    batch.len()
                ),
                None => format!("there is no free slot for a batch of {}", batch.len()),
            };
            return done.finish(Err(EngineError::Failed(why)));
        };
        let computed = Arc::clone(slot.computed());
        let (submitted, started) = slot.start(batch, &parts, self.last.as_deref(), done);
        match started {
            Ok(()) => {
                self.last = Some(computed);
                self.completer.wait_for(submitted);
            }
            Err(error) => self.completer.fail(submitted, error),
        }
    }
}

impl Drop for LoadedTower {
    fn drop(&mut self) {
        // TensorRT frees its memory in the current context. A lost device has none.
        if let Err(error) = self.context.bind_to_thread() {
            tracing::debug!(?error, "the GPU is gone before its engine");
        }
    }
}

impl Shape {
    fn output_bytes(&self) -> usize {
        self.dimensions * size_of::<f32>()
    }
}

/// TensorRT's runtime. Where CUDA cannot be used the library logs why and still returns a pointer,
/// which is not null and points nowhere (seen with the lean runtime 11.4: the offset of a base
/// class, added to null). So what was logged decides.
fn runtime() -> Result<Runtime<'static>, trtx::Error> {
    let logger = logger::logger()?;
    logger::last_error();
    let runtime = Runtime::new(logger)?;
    match logger::last_error() {
        None => Ok(runtime),
        Some(said) => {
            // Dropping it would call into it.
            std::mem::forget(runtime);
            Err(trtx::Error::Runtime(said))
        }
    }
}

/// A stream that does not wait for any other. Kernels of an urgent stream run first when both
/// have blocks to run.
fn stream(context: &Arc<CudaContext>, urgent: bool) -> Result<Arc<CudaStream>, DeviceError> {
    let doing = || "making a stream".to_owned();
    context.bind_to_thread().doing(doing)?;
    let (_, greatest) = result::stream::get_priority_range().doing(doing)?;
    match urgent {
        true => context.new_stream_with_priority(greatest).doing(doing),
        false => context.new_stream().doing(doing),
    }
}

/// The configuration of a context. TensorRT for RTX captures its work as a CUDA graph and
/// replays it automatically.
fn config(
    engine: &mut CudaEngine<'static>,
    cache: &mut Cache,
) -> Result<RuntimeConfig<'static>, trtx::Error> {
    let config = engine.create_runtime_config()?;
    #[cfg(not(feature = "tensorrt-enterprise"))]
    let config = {
        let mut config = config;
        // Every bucket runs at the start, so compile its kernels then instead of running the
        // first batches on generic ones.
        config.set_dynamic_shapes_kernel_specialization_strategy(
            trtx::DynamicShapesKernelSpecializationStrategy::kEAGER,
        );
        config.set_cuda_graph_strategy(trtx::CudaGraphStrategy::kWHOLE_GRAPH_CAPTURE)?;
        cache.attach(&mut config)?;
        config
    };
    #[cfg(feature = "tensorrt-enterprise")]
    let _ = cache;
    Ok(config)
}

/// Checks that the engine has the tensors its manifest names.
fn check_tensors(
    engine: &CudaEngine<'static>,
    shape: &Shape,
    wanted: usize,
) -> Result<(), LoadError> {
    let tower = shape.tower;
    let doing = || format!("looking at the {tower} tower's tensors");
    for tensor in [&shape.input, &shape.output] {
        let found = engine.tensor_shape(&tensor.name).doing(doing)?;
        if found.get(1..) != Some(tensor.row.as_slice()) {
            return Err(LoadError::Engine {
                tower,
                reason: format!(
                    "its tensor {} has shape {found:?}, but its manifest says [batch, {:?}]",
                    tensor.name, tensor.row
                ),
            });
        }
    }
    let profiles = engine.nb_optimization_profiles().doing(doing)?;
    if usize::try_from(profiles) != Ok(wanted) {
        return Err(LoadError::Engine {
            tower,
            reason: format!(
                "it has {profiles} optimization profiles, but its manifest says {wanted}"
            ),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::libraries::{FLAVOUR, Libraries, Search};
    use crate::logger;

    /// Without a driver standard TensorRT does not even give a runtime, and TensorRT for RTX does
    /// not load an engine; both say why. (Of standard TensorRT, PyPI has the lean runtime, which
    /// is the real library without a builder.)
    #[test]
    #[ignore = "needs NVIDIA's library: tools/check-tensorrt runs it"]
    fn nvidias_own_library_says_why_it_loads_no_engine() {
        let directory = std::env::var_os("TENSORRT_LIB_DIR").unwrap();
        let libraries = Libraries::open(&Search::new(Some(directory.into()), None)).unwrap();
        assert_eq!(libraries.version.flavour, FLAVOUR);
        let said = match super::runtime() {
            Err(error) => error.to_string(),
            Ok(mut runtime) => {
                let damaged = runtime.deserialize_cuda_engine(&[0; 4096]);
                assert!(damaged.is_err());
                logger::last_error().unwrap()
            }
        };
        assert!(said.contains("CUDA") || said.contains("engine"), "{said}");
    }
}
