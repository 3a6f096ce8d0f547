//! Memory that nvJPEG takes for itself: regions that were allocated at the start, so that what it
//! takes is known before, and nothing is allocated while the service runs.
//!
//! ```text
//! nvJPEG --take--> Lent: a gap of the region, or "no more"
//!        --give--> left, until the stream is known to be past it --settle--> a gap again
//! ```
//!
//! CUDA's own allocators wait for the device before memory is free. These do not: what is given back
//! is kept apart until the slot's stream has nothing more to do, which is so whenever the slot begins a
//! batch.
#![allow(unsafe_code)] // Functions that nvJPEG calls.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::CudaContext;
use cudarc::driver::sys::CUstream;

use super::gaps::Gaps;
use crate::nvjpeg::Allocator;

/// As CUDA's allocators align memory.
const ALIGN: usize = 256;

/// What CUDA's own allocator answers when there is no more: cudaErrorMemoryAllocation.
const NO_MORE: c_int = 2;

/// See the module.
pub(super) struct Lent {
    /// The address of the region.
    start: usize,
    state: Mutex<State>,
    context: Arc<CudaContext>,
}

struct State {
    gaps: Gaps,
    /// The length of each part that nvJPEG has, by where it begins.
    taken: HashMap<usize, usize>,
    /// Parts that it gave back and that the device may still use.
    left: Vec<(usize, usize)>,
}

impl State {
    fn settle(&mut self) {
        for (start, length) in std::mem::take(&mut self.left) {
            self.gaps.give(start, length);
        }
    }
}

impl Lent {
    /// For a region of device memory, or of pinned memory, that lives as long as this.
    pub(super) fn new(context: &Arc<CudaContext>, start: usize, bytes: usize) -> Box<Self> {
        Box::new(Self {
            start,
            state: Mutex::new(State {
                gaps: Gaps::new(bytes / ALIGN * ALIGN),
                taken: HashMap::new(),
                left: Vec::new(),
            }),
            context: Arc::clone(context),
        })
    }

    /// The allocator that takes from it. The context points to `self`, which must not move.
    pub(super) fn allocator(&self) -> Box<Allocator> {
        Box::new(Allocator {
            take,
            give,
            context: std::ptr::from_ref(self).cast_mut().cast(),
        })
    }

    /// What was given back is free: nothing on the device uses it any more.
    pub(super) fn settle(&self) {
        self.state().settle();
    }

    fn take(&self, bytes: usize) -> Option<usize> {
        let length = bytes.max(1).checked_next_multiple_of(ALIGN)?;
        let mut state = self.state();
        let mut start = state.gaps.take(length);
        if start.is_none() && !state.left.is_empty() && self.context.synchronize().is_ok() {
            state.settle();
            start = state.gaps.take(length);
        }
        let start = start?;
        state.taken.insert(start, length);
        Some(self.start + start)
    }

    fn give(&self, address: usize) -> bool {
        let mut state = self.state();
        let start = address.wrapping_sub(self.start);
        let Some(length) = state.taken.remove(&start) else {
            return false;
        };
        state.left.push((start, length));
        true
    }

    /// Ignores poisoning: no code panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

unsafe extern "C" fn take(
    context: *mut c_void,
    address: *mut *mut c_void,
    bytes: usize,
    _stream: CUstream,
) -> c_int {
    // SAFETY: the context is that of `Lent::allocator`, which outlives nvJPEG's handle.
    let lent = unsafe { &*context.cast::<Lent>() };
    match lent.take(bytes) {
        Some(found) => {
            // SAFETY: nvJPEG passes where it wants the address.
            unsafe { *address = found as *mut c_void };
            0
        }
        None => NO_MORE,
    }
}

unsafe extern "C" fn give(
    context: *mut c_void,
    address: *mut c_void,
    _bytes: usize,
    _stream: CUstream,
) -> c_int {
    // SAFETY: as for `take`.
    let lent = unsafe { &*context.cast::<Lent>() };
    match address.is_null() || lent.give(address as usize) {
        true => 0,
        // cudaErrorInvalidValue
        false => 1,
    }
}
