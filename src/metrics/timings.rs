//! What one request took, for its `Server-Timing` and `X-Cache` headers and its line in
//! the log.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A part of the way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the request's head to the last byte of its body that was read.
    Receive,
    /// From an image's bytes to its pixels.
    Decode,
    /// From its pixels to what the engine eats.
    Prepare,
    /// From there, or from a text's token ids, to the start of the batch.
    Queue,
    /// The batch.
    Compute,
    /// From the rows to the answer's bytes.
    Write,
}

impl Stage {
    /// All of them, in the order of the way.
    pub const ALL: [Self; 6] = [
        Stage::Receive,
        Stage::Decode,
        Stage::Prepare,
        Stage::Queue,
        Stage::Compute,
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
            Stage::Write => "write",
        }
    }
}

/// What a text's row was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// In the cache.
    Hit,
    /// Being computed for another request, or for the same text of this one.
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

/// The longest that each stage took for any row of one request, and what its texts
/// were found to be.
#[derive(Debug, Default)]
pub struct Timings {
    /// Microseconds, by [`Stage`].
    longest: [AtomicU64; Stage::ALL.len()],
    /// Texts, by [`Lookup`].
    lookups: [AtomicU64; Lookup::ALL.len()],
}

impl Timings {
    /// Notes what a stage took for one row.
    pub fn note(&self, stage: Stage, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        self.longest[stage as usize].fetch_max(micros, Ordering::Relaxed);
    }

    /// Notes what one text's row was found to be.
    pub fn looked_up(&self, what: Lookup) {
        self.lookups[what as usize].fetch_add(1, Ordering::Relaxed);
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
        for stage in Stage::ALL {
            let micros = self.longest[stage as usize].load(Ordering::Relaxed);
            if micros > 0 {
                let millis = micros as f64 / 1e3;
                // Writing to a string does not fail.
                let _ = write!(written, "{};dur={millis:.3}, ", stage.as_str());
            }
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
        timings.note(Stage::Queue, Duration::from_millis(2));
        timings.note(Stage::Queue, Duration::from_millis(1));
        timings.note(Stage::Receive, Duration::from_micros(1500));
        assert_eq!(
            timings.header(Duration::from_millis(5)),
            "receive;dur=1.500, queue;dur=2.000, total;dur=5.000"
        );
    }
}
