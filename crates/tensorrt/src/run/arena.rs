//! The pinned memory that decoders write pictures into, and the device copies them from.
//!
//! ```text
//! decode thread --lend--> Chunk --(pixels are written)--> batch --upload--> dropped: free
//! ```
//!
//! One region for all GPUs and slots, allocated once: pinning takes milliseconds and
//! stops the device. A picture is decoded before it is known which batch it will be in
//! (that is decided when a batch can start), so the memory belongs to the picture and not
//! to a slot; the device reads it from where the decoder wrote it all the same. When it is
//! full, decoders wait in the order in which they came: the GPU is the bottleneck then.
//! They always go on, because whatever is in here is being decoded or waits for the
//! engine, which takes it without needing more.
#![allow(unsafe_code)]

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use cudarc::driver::CudaContext;

use super::gaps::Gaps;
use super::memory::PinnedBuffer;
use crate::error::DeviceError;
use siglip2_image::PixelMemory;

/// Pictures begin at multiples of this: a copy engine reads whole bursts, and no two
/// decoders write to the same cache line.
const ALIGN: usize = 256;

/// See the module.
pub(super) struct Arena {
    memory: PinnedBuffer,
    state: Mutex<State>,
    /// Rung when memory came back, or the first in line has got his.
    freed: Condvar,
}

struct State {
    gaps: Gaps,
    /// The number of the next who comes, and of the one whose turn it is.
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

    /// Memory for a picture, waiting for it if need be; `None` if the picture is larger
    /// than all there is.
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

    /// Nothing between two statements of a holder can panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of the arena, for one picture. Dropping it gives it back; whoever let the
/// device read from it has waited for the device first.
pub(super) struct Chunk {
    arena: Arc<Arena>,
    start: usize,
    taken: usize,
    bytes: usize,
}

impl PixelMemory for Chunk {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `start..start + bytes` lies within the region, which lives as long as
        // the arena; `Gaps` hands out each byte to one chunk at a time, so nobody else
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
