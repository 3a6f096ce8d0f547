//! What one request took, for its `Server-Timing` and `X-Cache` headers and its line in
//! the log.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A part of the way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the request's head to the last byte of its body that was read.
    Receive,
    /// From an image's bytes to its pixels.
    Decode,
    /// From its pixels to what the engine takes.
    Prepare,
    /// From there, or from a text's token ids, to the start of the batch.
    Queue,
    /// The batch.
    Compute,
    /// From the query's vector to the rows of the index that are nearest to it, with the wait
    /// for searches before it.
    Search,
    /// From the rows until the last of the answer's bytes is on its way to the socket; in
    /// `Server-Timing`, which goes before them, until the answer's head.
    Write,
}

impl Stage {
    /// All of them, in the order of the way.
    pub const ALL: [Self; 7] = [
        Stage::Receive,
        Stage::Decode,
        Stage::Prepare,
        Stage::Queue,
        Stage::Compute,
        Stage::Search,
        Stage::Write,
    ];

    /// The word for it.
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

/// A stage of one request or row: when it began, and what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageTiming {
    /// Which.
    pub stage: Stage,
    /// Its beginning.
    pub began: Instant,
    /// Its length.
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

/// What a row was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// In the cache.
    Hit,
    /// Being computed for another request, or for the same text or image of this one.
    Shared,
    /// To be computed.
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

/// The longest that each stage took for any row of one request, and what its rows were
/// found to be.
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
    /// Notes a stage of one row.
    pub fn note(&self, timing: StageTiming) {
        let longest = &mut self.longest()[timing.stage as usize];
        if longest.is_none_or(|longest| longest.took < timing.took) {
            *longest = Some(timing);
        }
    }

    /// All rows are here: from now on the answer is written.
    pub fn computed(&self) {
        self.computed.get_or_init(Instant::now);
    }

    /// Notes how far the writing is, if it has begun.
    pub fn written(&self) -> Option<StageTiming> {
        let write = StageTiming::since(Stage::Write, *self.computed.get()?);
        self.note(write);
        Some(write)
    }

    /// Notes what one row was found to be.
    pub fn looked_up(&self, what: Lookup) {
        self.lookups[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the end of so many texts was cut off.
    pub fn cut(&self, texts: usize) {
        self.cut_texts.fetch_add(texts as u64, Ordering::Relaxed);
    }

    /// Texts whose end was cut off, because they have more tokens than the model reads.
    pub fn cut_texts(&self) -> u64 {
        self.cut_texts.load(Ordering::Relaxed)
    }

    /// The stages that were gone through, in the order of the way, each for its slowest
    /// row.
    pub fn stages(&self) -> Vec<StageTiming> {
        self.longest().iter().flatten().copied().collect()
    }

    /// A write of one element cannot be left half done.
    fn longest(&self) -> MutexGuard<'_, [Option<StageTiming>; Stage::ALL.len()]> {
        self.longest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of an `X-Cache` header, if anything was taken from the cache or from
    /// another request: `hit=2, shared=0, miss=1`.
    pub fn cache_header(&self) -> Option<String> {
        let count = |what: Lookup| self.lookups[what as usize].load(Ordering::Relaxed);
        (count(Lookup::Hit) + count(Lookup::Shared) > 0).then(|| {
            Lookup::ALL
                .map(|what| format!("{}={}", what.as_str(), count(what)))
                .join(", ")
        })
    }

    /// The value of a `Server-Timing` header: stages that were gone through, in
    /// milliseconds.
    pub fn header(&self, total: Duration) -> String {
        let mut written = String::with_capacity(128);
        for StageTiming { stage, took, .. } in self.stages() {
            let millis = took.as_secs_f64() * 1e3;
            // Writing to a string does not fail.
            let _ = write!(written, "{};dur={millis:.3}, ", stage.as_str());
        }
        let _ = write!(written, "total;dur={:.3}", total.as_secs_f64() * 1e3);
        written
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
}
