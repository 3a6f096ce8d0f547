//! Which work goes to the engine together, and when. Knows nothing of HTTP or CUDA.
//!
//! ```text
//! Batcher::reserve(n) --> Permits           (or Full: nothing was started)
//! Permit::submit(item)  --> lane of its tower --> [batch] --> owner --> Engine --> Ticket
//! ```
//!
//! * One thread owns an engine (`owner`); several engines, one for each GPU, take from
//!   the same lanes. Whenever an engine has a free slot for a tower its owner takes all
//!   that waits in that tower's lane, up to the engine's maximum: a batch is closed when
//!   it can start and never before, so there is no timer, a lone request waits for
//!   nothing, and batches grow by themselves as load does.
//! * Images and texts have a lane each and take turns while both have work, so
//!   that a text waits for one batch of images at most.
//! * Within a lane, rows of small requests ([`INTERACTIVE_ROWS`]) go before those of
//!   bulk requests, which keep a quarter of every batch while they wait, so that
//!   neither is held up for ever.
//! * One pool of permits bounds what is waiting: a row holds a permit from before
//!   its decoding until its answer. Who gets none is refused before any work is
//!   done for it. Bulk requests leave an eighth of the pool to small ones.
//! * A row whose [`Ticket`] was dropped, because its client has gone, or whose
//!   deadline has passed, is left out when its batch is formed.
//! * An engine that fails, or panics, answers the rows of its batch with the error.
//!   After [`FAILURES_IN_A_ROW`] failed batches of a tower what waits is answered, and the
//!   engine is built anew, once; if that fails, or fails again, the batcher is
//!   failed, and answers so at once. A lost device is not tried again, and neither is
//!   one that hangs (`stall`).

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::metrics::Metrics;
use siglip2_engine::{Engine, EngineError, Pixels, Tower};

mod lanes;
mod owner;
mod stall;

use lanes::{Lanes, Waiting};

/// So many failed batches of a tower in a row, and the engine is held for dead. One failure
/// may be a moment's want of memory; three without a success between them are not.
pub const FAILURES_IN_A_ROW: usize = 3;

/// A request of at most so many rows is interactive: a person waits for it. A query
/// has one row, a query with a few pictures a few.
pub const INTERACTIVE_ROWS: usize = 4;

/// How often it is looked whether the owner of an engine has ended.
const OWNER_ENDS: Duration = Duration::from_millis(2);

/// The most rows that one request may have where `capacity` rows may be under way:
/// bulk requests leave an eighth to interactive ones.
pub fn largest_request(capacity: usize) -> usize {
    capacity - capacity / 8
}

/// How the engine is. Readiness and the end of the process hang on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// It embeds.
    Running,
    /// It failed, and another is being built.
    Rebuilding,
    /// It is dead, for this reason.
    Failed(String),
}

/// Builds the engine anew after a failure; an error is one sentence.
pub type Rebuild = Box<dyn FnOnce() -> Result<Box<dyn Engine>, String> + Send>;

/// An engine, and what replaces it if it fails.
pub struct Worker {
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// What builds another in its place; without it the first failure is final.
    pub rebuild: Option<Rebuild>,
}

/// What one row is made from.
#[derive(Debug)]
pub enum Item {
    /// An image that the engine's `Prepare` made ready.
    Image(Pixels),
    /// Token ids, as many as the text tower has positions.
    Text(Vec<i32>),
}

impl Item {
    fn tower(&self) -> Tower {
        match self {
            Item::Image(_) => Tower::Image,
            Item::Text(_) => Tower::Text,
        }
    }
}

/// Why no row came back.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BatchError {
    /// The batch that the row was in failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine is gone: it failed too often, or the batcher is closed.
    #[error("the engine has stopped")]
    Stopped,
    /// The row's deadline passed while it waited; it was not computed.
    #[error("the deadline passed while the row waited")]
    Late,
}

/// All permits are taken: nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

struct Shared {
    lanes: Mutex<Lanes>,
    /// Rung when a lane got work, a slot came free, or the batcher is closed.
    bell: Condvar,
    state: watch::Sender<EngineState>,
    metrics: Arc<Metrics>,
}

impl Shared {
    /// The lanes hold no invariant that a panic between two statements could break,
    /// so a poisoned lock is taken as it is.
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue before the engines, and the threads that own them.
pub struct Batcher {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    /// The part of the permits that bulk requests may have.
    bulk: Arc<Semaphore>,
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
        let capacity = capacity.min(Semaphore::MAX_PERMITS);
        let patience: Vec<_> = workers.iter().map(|it| it.engine.info().patience).collect();
        let mut batcher = Self {
            shared: Arc::new(Shared {
                lanes: Mutex::new(Lanes::with_engines(workers.len())),
                bell: Condvar::new(),
                state: watch::Sender::new(EngineState::Running),
                metrics,
            }),
            permits: Arc::new(Semaphore::new(capacity)),
            bulk: Arc::new(Semaphore::new(largest_request(capacity))),
            owners: Vec::new(),
            lookout: None,
        };
        let shared = Arc::clone(&batcher.shared);
        let (end, ended) = channel();
        let lookout = std::thread::Builder::new()
            .name("lookout".into())
            .spawn(move || stall::look_out(&shared, &patience, &ended))?;
        batcher.lookout = Some((end, lookout));
        for (number, worker) in workers.into_iter().enumerate() {
            let shared = Arc::clone(&batcher.shared);
            // Those that run already end with the batcher if one cannot be started.
            batcher.owners.push(
                std::thread::Builder::new()
                    .name(format!("engine-{number}"))
                    .spawn(move || owner::own(worker, number, &shared))?,
            );
        }
        Ok(batcher)
    }

