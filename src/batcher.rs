//! Which work goes to the engine together, and when. Knows nothing of HTTP or CUDA.
//!
//! ```text
//! Batcher::reserve(n) --> Permits           (or Full: nothing was started)
//! Permit::submit(item)  --> lane of its tower --> [batch] --> engine thread --> Ticket
//! ```
//!
//! * One thread owns the engine. Whenever the engine is free it takes all that
//!   waits in a lane, up to the engine's maximum: a batch is closed when it can
//!   start and never before, so there is no timer, a lone request waits for
//!   nothing, and batches grow by themselves as load does.
//! * Images and texts have a lane each and take turns while both have work, so
//!   that a text waits for one batch of images at most.
//! * One pool of permits bounds what is waiting: a row holds a permit from before
//!   its decoding until its answer. Who gets none is refused before any work is
//!   done for it.
//! * A row whose [`Ticket`] was dropped, because its client has gone, is left out
//!   when its batch is formed.
//! * An engine that fails, or panics, answers the rows of its batch with the error.
//!   After [`FAILURES_IN_A_ROW`] failed batches the batcher is `failed`, and
//!   answers so at once.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::engine::{Engine, EngineError, Pixels, Rows, Tower};

/// So many failed batches in a row, and the engine is held for dead. One failure
/// may be a moment's want of memory; three without a success between them are not.
pub const FAILURES_IN_A_ROW: usize = 3;

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
}

/// All permits are taken: nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

struct Waiting {
    item: Item,
    answer: oneshot::Sender<Result<Vec<f32>, BatchError>>,
    /// Given back when the row is answered or dropped.
    _permit: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Lanes {
    images: VecDeque<Waiting>,
    texts: VecDeque<Waiting>,
    /// The tower whose turn it is when both lanes have work.
    next: Option<Tower>,
    closed: bool,
}

impl Lanes {
    fn of(&mut self, tower: Tower) -> &mut VecDeque<Waiting> {
        match tower {
            Tower::Image => &mut self.images,
            Tower::Text => &mut self.texts,
        }
    }

    /// The next batch: all that waits in one lane and is still wanted, up to `max`.
    fn take(&mut self, max: usize) -> Option<(Tower, Vec<Waiting>)> {
        let turn = self.next.unwrap_or(Tower::Text);
        for tower in [turn, other(turn)] {
            let lane = self.of(tower);
            let mut batch = Vec::with_capacity(max.min(lane.len()));
            while batch.len() < max {
                match lane.pop_front() {
                    Some(waiting) if waiting.answer.is_closed() => drop(waiting),
                    Some(waiting) => batch.push(waiting),
                    None => break,
                }
            }
            if !batch.is_empty() {
                self.next = Some(other(tower));
                return Some((tower, batch));
            }
        }
        None
    }
}

fn other(tower: Tower) -> Tower {
    match tower {
        Tower::Image => Tower::Text,
        Tower::Text => Tower::Image,
    }
}

struct Shared {
    lanes: Mutex<Lanes>,
    /// Rung when a lane got work or the batcher is closed.
    bell: Condvar,
    failed: AtomicBool,
}

impl Shared {
    /// The lanes hold no invariant that a panic between two statements could break,
    /// so a poisoned lock is taken as it is.
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue before the engine, and the thread that owns it.
pub struct Batcher {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    owner: Option<JoinHandle<()>>,
}

impl Batcher {
    /// Moves `engine` to a thread of its own. At most `capacity` rows are under way
    /// at any time.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(engine: Box<dyn Engine>, capacity: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            lanes: Mutex::default(),
            bell: Condvar::new(),
            failed: AtomicBool::new(false),
        });
        let owner = std::thread::Builder::new().name("engine".into()).spawn({
            let shared = Arc::clone(&shared);
            move || own_engine(engine, &shared)
        })?;
        Ok(Self {
            shared,
            permits: Arc::new(Semaphore::new(capacity.min(Semaphore::MAX_PERMITS))),
            owner: Some(owner),
        })
    }

    /// Whether the engine is held for dead.
    pub fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Acquire)
    }

    /// Permits for `rows` rows, all of them or none.
    ///
    /// # Errors
    ///
    /// [`Full`] when so many are not free: the caller has started nothing.
    pub fn reserve(&self, rows: usize) -> Result<Permits, Full> {
        let rows = u32::try_from(rows).map_err(|_| Full)?;
        let held = Arc::clone(&self.permits)
            .try_acquire_many_owned(rows)
            .map_err(|_| Full)?;
        Ok(Permits {
            held,
            shared: Arc::clone(&self.shared),
        })
    }
}

