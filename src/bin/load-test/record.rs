//! What was measured: a histogram for each endpoint and each way a request ended, and a
//! bucket for each second.
//!
//! Latencies are microseconds with three significant digits, up to an hour; by second
//! they have two, because a plot shows no more.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::client::Ending;
use crate::mix::Endpoint;

/// An hour, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// How many wrong answers are described; the rest are counted.
const EXAMPLES: usize = 10;

/// Latencies.
#[derive(Clone, Debug)]
pub struct Latencies(Option<Histogram<u64>>);

impl Default for Latencies {
    fn default() -> Self {
        // These bounds are valid; if the crate ever disagrees nothing is recorded.
        Self(Histogram::new_with_bounds(1, LONGEST, 3).ok())
    }
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(micros(latency));
        }
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        if let (Some(ours), Some(theirs)) = (&mut self.0, &other.0) {
            // It fails for values beyond our bounds, and both have the same.
            let _ = ours.add(theirs);
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// Milliseconds that this share of them did not pass.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        self.0
            .as_ref()
            .map_or(0.0, |h| h.value_at_quantile(share) as f64 / 1000.0)
    }

    /// The longest, in milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |h| h.max() as f64 / 1000.0)
    }

    /// The mean, in milliseconds.
    pub fn mean_ms(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |h| h.mean() / 1000.0)
    }
}

fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros())
        .unwrap_or(LONGEST)
        .clamp(1, LONGEST)
}

/// One request that counted.
#[derive(Debug)]
pub struct Sample {
    /// Where it went.
    pub endpoint: Endpoint,
    /// How it ended.
    pub ending: Ending,
    /// How long it took, from its scheduled arrival in an open loop.
    pub latency: Duration,
    /// When it ended, from the end of the warm-up.
    pub at: Duration,
    /// Images in it.
    pub images: u32,
    /// Texts in it.
    pub texts: u32,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// What was wrong with the answer.
    pub wrong: Option<String>,
}

/// Sums of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// By how requests ended.
    pub by_ending: BTreeMap<Ending, Latencies>,
    /// Wrong answers.
    pub wrong: u64,
    /// Images in requests that were answered with success.
    pub images: u64,
    /// Texts in those.
    pub texts: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

impl Group {
    /// Requests, however they ended.
    pub fn requests(&self) -> u64 {
        self.by_ending.values().map(Latencies::count).sum()
    }

    /// Those that were answered, with whatever status.
    pub fn answered(&self) -> u64 {
        self.count(|ending| matches!(ending, Ending::Status(_)))
    }

    /// Those that ended as asked.
    pub fn count(&self, which: impl Fn(Ending) -> bool) -> u64 {
        self.by_ending
            .iter()
            .filter(|(ending, _)| which(**ending))
            .map(|(_, latencies)| latencies.count())
            .sum()
    }

    /// Latencies of those.
    pub fn latencies(&self, which: impl Fn(Ending) -> bool) -> Latencies {
        let mut all = Latencies::default();
        for (ending, latencies) in &self.by_ending {
            if which(*ending) {
                all.merge(latencies);
            }
        }
        all
    }

    fn merge(&mut self, other: &Self) {
        for (ending, latencies) in &other.by_ending {
            self.by_ending.entry(*ending).or_default().merge(latencies);
        }
        self.wrong += other.wrong;
        self.images += other.images;
        self.texts += other.texts;
        self.sent += other.sent;
        self.received += other.received;
    }
}

/// What ended in one second.
#[derive(Clone, Debug, Default)]
pub struct Second {
    /// Requests answered with success.
    pub good: u64,
    /// Others.
    pub failed: u64,
    /// Latencies of the former.
    latencies: Option<Histogram<u32>>,
}

impl Second {
    /// Milliseconds that this share did not pass; none if nothing was answered.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        self.latencies
            .as_ref()
            .filter(|h| !h.is_empty())
            .map(|h| h.value_at_quantile(share) as f64 / 1000.0)
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    /// By endpoint.
    pub groups: BTreeMap<Endpoint, Group>,
    /// By second, from the end of the warm-up.
    pub seconds: Vec<Second>,
    /// How late requests of an open loop were started.
    pub lag: Latencies,
    /// The first wrong answers, described.
    pub examples: Vec<String>,
    /// When the last request ended, from the end of the warm-up.
    pub last: Duration,
}

