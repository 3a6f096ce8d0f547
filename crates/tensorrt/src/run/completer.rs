//! The threads that wait for the batches of one tower, so that the submitting thread need not.
//!
//! ```text
//! owner --SubmittedBatch--> uploads: waits until the device has read the items, and frees them
//!                       --> rows: waits until the batch has come out --> slot back to the owner
//!                                                                    --> rows to their receivers
//! ```
//!
//! There are two threads because the next batch is uploaded long before the tower has finished
//! this one. Batches of a tower finish in the order in which they were submitted: the tower
//! waits for the previous batch before it runs the next.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use super::slot::{Finished, Slot, SubmittedBatch};
use siglip2_engine::EngineError;

/// Why the device was lost, once it has been.
pub(super) type Lost = Arc<OnceLock<String>>;

/// See the module. Dropping it waits until all batches have finished.
pub(super) struct Completer {
    submitted: Option<Sender<SubmittedBatch>>,
    /// Slots that are free.
    slots: Receiver<Slot>,
    back: Sender<Slot>,
    lost: Lost,
    threads: Vec<JoinHandle<()>>,
}

impl Completer {
    /// A completer for these slots; the threads' names begin with `name`.
    ///
    /// # Errors
    ///
    /// When the system cannot start a thread.
    pub(super) fn new(name: &str, free: Vec<Slot>, lost: &Lost) -> std::io::Result<Self> {
        let (submitted, waiting) = channel::<SubmittedBatch>();
        let (back, slots) = channel();
        for slot in free {
            // The receiver is still alive here.
            let _ = back.send(slot);
        }
        let (uploaded, uploads) = channel::<SubmittedBatch>();
        let thread = |role: &str| std::thread::Builder::new().name(format!("{name}-{role}"));
        let (to_owner, noted) = (back.clone(), Arc::clone(lost));
        let rows = thread("rows").spawn(move || {
            for batch in uploads {
                tell(batch.finish(), &to_owner, &noted);
            }
        })?;
        let (to_owner, noted) = (back.clone(), Arc::clone(lost));
        let items = thread("items").spawn(move || {
            for mut batch in waiting {
                batch.release_uploaded();
                if let Err(refused) = uploaded.send(batch) {
                    // The other thread has panicked: wait here.
                    tell(refused.0.finish(), &to_owner, &noted);
                }
            }
        })?;
        Ok(Self {
            submitted: Some(submitted),
            slots,
            back,
            lost: Arc::clone(lost),
            threads: vec![items, rows],
        })
    }

    /// A free slot. There is one whenever fewer batches are on the device than there are slots: a
    /// slot is returned before its batch is answered.
    pub(super) fn slot(&self) -> Option<Slot> {
        self.slots.try_recv().ok()
    }

    /// Waits for a batch, and answers it.
    pub(super) fn wait_for(&self, batch: SubmittedBatch) {
        if let Some(submitted) = &self.submitted
            && let Err(refused) = submitted.send(batch)
        {
            // The thread has panicked: wait here.
            tell(refused.0.finish(), &self.back, &self.lost);
        }
    }

    /// Answers a batch that could not be started.
    pub(super) fn fail(&self, batch: SubmittedBatch, error: super::DeviceError) {
        tell(batch.fail(error), &self.back, &self.lost);
    }
}

/// Returns the slot first: the receiver of the answer may send the next batch at once.
fn tell((slot, finished): (Option<Slot>, Option<Finished>), back: &Sender<Slot>, lost: &Lost) {
    if let Some(slot) = slot {
        // If the owner is gone there are no more batches, and the slot is dropped here.
        let _ = back.send(slot);
    }
    if let Some(Finished { completion, result }) = finished {
        if let Err(EngineError::Lost(reason)) = &result {
            let _ = lost.set(reason.clone());
        }
        completion.finish(result);
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        // The first thread ends with this, the second with the first.
        self.submitted = None;
        for thread in self.threads.drain(..) {
            // There is nowhere to report a panic.
            let _ = thread.join();
        }
    }
}
