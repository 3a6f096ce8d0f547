//! The pinned memory that decoders write pictures into and the device copies them from.
//!
//! ```text
//! decode thread --lend--> Chunk --(pixels are written)--> batch --upload--> dropped: free
//! ```
//!
//! One region for all GPUs and slots, allocated once: pinning takes milliseconds and
//! stops the device. A picture is decoded before its batch is known (that is decided when a
//! batch can start), so the memory belongs to the picture and not to a slot; the device still
//! reads it from where the decoder wrote it. When the arena is full, decoders wait in order of
//! arrival: the GPU is then the bottleneck. They always make progress, because every picture
//! in here is either being decoded or waiting for the engine, which needs no more of this
//! memory to run it.
#![allow(unsafe_code)]

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use cudarc::driver::CudaContext;

use super::gaps::Gaps;
use super::memory::PinnedBuffer;
use crate::error::DeviceError;
use siglip2_image::PixelMemory;

/// Pictures begin at multiples of this, so that a copy engine reads whole bursts and no two
/// decoders write to the same cache line.
const ALIGN: usize = 256;

/// See the module.
pub(super) struct Arena {
    memory: PinnedBuffer,
    state: Mutex<State>,
    /// Notified when memory is returned, or the first decoder in line has been served.
    freed: Condvar,
}

struct State {
    gaps: Gaps,
    /// The ticket of the next arrival, and the ticket whose turn it is.
    next: u64,
    turn: u64,
}

impl Arena {
    pub(super) fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Arc<Self>, DeviceError> {
        let bytes = bytes.next_multiple_of(ALIGN).max(ALIGN);
        Ok(Arc::new(Self {
            memory: PinnedBuffer::new(context, bytes, "decoded pictures")?,
            state: Mutex::new(State {
                gaps: Gaps::new(bytes),
                next: 0,
                turn: 0,
            }),
            freed: Condvar::new(),
        }))
    }

    /// Memory for a picture, waiting for it if necessary; `None` if the picture is larger than
    /// the whole arena.
    pub(super) fn lend(self: &Arc<Self>, bytes: usize) -> Option<Chunk> {
        let taken = bytes.max(1).checked_next_multiple_of(ALIGN)?;
        if taken > self.memory.len() {
            return None;
        }
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        let start = loop {
            if state.turn == number
                && let Some(start) = state.gaps.take(taken)
            {
                break start;
            }
            state = self
                .freed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        state.turn += 1;
        drop(state);
        self.freed.notify_all();
        Some(Chunk {
            arena: Arc::clone(self),
            start,
            taken,
            bytes,
        })
    }

    /// Memory for a picture if it is free now and nobody waits for it.
    pub(super) fn lend_now(self: &Arc<Self>, bytes: usize) -> Option<Chunk> {
        let taken = bytes.max(1).checked_next_multiple_of(ALIGN)?;
        let mut state = self.state();
        if state.turn != state.next {
            return None;
        }
        let start = state.gaps.take(taken)?;
        drop(state);
        Some(Chunk {
            arena: Arc::clone(self),
            start,
            taken,
            bytes,
        })
    }

    /// Ignores poisoning: no code panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of the arena, for one picture. Dropping it returns the memory; code that lets the
/// device read from it must wait for the device first.
pub(super) struct Chunk {
    arena: Arc<Arena>,
    start: usize,
    taken: usize,
    bytes: usize,
}

impl PixelMemory for Chunk {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `start..start + bytes` lies within the region, which lives as long as
        // the arena; `Gaps` hands out each byte to one chunk at a time, so nothing else
        // writes here.
        unsafe { std::slice::from_raw_parts(self.arena.memory.start().add(self.start), self.bytes) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is the only access to this chunk.
        unsafe {
            std::slice::from_raw_parts_mut(self.arena.memory.start().add(self.start), self.bytes)
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.arena.state().gaps.give(self.start, self.taken);
        self.arena.freed.notify_all();
    }
}
