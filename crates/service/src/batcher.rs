//! Decides which rows go to the engine together, and when. Knows nothing of HTTP or CUDA.
//!
//! ```text
//! Batcher::reserve(n) --> Permits           (or Full: nothing was started)
//! Permit::submit(item)  --> lane of its tower --> [batch] --> owner --> Engine --> Ticket
//! ```
//!
//! * Each engine is owned by one thread (`owner`). With several GPUs there is an engine for
//!   each, and all take from the same lanes. Whenever an engine has a free slot for a tower,
//!   its owner takes everything that waits in that tower's lane, up to the engine's maximum
//!   number of rows and, where images differ in size, of pixels. A batch is formed when it can
//!   start and never before. So there is no timer, a lone request does not wait for company,
//!   and batches grow with the load.
//! * Images and texts have a lane each and take turns while both have work, so that a text
//!   waits for at most one batch of images.
//! * Engines of several models that compute on the same cores take turns (`turns`), so that
//!   their threads do not compete for them.
//! * An engine that computes on its owner's thread pauses between the pieces of a batch, and
//!   small requests run there: a lone text waits for one piece of a batch and not for all of
//!   it.
//! * Within a lane, rows of small requests ([`INTERACTIVE_ROWS`]) go before those of bulk
//!   requests. Bulk rows keep a quarter of every batch while they wait, so neither kind
//!   starves. When a small request joins the wait for a bulk row, that row moves to the
//!   interactive ones.
//! * One pool of permits bounds the rows in progress: a row holds a permit from before it is
//!   decoded until it is answered. A request that gets none is refused before any work is done
//!   for it. Bulk requests leave an eighth of the pool to small ones.
//! * A row is left out of its batch if its last deadline has passed, or if its [`Ticket`] was
//!   dropped because every client that waited for it has gone.
//! * When an engine fails or panics, the rows of its batch are answered with the error. After
//!   [`FAILURES_IN_A_ROW`] failed batches of one tower, all waiting rows are answered and the
//!   engine is rebuilt, once. If that fails, or the new engine fails too, the batcher has
//!   failed and refuses further rows at once. A lost device is not tried again, nor is one
//!   that hangs (`stall`).

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
mod turns;
mod worker;

pub use owner::FAILURES_IN_A_ROW;
pub use permits::{Permit, Permits};
pub use pools::{Full, INTERACTIVE_ROWS, largest_request};
pub use row::{BatchError, Item, Row, Ticket};
pub use turns::Turns;
pub use worker::{EngineState, Rebuild, RebuildError, Worker};

use pools::Pools;
use queue::Queue;

/// How often a batcher that shuts down checks whether an engine's owner has ended.
const OWNER_ENDS: Duration = Duration::from_millis(2);

/// The queue before the engines, and the threads that own them.
pub struct Batcher {
    queue: Arc<Queue>,
    pools: Pools,
    owners: Vec<JoinHandle<()>>,
    /// Checks for stalls until its sender is dropped.
    lookout: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Batcher {
    /// Moves each engine to a thread of its own. At most `capacity` rows are in progress at any
    /// time.
    ///
    /// # Errors
    ///
    /// When the system cannot start a thread.
    pub fn start(
        workers: Vec<Worker>,
        capacity: usize,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        Self::start_in_turns(workers, capacity, metrics, None)
    }

    /// The same, with engines that compute only when it is their turn. Engines of other
    /// batchers may share the turns.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn start_in_turns(
        workers: Vec<Worker>,
        capacity: usize,
        metrics: Arc<Metrics>,
        turns: Option<Turns>,
    ) -> std::io::Result<Self> {
        metrics.engine_up(true);
        metrics.declare_engines(workers.len());
        let timeouts: Vec<_> = workers
            .iter()
            .map(|it| it.engine.info().device_timeout)
            .collect();
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
            .spawn(move || stall::look_out(&queue, &timeouts, &ended))?;
        batcher.lookout = Some((end, lookout));
        for (number, worker) in workers.into_iter().enumerate() {
            let queue = Arc::clone(&batcher.queue);
            let turns = turns.clone();
            // If one cannot be started, those that already run end with the batcher.
            batcher.owners.push(
                std::thread::Builder::new()
                    .name(format!("engine-{number}"))
                    .spawn(move || owner::own(worker, number, &queue, turns))?,
            );
        }
        Ok(batcher)
    }

    /// The state of the engine, now and whenever it changes.
    pub fn state(&self) -> watch::Receiver<EngineState> {
        self.queue.engine_state.subscribe()
    }

    /// Where batches and waiting rows are counted.
    pub fn metrics(&self) -> &Metrics {
        &self.queue.metrics
    }

    /// Whether the engine has been given up.
    pub fn has_failed(&self) -> bool {
        matches!(*self.queue.engine_state.borrow(), EngineState::Failed(_))
    }

    /// Permits for `rows` rows, all of them or none.
    ///
    /// # Errors
    ///
    /// [`Full`] if fewer are free. Nothing has been started then.
    pub fn reserve(&self, rows: usize) -> Result<Permits, Full> {
        let held = self.pools.take(rows)?;
        Ok(Permits::new(held, Arc::clone(&self.queue)))
    }

    /// How often an engine failed and was given up or rebuilt.
    pub(crate) fn failures(&self) -> u64 {
        self.queue.failures.load(Ordering::Acquire)
    }

    /// Moves bulk rows that an interactive request now waits for to the interactive ones.
    pub(crate) fn promote(&self) {
        self.queue.lock().lanes.promote();
    }
}

impl Drop for Batcher {
    /// Lets the engines finish the batches they have. Rows that still wait are answered with
    /// [`BatchError::Stopped`].
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.ring_all();
        for (number, owner) in self.owners.drain(..).enumerate() {
            // It may be in a call to a device that never answers, or enter one while this
            // waits. Then the thread is left behind.
            while !owner.is_finished() && !self.queue.lock().engines[number].is_hopeless() {
                std::thread::sleep(OWNER_ENDS);
            }
            if owner.is_finished() {
                // The thread catches the engine's panics; a panic of its own is reported to
                // nobody.
                let _ = owner.join();
            }
        }
        if let Some((end, lookout)) = self.lookout.take() {
            drop(end);
            let _ = lookout.join();
        }
    }
}
