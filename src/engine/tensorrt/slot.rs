//! A slot: everything that one batch of a tower needs on its way through the device, so
//! that two batches never share anything that is written to.
//!
//! ```text
//! host items --upload--> input --(contexts)--> output --download--> pinned rows
//!            [uploaded]                                    [done]
//! ```
//!
//! All of it goes over the slot's own stream, in that order. The uploads of one slot
//! overlap the computing of another because they are on another stream; that towers of the
//! same kind do not compute at the same time, and so both come out later, is seen to by an
//! event that the next slot waits for.
#![allow(unsafe_code)]

use std::sync::Arc;

use cudarc::driver::sys::CUevent_flags;
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, result};

use super::contexts::Contexts;
use super::error::{DeviceError, Doing};
use super::feed::Feed;
use super::memory::{DeviceBuffer, PinnedBuffer};
use crate::engine::{Batch, Completion, EngineError, Rows};

/// See the module. Its fields are dropped in this order: the contexts use the buffers.
pub(super) struct Slot {
    contexts: Contexts,
    pub(super) feed: Feed,
    /// What the tower reads; kept for the contexts, which have its address.
    input: DeviceBuffer,
    output: DeviceBuffer,
    rows: PinnedBuffer,
    dimensions: usize,
    /// Behind the last byte that is read from the batch's items.
    uploaded: CudaEvent,
    /// Behind the tower: the next batch may compute.
    computed: Arc<CudaEvent>,
    /// Behind the download: the rows are there.
    done: CudaEvent,
    stream: Arc<CudaStream>,
}

// SAFETY: TensorRT's contexts and CUDA's streams, events and memory may be used from any
// thread, by one at a time. A slot has one owner at a time: it moves from the thread that
// fills it to the one that waits for it, and back. Nothing in it is shared with another
// slot but what is `Sync` (streams, events, the CUDA context, the runtime cache): the `Rc`
// of the runtime configuration is shared among the contexts of this slot alone.
unsafe impl Send for Slot {}

/// What a slot is made of, besides its contexts.
pub(super) struct SlotBuffers {
    pub(super) input: DeviceBuffer,
    pub(super) output: DeviceBuffer,
    pub(super) rows: PinnedBuffer,
}

impl Slot {
    pub(super) fn new(
        context: &Arc<CudaContext>,
        stream: Arc<CudaStream>,
        contexts: Contexts,
        feed: Feed,
        buffers: SlotBuffers,
        dimensions: usize,
    ) -> Result<Self, DeviceError> {
        let event = |flags| {
            context
                .new_event(flags)
                .doing(|| "making an event".to_owned())
        };
        // Who waits for these on the host sleeps instead of spinning.
        let waited_for = Some(CUevent_flags::CU_EVENT_BLOCKING_SYNC);
        Ok(Self {
            uploaded: event(waited_for)?,
            done: event(waited_for)?,
            computed: Arc::new(event(None)?),
            contexts,
            feed,
            input: buffers.input,
            output: buffers.output,
            rows: buffers.rows,
            dimensions,
            stream,
        })
    }

    /// Sends a batch on its way, padded to `bucket` rows; the tower waits for `before`,
    /// the tower of the batch before it. Afterwards [`Slot::computed`] is behind it.
    pub(super) fn start(
        mut self,
        batch: Batch,
        bucket: usize,
        before: Option<&CudaEvent>,
        completion: Completion,
    ) -> (InFlight, Result<(), DeviceError>) {
        let started = self.enqueue(&batch, bucket, before);
        let flight = InFlight {
            rows: batch.len(),
            batch: Some(batch),
            completion: Some(completion),
            slot: Some(self),
        };
        (flight, started)
    }

    fn enqueue(
        &mut self,
        batch: &Batch,
        bucket: usize,
        before: Option<&CudaEvent>,
    ) -> Result<(), DeviceError> {
        let doing = || "ordering a batch".to_owned();
        // SAFETY: `start` puts the batch into an `InFlight`, which keeps it, and this slot,
        // until the stream is past all that is enqueued here, also when a step fails. The
        // input was made for the largest batch.
        unsafe { self.feed.upload(batch, &self.input, &self.stream)? };
        self.uploaded.record(&self.stream).doing(doing)?;
        if let Some(before) = before {
            self.stream.wait(before).doing(doing)?;
        }
        // SAFETY: as above.
        unsafe { self.contexts.enqueue(bucket)? };
        self.computed.record(&self.stream).doing(doing)?;
        let bytes = batch.len() * self.dimensions * size_of::<f32>();
        let doing_rows = || format!("downloading {} rows", batch.len());
        // SAFETY: both buffers have room for the largest batch, and belong to this slot;
        // nobody reads the rows before `done`.
        unsafe {
            result::memcpy_dtoh_async(
                &mut self.rows.bytes_mut()[..bytes],
                self.output.address(),
                self.stream.cu_stream(),
            )
            .doing(doing_rows)?;
        }
        self.done.record(&self.stream).doing(doing)
    }

