//! The measurements: a histogram for each endpoint and each way a request ended, and
//! buckets of time.
//!
//! ```text
//! sample --window--> warm-up (a number) | inside: group, bucket | unfinished (ages)
//! ```
//!
//! Latencies are microseconds with three significant digits, up to an hour; in buckets
//! they have two, because a plot shows no more. A bucket is a second; in runs of more
//! than ten minutes it is longer, so that a soak of days needs no more memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::client::Ending;
use crate::mix::Endpoint;
use crate::window::{End, Place, Window};

/// An hour, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// How many wrong answers are described; the rest are counted.
const EXAMPLES: usize = 10;

/// About how many buckets a long run has.
const BUCKETS: f64 = 600.0;

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
            // It fails for values outside the bounds, and both histograms have the same bounds.
            let _ = ours.add(theirs);
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The quantile for this share, in milliseconds.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        self.0
            .as_ref()
            .map_or(0.0, |h| h.value_at_quantile(share) as f64 / 1000.0)
    }

    /// The longest, in milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |h| h.max() as f64 / 1000.0)
    }

    /// How many took longer than this many milliseconds.
    pub fn longer_than(&self, ms: f64) -> u64 {
        self.0.as_ref().map_or(0, |h| {
            // Nothing longer is recorded.
            let bound = (ms * 1000.0).min(LONGEST as f64) as u64;
            h.len().saturating_sub(h.count_between(0, bound))
        })
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

/// One request that has ended.
#[derive(Debug)]
pub struct Sample {
    /// Its endpoint.
    pub endpoint: Endpoint,
    /// How it ended.
    pub ending: Ending,
    /// When it was started; in an open loop, when it was scheduled.
    pub from: Instant,
    /// When it ended.
    pub at: Instant,
    /// How late an open loop started it.
    pub lag: Option<Duration>,
    /// Images in it.
    pub images: u32,
    /// Texts in it.
    pub texts: u32,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// What was wrong with the answer, if anything.
    pub wrong: Option<String>,
}

/// Sums of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// By how requests ended.
    pub by_ending: BTreeMap<Ending, Latencies>,
    /// Wrong answers.
    pub wrong: u64,
    /// Images in requests that were answered successfully.
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

    /// Requests that were answered, with any status.
    pub fn answered(&self) -> u64 {
        self.count(|ending| matches!(ending, Ending::Status(_)))
    }

    /// Requests that ended in the given way.
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

/// What happened in one interval. Hostile requests are not included.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    /// Its length.
    pub width: Duration,
    /// Requests begun.
    pub begun: u64,
    /// Requests answered successfully.
    pub good: u64,
    /// Requests that were answered 429.
    pub refused: u64,
    /// Requests that ended otherwise.
    pub failed: u64,
    /// Latencies of the good ones.
    latencies: Option<Histogram<u32>>,
}

impl Bucket {
    /// The quantile for this share, in milliseconds; none if nothing was answered.
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
    /// By time, from the end of the warm-up.
    pub buckets: Vec<Bucket>,
    /// How late requests of an open loop were started.
    pub lag: Latencies,
    /// The first wrong answers, described.
    pub examples: Vec<String>,
    /// Requests that ended in the warm-up.
    pub warm_up: u64,
    /// Requests that were started in the warm-up and ended after it.
    pub carried: u64,
    /// The ages of requests that were in flight when the window closed.
    pub unfinished: Latencies,
    /// The length of the window.
    pub length: Duration,
}

impl Recorder {
    fn group(&mut self, sample: &Sample) {
        let group = self.groups.entry(sample.endpoint).or_default();
        group
            .by_ending
            .entry(sample.ending)
            .or_default()
            .record(sample.at.saturating_duration_since(sample.from));
        group.sent += sample.sent;
        group.received += sample.received;
        if sample.ending.is_good() && sample.wrong.is_none() {
            group.images += u64::from(sample.images);
            group.texts += u64::from(sample.texts);
        }
        if let Some(wrong) = &sample.wrong {
            group.wrong += 1;
            if self.examples.len() < EXAMPLES {
                self.examples
                    .push(format!("{}: {wrong}", sample.endpoint.name()));
            }
        }
    }

    /// Adds a later run of the same kind; its time follows this one's.
    pub fn merge(&mut self, other: &Self) {
        for (endpoint, group) in &other.groups {
            self.groups.entry(*endpoint).or_default().merge(group);
        }
        self.buckets.extend(other.buckets.iter().cloned());
        self.lag.merge(&other.lag);
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples
            .extend(other.examples.iter().take(room).cloned());
        self.warm_up += other.warm_up;
        self.carried += other.carried;
        self.unfinished.merge(&other.unfinished);
        self.length += other.length;
    }

