//! A call to many connections at once, which is not repeated for each request that would call.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

/// The shortest time between two calls.
const PAUSE: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    heard: Notify,
    last: Mutex<Option<Instant>>,
}

impl Bell {
    /// Calls those who listen, unless they were called just now.
    pub(crate) fn ring(&self) {
        self.ring_at(Instant::now());
    }

    fn ring_at(&self, now: Instant) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now >= last + PAUSE) {
            *last = Some(now);
            drop(last);
            self.heard.notify_waiters();
        }
    }

    /// Waits for the next call.
    pub(crate) fn heard(&self) -> Notified<'_> {
        self.heard.notified()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn it_is_heard_once_in_a_while() {
        let bell = Bell::default();
        let rings = |now| {
            let mut heard = Box::pin(bell.heard());
            heard.as_mut().enable();
            bell.ring_at(now);
            heard.now_or_never().is_some()
        };
        let now = Instant::now();
        assert!(rings(now) && !rings(now));
        assert!(rings(now + PAUSE) && !rings(now + PAUSE));
    }
}
