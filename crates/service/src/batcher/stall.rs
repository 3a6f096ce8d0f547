//! Detects an engine that hangs: one that has taken batches and returns neither rows nor an
//! error, or whose drop does not end. Without this its owner would wait for a free slot, or for the
//! drop, for ever.
//!
//! ```text
//! every look: batches in it, and none came out since the last look? --> silent for one look more
//!             silent for as long as its timeout?                    --> given up, as when lost
//! ```
//!
//! Time is counted in looks and not by the clock, so that a process that was suspended and
//! resumed does not mistake its own pause for a hang.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::load::Death;
use super::queue::Queue;
use super::row::BatchError;
use siglip2_engine::Tower;

/// The longest time between two looks, and so the longest that a hang goes unnoticed beyond
/// the timeout.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// A timeout is divided into at least this many looks.
const LOOKS: u32 = 20;

/// What was seen of one tower of one engine.
#[derive(Clone, Copy, Debug, Default)]
struct Silence {
    finished: u64,
    lasts: Duration,
}

impl Silence {
    /// Called once per look. Returns how long the engine has had batches and finished none.
    fn look(&mut self, inside: usize, finished: u64, look: Duration) -> Duration {
        match inside > 0 && finished == self.finished {
            true => self.lasts += look,
            false => self.lasts = Duration::ZERO,
        }
        self.finished = finished;
        self.lasts
    }
}

/// Looks at engines, each with its timeout, until the batcher has ended. Ends at once where
/// none has any.
pub(super) fn look_out(queue: &Queue, timeouts: &[Option<Duration>], ended: &Receiver<()>) {
    let Some(least) = timeouts.iter().flatten().min() else {
        return;
    };
    let look = (*least / LOOKS).clamp(Duration::from_millis(1), LONGEST_LOOK);
    let mut seen = vec![[Silence::default(); 3]; timeouts.len()];
    while ended.recv_timeout(look) == Err(RecvTimeoutError::Timeout) {
        for (number, inside, limit) in hanging(queue, timeouts, look, &mut seen) {
            let seconds = limit.as_secs_f64();
            let reason = match inside {
                Inside::Batches(tower) => format!(
                    "the device hangs: engine {number} has had {tower}s for {seconds} s and gives \
                     nothing back"
                ),
                Inside::Drop => format!(
                    "the device hangs: engine {number} has been dropped for {seconds} s and its \
                     memory is not released"
                ),
            };
            let held = {
                let load = &mut queue.lock().engines[number];
                load.die(Death {
                    reason: reason.clone(),
                    is_final: true,
                });
                load.take_all()
            };
            queue.give_up(reason);
            for row in held {
                row.answer(Err(BatchError::Stopped));
            }
        }
    }
}

/// What an engine does not come out of.
#[derive(Clone, Copy, Debug)]
enum Inside {
    Batches(Tower),
    Drop,
}

/// The engines newly found to hang, each with what it does and the time it was allowed.
fn hanging(
    queue: &Queue,
    timeouts: &[Option<Duration>],
    look: Duration,
    seen: &mut [[Silence; 3]],
) -> Vec<(usize, Inside, Duration)> {
    let state = queue.lock();
    let mut found: Vec<(usize, Inside, Duration)> = Vec::new();
    for (number, (load, seen)) in state.engines.iter().zip(seen).enumerate() {
        let all = [
            Inside::Batches(Tower::Image),
            Inside::Batches(Tower::Text),
            Inside::Drop,
        ];
        for (what, silence) in all.into_iter().zip(seen) {
            let (inside, finished) = match what {
                Inside::Batches(tower) => load.progress(tower),
                Inside::Drop => (usize::from(load.is_dropping()), 0),
            };
            let lasts = silence.look(inside, finished, look);
            if let Some(limit) = timeouts[number]
                && lasts >= limit
                && !load.is_hopeless()
                && found.last().is_none_or(|&(last, ..)| last != number)
            {
                found.push((number, what, limit));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_a_batch_that_is_in_while_none_comes_out() {
        let second = Duration::from_secs(1);
        let mut silence = Silence::default();
        let looks = [
            // Batches in it, batches finished, and the expected silence.
            (0, 0, 0),
            (1, 0, 1),
            (2, 0, 2),
            // One was finished, and another is still in it.
            (1, 1, 0),
            (1, 1, 1),
            // It finished one and took the next, both between two looks.
            (1, 2, 0),
            (2, 9, 0),
            (1, 9, 1),
            (0, 10, 0),
            (0, 10, 0),
            (1, 10, 1),
            // The engine was rebuilt.
            (1, 0, 0),
        ];
        for (inside, finished, lasts) in looks {
            let found = silence.look(inside, finished, second);
            assert_eq!(found, lasts * second, "{inside} in, {finished} out");
        }
    }
}
