//! Turns of fetching, of which there are so many for all clients together.
//!
//! A client may have all of them while nobody else wants one. Whoever waits goes by how many turns his client has:
//! the fewer the sooner, so that somebody with a thousand pictures does not keep others waiting for theirs. Where
//! none is given back for a moment, a client with more turns gives up one whose picture does not come
//! (`request/awaited.rs`).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::connection::clients::network;
use crate::request::awaited::{Awaited, AwaitedBytes};

/// How long somebody waits until another one must give up a turn for him: one that is given back by itself costs nobody
/// his picture.
const PATIENCE: Duration = Duration::from_millis(250);

/// See the module.
pub(super) struct Turns {
    most: usize,
    /// Those that are taken.
    taken: AwaitedBytes,
    line: Mutex<Line>,
}

/// Who waits, by client and number, so that whoever is next is looked for among clients and not among all who
/// wait, of whom one client may have thousands.
#[derive(Default)]
struct Line {
    clients: HashMap<IpAddr, BTreeMap<u64, Arc<Waiting>>>,
    /// How many have come so far.
    came: u64,
}

struct Waiting {
    client: IpAddr,
    /// How many came before.
    number: u64,
    /// Told that he may be the next one now.
    called: Notify,
}

impl Turns {
    /// So many at a time.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            taken: AwaitedBytes::default(),
            line: Mutex::default(),
        }
    }

    /// A turn for a client, once it has one.
    pub(super) async fn take(&self, client: IpAddr) -> Turn<'_> {
        let place = self.line_up(client);
        let mut end = Instant::now() + PATIENCE;
        loop {
            let now = Instant::now();
            match place.look(now, now >= end) {
                Seen::Turn(turn) => return turn,
                Seen::IsBehind => place.waiting.called.notified().await,
                Seen::IsNext => {
                    if now >= end {
                        end = now + PATIENCE;
                    }
                    // What it says is looked at in any case.
                    let _ = timeout_at(end, place.waiting.called.notified()).await;
                }
            }
        }
    }

    fn line_up(&self, client: IpAddr) -> Place<'_> {
        let mut line = self.line();
        let waiting = Arc::new(Waiting {
            client: network(client),
            number: line.came,
            called: Notify::new(),
        });
        line.came += 1;
        let own = line.clients.entry(waiting.client).or_default();
        own.insert(waiting.number, Arc::clone(&waiting));
        Place {
            turns: self,
            waiting,
        }
    }

    /// Who goes first: he whose client has the fewest turns, and of those the first.
    fn next<'a>(&self, line: &'a Line) -> Option<&'a Arc<Waiting>> {
        let firsts = line.clients.values().filter_map(BTreeMap::first_key_value);
        firsts
            .map(|(_, first)| first)
            .min_by_key(|first| (self.taken.of(first.client), first.number))
    }

    /// To be called whenever another one may have become the next, or the next one may go.
    fn call_next(&self) {
        if let Some(next) = self.next(&self.line()) {
            next.called.notify_one();
        }
    }

    /// No place is left half changed by a panic.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line, until this is dropped.
struct Place<'a> {
    turns: &'a Turns,
    waiting: Arc<Waiting>,
}

/// What somebody sees who looks whether it is his turn.
enum Seen<'a> {
    Turn(Turn<'a>),
    IsNext,
    IsBehind,
}

impl<'a> Place<'a> {
    /// Looks whether it is his turn; where `presses`, also whether somebody must give up his.
    fn look(&self, now: Instant, presses: bool) -> Seen<'a> {
        let Self { turns, waiting } = self;
        let line = turns.line();
        let next = turns.next(&line);
        if next.is_some_and(|next| !Arc::ptr_eq(next, waiting)) {
            return Seen::IsBehind;
        }
        let client = waiting.client;
        let is_free = turns.taken.count() < turns.most;
        let may = is_free || (presses && turns.taken.make_room_at(client, now));
        if !may {
            return Seen::IsNext;
        }
        // Where another one was told to go, that one is gone in a moment.
        let awaited = turns.taken.enter_at(client, now);
        Seen::Turn(Turn {
            awaited,
            _given_back: GivenBack(turns),
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Waiting { client, number, .. } = &*self.waiting;
        let mut line = self.turns.line();
        if let Some(own) = line.clients.get_mut(client) {
            own.remove(number);
            if own.is_empty() {
                line.clients.remove(client);
            }
        }
        drop(line);
        self.turns.call_next();
    }
}

/// A turn, until this is dropped.
pub(super) struct Turn<'a> {
    awaited: Awaited,
    /// Dropped after `awaited`, when the turn is free.
    _given_back: GivenBack<'a>,
}

