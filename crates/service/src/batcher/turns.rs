//! Turns of engines that compute on the same cores. Each engine on the CPU has as many threads
//! as there are cores, so of several only one may compute at a time.
//!
//! ```text
//! owner: rows wait --take--> its turn --> batch --drop--> the next owner's turn
//!                                           |
//!                        rest: offer --> interactive rows of another engine, and back again
//! ```
//!
//! The rules are those within one engine. Whoever has interactive rows goes first, but no more
//! than three times past one that waits with bulk rows. A batch with bulk rows offers its turn
//! each time it rests, and keeps a quarter of the time (`owner`). An interactive batch keeps its
//! turn to the end.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Interactive turns in a row that may pass an engine that waits with bulk rows.
const PASSES: usize = 3;

/// The turns of the engines of one process. Clones are the same turns.
#[derive(Clone, Default)]
pub struct Turns(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    /// Whether it is anyone's turn.
    taken: bool,
    waiting: VecDeque<Waiter>,
    /// Whose turn it is from now on.
    granted: Option<u64>,
    /// How many have waited so far.
    number: u64,
    /// Interactive turns in a row while someone waited with bulk rows.
    passes: usize,
}

/// Whether an engine has interactive rows that wait; asked while it waits for its turn, because
/// such rows may arrive meanwhile.
pub(super) type Hurry = Arc<dyn Fn() -> bool + Send + Sync>;

/// An engine that waits.
struct Waiter {
    number: u64,
    hurry: Hurry,
    /// Whether it is in the middle of a batch.
    resumes: bool,
}

impl Turns {
    /// How many engines wait for their turn.
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }

    /// Waits for a turn.
    pub(super) fn take(&self, hurry: &Hurry) -> Turn {
        let mut state = self.0.lock();
        if state.taken {
            let number = state.wait(hurry, false);
            drop(self.0.until(state, number));
        } else {
            state.taken = true;
        }
        Turn(Arc::clone(&self.0))
    }
}

/// A turn, which ends when this is dropped.
pub(super) struct Turn(Arc<Shared>);

impl Turn {
    /// Lets an engine with interactive rows go first, if one waits, and returns when it is this
    /// one's turn again.
    pub(super) fn offer(&mut self, hurry: &Hurry) {
        let mut state = self.0.lock();
        let Some(at) = state.waiting.iter().position(|waiter| (waiter.hurry)()) else {
            return;
        };
        let number = state.wait(hurry, true);
        state.grant(at);
        self.0.bell.notify_all();
        drop(self.0.until(state, number));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        match state.next() {
            Some(at) => {
                state.grant(at);
                self.0.bell.notify_all();
            }
            None => state.taken = false,
        }
    }
}

impl Shared {
    /// No invariant spans two statements that could panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is the turn of this waiter.
    fn until<'a>(&'a self, mut state: MutexGuard<'a, State>, number: u64) -> MutexGuard<'a, State> {
        while state.granted != Some(number) {
            state = self
                .bell
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.granted = None;
        state
    }
}

impl State {
    /// Adds a waiter, and returns its number.
    fn wait(&mut self, hurry: &Hurry, resumes: bool) -> u64 {
        self.number += 1;
        self.waiting.push_back(Waiter {
            number: self.number,
            hurry: Arc::clone(hurry),
            resumes,
        });
        self.number
    }

    fn grant(&mut self, at: usize) {
        self.granted = self.waiting.remove(at).map(|waiter| waiter.number);
    }

    /// The place of the waiter whose turn is next. Who was interrupted goes on first: at its next
    /// rest it offers its turn again, if it has had its quarter.
    fn next(&mut self) -> Option<usize> {
        if let Some(at) = self.waiting.iter().position(|waiter| waiter.resumes) {
            return Some(at);
        }
        let first = |hurried: bool| {
            let mut waiting = self.waiting.iter();
            waiting.position(|waiter| (waiter.hurry)() == hurried)
        };
        let (hurried, bulk) = (first(true), first(false));
        match (hurried, bulk) {
            (Some(at), Some(_)) if self.passes < PASSES => {
                self.passes += 1;
                Some(at)
            }
            (Some(at), None) => Some(at),
            (_, bulk) => {
                self.passes = 0;
                bulk
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::{JoinHandle, spawn};

    fn hurry(interactive: bool) -> Hurry {
        Arc::new(move || interactive)
    }

    /// Waits until so many wait for their turn.
    fn until_waiting(turns: &Turns, count: usize) {
        while turns.waiting() < count {
            std::thread::yield_now();
        }
    }

    /// An engine that says when it has its turn, and ends it at once.
    fn engine(turns: &Turns, name: char, hurry: Hurry, order: &Sender<char>) -> JoinHandle<()> {
        let (turns, order) = (turns.clone(), order.clone());
        spawn(move || {
            let _turn = turns.take(&hurry);
            order.send(name).unwrap();
        })
    }

    fn order(said: Receiver<char>, said_to: Sender<char>) -> String {
        drop(said_to);
        said.iter().collect()
    }

    #[test]
    fn interactive_rows_go_first_but_not_for_ever() {
        let turns = Turns::default();
        let (to, said) = channel();
        let held = turns.take(&hurry(true));
        let mut engines = Vec::new();
        for (at, name) in "biiiiib".chars().enumerate() {
            engines.push(engine(&turns, name, hurry(name == 'i'), &to));
            until_waiting(&turns, at + 1);
        }
        drop(held);
        engines.into_iter().for_each(|it| it.join().unwrap());
        assert_eq!(order(said, to), "iiibiib");
        assert!(!turns.0.lock().taken);
    }

    #[test]
    fn a_batch_that_rests_lets_interactive_rows_pass_and_goes_on_before_others() {
        let turns = Turns::default();
        let (to, said) = channel();
        let mut held = turns.take(&hurry(false));
        let waits = hurry(false);
        // Nobody has interactive rows.
        held.offer(&waits);
        let mut engines = vec![engine(&turns, 'b', hurry(false), &to)];
        until_waiting(&turns, 1);
        held.offer(&waits);
        engines.push(engine(&turns, 'i', hurry(true), &to));
        until_waiting(&turns, 2);
        held.offer(&waits);
        to.send('h').unwrap();
        drop(held);
        engines.into_iter().for_each(|it| it.join().unwrap());
        assert_eq!(order(said, to), "ihb");
    }

    #[test]
    fn rows_that_arrive_while_an_engine_waits_count() {
        let turns = Turns::default();
        let (to, said) = channel();
        let held = turns.take(&hurry(true));
        let arrived = Arc::new(AtomicBool::new(false));
        let later = Arc::clone(&arrived);
        let first = engine(&turns, 'b', hurry(false), &to);
        until_waiting(&turns, 1);
        let hurry: Hurry = Arc::new(move || later.load(Ordering::SeqCst));
        let second = engine(&turns, 'c', hurry, &to);
        until_waiting(&turns, 2);
        arrived.store(true, Ordering::SeqCst);
        drop(held);
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(order(said, to), "cb");
    }
}
