//! The waiting rows, and which of them go next. Rows are counted, and so is their work.
//!
//! ```text
//! put --> texts:  interactive, bulk --+
//!         images: interactive, bulk --+-- take: one tower in turn --> [batch]
//! ```

use std::collections::VecDeque;
use std::time::Instant;

use super::row::{BatchError, WaitingRow};
use crate::metrics::Metrics;
use siglip2_engine::{Engine, Tower};

/// How much goes into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchLimits {
    /// Rows.
    pub(super) rows: usize,
    /// Pixels of all images together, where they are limited. A batch always takes one row,
    /// however large.
    pub(super) pixels: Option<u64>,
}

impl BatchLimits {
    /// What an engine takes.
    pub(super) fn of(engine: &dyn Engine) -> Self {
        Self {
            rows: engine.info().max_batch.max(1),
            pixels: engine.max_batch_pixels(),
        }
    }

    /// What interactive rows may take before waiting bulk rows have had their quarter: of the
    /// places and of the work, which must leave room for at least the first bulk row.
    fn beside(self, bulk: &WaitingRow) -> Self {
        let quarter = |all: u64| all.div_ceil(4).max(bulk.item.pixels());
        Self {
            rows: (self.rows - self.rows.div_ceil(4)).max(1),
            pixels: self.pixels.map(|all| all.saturating_sub(quarter(all))),
        }
    }
}

/// A batch while it is being formed.
#[derive(Default)]
struct Forming {
    rows: Vec<WaitingRow>,
    /// Pixels of its images.
    pixels: u64,
}

impl Forming {
    fn has_room_for(&self, row: &WaitingRow, limits: BatchLimits) -> bool {
        let pixels = self.pixels + row.item.pixels();
        self.rows.is_empty() || limits.pixels.is_none_or(|most| pixels <= most)
    }

    /// Moves rows that are still wanted until the batch is full. Answers and counts the others.
    fn fill(
        &mut self,
        queue: &mut VecDeque<WaitingRow>,
        limits: BatchLimits,
        tower: Tower,
        metrics: &Metrics,
    ) {
        let now = Instant::now();
        while self.rows.len() < limits.rows {
            let Some(row) = queue.pop_front() else { break };
            // Requests leave when their deadline passes, so check the deadline first.
            if row.demand.is_over(now) {
                metrics.expired(tower);
                row.pending.answer(Err(BatchError::Expired));
            } else if row.is_dropped() {
                metrics.dropped(tower);
            } else if self.has_room_for(&row, limits) {
                self.pixels += row.item.pixels();
                self.rows.push(row);
            } else {
                queue.push_front(row);
                break;
            }
        }
    }
}

/// The rows that wait for one tower.
#[derive(Default)]
struct Lane {
    interactive: VecDeque<WaitingRow>,
    bulk: VecDeque<WaitingRow>,
}

impl Lane {
    fn len(&self) -> usize {
        self.interactive.len() + self.bulk.len()
    }

    /// A batch of rows that are still wanted: interactive ones first, but a quarter is kept for
    /// bulk rows while any wait. (A batch of a single row has no quarter to keep.)
    fn take(&mut self, limits: BatchLimits, tower: Tower, metrics: &Metrics) -> Vec<WaitingRow> {
        let first = match self.bulk.front() {
            None => limits,
            Some(bulk) => limits.beside(bulk),
        };
        let mut batch = Forming {
            rows: Vec::with_capacity(limits.rows.min(self.len())),
            pixels: 0,
        };
        batch.fill(&mut self.interactive, first, tower, metrics);
        batch.fill(&mut self.bulk, limits, tower, metrics);
        batch.fill(&mut self.interactive, limits, tower, metrics);
        batch.rows
    }

    /// Moves bulk rows that an interactive request now waits for.
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

/// Everything that waits, for both towers.
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

    /// Whether rows wait for a tower.
    pub(super) fn has(&self, tower: Tower) -> bool {
        let lane = match tower {
            Tower::Image => &self.images,
            Tower::Text => &self.texts,
        };
        lane.len() > 0
    }

    /// Whether rows of interactive requests wait for either tower.
    pub(super) fn has_interactive(&self) -> bool {
        !(self.images.interactive.is_empty() && self.texts.interactive.is_empty())
    }

    /// Adds a row, and returns how many now wait for its tower.
    pub(super) fn put(&mut self, tower: Tower, row: WaitingRow) -> usize {
        let lane = self.of(tower);
        if row.demand.is_interactive() {
            lane.interactive.push_back(row);
        } else {
            lane.bulk.push_back(row);
        }
        lane.len()
    }

    /// Moves bulk rows that an interactive request now waits for.
    pub(super) fn promote(&mut self) {
        self.images.promote();
        self.texts.promote();
    }

    /// The next batch: everything in one lane that is still wanted, within the limits. The
    /// towers that have a free slot take turns.
    pub(super) fn take(
        &mut self,
        has_slot: impl Fn(Tower) -> bool,
        limits: BatchLimits,
        metrics: &Metrics,
    ) -> Option<(Tower, Vec<WaitingRow>)> {
        let turn = self.next.unwrap_or(Tower::Text);
        for tower in [turn, other(turn)] {
            if !has_slot(tower) {
                continue;
            }
            let batch = self.of(tower).take(limits, tower, metrics);
            metrics.queued(tower, self.of(tower).len());
            if !batch.is_empty() {
                self.next = Some(other(tower));
                return Some((tower, batch));
            }
        }
        None
    }

    /// Interactive rows that wait for the first of these towers that has any, within the
    /// limits.
    pub(super) fn take_interactive(
        &mut self,
        towers: &[Tower],
        limits: BatchLimits,
        metrics: &Metrics,
    ) -> Option<(Tower, Vec<WaitingRow>)> {
        towers.iter().find_map(|&tower| {
            // A batch that runs in the middle of another cannot be interrupted itself, and
            // whatever arrives meanwhile waits for all of it. So images, which take long, go a
            // few at a time.
            let limits = match tower {
                Tower::Image => BatchLimits {
                    rows: limits.rows.div_ceil(4),
                    ..limits
                },
                Tower::Text => limits,
            };
            let lane = self.of(tower);
            let mut batch = Forming::default();
            batch.fill(&mut lane.interactive, limits, tower, metrics);
            metrics.queued(tower, lane.len());
            (!batch.rows.is_empty()).then_some((tower, batch.rows))
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
