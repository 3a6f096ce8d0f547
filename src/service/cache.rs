//! Text rows that were computed, or are being computed.
//!
//! ```text
//! token ids --+-- in the cache ----> the row                            (hit)
//!             +-- being computed --> wait for the same row              (shared)
//!             +-- neither ---------> batcher --> the row --> cache      (miss)
//! ```
//!
//! Image searches ask the same few texts over and over, and many clients ask them at
//! the same moment. Rows are kept by their token ids, least recently used last, and
//! bounded by the bytes that they take. A row that is shared is given up only when all
//! who wait for it have gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use lru::LruCache;

use crate::batcher::{BatchError, Row, Ticket};

/// What an entry takes besides its ids and its floats: the counts of two `Arc`s (32),
/// what malloc puts before three allocations and rounds them up by (48), the node of the
/// list (48), its place in a table that is half empty after it has grown (40).
const ENTRY_BYTES: usize = 168;

/// Flights that have ended or been left are swept out when there are more than this.
const SWEEP: usize = 256;

type Ids = Arc<[i32]>;
type Computing = BoxFuture<'static, Result<Row, BatchError>>;

/// A row that is to come, for one of those who wait for it.
pub(super) type Flight = Shared<Computing>;

/// The cache; a bound of 0 bytes keeps nothing, and rows in flight are shared still.
pub(super) struct TextCache {
    most: usize,
    state: Mutex<State>,
}

struct State {
    rows: LruCache<Ids, Arc<[f32]>>,
    bytes: usize,
    flights: HashMap<Ids, InFlight>,
}

/// A row that is being computed, and how it was asked for.
struct InFlight {
    row: WeakShared<Computing>,
    deadline: Option<Instant>,
    interactive: bool,
}

impl InFlight {
    /// Whether one who asks so may wait for it: it is given up no earlier, or another's
    /// deadline would become theirs, and waits in no slower line.
    fn serves(&self, deadline: Option<Instant>, interactive: bool) -> bool {
        let lasts = match (self.deadline, deadline) {
            (None, _) => true,
            (Some(until), Some(deadline)) => until >= deadline,
            (Some(_), None) => false,
        };
        lasts && (self.interactive || !interactive)
    }
}

/// What there is of a row.
pub(super) enum Found {
    Row(Vec<f32>),
    Flight(Flight),
    Nothing,
}

impl TextCache {
    /// A cache of at most so many bytes.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            state: Mutex::new(State {
                rows: LruCache::unbounded(),
                bytes: 0,
                flights: HashMap::new(),
            }),
        })
    }

    /// Looks for a row.
    pub(super) fn find(&self, ids: &[i32], deadline: Option<Instant>, interactive: bool) -> Found {
        let mut state = self.state();
        if let Some(row) = state.rows.get(ids) {
            return Found::Row(row.to_vec());
        }
        state
            .flights
            .get(ids)
            .filter(|flight| flight.serves(deadline, interactive))
            .and_then(|flight| flight.row.upgrade())
            .map_or(Found::Nothing, Found::Flight)
    }

    /// Makes a row that was just submitted known to others.
    pub(super) fn fly(
        self: &Arc<Self>,
        ids: Vec<i32>,
        ticket: Ticket,
        deadline: Option<Instant>,
        interactive: bool,
    ) -> Flight {
        let ids = Ids::from(ids);
        let (cache, key) = (Arc::clone(self), Arc::clone(&ids));
        let flight = async move {
            let result = ticket.timed().await;
            cache.land(&key, result.as_ref().ok());
            result
        }
        .boxed()
        .shared();
        let mut state = self.state();
        if state.flights.len() > SWEEP {
            state
                .flights
                .retain(|_, flight| flight.row.upgrade().is_some());
        }
        if let Some(row) = flight.downgrade() {
            let in_flight = InFlight {
                row,
                deadline,
                interactive,
            };
            state.flights.insert(ids, in_flight);
        }
        flight
    }

    fn land(&self, ids: &Ids, row: Option<&Row>) {
        let mut state = self.state();
        state.flights.remove(ids);
        let Some(row) = row else { return };
        let bytes = |row: &[f32]| 4 * (row.len() + ids.len()) + ENTRY_BYTES;
        if bytes(&row.values) > self.most {
            return;
        }
        state.bytes += bytes(&row.values);
        if let Some(old) = state
            .rows
            .put(Arc::clone(ids), row.values.as_slice().into())
        {
            state.bytes -= bytes(&old);
        }
        while state.bytes > self.most {
            let Some((_, old)) = state.rows.pop_lru() else {
                break;
            };
            // All texts of a model have as many ids.
            state.bytes -= bytes(&old);
        }
    }

    /// No invariant spans two statements that could panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
