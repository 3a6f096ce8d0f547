//! Two lines for one kind of worker: interactive jobs soon, bulk jobs eventually.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::demand::Demand;

/// Interactive jobs that go before one bulk job while both wait.
const IN_A_ROW: u32 = 3;

/// Whether a job can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It can.
    Now,
    /// Not yet, and no other job may overtake it.
    Hold,
    /// Not yet, but the other line may go first.
    Pass,
}

/// See the module.
pub(crate) struct Lines<J> {
    /// The jobs that wait, in the order in which they arrived.
    interactive: BTreeMap<u64, Waiting<J>>,
    bulk: BTreeMap<u64, Waiting<J>>,
    /// Number of the job that arrived last.
    last: u64,
    /// Interactive jobs taken since the last bulk job.
    in_a_row: u32,
}

struct Waiting<J> {
    job: J,
    demand: Arc<Demand>,
}

impl<J> Default for Lines<J> {
    fn default() -> Self {
        Self {
            interactive: BTreeMap::new(),
            bulk: BTreeMap::new(),
            last: 0,
            in_a_row: 0,
        }
    }
}

impl<J> Lines<J> {
    /// Adds a job to the end of its line, and returns the number that identifies it.
    pub(crate) fn put(&mut self, job: J, demand: Arc<Demand>) -> u64 {
        self.last += 1;
        let line = match demand.is_interactive() {
            true => &mut self.interactive,
            false => &mut self.bulk,
        };
        line.insert(self.last, Waiting { job, demand });
        self.last
    }

    /// Removes a job, unless it has been taken already.
    pub(crate) fn remove(&mut self, number: u64) -> Option<(J, Arc<Demand>)> {
        let waiting = self
            .interactive
            .remove(&number)
            .or_else(|| self.bulk.remove(&number));
        waiting.map(|waiting| (waiting.job, waiting.demand))
    }

    /// Moves bulk jobs that an interactive request now waits for to the interactive line, where
    /// they stand in order of arrival.
    pub(crate) fn promote(&mut self) {
        let promoted = self
            .bulk
            .extract_if(.., |_, waiting| waiting.demand.is_interactive());
        self.interactive.extend(promoted);
    }

    /// Takes the next job, and says whether it is a bulk job. `fit` is asked about the job
    /// whose turn it is, and told whether it is a bulk job.
    pub(crate) fn take(&mut self, fit: impl Fn(&J, bool) -> Fit) -> Option<(J, bool)> {
        let bulk_turn = self.interactive.is_empty() || self.in_a_row >= IN_A_ROW;
        if bulk_turn && let Some((&number, waiting)) = self.bulk.first_key_value() {
            match fit(&waiting.job, true) {
                Fit::Now => {
                    self.in_a_row = 0;
                    return self.bulk.remove(&number).map(|it| (it.job, true));
                }
                Fit::Hold => return None,
                Fit::Pass => {}
            }
        }
        let (&number, waiting) = self.interactive.first_key_value()?;
        if fit(&waiting.job, false) != Fit::Now {
            return None;
        }
        self.in_a_row = IN_A_ROW.min(self.in_a_row + 1);
        self.interactive.remove(&number).map(|it| (it.job, false))
    }

    /// Whether no job waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.interactive.is_empty() && self.bulk.is_empty()
    }

    /// How many jobs wait in each line.
    #[cfg(test)]
    pub(crate) fn lengths(&self) -> (usize, usize) {
        (self.interactive.len(), self.bulk.len())
    }
}
