//! What waits for the engine, and which of it goes next.
//!
//! ```text
//! put --> texts:  interactive, bulk --+
//!         images: interactive, bulk --+-- take: one tower in turn --> [batch]
//! ```

use std::collections::VecDeque;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{BatchError, Item, Right, Row};
use crate::engine::Tower;
use crate::metrics::Metrics;

/// A row that waits for its batch, or is in it.
pub(super) struct Waiting {
    pub(super) item: Item,
    pub(super) answer: oneshot::Sender<Result<Row, BatchError>>,
    pub(super) since: Instant,
    pub(super) deadline: Option<Instant>,
    /// Given back when the row is answered or dropped.
    pub(super) permit: Right,
}

/// What waits for one tower.
#[derive(Default)]
struct Lane {
    interactive: VecDeque<Waiting>,
    bulk: VecDeque<Waiting>,
}

impl Lane {
    fn len(&self) -> usize {
        self.interactive.len() + self.bulk.len()
    }

    /// Up to `max` rows that are still wanted: interactive ones first, but a quarter
    /// of the places is bulk's while bulk waits. (Of a single place it has none.)
    fn take(&mut self, max: usize, tower: Tower, metrics: &Metrics) -> Vec<Waiting> {
        let first = if self.bulk.is_empty() {
            max
        } else {
            (max - max.div_ceil(4)).max(1)
        };
        let mut batch = Vec::with_capacity(max.min(self.len()));
        fill(&mut batch, &mut self.interactive, first, tower, metrics);
        fill(&mut batch, &mut self.bulk, max, tower, metrics);
        fill(&mut batch, &mut self.interactive, max, tower, metrics);
        batch
    }
}

/// Moves rows that are wanted until the batch has `max`; answers and counts those that
/// are not.
fn fill(
    batch: &mut Vec<Waiting>,
    queue: &mut VecDeque<Waiting>,
    max: usize,
    tower: Tower,
    metrics: &Metrics,
) {
    while batch.len() < max {
        match queue.pop_front() {
            Some(gone) if gone.answer.is_closed() => metrics.gone(tower),
            Some(late) if late.is_late() => {
                metrics.late(tower);
                late.answer(Err(BatchError::Late));
            }
            Some(waiting) => batch.push(waiting),
            None => break,
        }
    }
}

impl Waiting {
    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    pub(super) fn answer(self, answer: Result<Row, BatchError>) {
        // An error means only that the client has gone in the meantime.
        let _ = self.answer.send(answer);
    }
}

/// Everything that waits.
#[derive(Default)]
pub(super) struct Lanes {
    images: Lane,
    texts: Lane,
    /// The tower whose turn it is when both lanes have work.
    next: Option<Tower>,
    /// No engine takes what is put in here.
    pub(super) shut: bool,
    pub(super) closed: bool,
}

impl Lanes {
    fn of(&mut self, tower: Tower) -> &mut Lane {
        match tower {
            Tower::Image => &mut self.images,
            Tower::Text => &mut self.texts,
        }
    }

    /// Lets a row wait, and says how many do so for this tower.
    pub(super) fn put(&mut self, tower: Tower, waiting: Waiting) -> usize {
        let lane = self.of(tower);
        match waiting.permit.bulk {
            None => lane.interactive.push_back(waiting),
            Some(_) => lane.bulk.push_back(waiting),
        }
        lane.len()
    }

    /// The next batch: all that waits in one lane and is still wanted, up to `max`.
    pub(super) fn take(&mut self, max: usize, metrics: &Metrics) -> Option<(Tower, Vec<Waiting>)> {
        let turn = self.next.unwrap_or(Tower::Text);
        for tower in [turn, other(turn)] {
            let batch = self.of(tower).take(max, tower, metrics);
            metrics.queued(tower, self.of(tower).len());
            if !batch.is_empty() {
                self.next = Some(other(tower));
                return Some((tower, batch));
            }
        }
        None
    }

    /// Takes out everything that waits.
    pub(super) fn empty(&mut self, metrics: &Metrics) -> Vec<Waiting> {
        let mut all = Vec::new();
        for tower in [Tower::Image, Tower::Text] {
            let lane = std::mem::take(self.of(tower));
            all.extend(lane.interactive.into_iter().chain(lane.bulk));
            metrics.queued(tower, 0);
        }
        all
    }
}

fn other(tower: Tower) -> Tower {
    match tower {
        Tower::Image => Tower::Text,
        Tower::Text => Tower::Image,
    }
}
