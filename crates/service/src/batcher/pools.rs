//! The permits that bound how many rows are in progress.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A request of at most this many rows is interactive, that is, somebody is probably waiting
/// for it: a query has one row, a query with a few pictures has a few.
pub const INTERACTIVE_ROWS: usize = 4;

/// The most rows that one request may have if `capacity` rows may be in progress: bulk
/// requests leave an eighth to interactive ones.
pub fn largest_request(capacity: usize) -> usize {
    capacity - capacity / 8
}

/// All permits are taken, and nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// All permits, and how many of them bulk requests may have.
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

/// Permits that are held. Dropping them returns them.
pub(super) struct Held {
    all: OwnedSemaphorePermit,
    bulk: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Whether they belong to a bulk request.
    pub(super) fn is_bulk(&self) -> bool {
        self.bulk.is_some()
    }

    /// Takes the permit for one row, while any is left.
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
