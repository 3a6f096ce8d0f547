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
//! last, and bounded by the bytes that they take.
//!
//! A row that is being computed is shared by every request that wants it, whatever their
//! deadlines. Each waits for as long as its own deadline allows and leaves alone; the
//! computation goes on for those who remain, and is dropped when the last has left (see
//! [`Demand`]). If it fails, it fails for all of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use lru::LruCache;

use crate::batcher::BatchError;
use crate::demand::{Demand, Joined, Wish};
use crate::metrics::{Lookup, StageTiming};
use siglip2_image::{ImageError, Orientation};

/// Entries of rows that nobody waits for any more are swept out when there are more than
/// this, and twice as many as were left the last time.
const SWEEP: usize = 256;

/// What a row is known by.
pub(crate) trait Key: Clone + Eq + Hash + Send + Sync + 'static {
    /// What an entry of the cache takes besides its floats.
    fn bytes(&self) -> usize;
}

/// A text's token ids.
pub(crate) type TextKey = Arc<[i32]>;

impl Key for TextKey {
    /// The ids, and 168: the counts of two `Arc`s (32), what malloc puts before three
    /// allocations and rounds them up by (48), the node of the list (48), its place in a
    /// table that is half empty after it has grown (40).
    fn bytes(&self) -> usize {
        4 * self.len() + 168
    }
}

/// The BLAKE3 hash of an image's file, and how the image is turned. Nobody can make two files
/// of one hash, or a client could give another's picture a vector of its choice.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ImageKey([u8; 32], Orientation);

impl ImageKey {
    /// Bytes that are hashed before others get their turn: some tens of microseconds.
    const PORTION: usize = 64 << 10;

    /// Hashes a file, in portions. A thread of the decoders would have to be waited for,
    /// once more than the decoding itself does.
    pub(crate) async fn of(file: &[u8], orientation: Orientation) -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut portions = file.chunks(Self::PORTION).peekable();
        while let Some(portion) = portions.next() {
            hasher.update(portion);
            if portions.peek().is_some() {
                tokio::task::yield_now().await;
            }
        }
        Self(*hasher.finalize().as_bytes(), orientation)
    }
}

impl Key for ImageKey {
    /// As a text's without ids, with one allocation less and a larger node.
    fn bytes(&self) -> usize {
        152
    }
}

/// Why there is no row. All who wait for it are told, so it names nobody's image.
#[derive(Clone, Debug)]
pub(crate) enum RowError {
    /// The image is no good.
    Image(ImageError),
    /// The batcher has no row for it.
    Batch(BatchError),
    /// The engine answered what is no vector.
    NotFinite,
    /// Our fault.
    Failed(String),
}

/// A row, and what its stages took.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) values: Arc<[f32]>,
    pub(crate) stages: Vec<StageTiming>,
}

/// The making of a row.
pub(crate) type Making = BoxFuture<'static, Result<Made, RowError>>;

/// A row that is being made, for one of those who wait for it. The making goes on while
/// any of them polls, and is dropped with the last.
pub(crate) type SharedRow = Shared<Making>;

/// A row: here, or to come.
pub(crate) enum Found {
    Here(Arc<[f32]>),
    Coming(SharedRow),
}

/// What a look into the cache brought.
pub(crate) struct FoundRow {
    pub(crate) found: Found,
    pub(crate) lookup: Lookup,
    /// A row of a bulk is now awaited by an interactive request, and has to change lines.
    pub(crate) promoted: bool,
}

/// The cache; a bound of 0 bytes keeps nothing, and rows that are being made are shared
/// still.
pub(crate) struct RowCache<K> {
    max_bytes: usize,
    state: Mutex<CacheState<K>>,
}

struct CacheState<K> {
    rows: LruCache<K, Arc<[f32]>>,
    bytes: usize,
    making: HashMap<K, InMaking>,
    /// Number of the next row that is made.
    next: u64,
    sweep_at: usize,
    /// Rows of an earlier epoch are not kept.
    epoch: u64,
}

