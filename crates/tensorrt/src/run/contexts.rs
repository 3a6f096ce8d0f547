//! The execution contexts of one slot: one for each batch size, each bound to the slot's
//! buffers and set to its size once and for all.
//!
//! ```text
//! bucket 1, 2, 4 ... max --> context, of the first engine and the narrowest of its profiles that
//!                            takes it --> CUDA graph
//!                                 \-- all compute in one block of activations
//! ```
//!
//! A context for each size costs no extra memory for activations: the contexts of a slot never
//! run at the same time and share one block. With a context per size, every batch of that size
//! is the same work at the same addresses, so it can be a CUDA graph, captured once and launched
//! as a whole. A tower is some hundred small kernels, and launching them one by one takes longer
//! than running a small batch.
#![allow(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;

use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, CudaGraph, CudaStream};
use trtx::{CudaEngine, ExecutionContext, ExecutionContextAllocationStrategy, RuntimeConfig};

use super::cache::Cache;
use super::memory::DeviceBuffer;
use crate::directory::BatchSize;
use crate::error::{DeviceError, Doing, refused};
use crate::logger;

/// One tensor of an engine, as the manifest names it.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    /// All dimensions but the first, which is the batch; -1 for that of patches.
    pub(super) row: Vec<i64>,
}

impl Tensor {
    /// Its dimensions in a batch of this size.
    fn of_size(&self, size: BatchSize) -> Vec<i64> {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let patches = size.patches.map_or(-1, number);
        let row = self.row.iter();
        let row = row.map(|&dim| if dim == -1 { patches } else { dim });
        std::iter::once(number(size.rows)).chain(row).collect()
    }
}

/// The sizes that a profile accepts: least, optimized for, most.
pub(super) type Profile = [BatchSize; 3];

/// An engine whose contexts compute some of the batch sizes.
pub(super) struct Computes {
    pub(super) engine: CudaEngine<'static>,
    pub(super) profiles: Vec<Profile>,
    /// What TensorRT compiled for it.
    pub(super) cache: Cache,
}

impl Computes {
    /// Whether one of its profiles accepts batches of this size.
    fn takes(&self, size: BatchSize) -> bool {
        self.profiles.iter().any(|profile| accepts(profile, size))
    }
}

/// Whether a profile accepts batches of this size. Every number of patches has profiles of its own.
fn accepts([least, _, most]: &Profile, size: BatchSize) -> bool {
    least.patches == size.patches && (least.rows..=most.rows).contains(&size.rows)
}

/// The buffers that the contexts of a slot read and write, and the batch sizes.
pub(super) struct Binding<'a> {
    /// The batch sizes that will be used.
    pub(super) sizes: &'a [BatchSize],
    pub(super) input: (&'a Tensor, &'a DeviceBuffer),
    pub(super) output: (&'a Tensor, &'a DeviceBuffer),
    pub(super) stream: &'a Arc<CudaStream>,
}

/// See the module. The contexts are dropped before the memory they compute in.
pub(super) struct Contexts {
    bound: Vec<Bound>,
    _activations: Option<DeviceBuffer>,
    stream: Arc<CudaStream>,
}

struct Bound {
    /// What its input is set to.
    size: BatchSize,
    /// Dropped before the context whose work it replays.
    graph: Option<CudaGraph>,
    /// Bytes of the slot's shared activations that it uses; 0 if it computes without any.
    takes: usize,
    context: ExecutionContext<'static>,
    /// Holds the runtime cache, and so is dropped after the context.
    _config: Rc<RuntimeConfig<'static>>,
}

impl Contexts {
    /// Makes one context for each size. They are used only together with the buffers of
    /// `binding`, by the slot that owns both. `config` configures each context.
    pub(super) fn new(
        context: &Arc<CudaContext>,
        engines: &mut [Computes],
        mut config: impl FnMut(&mut Computes) -> Result<RuntimeConfig<'static>, trtx::Error>,
        binding: &Binding<'_>,
    ) -> Result<Self, DeviceError> {
        let mut bound = Vec::new();
        let mut most = 0;
        for &size in binding.sizes {
            let doing = || format!("making the execution context of {size}");
            let one = engines.iter_mut().find(|it| it.takes(size));
            let engine = one.ok_or_else(|| refused(doing(), "no profile accepts it"))?;
            // One for each context: an `Rc` must not be shared between threads.
            let mut config = config(engine).doing(doing)?;
            // The only strategy for an engine of TensorRT for RTX, which is built for it
            // (kREQUIRE_USER_ALLOCATION); the standard TensorRT takes it as well.
            config.set_execution_context_allocation_strategy(
                ExecutionContextAllocationStrategy::kUSER_MANAGED,
            );
            let config = Rc::new(config);
            let context = engine
                .engine
                .create_execution_context_with_config(Rc::clone(&config))
                .doing(doing)?;
            let mut one = Bound {
                size,
                graph: None,
                takes: 0,
                context,
                _config: config,
            };
            one.takes = one.bind(&engine.profiles, binding)?;
            most = most.max(one.takes);
            bound.push(one);
        }
        let activations = match most {
            0 => None,
            _ => Some(DeviceBuffer::new(context, most, "activations")?),
        };
        if let Some(block) = &activations {
            let bytes = i64::try_from(block.len()).unwrap_or(i64::MAX);
            for one in bound.iter_mut().filter(|one| one.takes > 0) {
                // SAFETY: the block has `bytes` bytes, is dropped after the contexts, and
                // only one of them computes at a time: they share a stream.
                unsafe {
                    one.context
                        .set_device_memory_v2(block.address() as *mut _, bytes);
                }
            }
        }
        Ok(Self {
            bound,
            _activations: activations,
            stream: Arc::clone(binding.stream),
        })
    }

