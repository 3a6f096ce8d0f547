//! The thread that owns an engine: takes batches while there are free slots, hands them
//! over, and answers their rows when they come out.
//!
//! ```text
//! lanes --next_batch (waits for work and a slot)--> Engine::submit
//!                                                       |  (any thread)
//! rows answered, slot given back, bell rung <-- Completion
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::lanes::{Lanes, Waiting};
use super::{BatchError, EngineState, FAILURES_IN_A_ROW, Item, Row, Shared, Worker};
use crate::metrics::Stage;
use siglip2_engine::{Batch, Completion, Engine, EngineError, Rows, Tower};

/// Why an engine is given up.
#[derive(Clone)]
pub(super) struct Dead {
    pub(super) reason: String,
    /// Whether no other engine in this process could have the device.
    pub(super) hopeless: bool,
}

/// The life of the thread: run batches until the engine fails; then build it anew, once.
pub(super) fn own(worker: Worker, number: usize, shared: &Arc<Shared>) {
    let Worker {
        engine,
        mut rebuild,
    } = worker;
    let mut next = Some(engine);
    // Over all engines that this thread has: no flight of one is taken for another's.
    let mut flights = 0;
    while let Some(mut engine) = next.take() {
        let ended = run_batches(engine.as_mut(), number, shared, &mut flights);
        if let Some(dead) = ended.as_ref().filter(|dead| dead.hopeless) {
            give_up(shared, dead.reason.clone());
            // Putting an engine away waits for its device, which may never answer again, and
            // calls into it. The process ends, and takes it along.
            std::mem::forget(engine);
            return;
        }
        // Whatever it holds comes out, or fails, before it is gone.
        drop_quietly(engine);
        let Some(dead) = ended else {
            return;
        };
        // Its last batches may have shown that the device itself is lost.
        let now = shared.lanes().engines[number].dead.clone();
        if let Some(worse) = now.filter(|now| now.hopeless) {
            return give_up(shared, worse.reason);
        }
        let Some(again) = rebuild.take() else {
            return give_up(shared, dead.reason);
        };
        shared.metrics.engine_up(false);
        // What has failed for good stays so: another engine may have, meanwhile.
        shared.state.send_if_modified(|state| {
            let running = *state == EngineState::Running;
            if running {
                *state = EngineState::Rebuilding;
            }
            running
        });
        abandon_if(shared, |lanes| {
            lanes.running -= 1;
            lanes.running == 0
        });
        tracing::warn!(engine = number, reason = %dead.reason, "the engine is built anew");
        match catch_unwind(AssertUnwindSafe(again)).unwrap_or_else(|_| Err("it panicked".into())) {
            Ok(new) => {
                let mut lanes = shared.lanes();
                if lanes.closed {
                    return;
                }
                lanes.running += 1;
                lanes.engines[number] = Default::default();
                drop(lanes);
                shared.metrics.rebuilt();
                shared.metrics.engine_up(true);
                shared.state.send_if_modified(|state| {
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
                let reason = format!("{}; building it anew failed: {error}", dead.reason);
                return give_up(shared, reason);
            }
        }
    }
}

/// No engine of this batcher goes on: its process is to be started anew.
pub(super) fn give_up(shared: &Shared, reason: String) {
    tracing::error!(%reason, "the engine is given up");
    shared.metrics.engine_up(false);
    shared.state.send_replace(EngineState::Failed(reason));
    abandon_if(shared, |lanes| {
        lanes.closed = true;
        true
    });
    shared.bell.notify_all();
}

/// Answers all that waits, if after this change nobody will take it.
fn abandon_if(shared: &Shared, change: impl FnOnce(&mut Lanes) -> bool) {
    let abandoned = {
        let mut lanes = shared.lanes();
        match change(&mut lanes) {
            true => lanes.empty(&shared.metrics),
            false => Vec::new(),
        }
    };
    for waiting in abandoned {
        waiting.answer(Err(BatchError::Stopped));
    }
}

fn drop_quietly(engine: Box<dyn Engine>) {
    if catch_unwind(AssertUnwindSafe(|| drop(engine))).is_err() {
        tracing::error!("the engine panicked when it was put away");
    }
}

/// Wait for work, take a batch, hand it over. Ends when the batcher is closed, or with
/// what the engine died of.
fn run_batches(
    engine: &mut dyn Engine,
    number: usize,
    shared: &Arc<Shared>,
    flights: &mut u64,
) -> Option<Dead> {
    let info = engine.info();
    let (max_batch, slots) = (info.max_batch.max(1), info.slots.max(1));
    loop {
        let (tower, waiting) = match next_batch(shared, number, max_batch, slots) {
            Next::Batch(tower, waiting) => (tower, waiting),
            Next::Dead(dead) => return Some(dead),
            Next::Closed => {
                abandon_if(shared, |_| true);
                return None;
            }
        };
        let begun = Instant::now();
        let (batch, rows) = split(tower, waiting);
        shared.metrics.batch(tower, rows.len());
        *flights += 1;
        let flown = shared.lanes().engines[number].fly(*flights, rows);
        if let Err(rows) = flown {
            rows.into_iter()
                .for_each(|row| row.answer(Err(BatchError::Stopped)));
            continue;
        }
        let done = {
            let shared = Arc::clone(shared);
            let batch = Flight {
                number: *flights,
                tower,
                begun,
            };
            Completion::new(move |result| settle(&shared, number, batch, result))
        };
        // A panic drops the completion, which fails the batch.
        if catch_unwind(AssertUnwindSafe(|| engine.submit(batch, done))).is_err() {
            tracing::error!(%tower, "the engine panicked on a batch");
        }
    }
}

/// A batch that is in an engine; its rows are in the engine's seat.
struct Flight {
    number: u64,
    tower: Tower,
    begun: Instant,
}

enum Next {
    Batch(Tower, Vec<Waiting<Item>>),
    Dead(Dead),
    Closed,
}

fn next_batch(shared: &Shared, number: usize, max: usize, slots: usize) -> Next {
    let mut lanes = shared.lanes();
    loop {
        if let Some(dead) = lanes.engines[number].dead.clone() {
            return Next::Dead(dead);
        }
        if lanes.closed {
            return Next::Closed;
        }
        if let Some((tower, batch)) = lanes.take(number, max, slots, &shared.metrics) {
            return Next::Batch(tower, batch);
        }
        lanes = shared
            .bell
            .wait(lanes)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// What the engine gets, and what stays to be answered.
fn split(tower: Tower, waiting: Vec<Waiting<Item>>) -> (Batch, Vec<Waiting<()>>) {
    let (mut images, mut texts) = (Vec::new(), Vec::new());
    let rows = waiting
        .into_iter()
        .map(|waiting| {
            let (item, row) = waiting.split();
            // All are of one tower: the lane was.
            match item {
                Item::Image(pixels) => images.push(pixels),
                Item::Text(ids) => texts.push(ids),
            }
            row
        })
        .collect();
    let batch = match tower {
        Tower::Image => Batch::Images(images),
        Tower::Text => Batch::Texts(texts),
    };
    (batch, rows)
}

/// A batch has come out: its slot is free, and its rows are answered.
fn settle(
    shared: &Shared,
    number: usize,
    Flight {
        number: flight,
        tower,
        begun,
    }: Flight,
    result: Result<Rows, EngineError>,
) {
    let computed = begun.elapsed();
    let (rows, result, dead) = {
        let mut lanes = shared.lanes();
        let seat = &mut lanes.engines[number];
        let landed = seat.land(tower, flight);
        shared.metrics.engine_busy(number, seat.lap());
        let Some(rows) = landed else {
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
            Ok(_) => *seat.failures(tower) = 0,
            Err(error) => {
                *seat.failures(tower) += 1;
                let lost = matches!(error, EngineError::Lost(_));
                if lost || *seat.failures(tower) >= FAILURES_IN_A_ROW {
                    seat.die(Dead {
                        reason: error.to_string(),
                        hopeless: lost,
                    });
                }
            }
        }
        (rows, result, seat.dead.is_some())
    };
    shared.bell.notify_all();
    match result {
        Ok(answer) => {
            for (waiting, row) in rows.into_iter().zip(answer.iter()) {
                let queued = begun.saturating_duration_since(waiting.since);
                shared.metrics.stage(Stage::Queue, queued);
                shared.metrics.stage(Stage::Compute, computed);
                waiting.answer(Ok(Row {
                    values: row.to_vec(),
                    queued,
                    computed,
                }));
            }
        }
        Err(error) => {
            shared.metrics.failed_batch(tower);
            tracing::error!(%tower, rows = rows.len(), %error, "a batch failed");
            for waiting in rows {
                waiting.answer(Err(match dead {
                    true => BatchError::Stopped,
                    false => error.clone().into(),
                }));
            }
        }
    }
}
