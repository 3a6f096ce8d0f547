//! Explains the end of a process whose mapped file was truncated.
//!
//! Reading a page that is no longer in its file raises SIGBUS, which ends a process without a
//! message. Neither locking the pages nor having read them before helps: a truncation takes
//! them away from every process. So the signal handler says which file it was, and ends the
//! process with the exit code by which a supervisor knows that it must be restarted.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering};

/// What the signal handler needs to know about a mapping, kept for the life of the process.
struct Entry {
    start: usize,
    end: usize,
    /// The sentence, ready to write: a signal handler may not allocate.
    sentence: Box<[u8]>,
}

/// More files than any model has. Further files are mapped all the same, without a sentence.
const MOST: usize = 1024;
static ENTRIES: [AtomicPtr<Entry>; MOST] = [const { AtomicPtr::new(ptr::null_mut()) }; MOST];
static COUNT: AtomicUsize = AtomicUsize::new(0);
static EXIT_CODE: AtomicI32 = AtomicI32::new(0);
/// The handler installed before, leaked: it is the runtime's own, which reports stack
/// overflows.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// Records a mapping, for the handler's sentence.
pub(crate) fn note(bytes: &[u8], path: &std::path::Path) {
    let index = COUNT.fetch_add(1, Ordering::Relaxed);
    let Some(slot) = ENTRIES.get(index) else {
        return;
    };
    let start = bytes.as_ptr() as usize;
    let sentence = format!(
        "error: {} was cut short or replaced in place while it was in use; put the whole file \
         back, by renaming a new one over it, and start again\n",
        path.display()
    );
    let entry = Entry {
        start,
        end: start + bytes.len(),
        sentence: sentence.into_bytes().into(),
    };
    slot.store(Box::into_raw(Box::new(entry)), Ordering::Release);
}

/// From now on, reading a mapped page that is no longer in its file ends the process with
/// `exit_code`, after a sentence on standard error that names the file. Other causes of SIGBUS
/// have the same effect as before.
///
/// # Errors
///
/// If the system does not accept the handler.
pub fn explain_truncation(exit_code: u8) -> io::Result<()> {
    EXIT_CODE.store(i32::from(exit_code), Ordering::Relaxed);
    if !BEFORE.load(Ordering::Acquire).is_null() {
        return Ok(());
    }
    // SAFETY: sigaction is a plain structure of C, for which zeros are valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_bus_error as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: as above.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both structures live on this stack, and the handler keeps to what a signal
    // handler may do: see there.
    if unsafe { libc::sigaction(libc::SIGBUS, &action, &mut before) } != 0 {
        return Err(io::Error::last_os_error());
    }
    BEFORE.store(Box::into_raw(Box::new(before)), Ordering::Release);
    Ok(())
}

/// Runs on the thread that faulted, whatever it was doing: it reads atomics and memory that is
/// never freed, and calls `write`, `_exit` and `sigaction`, all of which POSIX allows in a
/// handler.
extern "C" fn on_bus_error(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: with SA_SIGINFO the system passes a valid structure, and for SIGBUS it has an
    // address.
    let address = unsafe { (*info).si_addr() } as usize;
    for slot in &ENTRIES {
        // SAFETY: what is there was leaked by `note`, and does not change.
        let Some(entry) = (unsafe { slot.load(Ordering::Acquire).as_ref() }) else {
            continue;
        };
        if (entry.start..entry.end).contains(&address) {
            // SAFETY: the bytes are valid; a failed or partial write leaves a shorter
            // sentence. `_exit` runs nothing of this process.
            unsafe {
                libc::write(2, entry.sentence.as_ptr().cast(), entry.sentence.len());
                libc::_exit(EXIT_CODE.load(Ordering::Relaxed));
            }
        }
    }
    // SAFETY: what is there was leaked by `explain_truncation`, and does not change.
    let before = unsafe { BEFORE.load(Ordering::Acquire).as_ref() };
    match before {
        Some(before)
            if before.sa_flags & libc::SA_SIGINFO != 0
                && before.sa_sigaction != libc::SIG_DFL
                && before.sa_sigaction != libc::SIG_IGN =>
        {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: with SA_SIGINFO this is the address of such a function.
            let handler: Handler = unsafe { std::mem::transmute(before.sa_sigaction) };
            handler(signal, info, context);
        }
        _ => {
            // The instruction faults again when this returns, and then has the effect that it
            // has without a handler.
            // SAFETY: zeros are valid, and mean the default action.
            unsafe {
                let default: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, &default, ptr::null_mut());
            }
        }
    }
}
