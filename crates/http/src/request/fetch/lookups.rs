//! Look-ups of names that are under way. Each has a thread for as long as the system's resolver likes, also when
//! nobody waits for it any more: it cannot be told to stop, so there must be threads left for others.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::connection::clients::{Clients, Held};

/// See the module.
pub(super) struct Lookups {
    most: usize,
    clients: Clients,
    ended: Arc<Notify>,
}

impl Lookups {
    /// Those for so many turns of fetching: twice as many, of which one client may have half.
    pub(super) fn beside(turns: usize) -> Self {
        Self {
            most: turns.saturating_mul(2),
            clients: Clients::new(0),
            ended: Arc::default(),
        }
    }

    /// One for a client, as soon as more are left than it has: so the first may have half of all, the next one half
    /// of the rest, and whoever has none waits only where that many clients have taken theirs.
    pub(super) async fn begin(&self, client: IpAddr) -> Lookup {
        loop {
            let ended = self.ended.notified();
            let may = |own, all| own < self.most.saturating_sub(all);
            if let Some(held) = self.clients.enter_if(client, may) {
                return Lookup {
                    held: Some(held),
                    ended: Arc::clone(&self.ended),
                };
            }
            ended.await;
        }
    }
}

/// A look-up that is under way, until this is dropped.
pub(super) struct Lookup {
    held: Option<Held>,
    ended: Arc<Notify>,
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.held = None;
        self.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn one_client_leaves_half_and_the_next_one_half_of_the_rest() {
        let lookups = Lookups::beside(4);
        let begin = |last| {
            let client = IpAddr::from([192, 0, 2, last]);
            lookups.begin(client).now_or_never()
        };
        let begin_all = |last| -> Vec<Lookup> { std::iter::from_fn(|| begin(last)).collect() };
        let (one, two, three) = (begin_all(1), begin_all(2), begin_all(3));
        assert_eq!((one.len(), two.len(), three.len()), (4, 2, 1));
        // Whoever has none gets the last.
        let last = begin(4);
        assert!(last.is_some() && begin(5).is_none());
        drop(two);
        assert!(begin(5).is_some() && begin(1).is_none());
    }

    #[tokio::test]
    async fn who_waits_is_called_when_one_ends() {
        let lookups = Lookups::beside(1);
        let client = IpAddr::from([192, 0, 2, 1]);
        let first = lookups.begin(client).await;
        let mut second = Box::pin(lookups.begin(client));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.now_or_never().is_some());
    }
}
