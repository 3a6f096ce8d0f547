//! The knee: the highest rate that a service holds.
//!
//! The rate is raised by half until a probe fails, then the interval is halved until it
//! is narrow. The search itself knows no service: it says which rate to try and is told
//! whether that was held.

use serde::Serialize;

/// The rate grows by this while it is held.
const GROWTH: f64 = 1.5;

/// The interval between held and not held is narrow enough.
const NARROW: f64 = 1.05;

/// Below this a service is down rather than slow.
const LOWEST: f64 = 0.05;

/// Above this the client is asked for what no client does.
const HIGHEST: f64 = 1e6;

/// The part of the answers that must be good, and of the offered requests by which the
/// queue may have grown.
const KEPT_UP: f64 = 0.97;

/// The part of the offered requests that may be in flight at the end and be older than
/// the bound already: those that a 99th percentile of answers cannot know of.
const OVERDUE: f64 = 0.01;

/// What one rate did to the service.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Requests that were begun in the window.
    pub offered: u64,
    /// Those that ended in it.
    pub ended: u64,
    /// Those that were answered well.
    pub good: u64,
    /// In flight when it opened.
    pub carried: u64,
    /// In flight when it closed.
    pub unfinished: u64,
    /// Those of them that were older than the bound.
    pub overdue: u64,
    /// The length of the window.
    pub seconds: f64,
    /// The 99th percentile of good answers.
    pub p99_ms: f64,
    /// Whether the client was the limit.
    pub client_limited: bool,
}

impl Seen {
    /// Whether the rate was held: answers are good, in time, and come as fast as
    /// requests do.
    fn held(&self, bound_ms: f64) -> bool {
        let offered = self.offered as f64;
        let grown = self.unfinished as f64 - self.carried as f64;
        // How many are in flight at one moment is a matter of chance: what was carried
        // in says by how much.
        let chance = 3.0 * (self.carried as f64 + 1.0).sqrt();
        self.good > 0
            && !self.client_limited
            && self.p99_ms <= bound_ms
            && self.good as f64 >= KEPT_UP * self.ended as f64
            && grown <= (1.0 - KEPT_UP) * offered + chance
            && self.overdue as f64 <= OVERDUE * offered
    }
}

/// A rate that was tried.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Probe {
    /// Requests a second that were asked for.
    pub rate_per_s: f64,
    /// Requests a second that arrived: of random arrivals not quite as many.
    pub offered_per_s: f64,
    /// Good answers a second.
    pub goodput_per_s: f64,
    /// The 99th percentile of good answers.
    pub p99_ms: f64,
    /// Requests in flight at the end.
    pub unfinished: u64,
    /// Whether the client was the limit.
    pub client_limited: bool,
    /// Whether the rate was held.
    pub held: bool,
}

impl Probe {
    /// Judges what was seen at a rate.
    pub fn judge(rate_per_s: f64, seen: &Seen, bound_ms: f64) -> Self {
        let rate = |number: u64| number as f64 / seen.seconds.max(1e-9);
        Self {
            rate_per_s,
            offered_per_s: rate(seen.offered),
            goodput_per_s: rate(seen.good),
            p99_ms: seen.p99_ms,
            unfinished: seen.unfinished,
            client_limited: seen.client_limited,
            held: seen.held(bound_ms),
        }
    }
}

/// A search under way.
#[derive(Clone, Debug)]
pub struct Search {
    next: f64,
    held: Option<f64>,
    failed: Option<f64>,
}

impl Search {
    /// Begins at a rate.
    pub fn from(rate: f64) -> Self {
        Self {
            next: rate,
            held: None,
            failed: None,
        }
    }

    /// The rate to try, or none when the knee is found.
    pub fn next(&self) -> Option<f64> {
        let narrow = match (self.held, self.failed) {
            (Some(held), Some(failed)) => failed / held <= NARROW,
            _ => !(LOWEST..=HIGHEST).contains(&self.next),
        };
        (!narrow).then_some(self.next)
    }

    /// Tells what became of it.
    pub fn tell(&mut self, rate: f64, held: bool) {
        if held {
            self.held = Some(self.held.map_or(rate, |known| known.max(rate)));
        } else {
            self.failed = Some(self.failed.map_or(rate, |known| known.min(rate)));
        }
        self.next = match (self.held, self.failed) {
            (Some(held), Some(failed)) => (held + failed) / 2.0,
            (Some(held), None) => held * GROWTH,
            (None, Some(failed)) => failed / 2.0,
            (None, None) => rate,
        };
    }

