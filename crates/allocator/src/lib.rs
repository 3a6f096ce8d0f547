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

// mimalloc is told by calls of C.
#![allow(unsafe_code)]

use std::env;
use std::ffi::c_long;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

pub use mimalloc::MiMalloc;

/// Memory that was free for about so long goes back. What a service at work frees is taken again far
/// sooner, and costs the system a page fault for each 4 KiB if it has to be asked for.
pub const DELAY: Duration = Duration::from_millis(100);

/// What the environment says instead of [`DELAY`], in milliseconds: mimalloc's own variable.
const VARIABLE: &str = "MIMALLOC_PURGE_DELAY";

/// `mi_option_purge_delay` in mimalloc.h: milliseconds until freed memory is returned, the
/// 16th of the options.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// mimalloc takes its memory from the system in arenas of 1 GiB, and returns what is due in one or two of
/// them at a time.
const ARENAS_A_ROUND: usize = 4;

/// Whether the delay is ours to change: the program wants it, and the environment says nothing else.
static IS_OURS: AtomicBool = AtomicBool::new(false);

/// Held by who returns memory: mimalloc does nothing for a second one at the same time, and says nothing.
static TURN: Mutex<()> = Mutex::new(());

/// From here on freed memory goes back to the system soon. To be called at the start of the process.
///
/// # Errors
///
/// When the system gives no thread.
pub fn return_freed_memory() -> io::Result<()> {
    if env::var_os(VARIABLE).is_none_or(|value| value.is_empty()) {
        set_delay(DELAY);
        IS_OURS.store(true, Ordering::Relaxed);
    }
    let thread = thread::Builder::new().name("return-memory".into());
    thread.spawn(|| {
        // SAFETY: any thread may call it at any time. Without it mimalloc would not know of a thread that
        // has taken no memory, and not do what it asks for.
        unsafe { libmimalloc_sys::mi_thread_init() }
        loop {
            thread::sleep(DELAY);
            let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
            (0..ARENAS_A_ROUND).for_each(|_| collect(false));
        }
    })?;
    Ok(())
}

/// Says whether so much memory is held that nothing freed may be kept for later. While it is, freed memory
/// goes back at once; what was freed before goes back here, which takes some 10 ms for 100 MB. Does nothing
/// unless [`return_freed_memory`] was called.
pub fn memory_is_short(is_short: bool) {
    if !IS_OURS.load(Ordering::Relaxed) {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_short {
        return set_delay(DELAY);
    }
    // First, since mimalloc does not look for what waits where nothing need wait. Twice, since it also does
    // nothing while a thread that has just freed something looks.
    collect(true);
    thread::yield_now();
    collect(true);
    set_delay(Duration::ZERO);
}

fn set_delay(delay: Duration) {
    let delay = c_long::try_from(delay.as_millis()).unwrap_or(c_long::MAX);
    // SAFETY: the option is one of mimalloc's own, and any number is a value of it. mimalloc reads options
    // whenever it wants, each as one word, and has this function for changing them while it runs.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, delay) }
}

/// Returns what is due, or all that no thread has.
fn collect(all: bool) {
    // SAFETY: any thread may call it at any time. It looks at what this thread has, and at the pages that no
    // thread has any more.
    unsafe { libmimalloc_sys::mi_collect(all) }
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

    use super::*;

    #[global_allocator]
    static ALLOCATOR: MiMalloc = MiMalloc;

    const LARGE: usize = 64 << 20;

    /// Bytes of this process that are in memory. Takes none itself: mimalloc would look after what is due.
    #[cfg(target_os = "linux")]
    fn resident() -> usize {
        use std::io::Read as _;

        let mut text = [0; 4096];
        let mut file = std::fs::File::open("/proc/self/status").unwrap();
        let length = file.read(&mut text).unwrap();
        let text = std::str::from_utf8(&text[..length]).unwrap();
        let (_, rest) = text.split_once("VmRSS:").unwrap();
        let kilobytes = rest.split_whitespace().next().unwrap();
        kilobytes.parse::<usize>().unwrap() << 10
    }

    fn until(done: impl Fn() -> bool) {
        let began = std::time::Instant::now();
        while !done() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "it does not happen"
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// In one test, since the delay is the process's.
    #[test]
    fn freed_memory_goes_back_soon_and_at_once_while_it_is_short() {
        if env::var_os(VARIABLE).is_some_and(|value| !value.is_empty()) {
            return;
        }
        // The number of the option is right: mimalloc 3 waits 1000 ms by default.
        assert_eq!(delay(), Duration::from_secs(1));
        memory_is_short(true);
        assert_eq!(delay(), Duration::from_secs(1), "nobody has asked for it");
        return_freed_memory().unwrap();
        assert_eq!(delay(), DELAY);

        // Freed by a thread that then does nothing more, and by nobody else's doing returned.
        #[cfg(target_os = "linux")]
        {
            let before = resident();
            let (freed, is_freed) = std::sync::mpsc::channel();
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let idle = thread::spawn(move || {
                drop(vec![1_u8; LARGE]);
                freed.send(()).unwrap();
                let _ = ended.recv();
            });
            is_freed.recv().unwrap();
            until(|| resident() < before + LARGE / 4);
            drop(end);
            idle.join().unwrap();
        }

        memory_is_short(true);
        assert_eq!(delay(), Duration::ZERO);
        #[cfg(target_os = "linux")]
        {
            let kept = vec![1_u8; LARGE];
            let with = resident();
            drop(kept);
            assert!(resident() < with - LARGE / 2);
        }
        memory_is_short(false);
        assert_eq!(delay(), DELAY);
    }
}
