//! How long a row is wanted, and how urgently, by all requests that wait for it together.
//!
//! Several requests may wait for one row. It may be computed as long as the most patient of
//! them waits, and takes the faster line as soon as one of them is interactive. A request that
//! arrives later changes both, wherever the row is by then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What one request wants of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// After this instant the row is useless to the request.
    pub(crate) deadline: Option<Instant>,
    /// Whether the row goes before those of bulk requests.
    pub(crate) interactive: bool,
}

/// Until when it makes sense to start the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Whenever,
    Deadline(Instant),
    /// The last deadline has passed and the row was given up. Nobody can join any more.
    Over,
}

/// The result of asking to share a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// The row was given up and has to be computed again.
    TooLate,
    /// The row will serve this request too.
    Shared,
    /// The same, and it now belongs in the interactive line.
    Promoted,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Demand {
    until: Mutex<Until>,
    interactive: AtomicBool,
}

impl Demand {
    /// The demand of the request for which a row is first computed.
    pub(crate) fn new(wish: Wish) -> Arc<Self> {
        Arc::new(Self {
            until: Mutex::new(wish.deadline.map_or(Until::Whenever, Until::Deadline)),
            interactive: AtomicBool::new(wish.interactive),
        })
    }

    /// Adds the demand of another request.
    pub(crate) fn join(&self, wish: Wish) -> Joined {
        {
            let mut until = self.until();
            *until = match (*until, wish.deadline) {
                (Until::Over, _) => return Joined::TooLate,
                (Until::Deadline(old), Some(new)) => Until::Deadline(old.max(new)),
                (Until::Whenever, _) | (_, None) => Until::Whenever,
            };
        }
        if wish.interactive && !self.interactive.swap(true, Ordering::AcqRel) {
            Joined::Promoted
        } else {
            Joined::Shared
        }
    }

    /// Whether every deadline has passed. If so it stays so: in the same step the row is closed
    /// to requests that would still have time.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let mut until = self.until();
        if matches!(*until, Until::Deadline(deadline) if deadline <= now) {
            *until = Until::Over;
        }
        *until == Until::Over
    }

    /// Whether the row goes before those of bulk requests.
    pub(crate) fn is_interactive(&self) -> bool {
        self.interactive.load(Ordering::Acquire)
    }

    /// The lock is held for a single assignment, which cannot be left half done.
    fn until(&self) -> std::sync::MutexGuard<'_, Until> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn wish(deadline: Option<Instant>, interactive: bool) -> Wish {
        Wish {
            deadline,
            interactive,
        }
    }

    #[test]
    fn a_row_lasts_as_long_as_the_most_patient_request() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let demand = Demand::new(wish(Some(after(1)), true));
        assert_eq!(demand.join(wish(Some(after(3)), true)), Joined::Shared);
        assert_eq!(demand.join(wish(Some(after(2)), true)), Joined::Shared);
        assert!(!demand.is_over(after(2)));
        assert!(demand.is_over(after(3)));
        let endless = Demand::new(wish(Some(after(1)), true));
        assert_eq!(endless.join(wish(None, true)), Joined::Shared);
        assert_eq!(endless.join(wish(Some(after(1)), true)), Joined::Shared);
        assert!(!endless.is_over(after(1_000_000)));
    }

    #[test]
    fn nobody_joins_a_row_that_was_given_up() {
        let start = Instant::now();
        let demand = Demand::new(wish(Some(start), true));
        assert!(demand.is_over(start));
        assert_eq!(demand.join(wish(None, true)), Joined::TooLate);
        assert!(demand.is_over(start));
    }

    #[test]
    fn the_first_interactive_request_promotes_a_row_of_a_bulk() {
        let demand = Demand::new(wish(None, false));
        assert_eq!(demand.join(wish(None, false)), Joined::Shared);
        assert!(!demand.is_interactive());
        assert_eq!(demand.join(wish(None, true)), Joined::Promoted);
        assert!(demand.is_interactive());
        assert_eq!(demand.join(wish(None, true)), Joined::Shared);
        assert_eq!(demand.join(wish(None, false)), Joined::Shared);
        assert!(demand.is_interactive());
    }
}