/// A row that is being made, and for whom.
struct InMaking {
    number: u64,
    row: WeakShared<Making>,
    demand: Arc<Demand>,
}

impl<K: Key> RowCache<K> {
    /// A cache of at most so many bytes.
    pub(crate) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            max_bytes,
            state: Mutex::new(CacheState {
                rows: LruCache::unbounded(),
                bytes: 0,
                making: HashMap::new(),
                next: 0,
                sweep_at: SWEEP,
                epoch: 0,
            }),
        })
    }

    /// Looks for a row; where there is none, it is made, and known to others from here on.
    /// In one step, so that of two who come at the same time one waits for the other's.
    ///
    /// `epoch` counts the times at which rows became doubtful, because the engine failed or
    /// gave wrong vectors. What was computed before the last of them is forgotten, and is
    /// not kept if it comes later.
    pub(crate) fn find(
        self: &Arc<Self>,
        epoch: u64,
        key: K,
        wish: Wish,
        make: impl FnOnce(&Arc<Demand>) -> Making,
    ) -> FoundRow {
        let mut state = self.state();
        if epoch > state.epoch {
            state.epoch = epoch;
            state.bytes = 0;
            state.rows.clear();
            // Those who wait for them go on waiting; nobody joins them.
            state.making.clear();
        }
        if let Some(row) = state.rows.get(&key) {
            return FoundRow {
                found: Found::Here(Arc::clone(row)),
                lookup: Lookup::Hit,
                promoted: false,
            };
        }
        // The handle first: while it is held the row cannot be dropped by the last who leaves.
        let coming = state
            .making
            .get(&key)
            .and_then(|making| Some((making.row.upgrade()?, making.demand.join(wish))));
        if let Some((row, joined @ (Joined::Shared | Joined::Promoted))) = coming {
            return FoundRow {
                found: Found::Coming(row),
                lookup: Lookup::Shared,
                promoted: joined == Joined::Promoted,
            };
        }
        state.next += 1;
        let (number, epoch) = (state.next, state.epoch);
        let demand = Demand::new(wish);
        let (cache, own_key, making) = (Arc::clone(self), key.clone(), make(&demand));
        let row = async move {
            let made = making.await;
            cache.made(own_key, number, epoch, made.as_ref().ok());
            made
        }
        .boxed()
        .shared();
        if state.making.len() >= state.sweep_at {
            state
                .making
                .retain(|_, making| making.row.upgrade().is_some());
            state.sweep_at = SWEEP.max(2 * state.making.len());
        }
        if let Some(row) = row.downgrade() {
            let in_making = InMaking {
                number,
                row,
                demand,
            };
            state.making.insert(key, in_making);
        }
        FoundRow {
            found: Found::Coming(row),
            lookup: Lookup::Miss,
            promoted: false,
        }
    }

    fn made(&self, key: K, number: u64, epoch: u64, made: Option<&Made>) {
        let mut state = self.state();
        // Another may be in the making since: this one was given up, or is doubtful.
        if state
            .making
            .get(&key)
            .is_some_and(|making| making.number == number)
        {
            state.making.remove(&key);
        }
        let Some(Made { values, .. }) = made else {
            return;
        };
        let bytes = |key: &K, row: &[f32]| 4 * row.len() + key.bytes();
        if epoch != state.epoch || bytes(&key, values) > self.max_bytes {
            return;
        }
        state.bytes += bytes(&key, values);
        if let Some((key, old)) = state.rows.push(key, Arc::clone(values)) {
            state.bytes -= bytes(&key, &old);
        }
        while state.bytes > self.max_bytes {
            let Some((key, old)) = state.rows.pop_lru() else {
                break;
            };
            state.bytes -= bytes(&key, &old);
        }
    }

    /// No invariant spans two statements that could panic.
    fn state(&self) -> MutexGuard<'_, CacheState<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
