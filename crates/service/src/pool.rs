//! Threads that decode or tokenize: a fixed number of them, within a budget of bytes, and
//! interactive work first.
//!
//! ```text
//! interactive --+                                     +--> decode-0
//!               +--> a thread and bytes of the -------+--> decode-1
//! bulk ---------+    budget, then out of the line     +--> ...
//!                                                          |
//! WorkLease: taken here ----------------- kept with the pixels until their batch is done
//! ```
//!
//! A free thread takes the next job that fits the budget. Three interactive jobs go before one
//! bulk job while both wait, and bulk jobs leave an eighth of the budget to interactive ones.
//! So an interactive image waits for the images that are being decoded and not for the bulk,
//! and a large bulk picture still gets its turn. A bulk job that an interactive request now
//! waits for changes lines. A job that waits holds no lease. The lease of a picture shrinks to
//! what the engine needs once it is prepared, and ends with those pixels. So the images that
//! wait for a batch are bounded in bytes, and decoding never runs further ahead of the engine
//! than that.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::demand::Demand;
use crate::lines::{Fit, Lines};
use crate::memory::{Lease, MemoryBudget, MemoryUse};
use crate::metrics::Metrics;
use siglip2_model::Tower;

type Work = Box<dyn FnOnce(WorkLease) + Send>;

/// See the module documentation. Several models share the threads, each with a pool of its own
/// that counts for it. When the last of them is dropped the threads end, once they have finished
/// their current jobs.
pub(crate) struct WorkPool {
    threads: Arc<Threads>,
    metrics: Arc<Metrics>,
}

/// The work on an input panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work on an input panicked; the log above says where")]
pub(crate) struct WorkPanicked;

/// The threads, which end when this is dropped.
struct Threads(Arc<Shared>);

struct Shared {
    state: Mutex<PoolState>,
    /// Notified when there may be a job to take, and a thread to take it. A notification is a
    /// call of the system whether anybody waits for it or not.
    bell: Condvar,
    /// The budget for the bytes of jobs. Only the threads of one pool take from it.
    memory: MemoryBudget,
    /// What bulk jobs may take of it.
    max_bulk_bytes: u64,
    /// What the work is for.
    tower: Tower,
}

#[derive(Default)]
struct PoolState {
    lines: Lines<Job>,
    /// Bytes taken by bulk jobs.
    bulk_taken: u64,
    /// Since when each thread has had its current job.
    busy: Vec<Option<Instant>>,
    /// How many threads sleep, and how many of them were woken and have not begun to look for a job.
    asleep: usize,
    woken: usize,
    closed: bool,
}

struct Job {
    bytes: u64,
    work: Work,
}

impl PoolState {
    /// Whether a thread is to be woken, because jobs wait. Those that are awake, or were woken, look for a
    /// job before they sleep again.
    #[must_use]
    fn wake_one(&mut self) -> bool {
        let wake = self.asleep > self.woken && !self.lines.is_empty();
        self.woken += usize::from(wake);
        wake
    }
}

impl Shared {
    /// The counts stay valid if anything between two statements panics: nothing there can.
    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn max_bytes(&self) -> u64 {
        self.memory.limit(MemoryUse::Pictures)
    }

    /// The next job, with its lease. The job whose turn it is waits until it fits, and no other
    /// overtakes it. But when bulk jobs have used up their part, interactive jobs may go first.
    /// A bulk job larger than the bulk part may have that part to itself.
    fn pick(self: &Arc<Self>, state: &mut PoolState) -> Option<(Work, WorkLease)> {
        let PoolState {
            lines, bulk_taken, ..
        } = state;
        let free = self
            .max_bytes()
            .saturating_sub(self.memory.held(MemoryUse::Pictures));
        let (Job { bytes, work }, bulk) = lines.take(|job, bulk| {
            let fits_bulk =
                *bulk_taken == 0 || bulk_taken.saturating_add(job.bytes) <= self.max_bulk_bytes;
            match (bulk && !fits_bulk, job.bytes <= free) {
                (true, _) => Fit::Pass,
                (false, true) => Fit::Now,
                (false, false) => Fit::Hold,
            }
        })?;
        // It fits: since the check, others can only have returned some of it.
        let lease = match self.memory.take(MemoryUse::Pictures, bytes) {
            Ok(lease) => lease,
            Err(_) => self.memory.empty(MemoryUse::Pictures),
        };
        *bulk_taken += if bulk { lease.bytes() } else { 0 };
        let lease = WorkLease {
            lease,
            bulk,
            shared: Arc::clone(self),
        };
        Some((work, lease))
    }

