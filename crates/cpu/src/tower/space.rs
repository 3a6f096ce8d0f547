//! Memory for runs, kept from one to the next.

use std::sync::{Mutex, PoisonError};

use super::encoder::Space;

/// Spaces that are not in use. There are as many as runs of a tower were under way at
/// the same time: a run may be interrupted by another.
#[derive(Debug, Default)]
pub(crate) struct Spaces(Mutex<Vec<Space>>);

impl Spaces {
    /// A space for a run of so many threads.
    pub fn take(&self, threads: usize) -> Space {
        let mut spaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spaces
            .pop()
            .filter(|space| space.threads.len() == threads)
            .unwrap_or_else(|| Space::new(threads))
    }

    /// Gives it back.
    pub fn put(&self, space: Space) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(space);
    }
}
