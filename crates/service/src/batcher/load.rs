//! What one engine is doing: the batches that are in it, and whether it still works.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::row::PendingRow;
use siglip2_engine::Tower;

/// Why an engine is given up.
#[derive(Clone, Debug)]
pub(super) struct Death {
    pub(super) reason: String,
    /// Whether no other engine in this process could have the device.
    pub(super) is_final: bool,
}

/// What one engine is doing for one tower.
#[derive(Default)]
struct TowerLoad {
    /// Batches that are in the engine.
    inside: usize,
    /// Batches that failed since one succeeded.
    failures: usize,
    /// Batches that have come out.
    finished: u64,
}

/// What one engine is doing.
#[derive(Default)]
pub(super) struct EngineLoad {
    images: TowerLoad,
    texts: TowerLoad,
    /// The rows of the batches that are in it, by the batch's number.
    batches: BTreeMap<u64, Vec<PendingRow>>,
    /// Since when it has had work, or was last asked by [`EngineLoad::lap`].
    busy_since: Option<Instant>,
    /// It takes nothing more.
    death: Option<Death>,
}

impl EngineLoad {
    /// Takes a slot of the tower for a batch that is about to be handed over.
    pub(super) fn take_slot(&mut self, tower: Tower) {
        self.of(tower).inside += 1;
    }

    /// The rows of a batch go with it into the engine. They come back if it was given up for
    /// good since the batch was taken: it would never answer them.
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

    /// A batch has come out: its rows, unless they have been answered meanwhile.
    pub(super) fn leave(&mut self, tower: Tower, number: u64) -> Option<Vec<PendingRow>> {
        let rows = self.batches.remove(&number)?;
        let load = self.of(tower);
        load.inside = load.inside.saturating_sub(1);
        load.finished += 1;
        Some(rows)
    }

    /// The rows of all batches that are in it.
    pub(super) fn take_all(&mut self) -> Vec<PendingRow> {
        std::mem::take(&mut self.batches)
            .into_values()
            .flatten()
            .collect()
    }

    /// Batches of a tower that failed since one succeeded. Each tower counts for itself: one
    /// may be dead while the other works.
    pub(super) fn failures(&mut self, tower: Tower) -> &mut usize {
        &mut self.of(tower).failures
    }

    /// It takes nothing more, for this reason; the first one stands, unless what comes later is
    /// worse.
    pub(super) fn die(&mut self, death: Death) {
        if self.death.is_none() || (death.is_final && !self.is_hopeless()) {
            self.death = Some(death);
        }
    }

    /// Why it takes nothing more.
    pub(super) fn death(&self) -> Option<&Death> {
        self.death.as_ref()
    }

    /// Whether no other engine in this process could take its place.
    pub(super) fn is_hopeless(&self) -> bool {
        self.death.as_ref().is_some_and(|death| death.is_final)
    }

    /// How long it has had work since this was last asked, which it is whenever a batch goes
    /// in or comes out.
    pub(super) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let worked = self.busy_since.map(|since| now - since);
        let busy = self.images.inside + self.texts.inside > 0;
        self.busy_since = busy.then_some(now);
        worked.unwrap_or_default()
    }

    /// Batches of a tower that are in it, and how many have come out.
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
