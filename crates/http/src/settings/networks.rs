//! Addresses that a picture may be fetched from: public ones, and those of networks that the
//! operator names.
//!
//! A service that fetches what strangers name is a way into the network that it stands in: to
//! administration pages, databases, and the metadata of cloud machines (169.254.169.254).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Networks, each an address and the number of its leading bits that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Arc<[(IpAddr, u8)]>);

impl Networks {
    /// Reads a list such as `10.0.0.0/8,fd00::/8`; an address alone is a network of its own.
    ///
    /// # Errors
    ///
    /// A sentence, when an entry is none.
    pub fn parse(list: &str) -> Result<Self, String> {
        let entries = list.split(',').map(str::trim).filter(|it| !it.is_empty());
        let networks = entries.map(|entry| {
            network(entry).ok_or_else(|| {
                format!("{entry:?} is not a network: write it as 10.0.0.0/8 or fd00::/8")
            })
        });
        Ok(Self(networks.collect::<Result<_, _>>()?))
    }

    /// Whether an address may be connected to.
    pub(crate) fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address)
            || self
                .0
                .iter()
                .any(|&(network, length)| match (network, address) {
                    (IpAddr::V4(network), IpAddr::V4(address)) => {
                        v4_in(address, network, length.into())
                    }
                    (IpAddr::V6(network), IpAddr::V6(address)) => {
                        v6_in(address, network, length.into())
                    }
                    _ => false,
                })
    }
}

fn network(entry: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = match entry.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (entry, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(length) => length.parse().ok().filter(|length| *length <= most)?,
        None => most,
    };
    Some((address, length))
}

fn v4_in(address: Ipv4Addr, network: Ipv4Addr, length: u32) -> bool {
    let differ = u32::from(address) ^ u32::from(network);
    differ.checked_shr(32 - length).unwrap_or(0) == 0
}

fn v6_in(address: Ipv6Addr, network: Ipv6Addr, length: u32) -> bool {
    let differ = u128::from(address) ^ u128::from(network);
    differ.checked_shr(128 - length).unwrap_or(0) == 0
}

/// Whether an address is of the public Internet: none of those that IANA's registries of
/// special-purpose addresses (RFC 6890) hold back, and no multicast.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !SPECIAL_V4
            .iter()
            .any(|&(network, length)| v4_in(address, network.into(), length)),
        // Of all addresses only 2000::/3 is given out; what is special outside it need not be
        // named: ::1, fe80::/10, fc00::/7, ff00::/8, 64:ff9b::/96 and the like.
        IpAddr::V6(address) => {
            v6_in(address, Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3)
                && !SPECIAL_V6.iter().any(|&(segments, length)| {
                    let [a, b] = segments;
                    v6_in(address, Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), length)
                })
        }
    }
}

const SPECIAL_V4: [([u8; 4], u32); 17] = [
    ([0, 0, 0, 0], 8),       // "this network"
    ([10, 0, 0, 0], 8),      // private
    ([100, 64, 0, 0], 10),   // shared, of carriers
    ([127, 0, 0, 0], 8),     // loopback
    ([169, 254, 0, 0], 16),  // link-local
    ([172, 16, 0, 0], 12),   // private
    ([192, 0, 0, 0], 24),    // of the IETF's protocols
    ([192, 0, 2, 0], 24),    // documentation
    ([192, 31, 196, 0], 24), // AS112
    ([192, 52, 193, 0], 24), // automatic multicast tunnels
    ([192, 88, 99, 0], 24),  // relays of 6to4
    ([192, 168, 0, 0], 16),  // private
    ([192, 175, 48, 0], 24), // AS112
    ([198, 18, 0, 0], 15),   // benchmarks
    ([198, 51, 100, 0], 24), // documentation
    ([203, 0, 113, 0], 24),  // documentation
    ([224, 0, 0, 0], 3),     // multicast, reserved, broadcast
];

const SPECIAL_V6: [([u16; 2], u32); 4] = [
    ([0x2001, 0], 23),     // of the IETF's protocols, Teredo among them
    ([0x2001, 0xdb8], 32), // documentation
    ([0x2002, 0], 16),     // 6to4, which holds an address of IPv4
    ([0x3fff, 0], 20),     // documentation
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_not_public() {
        for special in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:a9fe:a9fe",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:7f00:1::",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            let address: IpAddr = special.parse().unwrap();
            assert!(!Networks::default().allow(address), "{special}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "169.253.0.1",
            "192.167.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "2606:4700:4700::1111",
            "2a00:1450::1",
        ] {
            let address: IpAddr = public.parse().unwrap();
            assert!(Networks::default().allow(address), "{public}");
        }
    }

    #[test]
    fn networks_that_are_named_are_allowed_and_no_more() {
        let networks = Networks::parse("10.1.0.0/16, 127.0.0.1,fd00::/8").unwrap();
        for (address, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("fd12::1", true),
            ("fc00::1", false),
            ("::1", false),
        ] {
            assert_eq!(
                networks.allow(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
        assert!(
            Networks::parse("0.0.0.0/0")
                .unwrap()
                .allow([10, 0, 0, 1].into())
        );
        for wrong in [
            "10.0.0.0/33",
            "10.0.0/8",
            "a",
            "fd00::/129",
            "10.0.0.0/x",
            "/8",
        ] {
            assert!(Networks::parse(wrong).is_err(), "{wrong}");
        }
    }
}
