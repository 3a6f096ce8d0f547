//! What the threads of a batcher share: the lanes, the engines that take from them, and the
//! condition variable that wakes threads when something changes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::lanes::{BatchLimits, Lanes};
use super::load::EngineLoad;
use super::row::{BatchError, WaitingRow};
use super::worker::EngineState;
use crate::metrics::Metrics;
use siglip2_engine::Tower;

/// See the module.
pub(super) struct Queue {
    state: Mutex<QueueState>,
    /// Notified when a lane gets a row, a slot becomes free, or the batcher is closed.
    pub(super) bell: Condvar,
    pub(super) engine_state: watch::Sender<EngineState>,
    pub(super) metrics: Arc<Metrics>,
    /// How often an engine failed and was given up or rebuilt.
    pub(super) failures: AtomicU64,
}

/// Everything behind the queue's lock.
pub(super) struct QueueState {
    pub(super) lanes: Lanes,
    /// One for each engine, by its number.
    pub(super) engines: Vec<EngineLoad>,
    /// How many engines take rows from here.
    pub(super) running: usize,
    pub(super) closed: bool,
}

impl Queue {
    pub(super) fn new(engines: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            state: Mutex::new(QueueState {
                lanes: Lanes::default(),
                engines: (0..engines).map(|_| EngineLoad::default()).collect(),
                running: engines,
                closed: false,
            }),
            bell: Condvar::new(),
            engine_state: watch::Sender::new(EngineState::Running),
            metrics,
            failures: AtomicU64::new(0),
        }
    }

    /// No invariant spans two statements that could panic, so a poisoned lock can be used as it
    /// is.
    pub(super) fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a row into its lane.
    pub(super) fn put(&self, row: WaitingRow) -> Result<(), BatchError> {
        let tower = row.item.tower();
        {
            let mut state = self.lock();
            if !state.is_open() {
                return Err(BatchError::Stopped);
            }
            let depth = state.lanes.put(tower, row);
            self.metrics.queued(tower, depth);
        }
        self.bell.notify_all();
        Ok(())
    }

    /// Answers all waiting rows if nobody will take them after this change.
    pub(super) fn abandon_if(&self, change: impl FnOnce(&mut QueueState) -> bool) {
        let abandoned = {
            let mut state = self.lock();
            match change(&mut state) {
                true => state.lanes.empty(&self.metrics),
                false => Vec::new(),
            }
        };
        for row in abandoned {
            row.pending.answer(Err(BatchError::Stopped));
        }
    }

    /// An engine has failed. From now on its earlier results are in doubt.
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::AcqRel);
        self.metrics.engine_up(false);
    }

    /// No engine of this batcher continues: the process must be restarted.
    pub(super) fn give_up(&self, reason: String) {
        tracing::error!(%reason, "the engine is given up");
        self.failed();
        self.engine_state.send_replace(EngineState::Failed(reason));
        self.abandon_if(|state| {
            state.closed = true;
            true
        });
        self.bell.notify_all();
    }
}

impl QueueState {
    /// Whether anybody will take what is put in here.
    fn is_open(&self) -> bool {
        self.running > 0 && !self.closed
    }

    /// The next batch for an engine that has this many slots for each tower. Takes the slot.
    pub(super) fn take(
        &mut self,
        engine: usize,
        limits: BatchLimits,
        slots: usize,
        metrics: &Metrics,
    ) -> Option<(Tower, Vec<WaitingRow>)> {
        let load = &mut self.engines[engine];
        let has_slot = |tower| load.progress(tower).0 < slots;
        let (tower, batch) = self.lanes.take(has_slot, limits, metrics)?;
        load.take_slot(tower);
        metrics.engine_busy(engine, load.lap());
        Some((tower, batch))
    }

    /// A batch of interactive rows for an engine that is pausing in the middle of another
    /// batch, whose slot it shares. None for an engine that is about to end.
    pub(super) fn take_between(
        &mut self,
        engine: usize,
        towers: &[Tower],
        limits: BatchLimits,
        metrics: &Metrics,
    ) -> Option<(Tower, Vec<WaitingRow>)> {
        let load = &mut self.engines[engine];
        if self.closed || load.death().is_some() {
            return None;
        }
        let (tower, batch) = self.lanes.take_interactive(towers, limits, metrics)?;
        load.take_slot(tower);
        metrics.engine_busy(engine, load.lap());
        Some((tower, batch))
    }
}
