//! Rows that were computed, or are being computed.
//!
//! ```text
//! key --+-- in the cache ----> the row                                        (hit)
//!       +-- being computed --> wait for the same row                          (shared)
//!       +-- neither ---------> (decode, for an image) batcher --> row --> cache (miss)
//! ```
//!
//! Image searches ask the same few texts over and over, many clients ask them at the same
//! moment, and a picture that is sent again is often sent again at once. A text is known
//! by its token ids, an image by the hash of its file. Rows are kept least recently used
//! last, and bounded by the bytes that they take. A row that is shared is given up only
//! when all who wait for it have gone, and fails all of them if it fails.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use lru::LruCache;

use crate::batcher::BatchError;
use crate::metrics::{Lookup, Span};
use siglip2_image::ImageError;

/// Flights that have ended or been left are swept out when there are more than this, and
/// twice as many as were left the last time.
const SWEEP: usize = 256;

/// What a row is known by.
pub(super) trait Key: Clone + Eq + Hash + Send + Sync + 'static {
    /// What an entry of the cache takes besides its floats.
    fn bytes(&self) -> usize;
}

/// A text's token ids.
pub(super) type TextKey = Arc<[i32]>;

impl Key for TextKey {
    /// The ids, and 168: the counts of two `Arc`s (32), what malloc puts before three
    /// allocations and rounds them up by (48), the node of the list (48), its place in a
    /// table that is half empty after it has grown (40).
    fn bytes(&self) -> usize {
        4 * self.len() + 168
    }
}

/// The BLAKE3 hash of an image's file. Nobody can make two files of one hash, or a client
/// could give another's picture a vector of its choice.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ImageKey([u8; 32]);

impl ImageKey {
    /// So many bytes are hashed before others get their turn: some tens of microseconds.
    const PORTION: usize = 64 << 10;

    /// Hashes a file, in portions. A thread of the decoders would have to be waited for,
    /// once more than the decoding itself does.
    pub(super) async fn of(file: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut portions = file.chunks(Self::PORTION).peekable();
        while let Some(portion) = portions.next() {
            hasher.update(portion);
            if portions.peek().is_some() {
                tokio::task::yield_now().await;
            }
        }
        Self(*hasher.finalize().as_bytes())
    }
}

impl Key for ImageKey {
    /// As a text's without ids, with one allocation less and a larger node.
    fn bytes(&self) -> usize {
        152
    }
}

/// Why there is no row. It is told to all who wait for it, so it names nobody's image.
#[derive(Clone, Debug)]
pub(super) enum RowError {
    /// The image is no good.
    Image(ImageError),
    /// The batcher has no row for it.
    Batch(BatchError),
    /// Our fault.
    Failed(String),
}

/// A row, and what its stages took.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) values: Arc<[f32]>,
    pub(super) stages: Vec<Span>,
}

/// The making of a row.
pub(super) type Making = BoxFuture<'static, Result<Made, RowError>>;

/// A row that is to come, for one of those who wait for it.
pub(super) type Flight = Shared<Making>;

/// How a row is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// It is not begun later.
    pub(super) deadline: Option<Instant>,
    /// It goes before those of bulk requests.
    pub(super) interactive: bool,
}

impl Wanted {
    /// Whether one who asks as `other` does may wait for what was asked for so: it is
    /// given up no earlier, or another's deadline would become theirs, and waits in no
    /// slower line.
    fn serves(self, other: Self) -> bool {
        let lasts = match (self.deadline, other.deadline) {
            (None, _) => true,
            (Some(until), Some(deadline)) => until >= deadline,
            (Some(_), None) => false,
        };
        lasts && (self.interactive || !other.interactive)
    }
}

/// A row: here, or to come.
pub(super) enum Found {
    Here(Arc<[f32]>),
    Coming(Flight),
}

/// The cache; a bound of 0 bytes keeps nothing, and rows in flight are shared still.
pub(super) struct RowCache<K> {
    most: usize,
    state: Mutex<State<K>>,
}

struct State<K> {
    rows: LruCache<K, Arc<[f32]>>,
    bytes: usize,
    flights: HashMap<K, InFlight>,
    /// Number of the next flight.
    next: u64,
    sweep_at: usize,
}

/// A row that is being computed, and how it was asked for.
struct InFlight {
    number: u64,
    row: WeakShared<Making>,
    wanted: Wanted,
}

impl<K: Key> RowCache<K> {
    /// A cache of at most so many bytes.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            state: Mutex::new(State {
                rows: LruCache::unbounded(),
                bytes: 0,
                flights: HashMap::new(),
                next: 0,
                sweep_at: SWEEP,
            }),
        })
    }

    /// Looks for a row; where there is none, it is made, and known to others from here on.
    /// In one step, so that of two who come at the same time one waits for the other's.
    pub(super) fn find(
        self: &Arc<Self>,
        key: K,
        wanted: Wanted,
        make: impl FnOnce() -> Making,
    ) -> (Lookup, Found) {
        let mut state = self.state();
        if let Some(row) = state.rows.get(&key) {
            return (Lookup::Hit, Found::Here(Arc::clone(row)));
        }
        let shared = state
            .flights
            .get(&key)
            .filter(|flight| flight.wanted.serves(wanted))
            .and_then(|flight| flight.row.upgrade());
        if let Some(flight) = shared {
            return (Lookup::Shared, Found::Coming(flight));
        }
        state.next += 1;
        let number = state.next;
        let (cache, landing, making) = (Arc::clone(self), key.clone(), make());
        let flight = async move {
            let made = making.await;
            cache.land(landing, number, made.as_ref().ok());
            made
        }
        .boxed()
        .shared();
        if state.flights.len() >= state.sweep_at {
            state
                .flights
                .retain(|_, flight| flight.row.upgrade().is_some());
            state.sweep_at = SWEEP.max(2 * state.flights.len());
        }
        if let Some(row) = flight.downgrade() {
            let in_flight = InFlight {
                number,
                row,
                wanted,
            };
            state.flights.insert(key, in_flight);
        }
        (Lookup::Miss, Found::Coming(flight))
    }

    fn land(&self, key: K, number: u64, made: Option<&Made>) {
        let mut state = self.state();
        // Another, with another deadline, may have taken off since.
        if state
            .flights
            .get(&key)
            .is_some_and(|flight| flight.number == number)
        {
            state.flights.remove(&key);
        }
        let Some(Made { values, .. }) = made else {
            return;
        };
        let bytes = |key: &K, row: &[f32]| 4 * row.len() + key.bytes();
        if bytes(&key, values) > self.most {
            return;
        }
        state.bytes += bytes(&key, values);
        if let Some((key, old)) = state.rows.push(key, Arc::clone(values)) {
            state.bytes -= bytes(&key, &old);
        }
        while state.bytes > self.most {
            let Some((key, old)) = state.rows.pop_lru() else {
                break;
            };
            state.bytes -= bytes(&key, &old);
        }
    }

    /// No invariant spans two statements that could panic.
    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