    /// Requests that ended in the window, including hostile ones.
    pub fn ended(&self) -> u64 {
        self.groups.values().map(Group::requests).sum()
    }

    /// Requests that were started in the window, including hostile ones: those that ended in
    /// it, minus those started before it, plus those left over.
    pub fn begun(&self) -> u64 {
        (self.ended() + self.unfinished.count()).saturating_sub(self.carried)
    }

    /// All endpoints except the hostile one together.
    pub fn honest(&self) -> Group {
        let mut all = Group::default();
        for (endpoint, group) in &self.groups {
            if *endpoint != Endpoint::Hostile {
                all.merge(group);
            }
        }
        all
    }

    /// Wrong answers, including those to hostile requests.
    pub fn wrong(&self) -> u64 {
        self.groups.values().map(|group| group.wrong).sum()
    }
}

/// Records one run, each request where the window places it.
#[derive(Debug)]
pub struct Recording {
    window: Window,
    start: Instant,
    width: Duration,
    recorder: Recorder,
}

impl Recording {
    /// A run whose warm-up ends at `start`.
    pub fn new(start: Instant, end: End) -> Self {
        let width = match end {
            End::After(duration) => (duration.as_secs_f64() / BUCKETS).ceil().max(1.0),
            End::Requests(_) => 1.0,
        };
        Self {
            window: Window::new(start, end),
            start,
            width: Duration::from_secs_f64(width),
            recorder: Recorder::default(),
        }
    }

    /// Records a request, and returns where it was placed.
    pub fn record(&mut self, sample: &Sample) -> Place {
        let place = self.window.place(sample.from, sample.at);
        match place {
            Place::WarmUp => {
                self.recorder.warm_up += 1;
                return place;
            }
            Place::Behind => return place,
            Place::Inside(_) => self.recorder.group(sample),
            Place::Unfinished(age) => self.recorder.unfinished.record(age),
        }
        if sample.from < self.start {
            self.recorder.carried += 1;
        }
        if let Some(lag) = sample.lag {
            self.recorder.lag.record(lag);
        }
        if sample.endpoint == Endpoint::Hostile {
            return place;
        }
        if sample.from >= self.start
            && let Some(bucket) = self.bucket(sample.from)
        {
            bucket.begun += 1;
        }
        if let Place::Inside(_) = place
            && let Some(bucket) = self.bucket(sample.at)
        {
            match sample.ending {
                ending if ending.is_good() && sample.wrong.is_none() => {
                    bucket.good += 1;
                    if bucket.latencies.is_none() {
                        bucket.latencies = Histogram::new(2).ok();
                    }
                    if let Some(histogram) = &mut bucket.latencies {
                        let latency = sample.at.saturating_duration_since(sample.from);
                        let _ = histogram.record(micros(latency));
                    }
                }
                Ending::Status(429) => bucket.refused += 1,
                _ => bucket.failed += 1,
            }
        }
        place
    }

    /// Records a request that was due at `from`, began so late, and was not sent before the
    /// window closed.
    pub fn left_over(&mut self, from: Instant, lag: Duration) {
        let Place::Unfinished(age) = self.window.left_over(from) else {
            return;
        };
        self.recorder.unfinished.record(age);
        self.recorder.lag.record(lag);
        if from < self.start {
            self.recorder.carried += 1;
        } else if let Some(bucket) = self.bucket(from) {
            bucket.begun += 1;
        }
    }

    /// Closes the window early.
    pub fn close(&mut self, at: Instant) {
        self.window.close(at);
    }

    /// A window is bounded by its duration, or by a number of requests that are each
    /// bounded, so the index is small.
    fn bucket(&mut self, at: Instant) -> Option<&mut Bucket> {
        let since = at.saturating_duration_since(self.start);
        let index = (since.as_secs_f64() / self.width.as_secs_f64()) as usize;
        let buckets = &mut self.recorder.buckets;
        if index >= buckets.len() {
            buckets.resize_with(index + 1, Bucket::default);
        }
        buckets.get_mut(index)
    }

    /// Whether the window has the number of requests that end it.
    pub fn is_full(&self) -> bool {
        self.window.is_full()
    }