    /// Waits for a job. `None` when the pool has ended.
    fn next(self: &Arc<Self>, thread: usize) -> Option<(Work, WorkLease)> {
        let mut state = self.state();
        state.busy[thread] = None;
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = self.pick(&mut state) {
                state.busy[thread] = Some(Instant::now());
                // There may be enough for another job.
                self.ring(state);
                return Some(job);
            }
            state.asleep += 1;
            state = self
                .bell
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.asleep -= 1;
            // A thread that woke by itself takes the place of one that was woken. Then this is one too low,
            // and at the worst a thread is woken in vain.
            state.woken = state.woken.saturating_sub(1);
        }
    }

    /// Wakes a thread, if jobs wait and one sleeps.
    fn ring(&self, mut state: MutexGuard<'_, PoolState>) {
        let wake = state.wake_one();
        drop(state);
        if wake {
            self.bell.notify_one();
        }
    }
}

/// The part of the budget that a job holds, returned when this is dropped.
pub(crate) struct WorkLease {
    lease: Lease,
    bulk: bool,
    shared: Arc<Shared>,
}

impl WorkLease {
    /// Returns everything beyond this many bytes.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let back = self.lease.bytes().saturating_sub(bytes);
        if back > 0 {
            // With the lock held: otherwise a thread that has just looked could miss the
            // notification.
            let mut state = self.shared.state();
            self.lease.shrink_to(bytes);
            state.bulk_taken -= if self.bulk { back } else { 0 };
            self.shared.ring(state);
        }
    }
}

impl Drop for WorkLease {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// A place in a line. Dropping it while its job waits removes the job.
struct Place<'a> {
    shared: &'a Shared,
    metrics: &'a Metrics,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let left = state.lines.remove(self.number);
        // Those behind it may fit. What the job holds is dropped after the lock is released.
        match left.is_some() {
            true => self.shared.ring(state),
            false => drop(state),
        }
        if let Some((_job, demand)) = left {
            if demand.is_over(Instant::now()) {
                self.metrics.expired(self.shared.tower);
            } else {
                self.metrics.dropped(self.shared.tower);
            }
        }
    }
}

