//! A slot: everything that one batch of a tower needs on the device, so that two batches never
//! share anything that is written to.
//!
//! ```text
//! host items --upload--> input --(contexts)--> output --download--> pinned rows
//!            [uploaded]                                    [done]
//! ```
//!
//! All of it runs on the slot's own stream, in that order, and again for each part of a batch that
//! has several (`parts`). The uploads of one slot overlap the
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
use super::parts::Part;
use super::warm_up::WarmUp;
use crate::directory::BatchSize;
use crate::error::{DeviceError, Doing, refused};
use siglip2_engine::{Batch, Completion, EngineError, Rows};

/// See the module. Its fields are dropped in this order: the contexts use the buffers.
pub(super) struct Slot {
    contexts: Contexts,
    pub(super) feed: Feed,
    /// The tower's input; kept for the contexts, which hold its address.
    input: DeviceBuffer,
    output: DeviceBuffer,
    rows: PinnedBuffer,
    /// The items of the rows of the batch started last.
    items: Vec<usize>,
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
            items: Vec::new(),
            dimensions,
            stream,
        })
    }

    /// Submits a batch in these parts, of which it has at least one; the tower waits for
    /// `before`, the tower of the previous batch. Afterwards [`Slot::computed`] is recorded after
    /// it.
    pub(super) fn start(
        self,
        batch: Batch,
        parts: &[Part],
        before: Option<&Event>,
        completion: Completion,
    ) -> (SubmittedBatch, Result<(), DeviceError>) {
        // It counts as submitted first, so that a panic below still waits for the device.
        let mut submitted = SubmittedBatch {
            rows: batch.len(),
            batch: Some(batch),
            completion: Some(completion),
            slot: Some(self),
        };
        let started = match (&mut submitted.slot, &submitted.batch) {
            (Some(slot), Some(batch)) => slot.enqueue(batch, parts, before),
            _ => Ok(()),
        };
        (submitted, started)
    }

    fn enqueue(
        &mut self,
        batch: &Batch,
        parts: &[Part],
        before: Option<&Event>,
    ) -> Result<(), DeviceError> {
        let doing = || "ordering a batch".to_owned();
        self.items.clear();
        for (number, part) in parts.iter().enumerate() {
            let is_last = number + 1 == parts.len();
            // SAFETY: batch and slot are in a `SubmittedBatch`, which keeps them until the stream
            // has passed everything enqueued here, even when a step fails or panics. The input is
            // large enough for the largest batch, and on this stream the tower of the part before
            // has read it.
            unsafe { self.feed.upload(batch, part, &self.input, &self.stream)? };
            if is_last {
                self.uploaded.record(&self.stream).doing(doing)?;
            }
            if let Some(before) = before.filter(|_| number == 0) {
                before.holds_up(&self.stream).doing(doing)?;
            }
            // SAFETY: as above.
            unsafe { self.contexts.enqueue(part.size)? };
            if is_last {
                self.computed.record(&self.stream).doing(doing)?;
            }
            self.download(&part.items)?;
        }
        self.done.record(&self.stream).doing(doing)
    }

    /// Enqueues the download of a part's rows, behind those of the parts before.
    fn download(&mut self, items: &[usize]) -> Result<(), DeviceError> {
        let row = self.dimensions * size_of::<f32>();
        let doing = || format!("downloading {} rows", items.len());
        let (from, to) = (self.items.len(), self.items.len() + items.len());
        self.items.extend(items);
        let rows = self.rows.bytes_mut().get_mut(from * row..to * row);
        let rows = rows.ok_or_else(|| refused(doing(), "they are more than the largest batch"))?;
        // SAFETY: the output has as many rows as the largest part, and both buffers belong to this
        // slot; nothing reads the rows before `done`.
        unsafe { result::memcpy_dtoh_async(rows, self.output.address(), self.stream.cu_stream()) }
            .doing(doing)
    }

    /// Runs batches of arbitrary content, of one size, so that kernels are compiled and
    /// memory is touched now and not while the first client waits. With `capture` the work
    /// becomes a CUDA graph of this program's; without, the library may make one, and the runs go
    /// on until it has. Returns how they went.
    pub(super) fn warm_up(
        &mut self,
        size: BatchSize,
        runs: &RangeInclusive<usize>,
        capture: bool,
    ) -> Result<WarmUp, DeviceError> {
        let mut warm_up = WarmUp::default();
        while !warm_up.is_enough(runs, capture) {
            warm_up.ran(self.run(size)?);
        }
        if !capture {
            return Ok(warm_up);
        }
        // The first launch of a graph allocates memory for it: it can fail as well, and takes longer
        // than any after it, so that its time says nothing.
        let captured = self.contexts.capture(size);
        let captured = captured.and_then(|()| self.run(size).and_then(|_| self.run(size)));
        match captured {
            // A graph only makes it faster; the results are the same without one.
            Err(error) if !error.is_sticky() => {
                tracing::warn!(%error, "batches of {size} run slower, without a CUDA graph");
                self.contexts.forget_graph(size)?;
                self.run(size)?;
            }
            captured => warm_up.ran(captured?),
        }
        Ok(warm_up)
    }

    /// Runs one batch with the current contents of the buffers, and waits for it. Returns how
    /// long the host took to enqueue it.
    fn run(&mut self, size: BatchSize) -> Result<Duration, DeviceError> {
        let begun = Instant::now();
        // SAFETY: nothing else uses the slot, and the stream is waited for, even when this
        // fails.
        let started = unsafe { self.contexts.enqueue(size) };
        let enqueued = begun.elapsed();
        let settled = self.settle();
        started.and(settled).map(|()| enqueued)
    }

    /// The event recorded after the tower of the batch started last.
    pub(super) fn computed(&self) -> &Arc<Event> {
        &self.computed
    }

    /// Waits until the device works on nothing of this slot.
    fn settle(&self) -> Result<(), DeviceError> {
        // cudarc may first return, once, an error from an earlier drop; in that case it has not
        // waited.
        self.stream
            .synchronize()
            .or_else(|_| self.stream.synchronize())
            .doing(|| "waiting for a batch".to_owned())
    }

    /// The rows of the finished batch, in the order of its items.
    fn read(&self, rows: usize) -> Result<Rows, EngineError> {
        let lost = || EngineError::Failed("a batch has lost rows".into());
        let mut values = vec![0.0; rows * self.dimensions];
        let (floats, _) = self.rows.bytes().as_chunks::<4>();
        if self.items.len() != rows {
            return Err(lost());
        }
        for (&item, row) in std::iter::zip(&self.items, floats.chunks_exact(self.dimensions)) {
            let out = values.chunks_exact_mut(self.dimensions).nth(item);
            for (value, &bytes) in std::iter::zip(out.ok_or_else(lost)?, row) {
                *value = f32::from_ne_bytes(bytes);
            }
        }
        Rows::new(self.dimensions, values)
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
        // An error here shows up again in `finish`.
        if matches!(uploaded, Some(Ok(()))) {
            drop(self.batch.take());
        }
    }

    /// Waits for the batch. Returns the slot, and the receiver of the result.
    pub(super) fn finish(mut self) -> (Option<Slot>, Option<Finished>) {
        let result = self.wait();
        self.ended(result)
    }

    /// Ends a batch that could not be started; waits for the part that did start.
    pub(super) fn fail(mut self, error: DeviceError) -> (Option<Slot>, Option<Finished>) {
        // The device's own error says more than a failure it caused.
        let result = self.settled().and(Err(error.into()));
        self.ended(result)
    }

    fn ended(mut self, result: Result<Rows, EngineError>) -> (Option<Slot>, Option<Finished>) {
        drop(self.batch.take());
        let slot = self.slot.take();
        let completion = self.completion.take();
        let finished = completion.map(|completion| Finished { completion, result });
        (slot, finished)
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
pub(super) struct Finished {
    pub(super) completion: Completion,
    pub(super) result: Result<Rows, EngineError>,
}
