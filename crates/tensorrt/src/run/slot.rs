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
use super::feed::Feed;
use super::memory::{DeviceBuffer, PinnedBuffer};
use crate::error::{DeviceError, Doing};
use siglip2_engine::{Batch, Completion, EngineError, Rows};

/// So often each batch size runs at the start: TensorRT for RTX compiles in the first run,
/// captures a CUDA graph in the second, and replays it from the third on.
const WARM_UPS: usize = 3;

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
// of a runtime configuration is one context's of this slot.
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
        self,
        batch: Batch,
        bucket: usize,
        before: Option<&CudaEvent>,
        completion: Completion,
    ) -> (InFlight, Result<(), DeviceError>) {
        // In the air first: should anything below panic, the device is waited for.
        let mut flight = InFlight {
            rows: batch.len(),
            batch: Some(batch),
            completion: Some(completion),
            slot: Some(self),
        };
        let started = match (&mut flight.slot, &flight.batch) {
            (Some(slot), Some(batch)) => slot.enqueue(batch, bucket, before),
            _ => Ok(()),
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
        // SAFETY: batch and slot are in an `InFlight`, which keeps them until the stream is
        // past all that is enqueued here, also when a step fails or panics. The input was made
        // for the largest batch.
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
        for _ in 0..WARM_UPS {
            self.run(rows)?;
        }
        if !capture {
            return Ok(());
        }
        // The first launch of a graph takes memory for it, and so may fail as well.
        let captured = self.contexts.capture(rows).and_then(|()| self.run(rows));
        match captured {
            // A graph makes it faster, and it is right without.
            Err(error) if !error.is_sticky() => {
                tracing::warn!(%error, "batches of {rows} run without a CUDA graph, and slower");
                self.contexts.forget_graph(rows)?;
                self.run(rows)
            }
            captured => captured,
        }
    }

    /// Runs one batch of whatever is in the buffers, and waits for it.
    fn run(&mut self, rows: usize) -> Result<(), DeviceError> {
        // SAFETY: the slot is nobody else's, and the stream is waited for, also when this
        // fails.
        let started = unsafe { self.contexts.enqueue(rows) };
        let settled = self.settle();
        started.and(settled)
    }

    /// The event behind the tower of the batch that was started last.
    pub(super) fn computed(&self) -> &Arc<CudaEvent> {
        &self.computed
    }

    /// Waits until nothing of this slot is under way.
    fn settle(&self) -> Result<(), DeviceError> {
        // cudarc may first hand out, once, an error that it met when it dropped something, and
        // then has not waited.
        self.stream
            .synchronize()
            .or_else(|_| self.stream.synchronize())
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
    /// Waits until the device has read all that came from the host, and gives that back: the
    /// pictures' memory is free while their tower computes.
    pub(super) fn release_uploaded(&mut self) {
        let uploaded = self.slot.as_ref().map(|slot| slot.uploaded.synchronize());
        // What went wrong shows again in `land`.
        if matches!(uploaded, Some(Ok(()))) {
            drop(self.batch.take());
        }
    }

    /// Waits for the batch. Gives back the slot, and who is to be told what came out.
    pub(super) fn land(mut self) -> (Option<Slot>, Option<Landed>) {
        let result = self.wait();
        self.ended(result)
    }

    /// A batch that could not be started: what did start is waited for.
    pub(super) fn fail(mut self, error: DeviceError) -> (Option<Slot>, Option<Landed>) {
        // What the device says now says more than a refusal that came of it.
        let result = self.settled().and(Err(error.into()));
        self.ended(result)
    }

    fn ended(mut self, result: Result<Rows, EngineError>) -> (Option<Slot>, Option<Landed>) {
        drop(self.batch.take());
        let slot = self.slot.take();
        let completion = self.completion.take();
        let landed = completion.map(|completion| Landed { completion, result });
        (slot, landed)
    }

    fn wait(&mut self) -> Result<Rows, EngineError> {
        let done = match &self.slot {
            Some(slot) => slot.done.synchronize(),
            None => return Err(EngineError::Failed("a batch without a slot".into())),
        };
        if let Err(error) = done.doing(|| "waiting for a batch".to_owned()) {
            self.settled()?;
            return Err(error.into());
        }
        match &self.slot {
            Some(slot) => slot.read(self.rows),
            None => Err(EngineError::Failed("a batch without a slot".into())),
        }
    }

    /// Waits until the device touches nothing of this any more. A device that cannot be
    /// waited for is lost, and what it may still touch is never given away.
    fn settled(&mut self) -> Result<(), EngineError> {
        let Some(Err(error)) = self.slot.as_ref().map(Slot::settle) else {
            return Ok(());
        };
        std::mem::forget(self.batch.take());
        std::mem::forget(self.slot.take());
        Err(EngineError::Lost(error.to_string()))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // After `ended` there is nothing left to wait for.
        if let Err(error) = self.settled() {
            tracing::debug!(%error, "a batch was not waited for");
        }
    }
}

/// A batch that has come out, or failed, and whom to tell.
pub(super) struct Landed {
    pub(super) completion: Completion,
    pub(super) result: Result<Rows, EngineError>,
}
