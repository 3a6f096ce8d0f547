//! How much one client may hold at a time, whatever it holds: connections, or behind a proxy
//! requests.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::HeaderMap;
use hyper::header::HeaderName;

/// Who holds fewer than this is never one of those who hold many.
const MANY: usize = 8;

/// Counts by address.
#[derive(Clone)]
pub(crate) struct Clients(Arc<Counts>);

struct Counts {
    most: usize,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    held: HashMap<IpAddr, usize>,
    /// Of all clients together.
    all: usize,
}

impl Clients {
    /// Each may hold so many; 0 is for any number.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Counts {
            most,
            counted: Mutex::default(),
        }))
    }

    /// What a client may hold; 0 is for any number.
    pub(crate) fn most(&self) -> usize {
        self.0.most
    }

    /// One more for a client, until what is given is dropped; none if it holds as many as it
    /// may.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Held> {
        let most = self.0.most;
        self.enter_if(address, |own, _| most == 0 || own < most)
    }

    /// One more for a client, if `may` says so of what it holds and of what all hold together.
    pub(crate) fn enter_if(
        &self,
        address: IpAddr,
        may: impl FnOnce(usize, usize) -> bool,
    ) -> Option<Held> {
        let address = network(address);
        let mut counted = self.0.counted();
        let own = counted.held.get(&address).copied().unwrap_or_default();
        if !may(own, counted.all) {
            return None;
        }
        counted.held.insert(address, own + 1);
        counted.all += 1;
        Some(Held {
            counts: Arc::clone(&self.0),
            address,
        })
    }
}

impl Counts {
    /// A change of one number cannot be left half done.
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thing that a client holds.
pub(crate) struct Held {
    counts: Arc<Counts>,
    address: IpAddr,
}

impl Held {
    /// Whether its client holds many: more than a few, and no fewer than clients do on average.
    pub(crate) fn is_of_many(&self) -> bool {
        let counted = self.counts.counted();
        let own = counted.held.get(&self.address).copied().unwrap_or_default();
        let average = counted.all / counted.held.len().max(1);
        own >= average.max(MANY)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counted = self.counts.counted();
        if let Some(count) = counted.held.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counted.held.remove(&self.address);
            }
            counted.all -= 1;
        }
    }
}

/// What counts as one client: an address of IPv4, or a network of IPv6, of which anybody has
/// 2^64 addresses.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        v4 => v4,
    }
}

/// The address that the proxy before us wrote into a header: the last one in it, because
/// those before it are the client's own words.
pub(crate) fn told_by_proxy(headers: &HeaderMap, name: &HeaderName) -> Option<IpAddr> {
    let last = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    let address = last.rsplit(',').next()?.trim();
    let socket = || address.parse::<SocketAddr>().map(|socket| socket.ip());
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    bare.parse().or_else(|_| socket()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_count_and_gets_it_back() {
        let clients = Clients::new(2);
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let other: IpAddr = "192.0.2.2".parse().unwrap();
        let first = clients.enter(one).unwrap();
        let _second = clients.enter(one).unwrap();
        assert!(clients.enter(one).is_none());
        assert!(clients.enter("::ffff:192.0.2.1".parse().unwrap()).is_none());
        assert!(clients.enter(other).is_some());
        drop(first);
        assert!(clients.enter(one).is_some());
        let counted = clients.0.counted();
        assert_eq!((counted.held.len(), counted.all), (1, 1));
    }

    #[test]
    fn who_holds_many_is_told_from_the_others() {
        let clients = Clients::new(0);
        let hold = |client: [u8; 4], count: usize| -> Vec<Held> {
            let held = (0..count).map(|_| clients.enter(client.into()).unwrap());
            held.collect()
        };
        let few = hold([192, 0, 2, 1], MANY - 1);
        assert!(
            !few[0].is_of_many(),
            "there is nobody else, and it is a few"
        );
        let many = hold([192, 0, 2, 2], 2 * MANY);
        assert!(many[0].is_of_many() && !few[0].is_of_many());
        let most = hold([192, 0, 2, 3], 20 * MANY);
        assert!(most[0].is_of_many() && !many[0].is_of_many());
        drop(most);
        assert!(many[0].is_of_many());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let clients = Clients::new(1);
        let _held = clients.enter("2001:db8::1".parse().unwrap()).unwrap();
        assert!(clients.enter("2001:db8::ffff:2".parse().unwrap()).is_none());
        assert!(clients.enter("2001:db8:0:1::1".parse().unwrap()).is_some());
    }

    #[test]
    fn the_last_address_counts() {
        let name = HeaderName::from_static("x-forwarded-for");
        for (values, expected) in [
            (&["192.0.2.1"][..], Some("192.0.2.1")),
            (&["10.0.0.1, 192.0.2.1"], Some("192.0.2.1")),
            (&["10.0.0.1", "192.0.2.1:1234"], Some("192.0.2.1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["[2001:db8::1]:99"], Some("2001:db8::1")),
            (&["unknown"], None),
            (&[""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&name, value.parse().unwrap());
            }
            let told = told_by_proxy(&headers, &name).map(|address| address.to_string());
            assert_eq!(told.as_deref(), expected, "{values:?}");
        }
    }
}
