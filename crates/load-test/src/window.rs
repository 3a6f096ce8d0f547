//! The measuring window, with both its edges treated alike.
//!
//! ```text
//! begin -- warm-up --> start ============ stop -- wait for the rest --> end
//!    |__ ended here __|  |__ ended here __|  |__ unfinished at the end __|
//!        not counted           counted            how many, how old
//! ```
//!
//! Throughput is the number of requests that *ended* in the window, divided by its length.
//! A request that was started in the warm-up and answered in the window counts, and one
//! that was started in the window and answered after it does not. Under a steady load
//! their numbers are equal, so neither edge affects the rate.

use std::time::{Duration, Instant};

/// When the window ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// This long after the warm-up.
    After(Duration),
    /// With the answer to this many requests.
    Requests(u64),
}

/// When a request ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// Before the window.
    WarmUp,
    /// In the window, this long after its start.
    Inside(Duration),
    /// After the window, but started before its end, with this age at the window's end.
    Unfinished(Duration),
    /// Started and ended after the window, because two requests ended at the same time.
    Behind,
}

/// The window of one run.
#[derive(Clone, Debug)]
pub struct Window {
    start: Instant,
    end: End,
    /// Requests that ended in the window.
    ended: u64,
    /// When the last of them did, if their number ends the window.
    stop: Option<Instant>,
}

impl Window {
    /// A window that opens at `start`.
    pub fn new(start: Instant, end: End) -> Self {
        Self {
            start,
            end,
            ended: 0,
            stop: match end {
                End::After(duration) => Some(start + duration),
                End::Requests(_) => None,
            },
        }
    }

    /// Places a request that was started at `from` and ended at `at`, and counts it.
    pub fn place(&mut self, from: Instant, at: Instant) -> Place {
        if at < self.start {
            return Place::WarmUp;
        }
        match (self.end, self.stop) {
            // Limited by number: the order of two simultaneous ones is arbitrary.
            (End::Requests(_), Some(stop)) => return Self::behind(from, stop),
            (End::After(_), Some(stop)) if at >= stop => return Self::behind(from, stop),
            _ => {}
        }
        self.ended += 1;
        if self.end == End::Requests(self.ended) {
            self.stop = Some(at);
        }
        Place::Inside(at - self.start)
    }

    fn behind(from: Instant, stop: Instant) -> Place {
        if from < stop {
            Place::Unfinished(stop - from)
        } else {
            Place::Behind
        }
    }

    /// Closes it early.
    pub fn close(&mut self, at: Instant) {
        let stop = self.stop.map_or(at, |stop| stop.min(at));
        self.stop = Some(stop.max(self.start));
    }

    /// Places a request that was due at `from` and was not sent before the window closed.
    pub fn left_over(&self, from: Instant) -> Place {
        self.stop
            .map_or(Place::Behind, |stop| Self::behind(from, stop))
    }

    /// Whether enough requests have ended to close it.
    pub fn is_full(&self) -> bool {
        matches!(self.end, End::Requests(_)) && self.stop.is_some()
    }

    /// Its length; none while it is open.
    pub fn length(&self) -> Duration {
        self.stop
            .map_or(Duration::ZERO, |stop| stop.duration_since(self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Runs `clients` of a closed loop against a service that takes `service` for each
    /// request. Returns the counted and unfinished requests, and the window's length.
    fn closed(clients: u64, service: u32, warm_up: u32, end: End) -> (u64, u64, Duration) {
        let begun = Instant::now();
        let mut window = Window::new(begun + warm_up * MS, end);
        let (mut inside, mut unfinished) = (0, 0);
        let (mut from, mut open) = (begun, true);
        while open {
            let at = from + service * MS;
            for _ in 0..clients {
                match window.place(from, at) {
                    Place::WarmUp => {}
                    Place::Inside(_) => inside += 1,
                    Place::Unfinished(_) => {
                        unfinished += 1;
                        open = false;
                    }
                    Place::Behind => open = false,
                }
            }
            from = at;
        }
        (inside, unfinished, window.length())
    }

    #[test]
    fn slow_requests_in_flight_take_nothing_from_the_rate() {
        // 32 clients, 9 s per answer: each edge crosses 32 requests, but the rate is still
        // that of the service: 32 every 9 s.
        let minute = Duration::from_secs(63);
        assert_eq!(
            closed(32, 9000, 12_000, End::After(minute)),
            (7 * 32, 32, minute)
        );
        for service in [300, 700, 900] {
            let seconds = Duration::from_secs(63);
            let (inside, unfinished, _) = closed(4, service, 1100, End::After(seconds));
            assert_eq!((inside, unfinished), (4 * 63_000 / u64::from(service), 4));
        }
    }

    #[test]
    fn a_number_of_requests_ends_the_window_at_that_answer() {
        let (inside, unfinished, length) = closed(8, 500, 750, End::Requests(24));
        assert_eq!((inside, unfinished), (24, 0));
        assert_eq!(length, 1250 * MS);
        // In the middle of a round: the others of that round are left over.
        assert_eq!(closed(8, 500, 0, End::Requests(20)), (20, 4, 1500 * MS));
    }

    #[test]
    fn what_is_left_over_says_how_old_it_was() {
        let start = Instant::now();
        let mut window = Window::new(start, End::After(100 * MS));
        assert_eq!(window.place(start, start + 99 * MS), Place::Inside(99 * MS));
        assert_eq!(
            window.place(start + 30 * MS, start + 100 * MS),
            Place::Unfinished(70 * MS)
        );
        assert_eq!(
            window.place(start + 100 * MS, start + 900 * MS),
            Place::Behind
        );
        let mut window = Window::new(start + 10 * MS, End::Requests(1));
        assert_eq!(window.place(start, start + 9 * MS), Place::WarmUp);
        assert!(!window.is_full());
        assert_eq!(window.place(start, start + 11 * MS), Place::Inside(MS));
        assert!(window.is_full());
    }

    #[test]
    fn a_window_that_is_closed_early_is_as_long_as_it_was_open() {
        let start = Instant::now();
        for end in [End::After(100 * MS), End::Requests(9)] {
            let mut window = Window::new(start, end);
            assert_eq!(window.place(start, start + 9 * MS), Place::Inside(9 * MS));
            window.close(start + 20 * MS);
            assert_eq!(window.length(), 20 * MS);
            let late = window.place(start + 5 * MS, start + 30 * MS);
            assert_eq!(late, Place::Unfinished(15 * MS));
            assert_eq!(window.left_over(start), Place::Unfinished(20 * MS));
            assert_eq!(window.left_over(start + 21 * MS), Place::Behind);
            // In the warm-up, and after its end.
            let mut window = Window::new(start + 50 * MS, end);
            window.close(start);
            assert_eq!(window.length(), Duration::ZERO);
        }
        let mut window = Window::new(start, End::After(10 * MS));
        window.close(start + 20 * MS);
        assert_eq!(window.length(), 10 * MS);
    }
}