impl Drop for Batcher {
    /// Lets the engine thread finish the batch in hand; what still waits is answered
    /// with [`BatchError::Stopped`].
    fn drop(&mut self) {
        self.shared.lanes().closed = true;
        self.shared.bell.notify_all();
        if let Some(owner) = self.owner.take() {
            // The thread catches the engine's panics, and has nobody to tell of its own.
            let _ = owner.join();
        }
    }
}

/// The right to have so many rows under way. Dropping it gives back what was not
/// taken from it.
pub struct Permits {
    held: OwnedSemaphorePermit,
    shared: Arc<Shared>,
}

impl Permits {
    /// Takes out the right to one row, while there is one left.
    pub fn one(&mut self) -> Option<Permit> {
        Some(Permit {
            held: self.held.split(1)?,
            shared: Arc::clone(&self.shared),
        })
    }
}

/// The right to one row, from before its decoding until its answer.
pub struct Permit {
    held: OwnedSemaphorePermit,
    shared: Arc<Shared>,
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
            if lanes.closed {
                return Err(BatchError::Stopped);
            }
            lanes.of(tower).push_back(Waiting {
                item,
                answer,
                _permit: self.held,
            });
        }
        self.shared.bell.notify_one();
        Ok(Ticket(ticket))
    }
}

/// A row to come. Dropping it takes the row back, unless its batch has begun.
#[derive(Debug)]
pub struct Ticket(oneshot::Receiver<Result<Vec<f32>, BatchError>>);

impl Ticket {
    /// Waits for the row: the tower's pooled output, not normalized.
    ///
    /// # Errors
    ///
    /// When the batch failed or the engine has stopped.
    pub async fn row(self) -> Result<Vec<f32>, BatchError> {
        self.0.await.unwrap_or(Err(BatchError::Stopped))
    }
}

/// The life of the engine thread: wait for work, take a batch, run it, answer.
fn own_engine(mut engine: Box<dyn Engine>, shared: &Shared) {
    let max_batch = engine.info().max_batch.max(1);
    let mut failures = 0;
    while let Some((tower, batch)) = next_batch(shared, max_batch) {
        match run(engine.as_mut(), tower, &batch) {
            Ok(rows) => {
                failures = 0;
                for (waiting, row) in batch.into_iter().zip(rows.iter()) {
                    // An error means only that the client has gone in the meantime.
                    let _ = waiting.answer.send(Ok(row.to_vec()));
                }
            }
            Err(error) => {
                failures += 1;
                tracing::error!(%tower, rows = batch.len(), %error, "a batch failed");
                for waiting in batch {
                    let _ = waiting.answer.send(Err(error.clone().into()));
                }
                if failures == FAILURES_IN_A_ROW {
                    shared.failed.store(true, Ordering::Release);
                    tracing::error!("{failures} batches in a row failed: the engine is given up");
                    break;
                }
            }
        }
    }
    let abandoned = {
        let mut lanes = shared.lanes();
        lanes.closed = true;
        std::mem::take(&mut lanes.images)
            .into_iter()
            .chain(std::mem::take(&mut lanes.texts))
            .collect::<Vec<_>>()
    };
    for waiting in abandoned {
        let _ = waiting.answer.send(Err(BatchError::Stopped));
    }
}

fn next_batch(shared: &Shared, max: usize) -> Option<(Tower, Vec<Waiting>)> {
    let mut lanes = shared.lanes();
    loop {
        if lanes.closed {
            return None;
        }
        if let Some(batch) = lanes.take(max) {
            return Some(batch);
        }
        lanes = shared
            .bell
            .wait(lanes)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

fn run(engine: &mut dyn Engine, tower: Tower, batch: &[Waiting]) -> Result<Rows, EngineError> {
    let embed = || match tower {
        Tower::Image => {
            let images: Vec<&Pixels> = batch
                .iter()
                .filter_map(|waiting| match &waiting.item {
                    Item::Image(pixels) => Some(pixels),
                    Item::Text(_) => None,
                })
                .collect();
            engine.embed_images(&images)
        }
        Tower::Text => {
            let texts: Vec<&[i32]> = batch
                .iter()
                .filter_map(|waiting| match &waiting.item {
                    Item::Text(ids) => Some(ids.as_slice()),
                    Item::Image(_) => None,
                })
                .collect();
            engine.embed_texts(&texts)
        }
    };
    let rows = catch_unwind(AssertUnwindSafe(embed))
        .unwrap_or_else(|_| Err(EngineError::Failed("it panicked on this batch".into())))?;
    if rows.len() != batch.len() {
        return Err(EngineError::Failed(format!(
            "it answered {} rows for a batch of {}",
            rows.len(),
            batch.len()
        )));
    }
    Ok(rows)
}