impl Recorder {
    /// Adds a request.
    pub fn record(&mut self, sample: Sample) {
        let group = self.groups.entry(sample.endpoint).or_default();
        group
            .by_ending
            .entry(sample.ending)
            .or_default()
            .record(sample.latency);
        group.sent += sample.sent;
        group.received += sample.received;
        self.last = self.last.max(sample.at);
        if sample.ending.is_good() && sample.wrong.is_none() {
            group.images += u64::from(sample.images);
            group.texts += u64::from(sample.texts);
        }
        let hostile = sample.endpoint == Endpoint::Hostile;
        if let Some(wrong) = &sample.wrong {
            group.wrong += 1;
            if self.examples.len() < EXAMPLES {
                self.examples
                    .push(format!("{}: {wrong}", sample.endpoint.name()));
            }
        }
        if hostile {
            return;
        }
        // A run is bounded by its duration and its patience: the index is small.
        let index = sample.at.as_secs() as usize;
        if index >= self.seconds.len() {
            self.seconds.resize_with(index + 1, Second::default);
        }
        let Some(second) = self.seconds.get_mut(index) else {
            return;
        };
        if sample.ending.is_good() && sample.wrong.is_none() {
            second.good += 1;
            if second.latencies.is_none() {
                second.latencies = Histogram::new(2).ok();
            }
            if let Some(histogram) = &mut second.latencies {
                let _ = histogram.record(micros(sample.latency));
            }
        } else {
            second.failed += 1;
        }
    }

    /// Adds a later run of the same kind; its seconds follow ours.
    pub fn merge(&mut self, other: &Self) {
        for (endpoint, group) in &other.groups {
            self.groups.entry(*endpoint).or_default().merge(group);
        }
        self.seconds.extend(other.seconds.iter().cloned());
        self.lag.merge(&other.lag);
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples
            .extend(other.examples.iter().take(room).cloned());
        self.last += other.last;
    }

    /// All endpoints but the hostile one together.
    pub fn honest(&self) -> Group {
        let mut all = Group::default();
        for (endpoint, group) in &self.groups {
            if *endpoint != Endpoint::Hostile {
                all.merge(group);
            }
        }
        all
    }

    /// Wrong answers, those to hostile requests included.
    pub fn wrong(&self) -> u64 {
        self.groups.values().map(|group| group.wrong).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(endpoint: Endpoint, ending: Ending, ms: u64, at: u64) -> Sample {
        Sample {
            endpoint,
            ending,
            latency: Duration::from_millis(ms),
            at: Duration::from_secs(at),
            images: 2,
            texts: 0,
            sent: 10,
            received: 20,
            wrong: None,
        }
    }

    fn close(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= expected * 0.002
    }

    #[test]
    fn merged_histograms_are_those_of_all_samples() {
        let (mut first, mut second, mut both) = <(Recorder, Recorder, Recorder)>::default();
        for ms in 1..=1000 {
            let half = if ms % 2 == 0 { &mut first } else { &mut second };
            half.record(sample(Endpoint::Image, Ending::Status(200), ms, 0));
            both.record(sample(Endpoint::Image, Ending::Status(200), ms, 0));
        }
        first.merge(&second);
        let (merged, whole) = (first.honest(), both.honest());
        assert_eq!((merged.requests(), merged.images), (1000, 2000));
        for share in [0.5, 0.9, 0.99, 0.999, 1.0] {
            let ours = merged.latencies(Ending::is_good).quantile_ms(share);
            assert_eq!(ours, whole.latencies(Ending::is_good).quantile_ms(share));
            assert!(close(ours, 1000.0 * share), "{share}: {ours}");
        }
        assert_eq!(first.seconds.len(), 2);
    }

    #[test]
    fn failures_are_apart_and_hostile_requests_are_too() {
        let mut recorder = Recorder::default();
        recorder.record(sample(Endpoint::Text, Ending::Status(200), 100, 0));
        recorder.record(sample(Endpoint::Text, Ending::Status(429), 1, 2));
        recorder.record(sample(Endpoint::Text, Ending::Timeout, 9000, 2));
        recorder.record(sample(Endpoint::Hostile, Ending::Status(400), 1, 5));
        let all = recorder.honest();
        assert_eq!((all.requests(), all.answered(), all.images), (3, 2, 2));
        assert!(close(all.latencies(Ending::is_good).max_ms(), 100.0));
        let seconds: Vec<_> = recorder
            .seconds
            .iter()
            .map(|s| (s.good, s.failed))
            .collect();
        assert_eq!(seconds, [(1, 0), (0, 0), (0, 2)]);
        assert_eq!(recorder.seconds[2].quantile_ms(0.5), None);
    }
}
