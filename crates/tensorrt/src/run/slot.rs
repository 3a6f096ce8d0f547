//! A slot: everything that one batch of a tower needs on the device, so that two batches never
//! share anything that is written to.
//!
//! ```text
//! host items --upload--> input --(contexts)--> output --download--> pinned rows
//!            [uploaded]                                    [done]
//! ```
//!
//! All of it runs on the slot's own stream, in that order. The uploads of one slot overlap the
//! computation of another because they are on different streams. Two batches of the same tower
//! must not compute at the same time, because both would finish later; so each slot waits for
//! an event of the one before.
#![allow(unsafe_code)]

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cudarc::driver::{CudaContext, CudaStream, result};

use super::contexts::Contexts;
use super::event::Event;
use super::feed::Feed;
use super::memory::{DeviceBuffer, PinnedBuffer};
use super::warm_up::WarmUp;
use crate::error::{DeviceError, Doing};
use siglip2_engine::{Batch, Completion, EngineError, Rows};

/// See the module. Its fields are dropped in this order: the contexts use the buffers.
pub(super) struct Slot {
    contexts: Contexts,
    pub(super) feed: Feed,
    /// The tower's input; kept for the contexts, which hold its address.
    input: DeviceBuffer,
    output: DeviceBuffer,
    rows: PinnedBuffer,
    dimensions: usize,
    /// Recorded after the last byte has been read from the batch's items.
    uploaded: Event,
    /// Recorded after the tower: the next batch may compute.
    computed: Arc<Event>,
    /// Recorded after the download: the rows are complete.
    done: Event,
    stream: Arc<CudaStream>,
}

// SAFETY: TensorRT's contexts and CUDA's streams, events and memory may be used from any
// thread, by one at a time. A slot has one owner at a time: it moves from the thread that
// fills it to the one that waits for it, and back. It shares only `Sync` values with other
// slots (streams, events, the CUDA context, the runtime cache); the `Rc` of a runtime
// configuration belongs to a single context of this slot.
unsafe impl Send for Slot {}