    /// How the engine is, now and whenever it changes.
    pub fn state(&self) -> watch::Receiver<EngineState> {
        self.shared.state.subscribe()
    }

    /// Where batches and waiting rows are counted.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Whether the engine is held for dead.
    pub fn has_failed(&self) -> bool {
        matches!(*self.shared.state.borrow(), EngineState::Failed(_))
    }

    /// Permits for `rows` rows, all of them or none.
    ///
    /// # Errors
    ///
    /// [`Full`] when so many are not free: the caller has started nothing.
    pub fn reserve(&self, rows: usize) -> Result<Permits, Full> {
        let count = u32::try_from(rows).map_err(|_| Full)?;
        let take = |pool: &Arc<Semaphore>| {
            Arc::clone(pool)
                .try_acquire_many_owned(count)
                .map_err(|_| Full)
        };
        let bulk = (rows > INTERACTIVE_ROWS)
            .then(|| take(&self.bulk))
            .transpose()?;
        Ok(Permits {
            held: Right {
                pool: take(&self.permits)?,
                bulk,
            },
            shared: Arc::clone(&self.shared),
            deadline: None,
        })
    }
}

/// Permits that are held: of the pool, and of its part for bulk.
struct Right {
    pool: OwnedSemaphorePermit,
    bulk: Option<OwnedSemaphorePermit>,
}

impl Right {
    fn split_one(&mut self) -> Option<Self> {
        Some(Self {
            pool: self.pool.split(1)?,
            bulk: match &mut self.bulk {
                Some(bulk) => Some(bulk.split(1)?),
                None => None,
            },
        })
    }
}

impl Drop for Batcher {
    /// Lets the engines finish the batches in hand; what still waits is answered with
    /// [`BatchError::Stopped`].
    fn drop(&mut self) {
        self.shared.lanes().closed = true;
        self.shared.bell.notify_all();
        for (number, owner) in self.owners.drain(..).enumerate() {
            // It may stand in a call to a device that never answers, or come to stand in one
            // while this waits: then it is left where it is.
            while !owner.is_finished() && !self.shared.lanes().engines[number].is_hopeless() {
                std::thread::sleep(OWNER_ENDS);
            }
            if owner.is_finished() {
                // The thread catches the engine's panics, and has nobody to tell of its own.
                let _ = owner.join();
            }
        }
        if let Some((end, lookout)) = self.lookout.take() {
            drop(end);
            let _ = lookout.join();
        }
    }
}

/// The right to have so many rows under way. Dropping it gives back what was not
/// taken from it.
pub struct Permits {
    held: Right,
    shared: Arc<Shared>,
    deadline: Option<Instant>,
}

impl Permits {
    /// Rows that have not begun by then are answered [`BatchError::Late`].
    #[must_use]
    pub fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whether the rows go before those of bulk requests.
    pub fn are_interactive(&self) -> bool {
        self.held.bulk.is_none()
    }

    /// Takes out the right to one row, while there is one left.
    pub fn one(&mut self) -> Option<Permit> {
        Some(Permit {
            held: self.held.split_one()?,
            shared: Arc::clone(&self.shared),
            deadline: self.deadline,
        })
    }
}

/// The right to one row, from before its decoding until its answer.
pub struct Permit {
    held: Right,
    shared: Arc<Shared>,
    deadline: Option<Instant>,
}

impl Permit {
    /// Puts one item into its lane.
    ///
    /// # Errors
    ///
    /// [`BatchError::Stopped`] when the engine is gone.
    pub fn submit(self, item: Item) -> Result<Ticket, BatchError> {
        let (answer, ticket) = oneshot::channel();
        let tower = item.tower();
        {
            let mut lanes = self.shared.lanes();
            if !lanes.are_open() {
                return Err(BatchError::Stopped);
            }
            let waiting = Waiting {
                item,
                answer,
                since: Instant::now(),
                deadline: self.deadline,
                permit: self.held,
            };
            let depth = lanes.put(tower, waiting);
            self.shared.metrics.queued(tower, depth);
        }
        self.shared.bell.notify_all();
        Ok(Ticket(ticket))
    }
}

/// An embedding, and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The tower's pooled output, not normalized.
    pub values: Vec<f32>,
    /// How long the row waited for its batch.
    pub queued: Duration,
    /// How long its batch took.
    pub computed: Duration,
}

/// A row to come. Dropping it takes the row back, unless its batch has begun.
#[derive(Debug)]
pub struct Ticket(oneshot::Receiver<Result<Row, BatchError>>);

impl Ticket {
    /// Waits for the row: the tower's pooled output, not normalized.
    ///
    /// # Errors
    ///
    /// When the batch failed, the engine has stopped, or the row came too late.
    pub async fn row(self) -> Result<Vec<f32>, BatchError> {
        self.timed().await.map(|row| row.values)
    }

    /// Waits for the row, and tells what it took.
    ///
    /// # Errors
    ///
    /// As for [`Ticket::row`].
    pub async fn timed(self) -> Result<Row, BatchError> {
        self.0.await.unwrap_or(Err(BatchError::Stopped))
    }
}
