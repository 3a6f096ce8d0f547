//! The thread that owns an engine. It takes batches while slots are free, submits them, and
//! answers their rows when they are finished.
//!
//! ```text
//! queue --next_batch (waits for work, a slot, its turn)--> Engine::submit_and_rest
//!       --Between::next (interactive rows)-------------> |    between its pieces
//!                                                        |  (any thread)
//! rows answered, slot given back, bell rung <-- Completion
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lanes::BatchLimits;
use super::load::Death;
use super::queue::{Queue, QueueState};
use super::row::{BatchError, Item, PendingRow, Row, WaitingRow};
use super::turns::{Hurry, Turn, Turns};
use super::worker::{EngineState, Worker};
use crate::metrics::Stage;
use siglip2_engine::{Batch, Completion, Engine, EngineError, Rows, Tower};

/// An engine is given up after this many failed batches of one tower in a row. A single
/// failure may be a brief shortage of memory; three without a success between them are not.
pub const FAILURES_IN_A_ROW: usize = 3;

/// Runs batches until the engine fails, and then rebuilds it, once.
pub(super) fn own(worker: Worker, number: usize, queue: &Arc<Queue>, turns: Option<Turns>) {
    let seat = turns.map(|turns| Seat::of(turns, queue));
    let Worker {
        engine,
        mut rebuild,
    } = worker;
    let mut next = Some(engine);
    // Counts across all engines of this thread, so that a batch of one is never mistaken for
    // another's.
    let mut batches = 0;
    while let Some(mut engine) = next.take() {
        let ended = run_batches(engine.as_mut(), number, queue, seat.as_ref(), &mut batches);
        if let Some(death) = ended.as_ref().filter(|death| death.is_final) {
            queue.give_up(death.reason.clone());
            // Dropping an engine waits for its device, which may never answer, and calls into
            // it. The process is about to end anyway.
            std::mem::forget(engine);
            return;
        }
        // It may have been woken for rows that it will not take.
        queue.ring_all();
        // Its batches finish or fail before the engine is dropped. That the device does not answer
        // meanwhile is noticed by the lookout.
        queue.lock().engines[number].set_dropping(true);
        drop_quietly(engine);
        // What comes now, a rebuild or the end of the others, takes as long as it takes.
        queue.lock().engines[number].set_dropping(false);
        let Some(death) = ended else {
            return;
        };
        // Its last batches may have shown that the device is lost.
        let now = queue.lock().engines[number].death().cloned();
        if let Some(worse) = now.filter(|now| now.is_final) {
            return queue.give_up(worse.reason);
        }
        let Some(again) = rebuild.take() else {
            return queue.give_up(death.reason);
        };
        queue.failed();
        // A final failure is not overwritten: another engine may have reported one meanwhile.
        queue.engine_state.send_if_modified(|state| {
            let running = *state == EngineState::Running;
            if running {
                *state = EngineState::Rebuilding;
            }
            running
        });
        queue.abandon_if(|state| {
            state.running -= 1;
            state.running == 0
        });
        tracing::warn!(engine = number, reason = %death.reason, "rebuilding the engine");
        match catch_unwind(AssertUnwindSafe(again)).unwrap_or_else(|_| Err("it panicked".into())) {
            Ok(new) => {
                let mut state = queue.lock();
                if state.closed {
                    return;
                }
                state.running += 1;
                state.engines[number] = Default::default();
                drop(state);
                queue.metrics.rebuilt();
                queue.metrics.engine_up(true);
                queue.engine_state.send_if_modified(|state| {
                    let rebuilding = *state == EngineState::Rebuilding;
                    if rebuilding {
                        *state = EngineState::Running;
                    }
                    rebuilding
                });
                tracing::info!(engine = number, "the engine runs again");
                next = Some(new);
            }
            Err(error) => {
                let reason = format!("{}; rebuilding it failed: {error}", death.reason);
                return queue.give_up(reason);
            }
        }
    }
}

fn drop_quietly(engine: Box<dyn Engine>) {
    if catch_unwind(AssertUnwindSafe(|| drop(engine))).is_err() {
        tracing::error!("the engine panicked while it was dropped");
    }
}

/// How the owner of an engine takes its turns.
struct Seat {
    turns: Turns,
    /// Whether interactive rows wait for its engine.
    hurry: Hurry,
}

impl Seat {
    fn of(turns: Turns, queue: &Arc<Queue>) -> Self {
        let queue = Arc::clone(queue);
        let hurry = Arc::new(move || queue.lock().lanes.has_interactive());
        Self { turns, hurry }
    }
}

