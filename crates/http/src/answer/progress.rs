//! How far the answer of a stream of HTTP/2 has come: told by the answer's body to what runs the
//! stream, which gives it up when its client takes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

tokio::task_local! {
    /// That of the stream whose task this is.
    pub(crate) static PROGRESS: Arc<Progress>;
}

/// How far the answer of one stream has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Whether a client should be reading it.
    writes: AtomicBool,
    pieces: AtomicU64,
}

impl Progress {
    /// That of the stream whose task this is; none in HTTP/1.
    pub(crate) fn of_this_stream() -> Option<Arc<Self>> {
        PROGRESS.try_with(Arc::clone).ok()
    }

    /// Its answer begins.
    pub(crate) fn begins(&self) {
        self.writes.store(true, Ordering::Relaxed);
    }

    /// Whether it has begun.
    pub(crate) fn writes(&self) -> bool {
        self.writes.load(Ordering::Relaxed)
    }

    /// Pieces that were asked for.
    pub(crate) fn pieces(&self) -> u64 {
        self.pieces.load(Ordering::Relaxed)
    }

    /// A piece of its answer was asked for: those before it have been taken.
    pub(crate) fn takes(&self) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
    }
}
