//! What one engine is doing: the batches in it, and whether it still works.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::row::PendingRow;
use siglip2_engine::Tower;

/// Why an engine was given up.
#[derive(Clone, Debug)]
pub(super) struct Death {
    pub(super) reason: String,
    /// Whether no engine in this process can use the device any more.
    pub(super) is_final: bool,
}

/// What one engine is doing for one tower.
#[derive(Default)]
struct TowerLoad {
    /// Batches that are in the engine.
    inside: usize,
    /// Batches that failed since one succeeded.
    failures: usize,
    /// Batches that it has finished.
    finished: u64,
}

/// What one engine is doing.
#[derive(Default)]
pub(super) struct EngineLoad {
    images: TowerLoad,
    texts: TowerLoad,
    /// The rows of the batches in it, by the batch's number.
    batches: BTreeMap<u64, Vec<PendingRow>>,
    /// Since when it has had work, or when [`EngineLoad::lap`] was last called.
    busy_since: Option<Instant>,
    /// Why it takes no more batches, once it does not.
    death: Option<Death>,
    /// Whether its owner is dropping it, which waits for its device.
    is_dropping: bool,
}

impl EngineLoad {
    /// Takes one of the tower's slots for a batch that is about to be submitted.
    pub(super) fn take_slot(&mut self, tower: Tower) {
        self.of(tower).inside += 1;
    }

    /// Records the rows of a batch that enters the engine. Returns them if the engine was given
    /// up for good after the batch was taken, because it would never answer them.
    pub(super) fn enter(
        &mut self,
        number: u64,
        rows: Vec<PendingRow>,
    ) -> Result<(), Vec<PendingRow>> {
        if self.is_hopeless() {
            return Err(rows);
        }
        self.batches.insert(number, rows);
        Ok(())
    }

    /// Removes a batch that has finished, and returns its rows unless they have been answered
    /// meanwhile.
    pub(super) fn leave(&mut self, tower: Tower, number: u64) -> Option<Vec<PendingRow>> {
        let rows = self.batches.remove(&number)?;
        let load = self.of(tower);
        load.inside = load.inside.saturating_sub(1);
        load.finished += 1;
        Some(rows)
    }

    /// The rows of all batches in it.
    pub(super) fn take_all(&mut self) -> Vec<PendingRow> {
        std::mem::take(&mut self.batches)
            .into_values()
            .flatten()
            .collect()
    }

    /// How many batches of a tower have failed since one succeeded. Each tower is counted
    /// separately, because one may be broken while the other works.
    pub(super) fn failures(&mut self, tower: Tower) -> &mut usize {
        &mut self.of(tower).failures
    }

    /// Gives the engine up for this reason. The first reason is kept, unless the later one is
    /// worse.
    pub(super) fn die(&mut self, death: Death) {
        if self.death.is_none() || (death.is_final && !self.is_hopeless()) {
            self.death = Some(death);
        }
    }

    /// Records that its drop begins, or has returned.
    pub(super) fn set_dropping(&mut self, is_dropping: bool) {
        self.is_dropping = is_dropping;
    }

    /// Whether it is being dropped.
    pub(super) fn is_dropping(&self) -> bool {
        self.is_dropping
    }

    /// Why it takes no more batches.
    pub(super) fn death(&self) -> Option<&Death> {
        self.death.as_ref()
    }

    /// Whether no other engine in this process can replace it.
    pub(super) fn is_hopeless(&self) -> bool {
        self.death.as_ref().is_some_and(|death| death.is_final)
    }

    /// How long it has had work since the last call. Called whenever a batch enters or leaves.
    pub(super) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let worked = self.busy_since.map(|since| now - since);
        let busy = self.images.inside + self.texts.inside > 0;
        self.busy_since = busy.then_some(now);
        worked.unwrap_or_default()
    }

    /// How many batches of a tower are in it, and how many it has finished.
    pub(super) fn progress(&self, tower: Tower) -> (usize, u64) {
        let load = match tower {
            Tower::Image => &self.images,
            Tower::Text => &self.texts,
        };
        (load.inside, load.finished)
    }

    fn of(&mut self, tower: Tower) -> &mut TowerLoad {
        match tower {
            Tower::Image => &mut self.images,
            Tower::Text => &mut self.texts,
        }
    }
}
