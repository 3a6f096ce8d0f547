//! The allocator of the service: mimalloc, which returns freed memory to the system soon.
//!
//! glibc's allocator has an arena for each thread and keeps what its threads freed. mimalloc
//! returns freed pages a while later, so that a service at work finds them again, but only when some
//! thread has a page to give back then: a decoder that has worked on one large picture and then
//! waits would keep all of it. So a thread of its own looks for such pages.
//! docs/operations.md has the figures.
//!
//! ```
//! use siglip2_allocator::MiMalloc;
//!
//! #[global_allocator]
//! static ALLOCATOR: MiMalloc = MiMalloc;
//!
//! siglip2_allocator::return_freed_memory()?;
//! assert_eq!(siglip2_allocator::delay(), siglip2_allocator::DELAY);
//! # Ok::<_, std::io::Error>(())
//! ```

// Options of mimalloc are set by a call of C.
#![allow(unsafe_code)]

use std::env;
use std::ffi::c_long;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

pub use mimalloc::MiMalloc;

/// Memory that was free for so long goes back, at most twice as long after it was freed. What a service
/// at work frees is taken again far sooner, and costs the system a page fault for each 4 KiB if it has to
/// be asked for.
pub const DELAY: Duration = Duration::from_millis(100);

/// What the environment says instead of [`DELAY`], in milliseconds: mimalloc's own variable.
const VARIABLE: &str = "MIMALLOC_PURGE_DELAY";

/// `mi_option_purge_delay` in mimalloc.h: milliseconds until freed memory is returned, the
/// 16th of the options.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Whether the delay is ours to change: the program wants it, and the environment says nothing else.
static IS_OURS: AtomicBool = AtomicBool::new(false);

/// From here on freed memory goes back to the system soon. To be called at the start of the process.
///
/// # Errors
///
/// When the system gives no thread.
pub fn return_freed_memory() -> io::Result<()> {
    if env::var_os(VARIABLE).is_none() {
        IS_OURS.store(true, Ordering::Relaxed);
        set_delay(DELAY);
    }
    let returning = thread::Builder::new().name("return-memory".into());
    returning.spawn(|| {
        loop {
            thread::sleep(DELAY);
            // SAFETY: any thread may call it at any time. It looks at what this thread has, which is
            // next to nothing, and at the pages that no thread has any more.
            unsafe { libmimalloc_sys::mi_collect(false) }
        }
    })?;
    Ok(())
}

/// Says whether so much memory is held that nothing freed may be kept for later. While it is, freed
/// memory goes back at once. Does nothing unless [`return_freed_memory`] was called.
pub fn memory_is_short(is_short: bool) {
    if !IS_OURS.load(Ordering::Relaxed) {
        return;
    }
    if !is_short {
        return set_delay(DELAY);
    }
    // First, since mimalloc forgets to look for what waits where nothing need wait.
    // SAFETY: any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
    set_delay(Duration::ZERO);
}

fn set_delay(delay: Duration) {
    let delay = c_long::try_from(delay.as_millis()).unwrap_or(c_long::MAX);
    // SAFETY: the option is one of mimalloc's own, and any number is a value of it. mimalloc
    // reads options whenever it wants and lets them be set at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, delay) }
}

/// After how long freed memory goes back.
pub fn delay() -> Duration {
    // SAFETY: reading an option of mimalloc's own changes nothing.
    let milliseconds = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
    Duration::from_millis(milliseconds.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::sync::mpsc::channel;

    use super::*;

    #[global_allocator]
    static ALLOCATOR: MiMalloc = MiMalloc;

    /// Bytes of this process that are in memory.
    #[cfg(target_os = "linux")]
    fn resident() -> usize {
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        let resident = pages.split(' ').nth(1).unwrap();
        resident.parse::<usize>().unwrap() * 4096
    }

    /// In one test, since the delay is the process's.
    #[test]
    fn freed_memory_goes_back_soon_and_at_once_while_it_is_short() {
        // The number of the option is right: mimalloc 3 waits 1000 ms by default.
        assert_eq!(delay(), Duration::from_secs(1));
        memory_is_short(true);
        assert_eq!(delay(), Duration::from_secs(1), "nobody has asked for it");
        return_freed_memory().unwrap();
        assert_eq!(delay(), DELAY);

        // Freed by a thread that then does nothing more.
        #[cfg(target_os = "linux")]
        {
            const LARGE: usize = 64 << 20;
            let before = resident();
            let (freed, is_freed) = channel();
            let (end, ended) = channel::<()>();
            let idle = thread::spawn(move || {
                drop(vec![1_u8; LARGE]);
                freed.send(()).unwrap();
                let _ = ended.recv();
            });
            is_freed.recv().unwrap();
            while resident() > before + LARGE / 4 {
                thread::yield_now();
            }
            drop(end);
            idle.join().unwrap();

            let kept = vec![1_u8; LARGE];
            let with = resident();
            memory_is_short(true);
            assert_eq!(delay(), Duration::ZERO);
            drop(kept);
            assert!(resident() < with - LARGE / 2, "it is returned at once");
        }
        memory_is_short(false);
        assert_eq!(delay(), DELAY);
    }
}
