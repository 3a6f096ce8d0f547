//! Which work goes to the engine together, and when. Knows nothing of HTTP or CUDA.
//!
//! ```text
//! Batcher::reserve(n) --> Permits           (or Full: nothing was started)
//! Permit::submit(item)  --> lane of its tower --> [batch] --> owner --> Engine --> Ticket
//! ```
//!
//! * One thread owns an engine (`owner`); several engines, one for each GPU, take from
//!   the same lanes. Whenever an engine has a free slot for a tower its owner takes all
//!   that waits in that tower's lane, up to the engine's maximum, in rows and, where images
//!   differ in size, in pixels: a batch is closed when
//!   it can start and never before, so there is no timer, a lone request waits for
//!   nothing, and batches grow by themselves as load does.
//! * Images and texts have a lane each and take turns while both have work, so
//!   that a text waits for one batch of images at most.
//! * An engine that computes on its owner's thread rests between the pieces of a batch, and
//!   small requests run there: a lone text waits for a piece of a batch, not for all of it.
//! * Within a lane, rows of small requests ([`INTERACTIVE_ROWS`]) go before those of
//!   bulk requests, which keep a quarter of every batch while they wait, so that
//!   neither is held up for ever. A row of a bulk that a small request comes to wait for
//!   moves over to the rows of small requests.
//! * One pool of permits bounds what is waiting: a row holds a permit from before
//!   its decoding until its answer. A request that gets none is refused before any work is
//!   done for it. Bulk requests leave an eighth of the pool to small ones.
//! * A row whose [`Ticket`] was dropped, because every client that waited for it has gone,
//!   or for which the last deadline has passed, is left out when its batch is formed.
//! * An engine that fails, or panics, answers the rows of its batch with the error.
//!   After [`FAILURES_IN_A_ROW`] failed batches of a tower what waits is answered, and the
//!   engine is built anew, once; if that fails, or fails again, the batcher is
//!   failed, and answers so at once. A lost device is not tried again, and neither is
//!   one that hangs (`stall`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::metrics::Metrics;

mod lanes;
mod load;
mod owner;
mod permits;
mod pools;
mod queue;
mod row;
mod stall;
mod worker;

pub use owner::FAILURES_IN_A_ROW;
pub use permits::{Permit, Permits};
pub use pools::{Full, INTERACTIVE_ROWS, largest_request};
pub use row::{BatchError, Item, Row, Ticket};
pub use worker::{EngineState, Rebuild, Worker};

use pools::Pools;
use queue::Queue;

/// How often a batcher that ends looks whether the owner of an engine has ended.
const OWNER_ENDS: Duration = Duration::from_millis(2);

/// The queue before the engines, and the threads that own them.
pub struct Batcher {
    queue: Arc<Queue>,
    pools: Pools,
    owners: Vec<JoinHandle<()>>,
    /// Looks for stalls until its sender is dropped.
    lookout: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Batcher {
    /// Moves each engine to a thread of its own. At most `capacity` rows are under way
    /// at any time.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        workers: Vec<Worker>,
        capacity: usize,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        metrics.engine_up(true);
        metrics.declare_engines(workers.len());
        let patience: Vec<_> = workers.iter().map(|it| it.engine.info().patience).collect();
        let mut batcher = Self {
            queue: Arc::new(Queue::new(workers.len(), metrics)),
            pools: Pools::new(capacity),
            owners: Vec::new(),
            lookout: None,
        };
        let queue = Arc::clone(&batcher.queue);
        let (end, ended) = channel();
        let lookout = std::thread::Builder::new()
            .name("lookout".into())
            .spawn(move || stall::look_out(&queue, &patience, &ended))?;
        batcher.lookout = Some((end, lookout));
        for (number, worker) in workers.into_iter().enumerate() {
            let queue = Arc::clone(&batcher.queue);
            // Those that run already end with the batcher if one cannot be started.
            batcher.owners.push(
                std::thread::Builder::new()
                    .name(format!("engine-{number}"))
                    .spawn(move || owner::own(worker, number, &queue))?,
            );
        }
        Ok(batcher)
    }

    /// How the engine is, now and whenever it changes.
    pub fn state(&self) -> watch::Receiver<EngineState> {
        self.queue.engine_state.subscribe()
    }

    /// Where batches and waiting rows are counted.
    pub fn metrics(&self) -> &Metrics {
        &self.queue.metrics
    }

    /// Whether the engine is held for dead.
    pub fn has_failed(&self) -> bool {
        matches!(*self.queue.engine_state.borrow(), EngineState::Failed(_))
    }

    /// Permits for `rows` rows, all of them or none.
    ///
    /// # Errors
    ///
    /// [`Full`] when so many are not free: the caller has started nothing.
    pub fn reserve(&self, rows: usize) -> Result<Permits, Full> {
        let held = self.pools.take(rows)?;
        Ok(Permits::new(held, Arc::clone(&self.queue)))
    }

    /// How often an engine has failed so that it was given up or built anew.
    pub(crate) fn failures(&self) -> u64 {
        self.queue.failures.load(Ordering::Acquire)
    }

    /// Moves rows of a bulk that an interactive request has come to wait for to the
    /// interactive ones.
    pub(crate) fn promote(&self) {
        self.queue.lock().lanes.promote();
    }
}

impl Drop for Batcher {
    /// Lets the engines finish the batches they hold; what still waits is answered with
    /// [`BatchError::Stopped`].
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.bell.notify_all();
        for (number, owner) in self.owners.drain(..).enumerate() {
            // It may be in a call to a device that never answers, or get into one while this
            // waits: then it is left where it is.
            while !owner.is_finished() && !self.queue.lock().engines[number].is_hopeless() {
                std::thread::sleep(OWNER_ENDS);
            }
            if owner.is_finished() {
                // The thread catches the engine's panics, and reports its own to nobody.
                let _ = owner.join();
            }
        }
        if let Some((end, lookout)) = self.lookout.take() {
            drop(end);
            let _ = lookout.join();
        }
    }
}
