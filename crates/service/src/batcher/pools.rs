//! The permits that bound how many rows are under way.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A request of at most this many rows is interactive: a person waits for it. A query has
/// one row, a query with a few pictures a few.
pub const INTERACTIVE_ROWS: usize = 4;

/// The most rows that one request may have where `capacity` rows may be under way: bulk
/// requests leave an eighth to interactive ones.
pub fn largest_request(capacity: usize) -> usize {
    capacity - capacity / 8
}

/// All permits are taken: nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// All permits, and the part of them that bulk requests may have.
pub(super) struct Pools {
    all: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
}

impl Pools {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.min(Semaphore::MAX_PERMITS);
        Self {
            all: Arc::new(Semaphore::new(capacity)),
            bulk: Arc::new(Semaphore::new(largest_request(capacity))),
        }
    }

    /// Permits for `rows` rows, all of them or none.
    pub(super) fn take(&self, rows: usize) -> Result<Held, Full> {
        let count = u32::try_from(rows).map_err(|_| Full)?;
        let take = |pool: &Arc<Semaphore>| {
            Arc::clone(pool)
                .try_acquire_many_owned(count)
                .map_err(|_| Full)
        };
        let bulk = (rows > INTERACTIVE_ROWS)
            .then(|| take(&self.bulk))
            .transpose()?;
        Ok(Held {
            all: take(&self.all)?,
            bulk,
        })
    }
}

/// Permits that are held; they go back when this is dropped.
pub(super) struct Held {
    all: OwnedSemaphorePermit,
    bulk: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Whether these are permits of a bulk request.
    pub(super) fn is_bulk(&self) -> bool {
        self.bulk.is_some()
    }

    /// Takes out the permit for one row, while there is one left.
    pub(super) fn split_one(&mut self) -> Option<Self> {
        Some(Self {
            all: self.all.split(1)?,
            bulk: match &mut self.bulk {
                Some(bulk) => Some(bulk.split(1)?),
                None => None,
            },
        })
    }
}
