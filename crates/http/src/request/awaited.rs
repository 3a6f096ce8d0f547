//! What is awaited of clients and for them, bodies of requests or pictures that are fetched, and which of it makes
//! room for another client when as much is awaited as may be.
//!
//! A body may pause for seconds, and a client may have hundreds of connections: without this, one client that
//! sends heads and no bodies, or names pictures that never come, would keep out every other one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::connection::clients::network;

/// How long bytes may pause and make no room.
const PAUSE: Duration = Duration::from_secs(1);

/// Bytes in a second by which what pauses again and again is told from what comes.
const RATE: u64 = 4 << 10;

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct AwaitedBytes(Arc<Mutex<HashMap<IpAddr, Vec<Arc<State>>>>>);

/// What is known of one body, or one picture.
struct State {
    /// From then on it makes room.
    due: Mutex<Instant>,
    told: Notify,
}

impl State {
    fn due(&self) -> MutexGuard<'_, Instant> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AwaitedBytes {
    /// No entry is left half changed by a panic.
    fn all(&self) -> MutexGuard<'_, HashMap<IpAddr, Vec<Arc<State>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A body of this client, or a picture for it, is awaited from now on, until what is given is dropped.
    pub(crate) fn enter(&self, client: IpAddr) -> Awaited {
        self.enter_at(client, Instant::now())
    }

    pub(crate) fn enter_at(&self, client: IpAddr, now: Instant) -> Awaited {
        let client = network(client);
        let state = Arc::new(State {
            due: Mutex::new(now + PAUSE),
            told: Notify::new(),
        });
        self.all()
            .entry(client)
            .or_default()
            .push(Arc::clone(&state));
        Awaited {
            all: self.clone(),
            client,
            state,
        }
    }

    /// How many are awaited of a client, or for it.
    pub(crate) fn of(&self, client: IpAddr) -> usize {
        self.all().get(&network(client)).map_or(0, Vec::len)
    }

    /// How many are awaited.
    pub(crate) fn count(&self) -> usize {
        self.all().values().map(Vec::len).sum()
    }

    /// Tells one that does not come to make room for this client, and awaits it no more; whether there is one.
    /// It is of a client with more of them, so that nobody makes room for himself, and whoever has the most
    /// makes it first.
    pub(crate) fn make_room(&self, client: IpAddr) -> bool {
        self.make_room_at(client, Instant::now())
    }

    pub(crate) fn make_room_at(&self, client: IpAddr, now: Instant) -> bool {
        let mut all = self.all();
        let own = all.get(&network(client)).map_or(0, Vec::len);
        let late = |bodies: &[Arc<State>]| {
            let due = bodies.iter().map(|body| *body.due()).enumerate();
            due.filter(|(_, due)| *due <= now)
                .min_by_key(|(_, due)| *due)
        };
        let more = all.values_mut().filter(|bodies| bodies.len() > own + 1);
        let found = more.filter_map(|bodies| Some((late(bodies)?.0, bodies)));
        let Some((at, bodies)) = found.max_by_key(|(_, bodies)| bodies.len()) else {
            return false;
        };
        bodies.swap_remove(at).told.notify_one();
        true
    }
}

/// One body, or one picture, that is awaited.
pub(crate) struct Awaited {
    all: AwaitedBytes,
    client: IpAddr,
    state: Arc<State>,
}

impl Awaited {
    /// So many bytes have come.
    pub(crate) fn came(&self, bytes: u64) {
        self.came_at(bytes, Instant::now());
    }

    fn came_at(&self, bytes: u64, now: Instant) {
        let earned = Duration::from_millis(bytes.saturating_mul(1000) / RATE);
        let mut due = self.state.due();
        *due = (now + PAUSE).min(*due + earned.min(PAUSE));
    }

    /// Waits until it must make room.
    pub(crate) async fn told(&self) {
        self.state.told.notified().await;
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut all = self.all.all();
        if let Some(bodies) = all.get_mut(&self.client) {
            bodies.retain(|body| !Arc::ptr_eq(body, &self.state));
            if bodies.is_empty() {
                all.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn was_told(body: &Awaited) -> bool {
        body.told().now_or_never().is_some()
    }

    #[test]
    fn who_awaits_the_most_makes_room_and_nobody_for_himself() {
        let all = AwaitedBytes::default();
        let client = |last| IpAddr::from([192, 0, 2, last]);
        let begun = Instant::now();
        let enter = |last, count| -> Vec<Awaited> {
            (0..count)
                .map(|_| all.enter_at(client(last), begun))
                .collect()
        };
        let (two, three) = (enter(2, 2), enter(3, 3));
        let makes_room = |last, now| all.make_room_at(client(last), now);
        assert!(!makes_room(1, begun), "all have time");
        let now = begun + PAUSE;
        assert!(!makes_room(3, now), "no other has more");
        assert!(makes_room(1, now));
        assert_eq!(three.iter().filter(|body| was_told(body)).count(), 1);
        // Now both have two, and each makes room once more.
        assert!(!makes_room(2, now) && !makes_room(3, now));
        assert!(makes_room(1, now) && makes_room(1, now));
        assert_eq!(two.iter().filter(|body| was_told(body)).count(), 1);
        assert!(!makes_room(1, now));
        drop((two, three));
        assert!(all.all().is_empty());
    }

    #[test]
    fn a_body_that_comes_stays_and_one_that_drips_does_not() {
        let all = AwaitedBytes::default();
        let (attacker, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut now = Instant::now();
        let bodies: Vec<_> = (0..3).map(|_| all.enter_at(attacker, now)).collect();
        for _ in 0..10 {
            now += PAUSE / 2;
            bodies[0].came_at(RATE, now);
            bodies[1].came_at(1, now);
            bodies[2].came_at(RATE, now);
        }
        assert!(all.make_room_at(other, now));
        assert!(was_told(&bodies[1]));
        assert!(!all.make_room_at(other, now), "the others come");
        // Nor does a large piece earn more than a pause.
        bodies[0].came_at(1 << 30, now);
        assert!(all.make_room_at(other, now + PAUSE));
    }
}
