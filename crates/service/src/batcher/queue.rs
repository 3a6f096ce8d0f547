//! What the threads of a batcher share: the lanes, the engines that take from them, and the
//! condition variables that wake the engines' owners.
//!
//! A row wakes at most one owner, and only one whose engine has a free slot for it. Whenever the
//! lock is free this holds: if rows wait, either no sleeping owner could take them, or an owner is
//! awake that will look for rows before it sleeps.

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
    /// One for the owner of each engine: notified when a lane gets a row that it can take, a slot
    /// becomes free, or the batcher is closed.
    bells: Vec<Condvar>,
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
    /// The number of slots for each tower of every engine whose owner sleeps and has not been woken.
    asleep: Vec<Option<usize>>,
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
                asleep: vec![None; engines],
                running: engines,
                closed: false,
            }),
            bells: (0..engines).map(|_| Condvar::new()).collect(),
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
        let taker = {
            let mut state = self.lock();
            if !state.is_open() {
                return Err(BatchError::Stopped);
            }
            let depth = state.lanes.put(tower, row);
            self.metrics.queued(tower, depth);
            state.wake_for(tower)
        };
        self.ring(taker);
        Ok(())
    }

    /// Puts the owner of an engine, which found nothing to take, to sleep until it is woken. Rows
    /// that wait all the same are left to other owners. `slots` is the number for each tower.
    pub(super) fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, QueueState>,
        engine: usize,
        slots: usize,
    ) -> MutexGuard<'a, QueueState> {
        for tower in [Tower::Image, Tower::Text] {
            if state.lanes.has(tower) {
                self.ring(state.wake_for(tower));
            }
        }
        state.asleep[engine] = Some(slots);
        state = self.bells[engine]
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
        state.asleep[engine] = None;
        state
    }

    /// Wakes the owner of an engine, which the state already counts as awake.
    pub(super) fn ring(&self, engine: Option<usize>) {
        if let Some(bell) = engine.and_then(|engine| self.bells.get(engine)) {
            bell.notify_one();
        }
    }

    /// Wakes every owner.
    pub(super) fn ring_all(&self) {
        self.bells.iter().for_each(Condvar::notify_one);
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
        self.ring_all();
    }
}

impl QueueState {
    /// Whether anybody will take what is put in here.
    fn is_open(&self) -> bool {
        self.running > 0 && !self.closed
    }

    /// Chooses a sleeping owner to wake for a row: of those whose engines have a free slot for the
    /// tower, the one with the fewest batches. It counts as awake from now on.
    fn wake_for(&mut self, tower: Tower) -> Option<usize> {
        let inside = |&engine: &usize| self.engines[engine].progress(tower).0;
        let asleep = self.asleep.iter().enumerate();
        let woken = asleep
            .filter_map(|(engine, slots)| {
                slots
                    .is_some_and(|slots| inside(&engine) < slots)
                    .then_some(engine)
            })
            .min_by_key(inside)?;
        self.asleep[woken] = None;
        Some(woken)
    }

    /// The owner of an engine that has finished a batch of a tower, if it sleeps and there is
    /// something for it to do. It counts as awake from now on.
    pub(super) fn wake_after(&mut self, engine: usize, tower: Tower) -> Option<usize> {
        let has_reason = self.lanes.has(tower) || self.engines[engine].death().is_some();
        let slots = has_reason.then(|| self.asleep[engine].take()).flatten();
        slots.map(|_| engine)
    }

    /// Whether rows wait for a tower of which this engine has a free slot.
    pub(super) fn has_work(&self, engine: usize, slots: usize) -> bool {
        let load = &self.engines[engine];
        [Tower::Image, Tower::Text]
            .into_iter()
            .any(|tower| self.lanes.has(tower) && load.progress(tower).0 < slots)
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
