//! Rows that were computed, or are being computed.
//!
//! ```text
//! key --+-- in the cache ----> the row                                        (hit)
//!       +-- being computed --> wait for the same row                          (shared)
//!       +-- neither ---------> (decode, for an image) batcher --> row --> cache (miss)
//! ```
//!
//! Image searches ask the same few texts again and again, many clients ask them at the same
//! moment, and a picture that is sent twice is often sent twice in quick succession. A text is
//! identified by its token ids, an image by the hash of its file. The least recently used rows
//! are dropped first; the bound is on the bytes that rows take.
//!
//! A row that is being computed is shared by every request that wants it, whatever their
//! deadlines. Each request waits as long as its own deadline allows and leaves without
//! affecting the others. The computation goes on for those that remain, and is dropped when
//! the last has left (see [`Demand`]). If it fails, it fails for all of them.

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

/// Entries of rows that nobody waits for any more are swept out when there are more than this
/// many, and twice as many as remained the last time.
const SWEEP: usize = 256;

/// What identifies a row.
pub(crate) trait Key: Clone + Eq + Hash + Send + Sync + 'static {
    /// What an entry of the cache takes besides its floats.
    fn bytes(&self) -> usize;
}

/// A text's token ids.
pub(crate) type TextKey = Arc<[i32]>;

impl Key for TextKey {
    /// The ids, and 168 bytes: the counts of two `Arc`s (32), what malloc adds before three
    /// allocations and by rounding them up (48), the node of the list (48), its place in a
    /// table that is half empty after it has grown (40).
    fn bytes(&self) -> usize {
        4 * self.len() + 168
    }
}

/// The BLAKE3 hash of an image's file, and how the image is turned. The hash must be
/// collision-resistant, or a client could give somebody else's picture a vector of its own
/// choice.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ImageKey([u8; 32], Orientation);

impl ImageKey {
    /// Bytes that are hashed before other tasks get their turn: some tens of microseconds.
    const PORTION: usize = 64 << 10;

    /// Hashes a file in portions. Passing it to a decoder thread would cost a wait in line, in
    /// addition to that for the decoding itself. `hashed` counts the bytes since others had their
    /// turn, over the files of a request.
    pub(crate) async fn of(file: &[u8], orientation: Orientation, hashed: &mut usize) -> Self {
        let mut hasher = blake3::Hasher::new();
        for portion in file.chunks(Self::PORTION) {
            if *hashed + portion.len() > Self::PORTION {
                *hashed = 0;
                tokio::task::yield_now().await;
            }
            hasher.update(portion);
            *hashed += portion.len();
        }
        Self(*hasher.finalize().as_bytes(), orientation)
    }
}

impl Key for ImageKey {
    /// Like a text without ids, with one allocation less and a larger node.
    fn bytes(&self) -> usize {
        152
    }
}

/// Why there is no row. All requests that wait for it are told, so it names nobody's image.
#[derive(Clone, Debug)]
pub(crate) enum RowError {
    /// The image cannot be used.
    Image(ImageError),
    /// The batcher has no row for it.
    Batch(BatchError),
    /// The engine's answer was not a vector.
    NotFinite,
    /// An error of the service.
    Failed(String),
}

/// A row, and how long its stages took.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) values: Arc<[f32]>,
    pub(crate) stages: Vec<StageTiming>,
}

/// The computation of a row.
pub(crate) type Making = BoxFuture<'static, Result<Made, RowError>>;

/// A row in progress, for one of the requests that wait for it. The computation goes on while
/// any of them polls, and is dropped with the last.
pub(crate) type SharedRow = Shared<Making>;

/// A row: here, or to come.
pub(crate) enum Found {
    Here(Arc<[f32]>),
    Coming(SharedRow),
}

/// The result of a lookup.
pub(crate) struct FoundRow {
    pub(crate) found: Found,
    pub(crate) lookup: Lookup,
    /// An interactive request now waits for a bulk row, which has to change lines.
    pub(crate) promoted: bool,
}

/// The cache. With a bound of 0 bytes it keeps nothing, but rows in progress are still shared.
pub(crate) struct RowCache<K> {
    max_bytes: usize,
    state: Mutex<CacheState<K>>,
}

struct CacheState<K> {
    rows: LruCache<K, Arc<[f32]>>,
    bytes: usize,
    making: HashMap<K, InMaking>,
    /// Number of the next row that is computed.
    next: u64,
    sweep_at: usize,
    /// Rows of an earlier epoch are not kept.
    epoch: u64,
}

/// A row in progress, and for whom.
struct InMaking {
    number: u64,
    row: WeakShared<Making>,
    demand: Arc<Demand>,
}

impl<K: Key> RowCache<K> {
    /// A cache that takes at most this many bytes.
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

    /// Looks a row up. If there is none, it is created and visible to others from now on, in
    /// one step: of two requests that arrive together, one waits for the other's row.
    ///
    /// `epoch` counts how often the rows became doubtful, because the engine failed or gave
    /// wrong vectors. What was computed in an earlier epoch is forgotten, and is not kept if it
    /// arrives later.
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
            // Requests that wait for them go on waiting; nobody else joins them.
            state.making.clear();
        }
        if let Some(row) = state.rows.get(&key) {
            return FoundRow {
                found: Found::Here(Arc::clone(row)),
                lookup: Lookup::Hit,
                promoted: false,
            };
        }
        // Upgrade the handle first: while it is held, the last request to leave cannot drop the
        // row.
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
        // Another may be in progress by now: this one was given up, or is doubtful.
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