/// Waits for work, forms a batch, and submits it. Returns when the batcher is closed, or with
/// the reason why the engine was given up.
fn run_batches(
    engine: &mut dyn Engine,
    number: usize,
    queue: &Arc<Queue>,
    seat: Option<&Seat>,
    batches: &mut u64,
) -> Option<Death> {
    let (limits, slots) = (BatchLimits::of(engine), engine.info().slots.max(1));
    loop {
        let (tower, waiting, turn) = match next_batch(queue, number, limits, slots, seat) {
            Next::Batch(tower, waiting, turn) => (tower, waiting, turn),
            Next::Dead(death) => return Some(death),
            Next::Closed => {
                queue.abandon_if(|_| true);
                return None;
            }
        };
        let mut between = Between::of(tower, &waiting, limits, turn.zip(seat));
        let Some((batch, done)) = enter(queue, number, batches, tower, waiting) else {
            continue;
        };
        let mut next = || between.next(queue, number, batches);
        // A panic drops the completions, which fails their batches.
        let submitted = catch_unwind(AssertUnwindSafe(|| {
            engine.submit_and_rest(batch, done, &mut next);
        }));
        if submitted.is_err() {
            tracing::error!(%tower, "the engine panicked on a batch");
        }
    }
}

/// Makes a batch from these rows and records that it is in the engine. If the engine was given
/// up for good, the rows are answered and there is no batch.
fn enter(
    queue: &Arc<Queue>,
    number: usize,
    batches: &mut u64,
    tower: Tower,
    waiting: Vec<WaitingRow>,
) -> Option<(Batch, Completion)> {
    let begun = Instant::now();
    let (batch, rows) = split(tower, waiting);
    queue.metrics.batch(tower, rows.len());
    *batches += 1;
    let entered = queue.lock().engines[number].enter(*batches, rows);
    if let Err(rows) = entered {
        rows.into_iter()
            .for_each(|row| row.answer(Err(BatchError::Stopped)));
        return None;
    }
    let queue = Arc::clone(queue);
    let inside = EngineBatch {
        number: *batches,
        tower,
        begun,
    };
    let done = Completion::new(move |result| settle(&queue, number, inside, result));
    Some((batch, done))
}

/// Chooses what runs at the pauses of a batch, so that a lone text need not wait for a whole
/// batch of images.
struct Between<'a> {
    towers: &'static [Tower],
    /// Whether the batch contains bulk rows.
    has_bulk: bool,
    /// The turn that the batch computes in, where engines take turns.
    turn: Option<(Turn, &'a Seat)>,
    limits: BatchLimits,
    begun: Instant,
    /// How long other batches have run in the middle of this one.
    lent: Duration,
    /// When the one that runs now began.
    lending: Option<Instant>,
}