impl WorkPool {
    /// Starts this many threads for work that ends in rows of this tower.
    ///
    /// # Errors
    ///
    /// When the system cannot start a thread.
    pub(crate) fn start(
        name: &str,
        tower: Tower,
        threads: usize,
        memory: MemoryBudget,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let threads = threads.max(1);
        let max_bytes = memory.limit(MemoryUse::Pictures);
        let shared = Arc::new(Shared {
            state: Mutex::new(PoolState {
                busy: vec![None; threads],
                ..PoolState::default()
            }),
            bell: Condvar::new(),
            memory,
            max_bulk_bytes: max_bytes - max_bytes / 8,
            tower,
        });
        let pool = Self {
            threads: Arc::new(Threads(shared)),
            metrics,
        };
        for number in 0..threads {
            let shared = Arc::clone(pool.shared());
            thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || {
                    while let Some((work, lease)) = shared.next(number) {
                        // The panic has been printed, and the request sees that no result
                        // arrives.
                        let _ = catch_unwind(AssertUnwindSafe(|| work(lease)));
                    }
                })?;
        }
        Ok(pool)
    }

    /// The same threads, working for another model.
    pub(crate) fn counting_for(&self, metrics: Arc<Metrics>) -> Self {
        Self {
            threads: Arc::clone(&self.threads),
            metrics,
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.threads.0
    }

    /// Runs work that takes this many bytes of memory, and gives it the lease for them. The
    /// work may ask its second argument whether anybody still waits for it, and return early if
    /// not. Dropping the future while the work still waits withdraws it.
    ///
    /// # Errors
    ///
    /// If the work panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        demand: Arc<Demand>,
        bytes: u64,
        work: impl FnOnce(WorkLease, &dyn Fn() -> bool) -> T + Send + 'static,
    ) -> Result<T, WorkPanicked> {
        let (answer, result) = oneshot::channel();
        let wanted = Arc::clone(&demand);
        let work = Box::new(move |lease: WorkLease| {
            let is_wanted = || !answer.is_closed() && !wanted.is_over(Instant::now());
            let made = work(lease, &is_wanted);
            // It can only fail because the client has gone meanwhile.
            let _ = answer.send(made);
        });
        let job = Job {
            // A job larger than the budget gets all of it; pictures that large have been
            // refused before.
            bytes: bytes.min(self.shared().max_bytes()),
            work,
        };
        let _place = self.stand(job, demand);
        result.await.map_err(|_| WorkPanicked)
    }

    /// Moves bulk jobs that an interactive request now waits for to the interactive line.
    pub(crate) fn promote(&self) {
        let mut state = self.shared().state();
        state.lines.promote();
        self.shared().ring(state);
    }

    /// Whether every thread has had its job for longer than this: then nothing that is sent now
    /// can be started in time.
    pub(crate) fn is_stuck(&self, limit: Duration) -> bool {
        let now = Instant::now();
        let has_long = |since: &Option<Instant>| {
            since.is_some_and(|since| now.saturating_duration_since(since) > limit)
        };
        self.shared().state().busy.iter().all(has_long)
    }

    fn stand(&self, job: Job, demand: Arc<Demand>) -> Place<'_> {
        let mut state = self.shared().state();
        let number = state.lines.put(job, demand);
        self.shared().ring(state);
        Place {
            shared: self.shared(),
            metrics: &self.metrics,
            number,
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closed = true;
        let left = std::mem::take(&mut state.lines);
        drop(state);
        self.0.bell.notify_all();
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::Wish;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    const MIB: u64 = 1 << 20;

    /// A pool with this many threads, and this many bytes for pictures.
    fn pool(threads: usize, bytes: u64) -> WorkPool {
        let metrics = Metrics::new();
        let memory = MemoryBudget::new(2 * bytes, Arc::clone(&metrics));
        WorkPool::start("test", Tower::Image, threads, memory, metrics).unwrap()
    }

    fn held(pool: &WorkPool) -> (u64, u64) {
        let bulk = pool.shared().state().bulk_taken;
        (pool.shared().memory.held(MemoryUse::Pictures), bulk)
    }

    fn wanted(interactive: bool) -> Arc<Demand> {
        Demand::new(Wish {
            deadline: None,
            interactive,
        })
    }

    /// Takes its place in line, in the order of the calls, and says whether it has to wait
    /// there.
    fn stand(future: Pin<&mut impl Future>) -> bool {
        future
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    }

    /// Holds a thread and this much of the budget until it is released; returns when it has
    /// them.
    async fn hold(
        pool: &WorkPool,
        bytes: u64,
    ) -> (
        mpsc::Sender<()>,
        impl Future<Output = Result<(), WorkPanicked>>,
    ) {
        let (begun, has_begun) = oneshot::channel();
        let (go, wait) = mpsc::channel();
        let mut running = Box::pin(pool.run(wanted(true), bytes, move |_, _| {
            let _ = begun.send(());
            let _ = wait.recv();
        }));
        assert!(stand(running.as_mut()));
        has_begun.await.unwrap();
        (go, running)
    }

    #[tokio::test]
    async fn an_interactive_image_waits_for_one_round_of_a_bulk_however_large_its_pictures() {
        let pool = pool(1, 10 * MIB);
        let order = Arc::new(Mutex::new(Vec::new()));
        let job = |name: &'static str, interactive, mib: u64| {
            let order = Arc::clone(&order);
            pool.run(wanted(interactive), mib * MIB, move |_, _| {
                order.lock().unwrap().push(name);
            })
        };
        let (go, held) = hold(&pool, 0).await;
        let mut first = pin!(job("bulk 1", false, 40));
        let mut second = pin!(job("bulk 2", false, 4));
        let mut small = pin!(job("interactive", true, 1));
        assert!(stand(first.as_mut()) && stand(second.as_mut()) && stand(small.as_mut()));
        go.send(()).unwrap();
        let _ = tokio::join!(held, first, second, small);
        assert_eq!(*order.lock().unwrap(), ["interactive", "bulk 1", "bulk 2"]);
    }

    #[tokio::test]
    async fn a_bulk_has_one_turn_in_four() {
        let pool = pool(1, 10 * MIB);
        let order = Arc::new(Mutex::new(String::new()));
        let (go, held) = hold(&pool, 0).await;
        let mut all: Vec<_> = "bbiiiiiii"
            .chars()
            .map(|name| {
                let order = Arc::clone(&order);
                Box::pin(pool.run(wanted(name == 'i'), MIB, move |_, _| {
                    order.lock().unwrap().push(name)
                }))
            })
            .collect();
        for one in &mut all {
            assert!(stand(one.as_mut()));
        }
        go.send(()).unwrap();
        held.await.unwrap();
        for one in all {
            one.await.unwrap();
        }
        // The first of three turns began with the job that held the thread.
        assert_eq!(*order.lock().unwrap(), "iibiiibii");
    }

    #[tokio::test]
    async fn room_is_kept_until_the_pixels_go_and_a_bulk_leaves_some_of_it() {
        let pool = pool(2, 16 * MIB);
        // It is finished, and its pixels wait for a batch.
        let mut pixels = pool
            .run(wanted(false), 14 * MIB, |lease, _| lease)
            .await
            .unwrap();
        let mut bulk = pin!(pool.run(wanted(false), 2 * MIB, |_, _| ()));
        assert!(stand(bulk.as_mut()));
        // The eighth that is reserved.
        pool.run(wanted(true), 2 * MIB, |_, _| ()).await.unwrap();
        let mut large = pin!(pool.run(wanted(true), 3 * MIB, |_, _| ()));
        assert!(stand(large.as_mut()));
        assert_eq!(pool.shared().state().lines.lengths(), (1, 1));
        pixels.shrink_to(MIB);
        large.await.unwrap();
        bulk.await.unwrap();
        assert_eq!(held(&pool), (MIB, MIB));
        drop(pixels);
        let all = pool
            .run(wanted(true), u64::MAX, |lease, _| lease)
            .await
            .unwrap();
        assert_eq!(held(&pool), (16 * MIB, 0));
        drop(all);
        assert_eq!(held(&pool), (0, 0));
    }

    #[tokio::test]
    async fn who_leaves_the_line_leaves_nothing_and_a_panic_fails_only_its_own() {
        let pool = pool(1, 10 * MIB);
        let (go, held) = hold(&pool, 9 * MIB).await;
        let alive = Arc::new(());
        {
            let carried = Arc::clone(&alive);
            let mut leaver = pin!(pool.run(wanted(false), 9 * MIB, move |_, _| drop(carried)));
            assert!(stand(leaver.as_mut()));
            assert_eq!(Arc::strong_count(&alive), 2);
        }
        assert_eq!(Arc::strong_count(&alive), 1);
        go.send(()).unwrap();
        held.await.unwrap();
        let panic = pool
            .run(wanted(true), MIB, |_, _| panic!("as ordered"))
            .await;
        assert!(panic.is_err());
        assert_eq!(pool.run(wanted(true), 10 * MIB, |_, _| 5).await, Ok(5));
    }

    #[tokio::test]
    async fn an_image_of_a_bulk_that_becomes_interactive_changes_lines() {
        let pool = pool(1, 10 * MIB);
        let order = Arc::new(Mutex::new(String::new()));
        let (go, held) = hold(&pool, 0).await;
        let demands: Vec<_> = "aBcD"
            .chars()
            .map(|name| (name, wanted(name > 'Z')))
            .collect();
        let mut all: Vec<_> = demands
            .iter()
            .map(|(name, demand)| {
                let (name, order) = (*name, Arc::clone(&order));
                let run = pool.run(Arc::clone(demand), MIB, move |_, _| {
                    order.lock().unwrap().push(name);
                });
                Box::pin(run)
            })
            .collect();
        for one in &mut all {
            assert!(stand(one.as_mut()));
        }
        let hurried = Wish {
            deadline: None,
            interactive: true,
        };
        demands[1].1.join(hurried);
        pool.promote();
        // A promoted job can be removed from its line like any other.
        demands[3].1.join(hurried);
        pool.promote();
        drop(all.pop());
        go.send(()).unwrap();
        held.await.unwrap();
        for one in all {
            one.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), "aBc");
        assert_eq!(pool.shared().state().lines.lengths(), (0, 0));
    }

    #[tokio::test]
    async fn work_sees_that_nobody_waits_for_it_any_more() {
        let pool = pool(1, MIB);
        let (seen, sees) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let work = move |_: WorkLease, is_wanted: &dyn Fn() -> bool| {
            seen.send(is_wanted()).unwrap();
            let _ = wait.recv();
            seen.send(is_wanted()).unwrap();
        };
        let mut left = Box::pin(pool.run(wanted(true), 0, work));
        assert!(stand(left.as_mut()));
        assert!(sees.recv().unwrap());
        drop(left);
        go.send(()).unwrap();
        assert!(!sees.recv().unwrap());
    }

    /// What hangs is to fail.
    async fn in_a_minute<T>(work: impl Future<Output = T>) -> T {
        let minute = Duration::from_secs(60);
        tokio::time::timeout(minute, work)
            .await
            .expect("a job still waits after a minute")
    }

    /// Waits until this many threads sleep.
    async fn until_asleep(pool: &WorkPool, threads: usize) {
        let asleep = || {
            let state = pool.shared().state();
            (state.asleep, state.woken)
        };
        in_a_minute(async {
            while asleep() != (threads, 0) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn nobody_is_woken_for_an_empty_line() {
        let pool = pool(3, MIB);
        until_asleep(&pool, 3).await;
        let (first, one) = hold(&pool, 0).await;
        until_asleep(&pool, 2).await;
        let (second, other) = hold(&pool, 0).await;
        until_asleep(&pool, 1).await;
        // Nothing waits, so nobody is woken.
        pool.promote();
        assert_eq!(pool.shared().state().woken, 0);
        for go in [first, second] {
            go.send(()).unwrap();
        }
        one.await.unwrap();
        other.await.unwrap();
        until_asleep(&pool, 3).await;
    }

    /// Neither job ends before the other has begun.
    #[tokio::test]
    async fn a_lease_that_ends_makes_room_for_all_who_fit() {
        let pool = pool(2, 4 * MIB);
        let (leased, lease) = mpsc::channel::<WorkLease>();
        let all = pool.run(wanted(true), 4 * MIB, move |lease, _| {
            leased.send(lease).unwrap()
        });
        all.await.unwrap();
        until_asleep(&pool, 2).await;
        let both = Arc::new(std::sync::Barrier::new(2));
        let job = || {
            let both = Arc::clone(&both);
            pool.run(wanted(true), 2 * MIB, move |_, _| {
                both.wait();
            })
        };
        let (mut first, mut second) = (pin!(job()), pin!(job()));
        assert!(stand(first.as_mut()) && stand(second.as_mut()));
        // Both threads find that nothing fits.
        until_asleep(&pool, 2).await;
        drop(lease.recv().unwrap());
        let done = in_a_minute(async { tokio::join!(first, second) }).await;
        assert_eq!(done, (Ok(()), Ok(())));
    }

    /// A thread that is not woken would leave one of them waiting for ever.
    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn no_job_waits_while_a_thread_sleeps() {
        let pool = Arc::new(pool(3, 4 * MIB));
        let (leases, ended) = mpsc::channel::<WorkLease>();
        let ends = thread::spawn(move || ended.into_iter().for_each(drop));
        let asking = (0..6_u64).map(|client| {
            let (pool, leases) = (Arc::clone(&pool), leases.clone());
            tokio::spawn(async move {
                for nth in 0..500 {
                    let leases = leases.clone();
                    let bytes = (client + nth) % 5 * MIB;
                    let interactive = nth % 3 > 0;
                    // A lease that ends on another thread makes room for a job that waits.
                    let run = pool.run(wanted(interactive), bytes, move |lease, _| {
                        leases.send(lease).unwrap();
                    });
                    if nth % 7 == 0 {
                        // It is left as soon as it stands in its line.
                        let mut left = Box::pin(run);
                        stand(left.as_mut());
                    } else {
                        run.await.unwrap();
                    }
                }
            })
        });
        let asking: Vec<_> = asking.collect();
        drop(leases);
        for client in asking {
            in_a_minute(client).await.unwrap();
        }
        let last = Arc::into_inner(pool).unwrap();
        until_asleep(&last, 3).await;
        drop(last);
        ends.join().unwrap();
    }

    #[tokio::test]
    async fn a_pool_is_stuck_when_every_thread_has_had_its_job_for_too_long() {
        let pool = pool(2, MIB);
        assert!(!pool.is_stuck(Duration::ZERO));
        let (first, one) = hold(&pool, 0).await;
        assert!(!pool.is_stuck(Duration::ZERO));
        let (second, other) = hold(&pool, 0).await;
        while !pool.is_stuck(Duration::ZERO) {
            tokio::task::yield_now().await;
        }
        assert!(!pool.is_stuck(Duration::from_secs(3600)));
        for go in [first, second] {
            go.send(()).unwrap();
        }
        one.await.unwrap();
        other.await.unwrap();
        while pool.is_stuck(Duration::ZERO) {
            tokio::task::yield_now().await;
        }
    }
}
