//! What a connection is doing: told by its requests to the socket under them, and by both to
//! the server.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Version;
use tokio::time::Instant;

/// See the module.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    peer: IpAddr,
    opened: Instant,
    heads: AtomicU64,
    /// Requests from the end of a head until the last of its answer was handed to hyper; with
    /// HTTP/1 at most one.
    busy: AtomicUsize,
    /// Nothing of its answer has been written, and its client reads over an interim one.
    awaits_interim: AtomicBool,
    linger: AtomicBool,
    /// When the last answer was handed over, in milliseconds from the opening.
    last: AtomicU64,
    /// Answers that have begun, and of which not all was handed to hyper.
    writing: AtomicUsize,
    /// When one of them began, or more was asked for of it because what went before was taken; as `last`.
    taken: AtomicU64,
}

/// A request that is under way on a connection, until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    state: Arc<ConnectionState>,
    /// Whether its answer has begun.
    writes: bool,
}

impl ConnectionState {
    /// A connection of this client that was just opened.
    pub(crate) fn new(peer: IpAddr) -> Self {
        Self {
            peer,
            opened: Instant::now(),
            heads: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            awaits_interim: AtomicBool::new(false),
            linger: AtomicBool::new(false),
            last: AtomicU64::new(0),
            writing: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whose it is.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// When it was opened.
    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether no request is under way, and none has been for so long. A head that comes in
    /// drips makes no difference.
    pub(crate) fn is_idle_for(&self, pause: Duration) -> bool {
        !self.is_busy() && self.quiet_since().elapsed() >= pause
    }

    /// When the last answer was handed over, or when it was opened.
    pub(crate) fn quiet_since(&self) -> Instant {
        self.opened + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// Whether answers are being written, and the client has taken nothing of them for so long.
    pub(crate) fn is_unread_for(&self, pause: Duration) -> bool {
        let taken = self.opened + Duration::from_millis(self.taken.load(Ordering::Relaxed));
        self.writing.load(Ordering::Relaxed) > 0 && taken.elapsed() >= pause
    }

    /// A head is complete.
    pub(crate) fn begin(self: &Arc<Self>, version: Version) -> UnderWay {
        self.heads.fetch_add(1, Ordering::Relaxed);
        self.awaits_interim
            .store(version == Version::HTTP_11, Ordering::Relaxed);
        self.busy.fetch_add(1, Ordering::Relaxed);
        UnderWay {
            state: Arc::clone(self),
            writes: false,
        }
    }

    /// Its answer is known, and the next thing that is written.
    pub(crate) fn answered(&self) {
        self.awaits_interim.store(false, Ordering::Relaxed);
    }

    /// The connection will be closed while its client may still be sending.
    pub(crate) fn linger(&self) {
        self.linger.store(true, Ordering::Relaxed);
    }

    /// Whether it will.
    pub(crate) fn lingers(&self) -> bool {
        self.linger.load(Ordering::Relaxed)
    }

    /// Heads that were complete.
    pub(crate) fn heads(&self) -> u64 {
        self.heads.load(Ordering::Relaxed)
    }

    /// Whether a request is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// Whether an interim answer may be written now.
    pub(crate) fn awaits_interim(&self) -> bool {
        self.is_busy() && self.awaits_interim.load(Ordering::Relaxed)
    }
}

impl UnderWay {
    /// Its answer begins, or goes on.
    pub(crate) fn writes(&mut self) {
        let now = self.state.now();
        self.state.taken.store(now, Ordering::Relaxed);
        if !std::mem::replace(&mut self.writes, true) {
            self.state.writing.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Self { state, writes } = self;
        if *writes {
            state.writing.fetch_sub(1, Ordering::Relaxed);
        }
        state.last.store(state.now(), Ordering::Relaxed);
        state.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_computed_is_not_one_that_nobody_reads() {
        let (none, hour) = (Duration::ZERO, Duration::from_secs(3600));
        let state = Arc::new(ConnectionState::new([127, 0, 0, 1].into()));
        let mut request = state.begin(Version::HTTP_11);
        assert!(!state.is_unread_for(none), "it is being computed");
        for _ in 0..2 {
            request.writes();
            assert!(state.is_unread_for(none) && !state.is_unread_for(hour));
        }
        drop(request);
        assert!(!state.is_unread_for(none) && !state.is_busy());
    }
}
