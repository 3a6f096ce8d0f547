//! One row: its input, its place in the queue, and its result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::pools::Held;
use crate::demand::Demand;
use siglip2_engine::{EngineError, Pixels, Tower};

/// The input of a row.
#[derive(Debug)]
pub enum Item {
    /// An image, as the engine's `Prepare` returned it.
    Image(Pixels),
    /// Token ids, one for each position of the text tower.
    Text(Vec<i32>),
}

impl Item {
    pub(super) fn tower(&self) -> Tower {
        match self {
            Item::Image(_) => Tower::Image,
            Item::Text(_) => Tower::Text,
        }
    }

    /// Pixels of an image; texts have none.
    pub(super) fn pixels(&self) -> u64 {
        match self {
            Item::Image(pixels) => pixels.count(),
            Item::Text(_) => 0,
        }
    }
}

/// Why a row has no result.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BatchError {
    /// Its batch failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine is gone: it failed too often, or the batcher is closed.
    #[error("the engine has stopped")]
    Stopped,
    /// Its deadline passed while it waited, so it was not computed.
    #[error("the deadline passed before the row was computed")]
    Expired,
}

/// An embedding, and how long it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The tower's pooled output, not normalized.
    pub values: Vec<f32>,
    /// How long the row waited for its batch.
    pub queued: Duration,
    /// How long its batch took.
    pub computed: Duration,
}

/// A row in progress. Dropping the ticket withdraws the row, unless its batch has begun.
#[derive(Debug)]
pub struct Ticket(oneshot::Receiver<Result<Row, BatchError>>);

impl Ticket {
    /// Waits for the row: the tower's pooled output, not normalized.
    ///
    /// # Errors
    ///
    /// If the batch failed, the engine has stopped, or the deadline passed before the batch was
    /// formed.
    pub async fn row(self) -> Result<Vec<f32>, BatchError> {
        self.timed().await.map(|row| row.values)
    }

    /// Waits for the row, and returns its timings too.
    ///
    /// # Errors
    ///
    /// The same as for [`Ticket::row`].
    pub async fn timed(self) -> Result<Row, BatchError> {
        self.0.await.unwrap_or(Err(BatchError::Stopped))
    }
}

/// A row that waits for its batch, with its input.
pub(super) struct WaitingRow {
    pub(super) item: Item,
    pub(super) demand: Arc<Demand>,
    pub(super) pending: PendingRow,
}

/// A row that has not been answered yet.
pub(super) struct PendingRow {
    answer: oneshot::Sender<Result<Row, BatchError>>,
    /// When it was put into its lane.
    pub(super) since: Instant,
    /// Returned when the row is answered or dropped.
    _permit: Held,
}

impl WaitingRow {
    pub(super) fn new(item: Item, demand: Arc<Demand>, permit: Held) -> (Self, Ticket) {
        let (answer, ticket) = oneshot::channel();
        let pending = PendingRow {
            answer,
            since: Instant::now(),
            _permit: permit,
        };
        let waiting = Self {
            item,
            demand,
            pending,
        };
        (waiting, Ticket(ticket))
    }

    /// Whether nobody waits for it any more.
    pub(super) fn is_dropped(&self) -> bool {
        self.pending.answer.is_closed()
    }
}

impl PendingRow {
    pub(super) fn answer(self, answer: Result<Row, BatchError>) {
        // It can only fail because the client has gone meanwhile.
        let _ = self.answer.send(answer);
    }
}
