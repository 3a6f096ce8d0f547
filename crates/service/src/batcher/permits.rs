//! The right to have rows in progress, and to put them into their lane.

use std::sync::Arc;
use std::time::Instant;

use super::pools::Held;
use super::queue::Queue;
use super::row::{BatchError, Item, Ticket, WaitingRow};
use crate::demand::{Demand, Wish};

/// The right to have this many rows in progress. Dropping it returns what was not taken from
/// it.
pub struct Permits {
    held: Held,
    queue: Arc<Queue>,
    deadline: Option<Instant>,
}

impl Permits {
    pub(super) fn new(held: Held, queue: Arc<Queue>) -> Self {
        Self {
            held,
            queue,
            deadline: None,
        }
    }

    /// Rows that have not started by then are answered with [`BatchError::Expired`].
    #[must_use]
    pub fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whether the rows go before those of bulk requests.
    pub fn are_interactive(&self) -> bool {
        !self.held.is_bulk()
    }

    /// Takes the right to one row, while any is left.
    pub fn one(&mut self) -> Option<Permit> {
        Some(Permit {
            held: self.held.split_one()?,
            queue: Arc::clone(&self.queue),
            deadline: self.deadline,
        })
    }
}

/// The right to one row, from before it is decoded until it is answered.
pub struct Permit {
    held: Held,
    queue: Arc<Queue>,
    deadline: Option<Instant>,
}

impl Permit {
    /// Puts one item into its lane.
    ///
    /// # Errors
    ///
    /// [`BatchError::Stopped`] if the engine is gone.
    pub fn submit(self, item: Item) -> Result<Ticket, BatchError> {
        let wish = Wish {
            deadline: self.deadline,
            interactive: !self.held.is_bulk(),
        };
        self.submit_for(item, Demand::new(wish))
    }

    /// Like [`Permit::submit`], for the given demand.
    pub(crate) fn submit_for(self, item: Item, demand: Arc<Demand>) -> Result<Ticket, BatchError> {
        let (row, ticket) = WaitingRow::new(item, demand, self.held);
        self.queue.put(row)?;
        Ok(ticket)
    }
}
