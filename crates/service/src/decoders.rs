//! Where images are decoded: on threads of their own, one for each decoder, within so many
//! bytes, and interactive ones soon.
//!
//! ```text
//! interactive --+                                     +--> decode-0
//!               +--> a thread and room for the -------+--> decode-1
//! bulk ---------+    picture, then out of the line    +--> ...
//!                                                          |
//! room: taken here --------------------- kept with the pixels until their batch is done
//! ```
//!
//! A thread that is free takes the next image whose picture has room. Three interactive
//! ones go before one of a bulk while both wait, and a bulk leaves an eighth of the room
//! to them: an interactive image waits for those that are being decoded, not for the
//! bulk, and a large picture of a bulk has its turn in the end. Who waits holds no room.
//! The room of a picture shrinks to what the engine eats once it is prepared, and is given
//! back with those pixels: so the images that wait for a batch are bounded in bytes, and
//! decoding goes no further ahead of the engine than that.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

/// So many interactive images go before one of a bulk.
const IN_A_ROW: u32 = 3;

type Work = Box<dyn FnOnce(Room) + Send>;

/// See the module. Dropping it ends the threads, once they have done what they have begun.
pub(super) struct Decoders {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Rung when there may be something to take.
    bell: Condvar,
    /// What all pictures may take, and those of bulk requests.
    most: u64,
    bulk_most: u64,
}

#[derive(Default)]
struct State {
    /// Those who wait, in the order in which they came.
    interactive: BTreeMap<u64, Job>,
    bulk: BTreeMap<u64, Job>,
    came: u64,
    /// Interactive images that were taken since the last one of a bulk.
    in_a_row: u32,
    taken: u64,
    bulk_taken: u64,
    closed: bool,
}

struct Job {
    bytes: u64,
    work: Work,
}

impl Shared {
    /// The counts hold whatever panics between two of them: nothing there can.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a picture is counted for: one that is larger than all the room has it to
    /// itself.
    fn counted(&self, bulk: bool, bytes: u64) -> u64 {
        bytes.min(if bulk { self.bulk_most } else { self.most })
    }

    /// The next job, if there is room for it. Whose turn it is waits for its room, and
    /// nobody slips past; but a bulk that has taken all that is a bulk's lets others pass.
    fn pick(&self, state: &mut State) -> Option<(Job, bool)> {
        let bulk_turn = state.interactive.is_empty() || state.in_a_row >= IN_A_ROW;
        if bulk_turn && let Some((&number, job)) = state.bulk.first_key_value() {
            let bytes = self.counted(true, job.bytes);
            if state.bulk_taken + bytes <= self.bulk_most {
                if state.taken + bytes > self.most {
                    return None;
                }
                state.in_a_row = 0;
                return state.bulk.remove(&number).map(|job| (job, true));
            }
        }
        let (&number, job) = state.interactive.first_key_value()?;
        if state.taken + self.counted(false, job.bytes) > self.most {
            return None;
        }
        state.in_a_row = IN_A_ROW.min(state.in_a_row + 1);
        state.interactive.remove(&number).map(|job| (job, false))
    }

    /// Waits for a job; none when there will be no more.
    fn next(self: &Arc<Self>) -> Option<(Work, Room)> {
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
                let room = Room {
                    shared: Arc::clone(self),
                    bytes,
                    bulk,
                };
                return Some((job.work, room));
            }
            state = self
                .bell
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The room that a picture takes, given back when this is dropped.
pub(super) struct Room {
    shared: Arc<Shared>,
    bytes: u64,
    bulk: bool,
}

impl Room {
    /// Gives back what is beyond so many bytes.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        if back > 0 {
            let mut state = self.shared.state();
            state.taken -= back;
            state.bulk_taken -= if self.bulk { back } else { 0 };
            drop(state);
            self.shared.bell.notify_one();
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

/// A place in a line; who drops it while waiting has left it, and nothing stays behind.
struct Place<'a> {
    shared: &'a Shared,
    bulk: bool,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let line = match self.bulk {
            true => &mut state.bulk,
            false => &mut state.interactive,
        };
        let left = line.remove(&self.number);
        drop(state);
        if left.is_some() {
            self.shared.bell.notify_one();
        }
    }
}