    /// Runs one batch of nothing in particular, `rows` rows long: kernels are compiled and
    /// memory is touched now, and not when the first client waits. With `capture` the work
    /// becomes a CUDA graph.
    pub(super) fn warm_up(&mut self, rows: usize, capture: bool) -> Result<(), DeviceError> {
        // SAFETY: the slot is nobody else's, and the stream is waited for below.
        unsafe { self.contexts.enqueue(rows)? };
        self.stream
            .synchronize()
            .doing(|| format!("running a first batch of {rows} rows"))?;
        if capture {
            self.contexts.capture(rows)?;
        }
        Ok(())
    }

    /// The event behind the tower of the batch that was started last.
    pub(super) fn computed(&self) -> &Arc<CudaEvent> {
        &self.computed
    }

    /// Waits until nothing of this slot is under way.
    fn settle(&self) -> Result<(), DeviceError> {
        self.stream
            .synchronize()
            .doing(|| "waiting for a batch".to_owned())
    }

    /// The rows of the batch that has come out.
    fn read(&self, rows: usize) -> Result<Rows, EngineError> {
        let bytes = rows * self.dimensions * size_of::<f32>();
        let (floats, _) = self.rows.bytes()[..bytes].as_chunks::<4>();
        let values = floats.iter().map(|&bytes| f32::from_ne_bytes(bytes));
        Rows::new(self.dimensions, values.collect())
    }
}

/// A batch that is on the device, with everything that the device may touch on its behalf.
/// Whatever becomes of it, the device is waited for before any of that is given away.
pub(super) struct InFlight {
    rows: usize,
    batch: Option<Batch>,
    completion: Option<Completion>,
    slot: Option<Slot>,
}

impl InFlight {
    /// Waits for the batch. Gives back the slot, and who is to be told what came out.
    pub(super) fn land(mut self) -> (Option<Slot>, Option<Landed>) {
        let result = self.wait();
        let completion = self.completion.take();
        let slot = self.slot.take();
        let landed = completion.map(|completion| Landed { completion, result });
        (slot, landed)
    }

    /// A batch that could not be started: what did start is waited for.
    pub(super) fn fail(mut self, error: DeviceError) -> (Option<Slot>, Option<Landed>) {
        let settled = self.slot.as_ref().map_or(Ok(()), Slot::settle);
        // What the device says now says more than a refusal that came of it.
        let error = match settled {
            Err(later) if later.is_sticky() => later,
            _ => error,
        };
        drop(self.batch.take());
        let completion = self.completion.take();
        let landed = completion.map(|completion| Landed {
            completion,
            result: Err(error.into()),
        });
        (self.slot.take(), landed)
    }

    fn wait(&mut self) -> Result<Rows, EngineError> {
        let Some(slot) = &self.slot else {
            return Err(EngineError::Failed("a batch without a slot".into()));
        };
        let waiting = || "waiting for a batch".to_owned();
        // The pictures' memory goes back while the tower computes.
        let uploaded = slot.uploaded.synchronize().doing(waiting);
        if uploaded.is_ok() {
            drop(self.batch.take());
        }
        let done = slot.done.synchronize().doing(waiting);
        if let Err(error) = uploaded.and(done) {
            // A lost device touches nothing any more; of any other it is made sure.
            let later = slot.settle().err().filter(DeviceError::is_sticky);
            return Err(later.unwrap_or(error).into());
        }
        slot.read(self.rows)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let under_way = self.batch.is_some() || self.completion.is_some();
        if let Some(slot) = self.slot.as_ref().filter(|_| under_way)
            && let Err(error) = slot.settle()
        {
            tracing::debug!(%error, "a batch was not waited for");
        }
    }
}

/// A batch that has come out, or failed, and whom to tell.
pub(super) struct Landed {
    pub(super) completion: Completion,
    pub(super) result: Result<Rows, EngineError>,
}
