//! Whether requests hold so much of their memory that nothing freed may be kept for the next one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// See the module.
pub(crate) struct Pressure {
    /// Of this many bytes.
    total: u64,
    held: AtomicU64,
    is_high: AtomicBool,
    /// Is called when that has changed.
    tell: fn(bool),
}

impl Pressure {
    /// None yet, of a budget of so many bytes.
    pub(crate) fn new(total: u64, tell: fn(bool)) -> Self {
        Self {
            total,
            held: AtomicU64::new(0),
            is_high: AtomicBool::new(false),
            tell,
        }
    }

    /// So many bytes more are held: it is high from a half on.
    pub(crate) fn taken(&self, bytes: u64) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held >= self.total / 2 {
            self.set(true);
        }
    }

    /// So many bytes are no longer held: it is high until they are less than a quarter.
    pub(crate) fn given_back(&self, bytes: u64) {
        let held = self.held.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        if held < self.total / 4 {
            self.set(false);
        }
    }

    /// Of two that come at the same time the wrong one may win. The next change mends that.
    fn set(&self, is_high: bool) {
        // A load is shared by all threads, a swap by none.
        let was = self.is_high.load(Ordering::Relaxed);
        if was != is_high && self.is_high.swap(is_high, Ordering::Relaxed) == was {
            (self.tell)(is_high);
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