    /// Enqueues the tower on the slot's stream.
    ///
    /// # Safety
    ///
    /// The slot's buffers are not used for anything else until the stream has passed it.
    pub(super) unsafe fn enqueue(&mut self, size: BatchSize) -> Result<(), DeviceError> {
        let stream = Arc::clone(&self.stream);
        let bound = self.of(size)?;
        let doing = || format!("starting a batch of {size}");
        match &bound.graph {
            Some(graph) => graph.launch().doing(doing),
            // SAFETY: the stream is alive; the addresses were set in `new`, and the caller
            // keeps the buffers.
            None => unsafe { bound.context.enqueue_v3(stream.cu_stream().cast()) }.doing(doing),
        }
    }

    /// Captures the work of a batch of this size, which must have run before, so that it is
    /// launched as a whole from now on.
    pub(super) fn capture(&mut self, size: BatchSize) -> Result<(), DeviceError> {
        let stream = Arc::clone(&self.stream);
        let bound = self.of(size)?;
        let doing = || format!("capturing the work of {size} as a CUDA graph");
        stream
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .doing(doing)?;
        // SAFETY: nothing runs while it is captured; the captured work uses the slot's
        // buffers, which live as long as `self`.
        let enqueued = unsafe { bound.context.enqueue_v3(stream.cu_stream().cast()) }.doing(doing);
        // End the capture even if it failed, or the stream would be unusable.
        let graph = stream.end_capture(CUgraphInstantiate_flags(0)).doing(doing);
        enqueued?;
        bound.graph = graph?;
        match bound.graph {
            Some(_) => Ok(()),
            None => Err(refused(doing(), "nothing was captured")),
        }
    }

    /// Goes back to launching batches of this size kernel by kernel.
    pub(super) fn forget_graph(&mut self, size: BatchSize) -> Result<(), DeviceError> {
        self.of(size)?.graph = None;
        Ok(())
    }

    /// The context for batches of this size.
    fn of(&mut self, size: BatchSize) -> Result<&mut Bound, DeviceError> {
        self.bound
            .iter_mut()
            .find(|bound| bound.size == size)
            .ok_or_else(|| refused(format!("starting a batch of {size}"), "no such size"))
    }
}

impl Bound {
    /// Sets profile, shape and addresses; returns how many bytes of activations a batch needs.
    fn bind(&mut self, profiles: &[Profile], binding: &Binding<'_>) -> Result<usize, DeviceError> {
        let size = self.size;
        let doing = || format!("setting an execution context to {size}");
        let (number, _) = profiles
            .iter()
            .enumerate()
            .filter(|(_, profile)| accepts(profile, size))
            .min_by_key(|(_, [least, _, most])| most.rows - least.rows)
            .ok_or_else(|| refused(doing(), "no profile accepts it"))?;
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        // SAFETY: the stream lives as long as the slot, which also owns this context.
        let set = unsafe {
            self.context
                .set_optimization_profile_async(number, binding.stream.cu_stream().cast())
        };
        if !set {
            return Err(trtx::Error::Runtime("the profile was refused".into())).doing(doing);
        }
        // The next step may fail, and a context must not be dropped while it is being set.
        binding.stream.synchronize().doing(doing)?;
        let (input, source) = binding.input;
        let (output, target) = binding.output;
        let shape = trtx::trtx_sys::Dims64::from_slice(&input.of_size(size));
        self.context
            .set_input_shape(&input.name, &shape)
            .doing(doing)?;
        // SAFETY: both buffers are as long as the largest batch, and live in the same
        // slot as this context, which is dropped first.
        unsafe {
            self.context
                .set_tensor_address(&input.name, source.address() as *mut _)
                .doing(doing)?;
            self.context
                .set_tensor_address(&output.name, target.address() as *mut _)
                .doing(doing)?;
        }
        // 0 bytes are also the answer of a failure, which is in the log then.
        logger::last_error();
        match self.context.update_device_memory_size_for_shapes() {
            0 => match logger::last_error() {
                None => Ok(0),
                Some(said) => Err(DeviceError::TensorRt {
                    doing: format!("asking for the memory that a batch of {size} needs"),
                    said,
                }),
            },
            bytes => Ok(bytes),
        }
    }
}