    /// The highest rate that was held.
    pub fn knee(&self) -> Option<f64> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service with one queue: `capacity` a second, `service_ms` for one alone; after a
    /// warm-up of a second, for 10 s.
    fn model(capacity: f64, service_ms: f64, rate: f64, bound_ms: f64) -> Probe {
        let (load, seconds) = (rate / capacity, 10.0);
        let offered = rate * seconds;
        let excess = (rate - capacity).max(0.0);
        let (p99_ms, in_flight) = if load < 1.0 {
            let p99_ms = service_ms * (1.0 + load / (1.0 - load));
            (p99_ms, rate * p99_ms / 1000.0)
        } else {
            let backlog_s = (1.0 + seconds) * excess / capacity;
            (service_ms + backlog_s * 990.0, excess)
        };
        let unfinished = in_flight + excess * seconds;
        let ended = offered + in_flight - unfinished;
        let seen = Seen {
            offered: offered as u64,
            ended: ended as u64,
            good: ended as u64,
            carried: in_flight as u64,
            unfinished: unfinished as u64,
            overdue: (unfinished - rate * bound_ms / 1000.0).max(0.0) as u64,
            seconds,
            p99_ms,
            client_limited: false,
        };
        Probe::judge(rate, &seen, bound_ms)
    }

    fn knee(capacity: f64, service_ms: f64, bound_ms: f64, from: f64) -> (Option<f64>, usize) {
        let mut search = Search::from(from);
        let mut probes = 0;
        while let Some(rate) = search.next() {
            probes += 1;
            assert!(probes < 60, "it does not end");
            search.tell(rate, model(capacity, service_ms, rate, bound_ms).held);
        }
        (search.knee(), probes)
    }

    #[test]
    fn the_knee_is_found_from_below_and_from_above() {
        // p99 = 10 / (1 - load) ms passes 100 ms at nine tenths of the capacity.
        for from in [1.0, 10.0, 180.0, 5000.0] {
            let (knee, probes) = knee(200.0, 10.0, 100.0, from);
            let knee = knee.expect("a knee");
            assert!((180.0 / 1.06..=180.5).contains(&knee), "{from}: {knee}");
            assert!(probes < 30, "{probes}");
        }
    }

    const FINE: Seen = Seen {
        offered: 1000,
        ended: 1000,
        good: 1000,
        carried: 4,
        unfinished: 4,
        overdue: 0,
        seconds: 10.0,
        p99_ms: 90.0,
        client_limited: false,
    };

    fn held(seen: Seen) -> bool {
        Probe::judge(100.0, &seen, 100.0).held
    }

    #[test]
    fn each_bound_is_one_of_its_own() {
        assert!(held(FINE));
        let late = Seen {
            p99_ms: 101.0,
            ..FINE
        };
        let refused = Seen { good: 960, ..FINE };
        let growing = Seen {
            ended: 950,
            good: 950,
            unfinished: 54,
            ..FINE
        };
        let stuck = Seen {
            ended: 985,
            good: 985,
            unfinished: 19,
            overdue: 15,
            ..FINE
        };
        let client = Seen {
            client_limited: true,
            ..FINE
        };
        let silent = Seen {
            ended: 0,
            good: 0,
            p99_ms: 0.0,
            ..FINE
        };
        for seen in [late, refused, growing, stuck, client, silent] {
            assert!(!held(seen), "{seen:?}");
        }
        // A window cuts through what is in flight by chance, and that is no backlog.
        let few = Seen {
            offered: 50,
            ended: 46,
            good: 46,
            carried: 2,
            unfinished: 6,
            ..FINE
        };
        assert!(held(few));
        // The latency's bound is so wide that only the backlog can fail.
        let (knee, _) = knee(50.0, 10.0, 1e9, 5.0);
        assert!(
            knee.is_some_and(|knee| (45.0..56.0).contains(&knee)),
            "{knee:?}"
        );
    }

    #[test]
    fn a_service_that_is_down_has_no_knee() {
        let mut search = Search::from(10.0);
        while let Some(rate) = search.next() {
            search.tell(rate, held(Seen { good: 0, ..FINE }));
        }
        assert_eq!(search.knee(), None);
    }
}
