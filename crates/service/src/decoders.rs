//! Where images are decoded: on threads of their own, one for each decoder, within a budget
//! of bytes, and interactive ones soon.
//!
//! ```text
//! interactive --+                                     +--> decode-0
//!               +--> a thread and bytes of the -------+--> decode-1
//! bulk ---------+    budget, then out of the line     +--> ...
//!                                                          |
//! DecodeLease: taken here --------------- kept with the pixels until their batch is done
//! ```
//!
//! A thread that is free takes the next image whose picture fits the budget. Three
//! interactive ones go before one of a bulk while both wait, and a bulk leaves an eighth of
//! the budget to them: an interactive image waits for those that are being decoded, not for
//! the bulk, and a large picture of a bulk has its turn in the end. An image of a bulk that an
//! interactive request comes to wait for changes lines. A job that waits holds no lease.
//! The lease of a picture shrinks to what the engine needs once it is prepared, and ends
//! with those pixels: so the images that wait for a batch are bounded in bytes, and
//! decoding goes no further ahead of the engine than that.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::demand::Demand;
use crate::metrics::Metrics;
use siglip2_engine::Tower;

/// Interactive images that go before one of a bulk.
const IN_A_ROW: u32 = 3;

type Work = Box<dyn FnOnce(DecodeLease) + Send>;

/// See the module. Dropping it ends the threads, once they have done what they have begun.
pub(crate) struct Decoders {
    budget: Arc<DecodeBudget>,
}

/// The lines, and the bytes that all pictures may take.
struct DecodeBudget {
    state: Mutex<State>,
    /// Rung when there may be something to take.
    bell: Condvar,
    /// What all pictures may take, and those of bulk requests.
    max_bytes: u64,
    max_bulk_bytes: u64,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    /// Those who wait, in the order in which they came.
    interactive: BTreeMap<u64, Job>,
    bulk: BTreeMap<u64, Job>,
    /// Number of the last that came.
    last: u64,
    /// Interactive images that were taken since the last one of a bulk.
    in_a_row: u32,
    taken: u64,
    bulk_taken: u64,
    closed: bool,
}

struct Job {
    bytes: u64,
    demand: Arc<Demand>,
    work: Work,
}

impl DecodeBudget {
    /// The counts hold whatever panics between two of them: nothing there can.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a picture is counted for: one that is larger than the whole budget has it to
    /// itself.
    fn counted(&self, bulk: bool, bytes: u64) -> u64 {
        bytes.min(if bulk {
            self.max_bulk_bytes
        } else {
            self.max_bytes
        })
    }

    /// The next job, if it fits. The one whose turn it is waits until it fits, and
    /// nobody slips past; but a bulk that has taken all that is a bulk's lets others pass.
    fn pick(&self, state: &mut State) -> Option<(Job, bool)> {
        let bulk_turn = state.interactive.is_empty() || state.in_a_row >= IN_A_ROW;
        if bulk_turn && let Some((&number, job)) = state.bulk.first_key_value() {
            let bytes = self.counted(true, job.bytes);
            if state.bulk_taken + bytes <= self.max_bulk_bytes {
                if state.taken + bytes > self.max_bytes {
                    return None;
                }
                state.in_a_row = 0;
                return state.bulk.remove(&number).map(|job| (job, true));
            }
        }
        let (&number, job) = state.interactive.first_key_value()?;
        if state.taken + self.counted(false, job.bytes) > self.max_bytes {
            return None;
        }
        state.in_a_row = IN_A_ROW.min(state.in_a_row + 1);
        state.interactive.remove(&number).map(|job| (job, false))
    }

    /// Waits for a job; none when there will be no more.
    fn next(self: &Arc<Self>) -> Option<(Work, DecodeLease)> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some((job, bulk)) = self.pick(&mut state) {
                let bytes = self.counted(bulk, job.bytes);
                state.taken += bytes;
                state.bulk_taken += if bulk { bytes } else { 0 };
                // There may be enough for another.
                self.bell.notify_one();
                let lease = DecodeLease {
                    budget: Arc::clone(self),
                    bytes,
                    bulk,
                };
                return Some((job.work, lease));
            }
            state = self
                .bell
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The part of the budget that a picture takes, given back when this is dropped.
pub(crate) struct DecodeLease {
    budget: Arc<DecodeBudget>,
    bytes: u64,
    bulk: bool,
}

impl DecodeLease {
    /// Gives back what is beyond so many bytes.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        if back > 0 {
            let mut state = self.budget.state();
            state.taken -= back;
            state.bulk_taken -= if self.bulk { back } else { 0 };
            drop(state);
            self.budget.bell.notify_one();
        }
    }
}