impl<'a> Between<'a> {
    /// Texts run between the pieces of image batches. Between the pieces of a batch that
    /// contains bulk rows, every interactive row may run, even past interactive rows in that
    /// batch. An interactive batch is not interrupted by its own tower: its rows came first.
    /// Engines of other models are let in for their interactive rows by the same rule.
    fn of(
        tower: Tower,
        waiting: &[WaitingRow],
        limits: BatchLimits,
        turn: Option<(Turn, &'a Seat)>,
    ) -> Self {
        let has_bulk = waiting.iter().any(|row| !row.demand.is_interactive());
        let towers: &[Tower] = match (has_bulk, tower) {
            (true, _) => &[Tower::Text, Tower::Image],
            (false, Tower::Image) => &[Tower::Text],
            (false, Tower::Text) => &[],
        };
        Self {
            towers,
            has_bulk,
            turn,
            limits,
            begun: Instant::now(),
            lent: Duration::ZERO,
            lending: None,
        }
    }

    /// What runs now, if anything. Asked again when that has finished: the interrupted batch
    /// keeps a quarter of the time, as bulk rows keep a quarter of every batch.
    fn next(
        &mut self,
        queue: &Arc<Queue>,
        number: usize,
        batches: &mut u64,
    ) -> Option<(Batch, Completion)> {
        if let Some(since) = self.lending.take() {
            self.lent += since.elapsed();
        }
        if let Some((turn, seat)) = &mut self.turn
            && self.has_bulk
            && keeps_a_quarter(self.begun.elapsed(), self.lent)
        {
            let since = Instant::now();
            turn.offer(&seat.hurry);
            self.lent += since.elapsed();
        }
        if self.towers.is_empty() || !keeps_a_quarter(self.begun.elapsed(), self.lent) {
            return None;
        }
        let (tower, waiting) =
            queue
                .lock()
                .take_between(number, self.towers, self.limits, &queue.metrics)?;
        self.lending = Some(Instant::now());
        enter(queue, number, batches, tower, waiting)
    }
}

/// Whether a batch has had at least a quarter of the time since it began to itself.
fn keeps_a_quarter(since: Duration, lent: Duration) -> bool {
    since.saturating_sub(lent) * 3 >= lent
}

/// A batch in an engine; its rows are recorded in the engine's load.
struct EngineBatch {
    number: u64,
    tower: Tower,
    begun: Instant,
}

enum Next {
    Batch(Tower, Vec<WaitingRow>, Option<Turn>),
    Dead(Death),
    Closed,
}

/// The next batch. It is formed only when it is the engine's turn, with the rows that are there
/// then.
fn next_batch(
    queue: &Queue,
    number: usize,
    limits: BatchLimits,
    slots: usize,
    seat: Option<&Seat>,
) -> Next {
    loop {
        let mut state = queue.lock();
        while !state.has_work(number, slots) {
            if let Some(end) = ended(&state, number) {
                return end;
            }
            state = queue.sleep(state, number, slots);
        }
        let turn = match seat {
            None => None,
            Some(seat) => {
                // Those who wait for a turn are asked for their rows, which takes the lock.
                drop(state);
                let turn = seat.turns.take(&seat.hurry);
                state = queue.lock();
                Some(turn)
            }
        };
        if let Some(end) = ended(&state, number) {
            drop(state);
            return end;
        }
        let batch = state.take(number, limits, slots, &queue.metrics);
        // A turn that is not used is given back without the lock.
        drop(state);
        if let Some((tower, batch)) = batch {
            return Next::Batch(tower, batch, turn);
        }
    }
}

/// Why there is no next batch, if there is none.
fn ended(state: &QueueState, number: usize) -> Option<Next> {
    if let Some(death) = state.engines[number].death() {
        return Some(Next::Dead(death.clone()));
    }
    state.closed.then_some(Next::Closed)
}

/// Splits rows into what the engine gets and what is left to answer.
fn split(tower: Tower, waiting: Vec<WaitingRow>) -> (Batch, Vec<PendingRow>) {
    let (mut images, mut texts) = (Vec::new(), Vec::new());
    let rows = waiting
        .into_iter()
        .map(|row| {
            // All are of one tower, because the lane was.
            match row.item {
                Item::Image(pixels) => images.push(pixels),
                Item::Text(ids) => texts.push(ids),
            }
            row.pending
        })
        .collect();
    let batch = match tower {
        Tower::Image => Batch::Images(images),
        Tower::Text => Batch::Texts(texts),
    };
    (batch, rows)
}

/// Answers the rows of a finished batch and frees its slot.
fn settle(
    queue: &Queue,
    engine: usize,
    EngineBatch {
        number,
        tower,
        begun,
    }: EngineBatch,
    result: Result<Rows, EngineError>,
) {
    let computed = begun.elapsed();
    let (rows, result, dead, woken) = {
        let mut state = queue.lock();
        let load = &mut state.engines[engine];
        let left = load.leave(tower, number);
        queue.metrics.engine_busy(engine, load.lap());
        let Some(rows) = left else {
            return;
        };
        let result = result.and_then(|answer| match answer.len() == rows.len() {
            true => Ok(answer),
            false => Err(EngineError::Failed(format!(
                "it answered {} rows for a batch of {}",
                answer.len(),
                rows.len()
            ))),
        });
        match &result {
            Ok(_) => *load.failures(tower) = 0,
            Err(error) => {
                *load.failures(tower) += 1;
                let lost = matches!(error, EngineError::Lost(_));
                if lost || *load.failures(tower) >= FAILURES_IN_A_ROW {
                    load.die(Death {
                        reason: error.to_string(),
                        is_final: lost,
                    });
                }
            }
        }
        let dead = load.death().is_some();
        (rows, result, dead, state.wake_after(engine, tower))
    };
    queue.ring(woken);
    match result {
        Ok(answer) => {
            for (pending, row) in rows.into_iter().zip(answer.iter()) {
                let queued = begun.saturating_duration_since(pending.since);
                queue.metrics.stage(Stage::Queue, queued);
                queue.metrics.stage(Stage::Compute, computed);
                pending.answer(Ok(Row {
                    values: row.to_vec(),
                    queued,
                    computed,
                }));
            }
        }
        Err(error) => {
            queue.metrics.failed_batch(tower);
            tracing::error!(%tower, rows = rows.len(), %error, "a batch failed");
            for pending in rows {
                pending.answer(Err(match dead {
                    true => BatchError::Stopped,
                    false => error.clone().into(),
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_a_quarter_of_its_time() {
        for (since, lent, keeps) in [(0, 0, true), (1, 0, true), (4, 3, true), (4, 4, false)] {
            let [since, lent_for] = [since, lent].map(Duration::from_secs);
            assert_eq!(
                keeps_a_quarter(since, lent_for),
                keeps,
                "{lent} of {since:?}"
            );
        }
    }
}
