//! A team of threads that share out the pieces of a job.
//!
//! A job is a number of pieces. Each thread takes the next piece until none is left. The
//! caller takes part, then closes the job and waits for the threads that are still at a
//! piece. A thread that did not wake in time, because another process has its core, finds
//! the job closed, and nobody waits for it.
//!
//! ```text
//! state:  epoch << 32 | open << 31 | threads inside
//!
//! caller   publish (open, 0 inside) ... take pieces ... close, wait for 0 inside
//! thread   spin, then sleep until a new epoch is open; enter (inside + 1) if still open;
//!          take pieces; leave (inside - 1)
//! ```

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Times that a thread looks for a new job before it sleeps: some tens of
/// microseconds, longer than the pauses between the jobs of one batch.
const SPINS: usize = if cfg!(miri) { 3 } else { 2_000 };

const OPEN: u64 = 1 << 31;
const EPOCH: u64 = 1 << 32;
const INSIDE: u64 = OPEN - 1;

/// A piece panicked. Other pieces may or may not have run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a compute thread panicked")]
pub struct Panicked;

type Work<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// The job of the epoch that is open.
struct Job(UnsafeCell<Option<Work<'static>>>);

// SAFETY: written by the caller while nobody is inside, read by threads that are.
unsafe impl Sync for Job {}

struct Shared {
    state: AtomicU64,
    job: Job,
    pieces: AtomicUsize,
    next: AtomicUsize,
    panicked: AtomicBool,
    sleepers: AtomicUsize,
    stop: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

/// Threads that wait for work, and the caller.
pub struct Team {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// One job at a time.
    turn: Mutex<()>,
}

impl Team {
    /// A team of `size`, the caller counted. Where the system gives fewer threads, the
    /// team is smaller.
    pub fn new(size: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: Job(UnsafeCell::new(None)),
            pieces: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        let threads = (1..size)
            .map_while(|member| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("compute-{member}"))
                    .spawn(move || shared.serve(member))
                    .ok()
            })
            .collect();
        Self {
            shared,
            threads,
            turn: Mutex::new(()),
        }
    }

    /// Its threads, the caller counted.
    pub fn size(&self) -> usize {
        self.threads.len() + 1
    }

    /// Calls `work(member, piece)` once for each piece in `0..pieces`, on any member,
    /// and returns when all are done. Members are numbered from 0, the caller; no two
    /// pieces run at the same time on the same member.
    ///
    /// # Errors
    ///
    /// When a piece panicked.
    pub fn each(&self, pieces: usize, work: impl Fn(usize, usize) + Sync) -> Result<(), Panicked> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if pieces <= 1 || self.threads.is_empty() {
            return catch_unwind(AssertUnwindSafe(|| (0..pieces).for_each(|i| work(0, i))))
                .map_err(|_| Panicked);
        }
        let shared = &*self.shared;
        let work: Work<'_> = &work;
        // SAFETY: nobody is inside (the last job waited for that), so nobody reads the
        // cell; and only the lifetime is changed: `work` outlives this call, and this
        // call returns when the job is closed and nobody is inside any more.
        unsafe {
            *shared.job.0.get() = Some(std::mem::transmute::<Work<'_>, Work<'static>>(work));
        }
        shared.pieces.store(pieces, Ordering::Relaxed);
        shared.next.store(0, Ordering::Relaxed);
        shared.panicked.store(false, Ordering::Relaxed);
        let epoch = (shared.state.load(Ordering::Relaxed) & !(OPEN | INSIDE)).wrapping_add(EPOCH);
        shared.state.store(epoch | OPEN, Ordering::Release);
        // Either a thread that is about to sleep sees the new state, or we see it here.
        fence(Ordering::SeqCst);
        if shared.sleepers.load(Ordering::Relaxed) > 0 {
            let _lock = shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
            shared.wake.notify_all();
        }
        shared.take(0, work);
        shared.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0;
        while shared.state.load(Ordering::Acquire) & INSIDE != 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        if shared.panicked.load(Ordering::Relaxed) {
            return Err(Panicked);
        }
        Ok(())
    }
}

