//! The allocator of the service: mimalloc, which returns freed memory to the system at once.
//!
//! glibc's allocator has an arena for each thread and keeps what its threads freed. mimalloc
//! returns freed pages, but by default only when the thread that freed them allocates again
//! some time later: a decoder that has worked on one large picture and then waits keeps all of
//! it. docs/operations.md has the figures.
//!
//! ```
//! use siglip2_allocator::MiMalloc;
//!
//! #[global_allocator]
//! static ALLOCATOR: MiMalloc = MiMalloc;
//!
//! siglip2_allocator::return_freed_memory_at_once();
//! assert_eq!(siglip2_allocator::purge_delay(), 0);
//! ```

// Options of mimalloc are set by a call of C.
#![allow(unsafe_code)]

use std::ffi::c_long;

pub use mimalloc::MiMalloc;

/// `mi_option_purge_delay` in mimalloc.h: milliseconds until freed memory is returned, the
/// 16th of the options.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// From here on memory goes back as soon as a page of it is free. To be called at the start of
/// the process, before there are threads.
pub fn return_freed_memory_at_once() {
    // SAFETY: the option is one of mimalloc's own, and any number is a value of it. mimalloc
    // reads options whenever it wants and lets them be set at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) }
}

/// The milliseconds after which freed memory goes back.
pub fn purge_delay() -> c_long {
    // SAFETY: reading an option of mimalloc's own changes nothing.
    unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }
}

#[cfg(test)]
mod tests {
    /// The number of the option is right: mimalloc 3 waits 1000 ms by default.
    #[test]
    fn the_option_is_the_delay() {
        assert_eq!(super::purge_delay(), 1000);
        super::return_freed_memory_at_once();
        assert_eq!(super::purge_delay(), 0);
    }
}