impl Turn<'_> {
    /// So many bytes of its picture have come.
    pub(super) fn came(&self, bytes: u64) {
        self.awaited.came(bytes);
    }

    /// Waits until another client has got it.
    pub(super) async fn told(&self) {
        self.awaited.told().await;
    }
}

struct GivenBack<'a>(&'a Turns);

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        self.0.call_next();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Long enough for whatever has not come to be late.
    const LATER: Duration = Duration::from_secs(3600);

    fn client(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// All turns for one client that has none of its pictures.
    fn all_of_one(turns: &Turns) -> Vec<Turn<'_>> {
        (0..turns.most)
            .map(|_| turns.take(client(1)).now_or_never().expect("a free turn"))
            .collect()
    }

    fn turn<'a>(place: &Place<'a>, now: Instant, presses: bool) -> Option<Turn<'a>> {
        match place.look(now, presses) {
            Seen::Turn(turn) => Some(turn),
            Seen::IsNext | Seen::IsBehind => None,
        }
    }

    fn was_called(place: &Place<'_>) -> bool {
        place.waiting.called.notified().now_or_never().is_some()
    }

    #[test]
    fn who_has_fewer_turns_goes_before_those_who_came_earlier() {
        let turns = Turns::new(2);
        let mut taken = all_of_one(&turns);
        let now = Instant::now();
        let queue: Vec<_> = (0..3).map(|_| turns.line_up(client(1))).collect();
        let other = turns.line_up(client(2));
        taken.pop();
        assert!(was_called(&other), "it is told");
        for place in &queue {
            assert!(turn(place, now, false).is_none() && !was_called(place));
        }
        let _second = turn(&other, now, false).expect("its turn");
        drop(other);
        assert!(turn(&queue[0], now, false).is_none(), "none is free");
        let again = turns.line_up(client(2));
        taken.clear();
        assert!(turn(&again, now, false).is_none() && !was_called(&again));
        assert!(was_called(&queue[0]) && turn(&queue[0], now, false).is_some());
    }

    #[test]
    fn a_picture_that_does_not_come_makes_room_for_another_client() {
        let turns = Turns::new(3);
        let taken = all_of_one(&turns);
        let now = Instant::now() + LATER;
        let own = turns.line_up(client(1));
        assert!(
            turn(&own, now, true).is_none(),
            "nobody makes room for himself"
        );
        let other = turns.line_up(client(2));
        assert!(turn(&other, now, false).is_none(), "he has just come");
        let _got = turn(&other, now, true).expect("a turn");
        let told = taken
            .iter()
            .filter(|turn| turn.told().now_or_never().is_some());
        assert_eq!(told.count(), 1);
        drop(other);
        // One client has two now, the other one: who has one more is not pressed.
        let again = turns.line_up(client(2));
        assert!(turn(&again, now, true).is_none());
        // What was given up is not free a second time.
        drop(taken);
        assert_eq!(turns.taken.count(), 1);
    }

    #[test]
    fn a_picture_that_comes_makes_no_room() {
        let turns = Turns::new(3);
        let begun = Instant::now() - LATER;
        let own = turns.line_up(client(1));
        let takes = || turn(&own, begun, false).expect("a free turn");
        let taken = [takes(), takes(), takes()];
        drop(own);
        // A second more.
        taken[0].came(1 << 20);
        let others = [2, 3].map(|last| turns.line_up(client(last)));
        let now = begun + Duration::from_millis(1500);
        assert!(turn(&others[0], now, true).is_some());
        let was_told = taken.map(|turn| turn.told().now_or_never().is_some());
        assert_eq!(was_told, [false, true, false]);
    }

    #[tokio::test]
    async fn a_turn_that_is_given_back_is_taken_by_who_waits() {
        let turns = Turns::new(1);
        let first = turns.take(client(1)).await;
        let mut second = Box::pin(turns.take(client(1)));
        let mut third = Box::pin(turns.take(client(1)));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        // He was called, and leaves: the next one is.
        drop(second);
        assert!(third.now_or_never().is_some());
        // Nothing is left of who has gone.
        assert!(turns.line().clients.is_empty());
    }
}