    /// The record, after every request has ended.
    pub fn end(&self) -> Recorder {
        let mut recorder = self.recorder.clone();
        recorder.length = self.window.length();
        // Intervals in which nothing happened are part of the window, too.
        let width = self.width.as_secs_f64();
        let length = recorder.length.as_secs_f64();
        recorder
            .buckets
            .resize_with((length / width).ceil() as usize, Bucket::default);
        for (n, bucket) in recorder.buckets.iter_mut().enumerate() {
            let left = (length - n as f64 * width).clamp(0.0, width);
            bucket.width = Duration::from_secs_f64(left);
        }
        recorder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that ends at this time after the start, and took this long.
    fn sample(start: Instant, endpoint: Endpoint, ending: Ending, ms: u64, at_ms: u64) -> Sample {
        let at = start + Duration::from_millis(at_ms);
        Sample {
            endpoint,
            ending,
            from: at - Duration::from_millis(ms),
            at,
            lag: None,
            images: 2,
            texts: 0,
            sent: 10,
            received: 20,
            wrong: None,
        }
    }

    fn recording(seconds: u64) -> (Instant, Recording) {
        let start = Instant::now() + Duration::from_secs(100);
        let end = End::After(Duration::from_secs(seconds));
        (start, Recording::new(start, end))
    }

    fn close(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= expected * 0.002
    }

    #[test]
    fn merged_histograms_are_those_of_all_samples() {
        let (start, mut both) = recording(1);
        let end = End::After(Duration::from_secs(1));
        let mut halves = [(); 2].map(|()| Recording::new(start, end));
        for ms in 1..=1000 {
            let sample = sample(start, Endpoint::Image, Ending::Status(200), ms, 500);
            halves[ms as usize % 2].record(&sample);
            both.record(&sample);
        }
        let mut first = halves[0].end();
        first.merge(&halves[1].end());
        let (merged, whole) = (first.honest(), both.end().honest());
        assert_eq!((merged.requests(), merged.images), (1000, 2000));
        for share in [0.5, 0.9, 0.99, 0.999, 1.0] {
            let ours = merged.latencies(Ending::is_good).quantile_ms(share);
            assert_eq!(ours, whole.latencies(Ending::is_good).quantile_ms(share));
            assert!(close(ours, 1000.0 * share), "{share}: {ours}");
        }
        assert_eq!((first.buckets.len(), first.length.as_secs()), (2, 2));
    }

    #[test]
    fn failures_are_apart_and_hostile_requests_are_too() {
        let (start, mut recording) = recording(4);
        for (endpoint, ending, ms, at_ms) in [
            (Endpoint::Text, Ending::Status(200), 100, 900),
            (Endpoint::Text, Ending::Status(429), 1, 2200),
            (Endpoint::Text, Ending::Timeout, 9000, 2300),
            (Endpoint::Hostile, Ending::Status(400), 1, 3500),
            (Endpoint::Text, Ending::Status(200), 500, 4100),
        ] {
            recording.record(&sample(start, endpoint, ending, ms, at_ms));
        }
        let recorder = recording.end();
        let all = recorder.honest();
        assert_eq!((all.requests(), all.answered(), all.images), (3, 2, 2));
        assert!(close(all.latencies(Ending::is_good).max_ms(), 100.0));
        let buckets: Vec<_> = recorder
            .buckets
            .iter()
            .map(|b| (b.begun, b.good, b.refused, b.failed))
            .collect();
        // Requests started in the third second are answered after the window.
        assert_eq!(
            buckets,
            [(1, 1, 0, 0), (0, 0, 0, 0), (1, 0, 1, 1), (1, 0, 0, 0)]
        );
        assert_eq!(recorder.buckets[2].quantile_ms(0.5), None);
        assert_eq!((recorder.carried, recorder.unfinished.count()), (1, 1));
        assert!(close(recorder.unfinished.max_ms(), 400.0));
        // Four ended, one of them started before the window, and one was left over.
        assert_eq!((recorder.ended(), recorder.begun()), (4, 4));
    }

    #[test]
    fn buckets_cover_the_window_and_nothing_else() {
        let start = Instant::now();
        let half = End::After(Duration::from_millis(2500));
        let recorder = Recording::new(start, half).end();
        let widths: Vec<_> = recorder
            .buckets
            .iter()
            .map(|b| b.width.as_millis())
            .collect();
        assert_eq!(widths, [1000, 1000, 500]);
        let day = End::After(Duration::from_secs(86_400));
        let recorder = Recording::new(start, day).end();
        assert_eq!(recorder.buckets.len(), 600);
        let whole: Duration = recorder.buckets.iter().map(|bucket| bucket.width).sum();
        assert_eq!(whole, recorder.length);
    }
}
