//! What waits for the engine, and which of it goes next.
//!
//! ```text
//! put --> texts:  interactive, bulk --+
//!         images: interactive, bulk --+-- take: one tower in turn --> [batch]
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::owner::Dead;
use super::{BatchError, Item, Right, Row};
use crate::metrics::Metrics;
use siglip2_engine::Tower;

/// A row that waits for its batch with its item, or is in it without.
pub(super) struct Waiting<I> {
    pub(super) item: I,
    pub(super) answer: oneshot::Sender<Result<Row, BatchError>>,
    pub(super) since: Instant,
    pub(super) deadline: Option<Instant>,
    /// Given back when the row is answered or dropped.
    pub(super) permit: Right,
}

/// What waits for one tower.
#[derive(Default)]
struct Lane {
    interactive: VecDeque<Waiting<Item>>,
    bulk: VecDeque<Waiting<Item>>,
}

impl Lane {
    fn len(&self) -> usize {
        self.interactive.len() + self.bulk.len()
    }

    /// Up to `max` rows that are still wanted: interactive ones first, but a quarter
    /// of the places is bulk's while bulk waits. (Of a single place it has none.)
    fn take(&mut self, max: usize, tower: Tower, metrics: &Metrics) -> Vec<Waiting<Item>> {
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
    batch: &mut Vec<Waiting<Item>>,
    queue: &mut VecDeque<Waiting<Item>>,
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

impl<I> Waiting<I> {
    /// The item, and the row without it.
    pub(super) fn split(self) -> (I, Waiting<()>) {
        let row = Waiting {
            item: (),
            answer: self.answer,
            since: self.since,
            deadline: self.deadline,
            permit: self.permit,
        };
        (self.item, row)
    }

    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    pub(super) fn answer(self, answer: Result<Row, BatchError>) {
        // An error means only that the client has gone in the meantime.
        let _ = self.answer.send(answer);
    }
}

/// What one engine is doing for one tower.
#[derive(Default)]
struct Seated {
    under_way: usize,
    failures: usize,
    landed: u64,
}

/// What one engine is doing.
#[derive(Default)]
pub(super) struct Seat {
    images: Seated,
    texts: Seated,
    /// The rows of the batches that are in it, by the batch's number.
    flights: BTreeMap<u64, Vec<Waiting<()>>>,
    /// Since when it has had work, or was last asked by [`Seat::lap`].
    busy_since: Option<Instant>,
    /// It takes nothing more.
    pub(super) dead: Option<Dead>,
}

impl Seat {
    /// Batches of a tower that are in the engine.
    pub(super) fn under_way(&mut self, tower: Tower) -> &mut usize {
        &mut self.of(tower).under_way
    }

    /// Batches of a tower that failed since one came out. Each tower counts for itself: one
    /// may be dead while the other works.
    pub(super) fn failures(&mut self, tower: Tower) -> &mut usize {
        &mut self.of(tower).failures
    }

    /// The rows of a batch go with it into the engine. They come back if it was given up for
    /// good since the batch was taken: it would never answer them.
    pub(super) fn fly(
        &mut self,
        number: u64,
        rows: Vec<Waiting<()>>,
    ) -> Result<(), Vec<Waiting<()>>> {
        if self.is_hopeless() {
            return Err(rows);
        }
        self.flights.insert(number, rows);
        Ok(())
    }

    /// It takes nothing more, for this reason; the first one stands, unless what comes later is
    /// worse.
    pub(super) fn die(&mut self, dead: Dead) {
        if self.dead.is_none() || (dead.hopeless && !self.is_hopeless()) {
            self.dead = Some(dead);
        }
    }

    /// Whether no other engine in this process could take its place.
    pub(super) fn is_hopeless(&self) -> bool {
        self.dead.as_ref().is_some_and(|dead| dead.hopeless)
    }

    /// A batch has come out: its rows, unless they have been answered meanwhile.
    pub(super) fn land(&mut self, tower: Tower, number: u64) -> Option<Vec<Waiting<()>>> {
        let rows = self.flights.remove(&number)?;
        let seated = self.of(tower);
        seated.under_way = seated.under_way.saturating_sub(1);
        seated.landed += 1;
        Some(rows)
    }

    /// The rows of all batches that are in it.
    pub(super) fn take_flights(&mut self) -> Vec<Waiting<()>> {
        std::mem::take(&mut self.flights)
            .into_values()
            .flatten()
            .collect()
    }

    /// How long it has had work since this was last asked, which it is whenever a batch goes
    /// in or comes out.
    pub(super) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let worked = self.busy_since.map(|since| now - since);
        let busy = self.images.under_way + self.texts.under_way > 0;
        self.busy_since = busy.then_some(now);
        worked.unwrap_or_default()
    }

    /// Batches of a tower that are in it, and how many have come out.
    pub(super) fn progress(&self, tower: Tower) -> (usize, u64) {
        let seated = match tower {
            Tower::Image => &self.images,
            Tower::Text => &self.texts,
        };
        (seated.under_way, seated.landed)
    }

    fn of(&mut self, tower: Tower) -> &mut Seated {
        match tower {
            Tower::Image => &mut self.images,
            Tower::Text => &mut self.texts,
        }
    }
}

/// Everything that waits, and who takes it.
#[derive(Default)]
pub(super) struct Lanes {
    images: Lane,
    texts: Lane,
    /// The tower whose turn it is when both lanes have work.
    next: Option<Tower>,
    /// One for each engine, by its number.
    pub(super) engines: Vec<Seat>,
    /// Engines that take what is put in here.
    pub(super) running: usize,
    pub(super) closed: bool,
}

impl Lanes {
    pub(super) fn with_engines(engines: usize) -> Self {
        Self {
            engines: (0..engines).map(|_| Seat::default()).collect(),
            running: engines,
            ..Self::default()
        }
    }

    /// Whether somebody will take what is put in here.
    pub(super) fn are_open(&self) -> bool {
        self.running > 0 && !self.closed
    }

    fn of(&mut self, tower: Tower) -> &mut Lane {
        match tower {
            Tower::Image => &mut self.images,
            Tower::Text => &mut self.texts,
        }
    }

    /// Lets a row wait, and says how many do so for this tower.
    pub(super) fn put(&mut self, tower: Tower, waiting: Waiting<Item>) -> usize {
        let lane = self.of(tower);
        match waiting.permit.bulk {
            None => lane.interactive.push_back(waiting),
            Some(_) => lane.bulk.push_back(waiting),
        }
        lane.len()
    }

    /// The next batch of an engine that has so many slots for each tower: all that waits
    /// in one lane and is still wanted, up to `max`. Its slot is taken.
    pub(super) fn take(
        &mut self,
        engine: usize,
        max: usize,
        slots: usize,
        metrics: &Metrics,
    ) -> Option<(Tower, Vec<Waiting<Item>>)> {
        let turn = self.next.unwrap_or(Tower::Text);
        for tower in [turn, other(turn)] {
            if *self.engines[engine].under_way(tower) >= slots {
                continue;
            }
            let batch = self.of(tower).take(max, tower, metrics);
            metrics.queued(tower, self.of(tower).len());
            if !batch.is_empty() {
                let seat = &mut self.engines[engine];
                *seat.under_way(tower) += 1;
                metrics.engine_busy(engine, seat.lap());
                self.next = Some(other(tower));
                return Some((tower, batch));
            }
        }
        None
    }

    /// Takes out everything that waits.
    pub(super) fn empty(&mut self, metrics: &Metrics) -> Vec<Waiting<Item>> {
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
