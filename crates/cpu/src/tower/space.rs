//! Memory for runs, which is kept for the next run.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::attention::AttentionScratch;
use crate::memory::Buffer;

/// Memory of one thread.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub left: Buffer<u32>,
    pub hidden: Buffer<u32>,
    pub floats: Buffer<f32>,
    pub sums: Buffer<f32>,
    pub row: Buffer<f32>,
    pub attention: AttentionScratch,
}

impl Scratch {
    fn new() -> Self {
        Self {
            left: Buffer::zeroed(0),
            hidden: Buffer::zeroed(0),
            floats: Buffer::zeroed(0),
            sums: Buffer::zeroed(0),
            row: Buffer::zeroed(0),
            attention: AttentionScratch::new(),
        }
    }
}

/// Memory of one run.
#[derive(Debug)]
pub(crate) struct Space {
    pub threads: Vec<Mutex<Scratch>>,
    /// The residual stream of all rows, [`stride`](super::layer::stride) apart.
    pub stream: Buffer<f32>,
    /// Queries, keys and values.
    pub projected: Buffer<u32>,
    /// What attention gives.
    pub mixed: Buffer<f32>,
    pub left: Buffer<u32>,
    pub hidden: Buffer<u32>,
    /// Hidden numbers before they are quantized.
    pub floats: Buffer<f32>,
}

impl Space {
    pub fn new(threads: usize) -> Self {
        Self {
            threads: (0..threads).map(|_| Mutex::new(Scratch::new())).collect(),
            stream: Buffer::zeroed(0),
            projected: Buffer::zeroed(0),
            mixed: Buffer::zeroed(0),
            left: Buffer::zeroed(0),
            hidden: Buffer::zeroed(0),
            floats: Buffer::zeroed(0),
        }
    }

    /// A member's own memory. The lock is always free: no other thread asks for it while the
    /// member is at a piece.
    pub fn scratch(threads: &[Mutex<Scratch>], member: usize) -> MutexGuard<'_, Scratch> {
        threads[member]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Spaces that are not in use. There are as many spaces as a tower ever had runs at the
/// same time: a run may be interrupted by another.
#[derive(Debug, Default)]
pub(crate) struct Spaces(Mutex<Vec<Space>>);

impl Spaces {
    /// A space for a run on this many threads.
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