impl Drop for DecodeLease {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

/// A place in a line; dropping it while its job waits takes the job out.
struct Place<'a> {
    budget: &'a DecodeBudget,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        let State {
            interactive, bulk, ..
        } = &mut *state;
        let left = interactive
            .remove(&self.number)
            .or_else(|| bulk.remove(&self.number));
        drop(state);
        if let Some(job) = left {
            if job.demand.is_over(Instant::now()) {
                self.budget.metrics.expired(Tower::Image);
            } else {
                self.budget.metrics.dropped(Tower::Image);
            }
            self.budget.bell.notify_one();
        }
    }
}

impl Decoders {
    /// So many threads, and so many bytes.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(crate) fn start(threads: usize, bytes: u64, metrics: Arc<Metrics>) -> io::Result<Self> {
        let decoders = Self {
            budget: Arc::new(DecodeBudget {
                state: Mutex::default(),
                bell: Condvar::new(),
                max_bytes: bytes.max(1),
                max_bulk_bytes: (bytes - bytes / 8).max(1),
                metrics,
            }),
        };
        for number in 0..threads.max(1) {
            let budget = Arc::clone(&decoders.budget);
            thread::Builder::new()
                .name(format!("decode-{number}"))
                .spawn(move || {
                    while let Some((work, lease)) = budget.next() {
                        // The panic has been printed, and the request sees that nothing comes.
                        let _ = catch_unwind(AssertUnwindSafe(|| work(lease)));
                    }
                })?;
        }
        Ok(decoders)
    }

    /// Runs work that fills `bytes` of memory with a picture, and is given the lease for
    /// them. Dropping the future while the work waits takes it back; work that has begun is
    /// finished and its result dropped.
    ///
    /// # Errors
    ///
    /// A sentence, when the work panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        demand: Arc<Demand>,
        bytes: u64,
        work: impl FnOnce(DecodeLease) -> T + Send + 'static,
    ) -> Result<T, String> {
        let (answer, result) = oneshot::channel();
        let work = Box::new(move |lease: DecodeLease| {
            // An error means only that the client has gone in the meantime.
            let _ = answer.send(work(lease));
        });
        let _place = self.stand(Job {
            bytes,
            demand,
            work,
        });
        result
            .await
            .map_err(|_| "a decoding task panicked; the log above says where".to_owned())
    }

    /// Moves images of a bulk that an interactive request has come to wait for to the
    /// interactive line, where they stand by when they came.
    pub(crate) fn promote(&self) {
        let mut state = self.budget.state();
        let State {
            interactive, bulk, ..
        } = &mut *state;
        let promoted = bulk.extract_if(.., |_, job| job.demand.is_interactive());
        interactive.extend(promoted);
        drop(state);
        self.budget.bell.notify_one();
    }

    fn stand(&self, job: Job) -> Place<'_> {
        let mut state = self.budget.state();
        state.last += 1;
        let number = state.last;
        let line = match job.demand.is_interactive() {
            true => &mut state.interactive,
            false => &mut state.bulk,
        };
        line.insert(number, job);
        drop(state);
        self.budget.bell.notify_one();
        Place {
            budget: &self.budget,
            number,
        }
    }
}

impl Drop for Decoders {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.closed = true;
        let left = (
            std::mem::take(&mut state.interactive),
            std::mem::take(&mut state.bulk),
        );
        drop(state);
        self.budget.bell.notify_all();
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

    fn decoders(threads: usize, bytes: u64) -> io::Result<Decoders> {
        Decoders::start(threads, bytes, Metrics::new())
    }

    fn wanted(interactive: bool) -> Arc<Demand> {
        Demand::new(Wish {
            deadline: None,
            interactive,
        })
    }

    /// Takes its place in the line, in the order of the calls; whether it waits there.
    fn stand(future: Pin<&mut impl Future>) -> bool {
        future
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    }

    /// Holds a thread, and so much room, until it is let go; returns when it does.
    async fn hold(
        decoders: &Decoders,
        bytes: u64,
    ) -> (mpsc::Sender<()>, impl Future<Output = Result<(), String>>) {
        let (begun, has_begun) = oneshot::channel();
        let (go, wait) = mpsc::channel();
        let mut running = Box::pin(decoders.run(wanted(true), bytes, move |_lease| {
            let _ = begun.send(());
            let _ = wait.recv();
        }));
        assert!(stand(running.as_mut()));
        has_begun.await.unwrap();
        (go, running)
    }

