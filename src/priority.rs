//! Threads that compute give way to those that answer.
//!
//! Decoding and computing take every core there is. A probe, or an answer that is ready, needs one for
//! tens of microseconds, and would otherwise wait until the scheduler takes it from a thread that
//! computes, which are milliseconds on a machine with few cores.

/// Lowers the priority of this thread, and of all that it starts, by so much (0 to 19).
pub fn give_way(nice: u8) {
    // Elsewhere it would be that of the whole process.
    #[cfg(target_os = "linux")]
    if nice > 0
        && let Err(error) = rustix::process::setpriority_process(None, nice.into())
    {
        tracing::debug!(%error, "the priority of a thread could not be lowered");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nice;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gives_way_with_those_that_it_starts_and_no_other() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let lowered = std::thread::spawn(move || {
            give_way(19);
            (nice(), std::thread::spawn(nice).join().unwrap())
        });
        assert_eq!(lowered.join().unwrap(), (19, 19));
        assert_eq!(nice(), before);
    }
}