/// The parts of a slot, besides its contexts.
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
        let event = || Event::new(context).doing(|| "making an event".to_owned());
        Ok(Self {
            uploaded: event()?,
            done: event()?,
            computed: Arc::new(event()?),
            contexts,
            feed,
            input: buffers.input,
            output: buffers.output,
            rows: buffers.rows,
            dimensions,
            stream,
        })
    }

    /// Submits a batch, padded to `bucket` rows; the tower waits for `before`, the tower of the
    /// previous batch. Afterwards [`Slot::computed`] is recorded after it.
    pub(super) fn start(
        self,
        batch: Batch,
        bucket: usize,
        before: Option<&Event>,
        completion: Completion,
    ) -> (SubmittedBatch, Result<(), DeviceError>) {
        // Mark it as in flight first, so that a panic below still waits for the device.
        let mut flight = SubmittedBatch {
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
        before: Option<&Event>,
    ) -> Result<(), DeviceError> {
        let doing = || "ordering a batch".to_owned();
        // SAFETY: batch and slot are in a `SubmittedBatch`, which keeps them until the stream has
        // passed everything enqueued here, even when a step fails or panics. The input is large
        // enough for the largest batch.
        unsafe { self.feed.upload(batch, &self.input, &self.stream)? };
        self.uploaded.record(&self.stream).doing(doing)?;
        if let Some(before) = before {
            before.holds_up(&self.stream).doing(doing)?;
        }
        // SAFETY: as above.
        unsafe { self.contexts.enqueue(bucket)? };
        self.computed.record(&self.stream).doing(doing)?;
        let bytes = batch.len() * self.dimensions * size_of::<f32>();
        let doing_rows = || format!("downloading {} rows", batch.len());
        // SAFETY: both buffers have room for the largest batch, and belong to this slot;
        // nothing reads the rows before `done`.
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

    /// Runs batches of arbitrary content, `rows` rows long, so that kernels are compiled and
    /// memory is touched now and not while the first client waits. With `capture` the work
    /// becomes a CUDA graph of this program's; without, the library may make one, and the runs go
    /// on until it has. Returns how they went.
    pub(super) fn warm_up(
        &mut self,
        rows: usize,
        runs: &RangeInclusive<usize>,
        capture: bool,
    ) -> Result<WarmUp, DeviceError> {
        let mut warm_up = WarmUp::default();
        while !warm_up.is_enough(runs, capture) {
            warm_up.ran(self.run(rows)?);
        }
        if !capture {
            return Ok(warm_up);
        }
        // The first launch of a graph allocates memory for it, so it can fail as well.
        let captured = self.contexts.capture(rows).and_then(|()| self.run(rows));
        match captured {
            // A graph only makes it faster; the results are the same without one.
            Err(error) if !error.is_sticky() => {
                tracing::warn!(%error, "batches of {rows} run slower, without a CUDA graph");
                self.contexts.forget_graph(rows)?;
                self.run(rows)?;
            }
            captured => warm_up.ran(captured?),
        }
        Ok(warm_up)
    }

    /// Runs one batch with the current contents of the buffers, and waits for it. Returns how
    /// long the host took to enqueue it.
    fn run(&mut self, rows: usize) -> Result<Duration, DeviceError> {
        let begun = Instant::now();
        // SAFETY: nothing else uses the slot, and the stream is waited for, even when this
        // fails.
        let started = unsafe { self.contexts.enqueue(rows) };
        let enqueued = begun.elapsed();
        let settled = self.settle();
        started.and(settled).map(|()| enqueued)
    }

    /// The event recorded after the tower of the batch started last.
    pub(super) fn computed(&self) -> &Arc<Event> {
        &self.computed
    }

    /// Waits until nothing of this slot is in flight.
    fn settle(&self) -> Result<(), DeviceError> {
        // cudarc may first return, once, an error from an earlier drop; in that case it has not
        // waited.
        self.stream
            .synchronize()
            .or_else(|_| self.stream.synchronize())
            .doing(|| "waiting for a batch".to_owned())
    }

    /// The rows of the finished batch.
    fn read(&self, rows: usize) -> Result<Rows, EngineError> {
        let bytes = rows * self.dimensions * size_of::<f32>();
        let (floats, _) = self.rows.bytes()[..bytes].as_chunks::<4>();
        let values = floats.iter().map(|&bytes| f32::from_ne_bytes(bytes));
        Rows::new(self.dimensions, values.collect())
    }
}

/// A batch on the device, with everything that the device may access for it. Whatever happens,
/// the device is waited for before any of that is released.
pub(super) struct SubmittedBatch {
    rows: usize,
    batch: Option<Batch>,
    completion: Option<Completion>,
    slot: Option<Slot>,
}

impl SubmittedBatch {
    /// Waits until the device has read everything that came from the host, and releases it: the
    /// pictures' memory is free while their tower computes.
    pub(super) fn release_uploaded(&mut self) {
        let uploaded = self.slot.as_ref().map(|slot| slot.uploaded.synchronize());
        // An error here shows up again in `land`.
        if matches!(uploaded, Some(Ok(()))) {
            drop(self.batch.take());
        }
    }

    /// Waits for the batch. Returns the slot, and the receiver of the result.
    pub(super) fn land(mut self) -> (Option<Slot>, Option<Landed>) {
        let result = self.wait();
        self.ended(result)
    }

    /// Ends a batch that could not be started; waits for the part that did start.
    pub(super) fn fail(mut self, error: DeviceError) -> (Option<Slot>, Option<Landed>) {
        // The device's own error says more than a failure it caused.
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

    /// Waits until the device no longer accesses any of this. If waiting fails the device is lost,
    /// and anything it may still access is never released.
    fn settled(&mut self) -> Result<(), EngineError> {
        let Some(Err(error)) = self.slot.as_ref().map(Slot::settle) else {
            return Ok(());
        };
        std::mem::forget(self.batch.take());
        std::mem::forget(self.slot.take());
        Err(EngineError::Lost(error.to_string()))
    }
}

impl Drop for SubmittedBatch {
    fn drop(&mut self) {
        // After `ended` there is nothing left to wait for.
        if let Err(error) = self.settled() {
            tracing::debug!(%error, "waiting for a batch failed");
        }
    }
}

/// A finished or failed batch, and the receiver of its result.
pub(super) struct Landed {
    pub(super) completion: Completion,
    pub(super) result: Result<Rows, EngineError>,
}