    #[tokio::test]
    async fn an_interactive_image_waits_for_one_round_of_a_bulk_however_large_its_pictures() {
        let decoders = decoders(1, 10 * MIB).unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let job = |name: &'static str, interactive, mib: u64| {
            let order = Arc::clone(&order);
            decoders.run(wanted(interactive), mib * MIB, move |_lease| {
                order.lock().unwrap().push(name);
            })
        };
        let (go, held) = hold(&decoders, 0).await;
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
        let decoders = decoders(1, 10 * MIB).unwrap();
        let order = Arc::new(Mutex::new(String::new()));
        let (go, held) = hold(&decoders, 0).await;
        let mut all: Vec<_> = "bbiiiiiii"
            .chars()
            .map(|name| {
                let order = Arc::clone(&order);
                Box::pin(decoders.run(wanted(name == 'i'), MIB, move |_| {
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
        // The first turn of three has begun with the one that held the thread.
        assert_eq!(*order.lock().unwrap(), "iibiiibii");
    }

    #[tokio::test]
    async fn room_is_kept_until_the_pixels_go_and_a_bulk_leaves_some_of_it() {
        let decoders = decoders(2, 16 * MIB).unwrap();
        // It is done, and its pixels wait for a batch.
        let mut pixels = decoders
            .run(wanted(false), 14 * MIB, |lease| lease)
            .await
            .unwrap();
        let mut bulk = pin!(decoders.run(wanted(false), 2 * MIB, |_| ()));
        assert!(stand(bulk.as_mut()));
        // The eighth that is left.
        decoders.run(wanted(true), 2 * MIB, |_| ()).await.unwrap();
        let mut large = pin!(decoders.run(wanted(true), 3 * MIB, |_| ()));
        assert!(stand(large.as_mut()));
        assert_eq!(decoders.budget.state().interactive.len(), 1);
        pixels.shrink(MIB);
        large.await.unwrap();
        bulk.await.unwrap();
        assert_eq!(decoders.budget.state().bulk_taken, MIB);
        drop(pixels);
        let all = decoders
            .run(wanted(true), u64::MAX, |lease| lease)
            .await
            .unwrap();
        assert_eq!(decoders.budget.state().taken, 16 * MIB);
        drop(all);
        let state = decoders.budget.state();
        assert_eq!((state.taken, state.bulk_taken), (0, 0));
    }

    #[tokio::test]
    async fn who_leaves_the_line_leaves_nothing_and_a_panic_fails_only_its_own() {
        let decoders = decoders(1, 10 * MIB).unwrap();
        let (go, held) = hold(&decoders, 9 * MIB).await;
        let alive = Arc::new(());
        {
            let carried = Arc::clone(&alive);
            let mut leaver = pin!(decoders.run(wanted(false), 9 * MIB, move |_| drop(carried)));
            assert!(stand(leaver.as_mut()));
            assert_eq!(Arc::strong_count(&alive), 2);
        }
        assert_eq!(Arc::strong_count(&alive), 1);
        go.send(()).unwrap();
        held.await.unwrap();
        let panic = decoders
            .run(wanted(true), MIB, |_lease| panic!("as ordered"))
            .await;
        assert!(panic.is_err());
        assert_eq!(
            decoders.run(wanted(true), 10 * MIB, |_lease| 5).await,
            Ok(5)
        );
    }

    #[tokio::test]
    async fn an_image_of_a_bulk_that_becomes_interactive_changes_lines() {
        let decoders = decoders(1, 10 * MIB).unwrap();
        let order = Arc::new(Mutex::new(String::new()));
        let (go, held) = hold(&decoders, 0).await;
        let demands: Vec<_> = "aBcD"
            .chars()
            .map(|name| (name, wanted(name > 'Z')))
            .collect();
        let mut all: Vec<_> = demands
            .iter()
            .map(|(name, demand)| {
                let (name, order) = (*name, Arc::clone(&order));
                let run = decoders.run(Arc::clone(demand), MIB, move |_| {
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
        decoders.promote();
        // One that was promoted can be taken out of its line as any other.
        demands[3].1.join(hurried);
        decoders.promote();
        drop(all.pop());
        go.send(()).unwrap();
        held.await.unwrap();
        for one in all {
            one.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), "aBc");
        assert_eq!(decoders.budget.state().interactive.len(), 0);
    }
}