impl Decoders {
    /// So many threads, and so many bytes.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn start(threads: usize, bytes: u64) -> io::Result<Self> {
        let decoders = Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                bell: Condvar::new(),
                most: bytes.max(1),
                bulk_most: (bytes - bytes / 8).max(1),
            }),
        };
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&decoders.shared);
            thread::Builder::new()
                .name(format!("decode-{number}"))
                .spawn(move || {
                    while let Some((work, room)) = shared.next() {
                        // The panic has been printed, and who waits sees that nothing comes.
                        let _ = catch_unwind(AssertUnwindSafe(|| work(room)));
                    }
                })?;
        }
        Ok(decoders)
    }

    /// Runs work that fills `bytes` of memory with a picture, and is given the room for
    /// it. Who is dropped while it waits leaves nothing behind; work that has begun is
    /// finished and its result dropped.
    ///
    /// # Errors
    ///
    /// A sentence, when the work panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        interactive: bool,
        bytes: u64,
        work: impl FnOnce(Room) -> T + Send + 'static,
    ) -> Result<T, String> {
        let (answer, result) = oneshot::channel();
        let work = Box::new(move |room: Room| {
            // An error means only that the client has gone in the meantime.
            let _ = answer.send(work(room));
        });
        let _place = self.stand(!interactive, Job { bytes, work });
        result
            .await
            .map_err(|_| "a decoding task panicked; the log above says where".to_owned())
    }

    fn stand(&self, bulk: bool, job: Job) -> Place<'_> {
        let mut state = self.shared.state();
        state.came += 1;
        let number = state.came;
        let line = match bulk {
            true => &mut state.bulk,
            false => &mut state.interactive,
        };
        line.insert(number, job);
        drop(state);
        self.shared.bell.notify_one();
        Place {
            shared: &self.shared,
            bulk,
            number,
        }
    }
}

impl Drop for Decoders {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        let left = (
            std::mem::take(&mut state.interactive),
            std::mem::take(&mut state.bulk),
        );
        drop(state);
        self.shared.bell.notify_all();
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    const MIB: u64 = 1 << 20;

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
        let mut running = Box::pin(decoders.run(true, bytes, move |_room| {
            let _ = begun.send(());
            let _ = wait.recv();
        }));
        assert!(stand(running.as_mut()));
        has_begun.await.unwrap();
        (go, running)
    }

    #[tokio::test]
    async fn an_interactive_image_waits_for_one_round_of_a_bulk_however_large_its_pictures() {
        let decoders = Decoders::start(1, 10 * MIB).unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let job = |name: &'static str, interactive, mib: u64| {
            let order = Arc::clone(&order);
            decoders.run(interactive, mib * MIB, move |_room| {
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
        let decoders = Decoders::start(1, 10 * MIB).unwrap();
        let order = Arc::new(Mutex::new(String::new()));
        let (go, held) = hold(&decoders, 0).await;
        let mut all: Vec<_> = "bbiiiiiii"
            .chars()
            .map(|name| {
                let order = Arc::clone(&order);
                Box::pin(decoders.run(name == 'i', MIB, move |_| order.lock().unwrap().push(name)))
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
        let decoders = Decoders::start(2, 16 * MIB).unwrap();
        // It is done, and its pixels wait for a batch.
        let mut pixels = decoders.run(false, 14 * MIB, |room| room).await.unwrap();
        let mut bulk = pin!(decoders.run(false, 2 * MIB, |_| ()));
        assert!(stand(bulk.as_mut()));
        // The eighth that is left.
        decoders.run(true, 2 * MIB, |_| ()).await.unwrap();
        let mut large = pin!(decoders.run(true, 3 * MIB, |_| ()));
        assert!(stand(large.as_mut()));
        assert_eq!(decoders.shared.state().interactive.len(), 1);
        pixels.shrink(MIB);
        large.await.unwrap();
        bulk.await.unwrap();
        assert_eq!(decoders.shared.state().bulk_taken, MIB);
        drop(pixels);
        let all = decoders.run(true, u64::MAX, |room| room).await.unwrap();
        assert_eq!(decoders.shared.state().taken, 16 * MIB);
        drop(all);
        let state = decoders.shared.state();
        assert_eq!((state.taken, state.bulk_taken), (0, 0));
    }

    #[tokio::test]
    async fn who_leaves_the_line_leaves_nothing_and_a_panic_fails_only_its_own() {
        let decoders = Decoders::start(1, 10 * MIB).unwrap();
        let (go, held) = hold(&decoders, 9 * MIB).await;
        let alive = Arc::new(());
        {
            let carried = Arc::clone(&alive);
            let mut leaver = pin!(decoders.run(false, 9 * MIB, move |_| drop(carried)));
            assert!(stand(leaver.as_mut()));
            assert_eq!(Arc::strong_count(&alive), 2);
        }
        assert_eq!(Arc::strong_count(&alive), 1);
        go.send(()).unwrap();
        held.await.unwrap();
        let panic = decoders.run(true, MIB, |_room| panic!("as ordered")).await;
        assert!(panic.is_err());
        assert_eq!(decoders.run(true, 10 * MIB, |_room| 5).await, Ok(5));
    }
}
