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

/// The part of the offered requests that must be answered well.
const KEPT_UP: f64 = 0.97;

/// What a probe of one rate saw.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Probe {
    /// Requests a second that were offered.
    pub offered_per_s: f64,
    /// Good answers a second, over the time that was offered plus what the last answers
    /// were late beyond the bound.
    pub goodput_per_s: f64,
    /// The 99th percentile of good answers.
    pub p99_ms: f64,
    /// Whether the client was the limit.
    pub client_limited: bool,
    /// Whether the rate was held.
    pub held: bool,
}

impl Probe {
    /// Judges a probe of `offered_s` seconds that ended after `elapsed_s`.
    pub fn judge(
        offered_per_s: f64,
        (offered_s, elapsed_s): (f64, f64),
        (offered, good): (u64, u64),
        p99_ms: f64,
        bound_ms: f64,
        client_limited: bool,
    ) -> Self {
        let seconds = offered_s.max(elapsed_s - bound_ms / 1000.0);
        let goodput_per_s = good as f64 / seconds;
        // The requests that were really offered: a short probe of a slow rate rounds.
        let due = offered as f64 / offered_s;
        Self {
            offered_per_s,
            goodput_per_s,
            p99_ms,
            client_limited,
            held: offered > 0
                && !client_limited
                && p99_ms <= bound_ms
                && goodput_per_s >= KEPT_UP * due,
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

    /// A service with one queue: `capacity` a second, `service_ms` for one alone.
    fn model(capacity: f64, service_ms: f64, rate: f64, bound_ms: f64) -> Probe {
        let seconds = 10.0;
        let load = rate / capacity;
        let offered = (rate * seconds) as u64;
        let (p99_ms, elapsed) = if load < 1.0 {
            (service_ms * (1.0 + load / (1.0 - load)), seconds)
        } else {
            // The queue grows until the arrivals end, and is then worked off.
            let backlog_s = seconds * (load - 1.0);
            (service_ms + backlog_s * 990.0, seconds + backlog_s)
        };
        Probe::judge(
            rate,
            (seconds, elapsed),
            (offered, offered),
            p99_ms,
            bound_ms,
            false,
        )
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

    #[test]
    fn goodput_is_a_bound_of_its_own() {
        // The latency's bound is so wide that only the backlog can fail.
        let (knee, _) = knee(50.0, 10.0, 1e9, 5.0);
        assert!(knee.is_some_and(|knee| knee > 50.0));
        let refused = Probe::judge(100.0, (10.0, 10.0), (1000, 600), 5.0, 100.0, false);
        assert!(!refused.held && refused.goodput_per_s == 60.0);
    }

    #[test]
    fn a_service_that_is_down_has_no_knee_and_a_late_client_proves_nothing() {
        let mut search = Search::from(10.0);
        while let Some(rate) = search.next() {
            search.tell(
                rate,
                Probe::judge(rate, (10.0, 10.0), (9, 0), 0.0, 100.0, false).held,
            );
        }
        assert_eq!(search.knee(), None);
        assert!(!Probe::judge(9.0, (10.0, 10.0), (90, 90), 1.0, 100.0, true).held);
    }
}
