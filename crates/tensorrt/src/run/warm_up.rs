//! How often each batch size runs before the service is ready.
//!
//! TensorRT for RTX compiles a batch size in its first run, and later captures it as a CUDA graph,
//! which it replays from then on. It does not say when: the capture may be put off for some runs.
//! It shows in the time that the host takes to enqueue a run: a tower is some hundred kernels,
//! and a graph is one launch.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The fewest and most runs of a batch size: one that compiles, one that captures, one that
/// replays; and an end where the library never captures.
pub(super) const RUNS: RangeInclusive<usize> = 3..=10;

/// An enqueue that takes no longer is one launch. Some hundred kernels, launched one by one at
/// 2 to 4 us each, take longer.
const CHEAP: Duration = Duration::from_micros(100);

/// The runs of one batch size, each by how long the host took to enqueue it.
#[derive(Clone, Debug, Default)]
pub(super) struct WarmUp {
    enqueues: Vec<Duration>,
}

impl WarmUp {
    /// One more run.
    pub(super) fn ran(&mut self, enqueue: Duration) {
        self.enqueues.push(enqueue);
    }

    /// Whether another run would change nothing. If this program captures the work itself, the
    /// least is enough.
    pub(super) fn is_enough(&self, runs: &RangeInclusive<usize>, captures: bool) -> bool {
        let ran = self.enqueues.len();
        ran >= *runs.end() || ran >= *runs.start() && (captures || self.is_cheap())
    }

    /// Whether the last run was enqueued as one launch.
    pub(super) fn is_cheap(&self) -> bool {
        self.enqueues.last().is_some_and(|last| *last <= CHEAP)
    }
}

impl fmt::Display for WarmUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |time: Option<&Duration>| time.map_or(0, Duration::as_micros);
        write!(
            f,
            "{} runs, enqueued in {} us first and {} us last",
            self.enqueues.len(),
            micros(self.enqueues.first()),
            micros(self.enqueues.last())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a batch size runs whose enqueues take so many microseconds, the last of them from
    /// then on.
    fn runs(micros: &[u64], captures: bool) -> usize {
        let mut warm_up = WarmUp::default();
        let mut times = micros.iter();
        let mut time = 0;
        while !warm_up.is_enough(&RUNS, captures) {
            time = times.next().copied().unwrap_or(time);
            warm_up.ran(Duration::from_micros(time));
        }
        warm_up.enqueues.len()
    }

    #[test]
    fn a_batch_size_runs_until_it_is_one_launch() {
        assert_eq!(runs(&[900_000, 3_000, 15], false), 3);
        assert_eq!(runs(&[10], false), 3);
        // The capture is put off.
        assert_eq!(runs(&[900_000, 400, 400, 400, 3_000, 15], false), 6);
        // It never comes.
        assert_eq!(runs(&[900_000, 400], false), 10);
        // This program captures: waiting for the library is no use.
        assert_eq!(runs(&[900_000, 400], true), 3);
    }
}