impl Shared {
    /// Takes pieces until there are none.
    fn take(&self, member: usize, work: Work<'_>) {
        let pieces = self.pieces.load(Ordering::Relaxed);
        let all = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let piece = self.next.fetch_add(1, Ordering::Relaxed);
                if piece >= pieces {
                    break;
                }
                work(member, piece);
            }
        }));
        if all.is_err() {
            self.panicked.store(true, Ordering::Relaxed);
            // The rest is for nothing.
            self.next.store(pieces, Ordering::Relaxed);
        }
    }

    /// The life of a thread of the team.
    fn serve(&self, member: usize) {
        let mut seen = 0;
        while let Some(state) = self.wait(seen) {
            seen = state & !(OPEN | INSIDE);
            if !self.enter(seen) {
                continue;
            }
            // SAFETY: inside an open job, so the caller waits and does not write.
            if let Some(work) = unsafe { *self.job.0.get() } {
                self.take(member, work);
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Goes inside, if the job of this epoch is still open.
    fn enter(&self, epoch: u64) -> bool {
        let mut state = self.state.load(Ordering::Acquire);
        while state & !INSIDE == epoch | OPEN {
            match self.state.compare_exchange_weak(
                state,
                state + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Waits for an open job of another epoch than `seen`; `None` at the end.
    fn wait(&self, seen: u64) -> Option<u64> {
        let news = || {
            let state = self.state.load(Ordering::Acquire);
            (state & OPEN != 0 && state & !(OPEN | INSIDE) != seen).then_some(state)
        };
        for _ in 0..SPINS {
            if let Some(state) = news() {
                return Some(state);
            }
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            std::hint::spin_loop();
        }
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let found = loop {
            if self.stop.load(Ordering::Relaxed) {
                break None;
            }
            if let Some(state) = news() {
                break Some(state);
            }
            lock = self.wake.wait(lock).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        found
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        {
            let _lock = self
                .shared
                .lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.shared.wake.notify_all();
        }
        for thread in self.threads.drain(..) {
            // It catches the panics of its work, and has none of its own.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("size", &self.size()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_runs_once_on_teams_of_any_size() {
        for size in [1, 2, 3, 8, 70] {
            if cfg!(miri) && size > 3 {
                continue;
            }
            let team = Team::new(size);
            for pieces in [0, 1, 2, 7, 100, 1] {
                let counts: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
                let busy: Vec<AtomicBool> = (0..size).map(|_| AtomicBool::new(false)).collect();
                team.each(pieces, |member, piece| {
                    assert!(!busy[member].swap(true, Ordering::SeqCst));
                    counts[piece].fetch_add(1, Ordering::Relaxed);
                    busy[member].store(false, Ordering::SeqCst);
                })
                .unwrap();
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn many_small_jobs_one_after_the_other() {
        let team = Team::new(3);
        let jobs = if cfg!(miri) { 5 } else { 20_000 };
        let total = AtomicUsize::new(0);
        for _ in 0..jobs {
            team.each(4, |_, piece| {
                total.fetch_add(piece, Ordering::Relaxed);
            })
            .unwrap();
        }
        assert_eq!(total.load(Ordering::Relaxed), jobs * 6);
    }

    #[test]
    fn a_panic_fails_the_job_and_not_the_team() {
        let team = Team::new(2);
        for _ in 0..20 {
            let failed = team.each(8, |_, piece| assert!(piece != 3, "told to"));
            assert_eq!(failed, Err(Panicked));
            assert_eq!(team.each(8, |_, _| ()), Ok(()));
        }
    }

    #[test]
    fn callers_on_several_threads_take_turns() {
        let team = Team::new(2);
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let mine = AtomicUsize::new(0);
                        team.each(10, |_, _| {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                            mine.fetch_add(1, Ordering::Relaxed);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        })
                        .unwrap();
                        assert_eq!(mine.load(Ordering::Relaxed), 10);
                    }
                });
            }
        });
    }
}
