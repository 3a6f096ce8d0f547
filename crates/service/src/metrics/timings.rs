//! How long one request took, for its `Server-Timing` and `X-Cache` headers and its line in
//! the log.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A stage of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the request's head to the last byte of its body.
    Receive,
    /// From an image's bytes to its pixels.
    Decode,
    /// From its pixels to the engine's input.
    Prepare,
    /// From there, or from a text's token ids, to the start of the batch.
    Queue,
    /// The batch.
    Compute,
    /// From the query's vector to the nearest rows of the index, including the wait for earlier
    /// searches.
    Search,
    /// From the rows until the last byte of the answer is handed to the socket. In
    /// `Server-Timing`, which is sent before, until the answer's head.
    Write,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 7] = [
        Stage::Receive,
        Stage::Decode,
        Stage::Prepare,
        Stage::Queue,
        Stage::Compute,
        Stage::Search,
        Stage::Write,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Decode => "decode",
            Stage::Prepare => "prepare",
            Stage::Queue => "queue",
            Stage::Compute => "compute",
            Stage::Search => "search",
            Stage::Write => "write",
        }
    }
}

/// A stage of one request or row: its start and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageTiming {
    /// Which stage.
    pub stage: Stage,
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
}

impl StageTiming {
    /// A stage that ends now.
    pub fn since(stage: Stage, began: Instant) -> Self {
        Self {
            stage,
            began,
            took: began.elapsed(),
        }
    }
}

/// The result of looking up a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It was in the cache.
    Hit,
    /// It was being computed for another request, or for the same text or image in this one.
    Shared,
    /// It had to be computed.
    Miss,
}

impl Lookup {
    pub(super) const ALL: [Self; 3] = [Lookup::Hit, Lookup::Shared, Lookup::Miss];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Lookup::Hit => "hit",
            Lookup::Shared => "shared",
            Lookup::Miss => "miss",
        }
    }
}

/// The longest time that each stage took for any row of one request, and how many of its rows
/// were in the cache.
#[derive(Debug, Default)]
pub struct Timings {
    /// By [`Stage`].
    longest: Mutex<[Option<StageTiming>; Stage::ALL.len()]>,
    /// Texts and images, by [`Lookup`].
    lookups: [AtomicU64; Lookup::ALL.len()],
    cut_texts: AtomicU64,
    computed: OnceLock<Instant>,
}

impl Timings {
    /// Records a stage of one row.
    pub fn note(&self, timing: StageTiming) {
        let longest = &mut self.longest()[timing.stage as usize];
        if longest.is_none_or(|longest| longest.took < timing.took) {
            *longest = Some(timing);
        }
    }

    /// All rows have arrived: from now on the answer is written.
    pub fn computed(&self) {
        self.computed.get_or_init(Instant::now);
    }

    /// Updates the time of writing, if writing has begun.
    pub fn written(&self) -> Option<StageTiming> {
        let write = StageTiming::since(Stage::Write, *self.computed.get()?);
        self.note(write);
        Some(write)
    }

    /// Records the result of looking up one row.
    pub fn looked_up(&self, what: Lookup) {
        self.lookups[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Records texts whose end was cut off.
    pub fn cut(&self, texts: usize) {
        self.cut_texts.fetch_add(texts as u64, Ordering::Relaxed);
    }

    /// How many texts had more tokens than the model reads, so that their end was cut off.
    pub fn cut_texts(&self) -> u64 {
        self.cut_texts.load(Ordering::Relaxed)
    }

    /// The stages of this request, in order, each as long as its slowest row took.
    pub fn stages(&self) -> Vec<StageTiming> {
        self.longest().iter().flatten().copied().collect()
    }

    /// Writing one element cannot be left half done.
    fn longest(&self) -> MutexGuard<'_, [Option<StageTiming>; Stage::ALL.len()]> {
        self.longest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of the `X-Cache` header, if anything came from the cache or from another
    /// request: `hit=2, shared=0, miss=1`.
    pub fn cache_header(&self) -> Option<String> {
        let count = |what: Lookup| self.lookups[what as usize].load(Ordering::Relaxed);
        (count(Lookup::Hit) + count(Lookup::Shared) > 0).then(|| {
            Lookup::ALL
                .map(|what| format!("{}={}", what.as_str(), count(what)))
                .join(", ")
        })
    }

    /// The value of the `Server-Timing` header: the stages of this request, in milliseconds.
    pub fn header(&self, total: Duration) -> String {
        let mut written = String::with_capacity(128);
        for StageTiming { stage, took, .. } in self.stages() {
            let millis = Millis(took);
            // Writing to a string cannot fail.
            let _ = write!(written, "{};dur={millis}, ", stage.as_str());
        }
        let _ = write!(written, "total;dur={}", Millis(total));
        written
    }
}

/// A time as milliseconds with three decimals. Whole numbers are written much sooner than a float is.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = (self.0.as_nanos() + 500) / 1000;
        // A number of 64 bits, which is half a million years.
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        write!(f, "{}.{:03}", micros / 1000, micros % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_timing_has_the_slowest_row_of_each_stage() {
        let timings = Timings::default();
        let began = Instant::now();
        for (stage, micros) in [
            (Stage::Queue, 2000),
            (Stage::Queue, 1000),
            (Stage::Receive, 1500),
        ] {
            let took = Duration::from_micros(micros);
            timings.note(StageTiming { stage, began, took });
        }
        assert_eq!(
            timings.header(Duration::from_millis(5)),
            "receive;dur=1.500, queue;dur=2.000, total;dur=5.000"
        );
    }

    #[test]
    fn times_are_rounded_to_microseconds() {
        for (nanos, written) in [
            (0, "0.000"),
            (499, "0.000"),
            (500, "0.001"),
            (7_499, "0.007"),
            (999_999, "1.000"),
            (12_034_056_789, "12034.057"),
        ] {
            assert_eq!(Millis(Duration::from_nanos(nanos)).to_string(), written);
        }
        let longest = Millis(Duration::MAX).to_string();
        assert_eq!(longest, format!("{}.615", u64::MAX / 1000));
    }
}
