//! Whether requests hold so much of their memory that nothing freed may be kept for the next one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// See the module.
pub(crate) struct Pressure {
    /// Of this many bytes.
    total: u64,
    held: AtomicU64,
    is_high: AtomicBool,
    /// Is called when that has changed, by one thread at a time.
    tell: Mutex<fn(bool)>,
}

impl Pressure {
    /// None yet, of a budget of so many bytes.
    pub(crate) fn new(total: u64, tell: fn(bool)) -> Self {
        Self {
            total,
            held: AtomicU64::new(0),
            is_high: AtomicBool::new(false),
            tell: Mutex::new(tell),
        }
    }

    /// So many bytes more are held.
    pub(crate) fn taken(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.look();
    }

    /// So many bytes are no longer held.
    pub(crate) fn given_back(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.look();
    }

    /// Whether it should be high: from a half of the budget on, until less than a quarter is held.
    fn should_be_high(&self) -> bool {
        let held = self.held.load(Ordering::Relaxed);
        let least = match self.is_high.load(Ordering::Relaxed) {
            true => self.total / 4,
            false => self.total / 2,
        };
        held >= least
    }

    fn look(&self) {
        if self.should_be_high() == self.is_high.load(Ordering::Relaxed) {
            return;
        }
        // Looked at once more: what is told last is what it was last.
        let tell = self.tell.lock().unwrap_or_else(PoisonError::into_inner);
        let is_high = self.should_be_high();
        if self.is_high.swap(is_high, Ordering::Relaxed) != is_high {
            tell(is_high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TOLD: AtomicU64 = AtomicU64::new(0);
    static LAST: AtomicBool = AtomicBool::new(false);

    fn tell(is_high: bool) {
        TOLD.fetch_add(1, Ordering::Relaxed);
        LAST.store(is_high, Ordering::Relaxed);
    }

    #[test]
    fn it_is_told_when_it_changes_and_not_back_and_forth() {
        let pressure = Pressure::new(100, tell);
        let told = || (TOLD.load(Ordering::Relaxed), LAST.load(Ordering::Relaxed));
        pressure.taken(49);
        assert_eq!(told(), (0, false));
        pressure.taken(1);
        assert_eq!(told(), (1, true));
        pressure.given_back(25);
        pressure.taken(30);
        assert_eq!(told(), (1, true));
        pressure.given_back(31);
        assert_eq!(told(), (2, false));
        pressure.given_back(24);
        assert_eq!(told(), (2, false));
    }
}
