//! The execution contexts of one slot: one for each optimization profile of the engine,
//! each bound to the slot's buffers once and for all.
//!
//! A batch runs on the context of the narrowest profile that takes its bucket. Where a
//! profile has a single size, its work is a CUDA graph, captured once and launched as a
//! whole: a tower is some hundred small kernels, and launching them one by one takes longer
//! than a batch of one needs to run. A graph belongs to one size, and a context whose size
//! changes has to capture anew each time; large batches are launched far ahead of the device
//! anyhow.
#![allow(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;

use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaGraph, CudaStream};
use trtx::{CudaEngine, ExecutionContext, RuntimeConfig};

use super::error::{DeviceError, Doing, refused};
use super::memory::DeviceBuffer;

/// One tensor of an engine, as the manifest names it.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    /// All dimensions but the first, which is the batch.
    pub(super) row: Vec<i64>,
}

/// The rows that a profile takes, least and most.
pub(super) type Profile = (usize, usize);

/// See the module.
pub(super) struct Contexts {
    bound: Vec<Bound>,
    input: Tensor,
    stream: Arc<CudaStream>,
}

struct Bound {
    profile: Profile,
    /// Rows that its input is set to.
    rows: usize,
    /// Dropped before the context whose work it replays.
    graph: Option<CudaGraph>,
    context: ExecutionContext<'static>,
    /// Holds the runtime cache, and so is dropped after the context.
    _config: Rc<RuntimeConfig<'static>>,
}

impl Bound {
    fn has_one_size(&self) -> bool {
        self.profile.0 == self.profile.1
    }
}

impl Contexts {
    /// Makes one context for each profile, reading from `input` and writing to `output`,
    /// on `stream`. They are used only together with these, by the slot that has all.
    /// `config` is asked how, and told whether the profile has a single size.
    pub(super) fn new(
        engine: &mut CudaEngine<'static>,
        mut config: impl FnMut(
            &mut CudaEngine<'static>,
            bool,
        ) -> Result<RuntimeConfig<'static>, trtx::Error>,
        profiles: &[Profile],
        (input, source): (&Tensor, &DeviceBuffer),
        (output, target): (&Tensor, &DeviceBuffer),
        stream: &Arc<CudaStream>,
    ) -> Result<Self, DeviceError> {
        let mut bound = Vec::new();
        for (index, &profile) in profiles.iter().enumerate() {
            let doing = || format!("making the execution context of profile {index}");
            // Of this context alone: an `Rc` must not be in two threads.
            let config = Rc::new(config(engine, profile.0 == profile.1).doing(doing)?);
            let mut context = engine
                .create_execution_context_with_config(Rc::clone(&config))
                .doing(doing)?;
            let number = i32::try_from(index).unwrap_or(i32::MAX);
            // SAFETY: the stream lives as long as the slot, which has this context, too.
            let set = unsafe {
                context.set_optimization_profile_async(number, stream.cu_stream().cast())
            };
            if !set {
                return Err(trtx::Error::Runtime("the profile was refused".into())).doing(doing);
            }
            // The next step may fail, and a context must not go while it is being set.
            stream.synchronize().doing(doing)?;
            // SAFETY: both buffers are as long as the largest batch, and live in the same
            // slot as this context, which is dropped first.
            unsafe {
                context
                    .set_tensor_address(&input.name, source.address() as *mut _)
                    .doing(doing)?;
                context
                    .set_tensor_address(&output.name, target.address() as *mut _)
                    .doing(doing)?;
            }
            bound.push(Bound {
                profile,
                rows: 0,
                graph: None,
                context,
                _config: config,
            });
        }
        Ok(Self {
            bound,
            input: input.clone(),
            stream: Arc::clone(stream),
        })
    }

    /// Puts the tower behind what is on the slot's stream.
    ///
    /// # Safety
    ///
    /// The slot's buffers are not given to anything else until the stream is past it.
    pub(super) unsafe fn enqueue(&mut self, rows: usize) -> Result<(), DeviceError> {
        let stream = Arc::clone(&self.stream);
        let bound = self.fit(rows)?;
        let doing = || format!("starting a batch of {rows} rows");
        match &bound.graph {
            Some(graph) => graph.launch().doing(doing),
            // SAFETY: the stream is alive; the addresses were set in `new`, and the caller
            // keeps the buffers.
            None => unsafe { bound.context.enqueue_v3(stream.cu_stream().cast()) }.doing(doing),
        }
    }

    /// Captures the work of a batch of `rows` rows, which has run before, so that it is
    /// launched as a whole from now on; nothing where the context has other sizes as well.
    pub(super) fn capture(&mut self, rows: usize) -> Result<(), DeviceError> {
        let stream = Arc::clone(&self.stream);
        let bound = self.fit(rows)?;
        if !bound.has_one_size() {
            return Ok(());
        }
        let doing = || format!("capturing the work of {rows} rows as a CUDA graph");
        stream
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .doing(doing)?;
        // SAFETY: nothing runs while it is captured; what is captured uses the slot's
        // buffers, which live as long as this does.
        let enqueued = unsafe { bound.context.enqueue_v3(stream.cu_stream().cast()) }.doing(doing);
        // The capture is ended also where it has failed, or the stream could not be used.
        let graph = stream.end_capture(CUgraphInstantiate_flags(0)).doing(doing);
        enqueued?;
        bound.graph = graph?;
        Ok(())
    }

    /// The context of the narrowest profile that takes so many rows, set to them.
    fn fit(&mut self, rows: usize) -> Result<&mut Bound, DeviceError> {
        let doing = || format!("setting the input to {rows} rows");
        let bound = self
            .bound
            .iter_mut()
            .filter(|bound| (bound.profile.0..=bound.profile.1).contains(&rows))
            .min_by_key(|bound| bound.profile.1 - bound.profile.0)
            .ok_or_else(|| refused(doing(), "no profile takes so many"))?;
        if bound.rows != rows {
            let mut shape = vec![i64::try_from(rows).unwrap_or(i64::MAX)];
            shape.extend(&self.input.row);
            bound
                .context
                .set_input_shape(
                    &self.input.name,
                    &trtx::trtx_sys::Dims64::from_slice(&shape),
                )
                .doing(doing)?;
            bound.rows = rows;
        }
        Ok(bound)
    }
}
