//! The rows that wait, and which of them go next.
//!
//! ```text
//! put --> texts:  interactive, bulk --+
//!         images: interactive, bulk --+-- take: one tower in turn --> [batch]
//! ```

use std::collections::VecDeque;
use std::time::Instant;

use super::row::{BatchError, WaitingRow};
use crate::metrics::Metrics;
use siglip2_engine::Tower;

/// What waits for one tower.
#[derive(Default)]
struct Lane {
    interactive: VecDeque<WaitingRow>,
    bulk: VecDeque<WaitingRow>,
}

impl Lane {
    fn len(&self) -> usize {
        self.interactive.len() + self.bulk.len()
    }

    /// Up to `max` rows that are still wanted: interactive ones first, but a quarter
    /// of the places is bulk's while bulk waits. (Of a single place it has none.)
    fn take(&mut self, max: usize, tower: Tower, metrics: &Metrics) -> Vec<WaitingRow> {
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

    /// Moves rows of a bulk that an interactive request has come to wait for.
    fn promote(&mut self) {
        let mut at = 0;
        while at < self.bulk.len() {
            if self.bulk[at].demand.is_interactive() {
                self.interactive.extend(self.bulk.remove(at));
            } else {
                at += 1;
            }
        }
    }
}

/// Moves rows that are wanted until the batch has `max`; answers and counts those that
/// are not.
fn fill(
    batch: &mut Vec<WaitingRow>,
    queue: &mut VecDeque<WaitingRow>,
    max: usize,
    tower: Tower,
    metrics: &Metrics,
) {
    let now = Instant::now();
    while batch.len() < max {
        let Some(row) = queue.pop_front() else { break };
        // Requests leave when their deadline passes, so this comes first.
        if row.demand.is_over(now) {
            metrics.expired(tower);
            row.pending.answer(Err(BatchError::Expired));
        } else if row.is_dropped() {
            metrics.dropped(tower);
        } else {
            batch.push(row);
        }
    }
}

/// Everything that waits.
#[derive(Default)]
pub(super) struct Lanes {
    images: Lane,
    texts: Lane,
    /// The tower whose turn it is when both lanes have work.
    next: Option<Tower>,
}

impl Lanes {
    fn of(&mut self, tower: Tower) -> &mut Lane {
        match tower {
            Tower::Image => &mut self.images,
            Tower::Text => &mut self.texts,
        }
    }

    /// Lets a row wait, and says how many do so for this tower.
    pub(super) fn put(&mut self, tower: Tower, row: WaitingRow) -> usize {
        let lane = self.of(tower);
        if row.demand.is_interactive() {
            lane.interactive.push_back(row);
        } else {
            lane.bulk.push_back(row);
        }
        lane.len()
    }

    /// Moves rows of a bulk that an interactive request has come to wait for.
    pub(super) fn promote(&mut self) {
        self.images.promote();
        self.texts.promote();
    }

    /// The next batch: all that waits in one lane and is still wanted, up to `max`. The
    /// towers that have a free slot take turns.
    pub(super) fn take(
        &mut self,
        has_slot: impl Fn(Tower) -> bool,
        max: usize,
        metrics: &Metrics,
    ) -> Option<(Tower, Vec<WaitingRow>)> {
        let turn = self.next.unwrap_or(Tower::Text);
        for tower in [turn, other(turn)] {
            if !has_slot(tower) {
                continue;
            }
            let batch = self.of(tower).take(max, tower, metrics);
            metrics.queued(tower, self.of(tower).len());
            if !batch.is_empty() {
                self.next = Some(other(tower));
                return Some((tower, batch));
            }
        }
        None
    }

    /// Interactive rows that wait for one of these towers, the first that has any; up to `max`.
    pub(super) fn take_interactive(
        &mut self,
        towers: &[Tower],
        max: usize,
        metrics: &Metrics,
    ) -> Option<(Tower, Vec<WaitingRow>)> {
        towers.iter().find_map(|&tower| {
            let lane = self.of(tower);
            let mut batch = Vec::new();
            fill(&mut batch, &mut lane.interactive, max, tower, metrics);
            metrics.queued(tower, lane.len());
            (!batch.is_empty()).then_some((tower, batch))
        })
    }

    /// Takes out everything that waits.
    pub(super) fn empty(&mut self, metrics: &Metrics) -> Vec<WaitingRow> {
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
