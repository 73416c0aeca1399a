//! Lookup of a client's address in the lists of networks.

use std::net::IpAddr;

use ipnet::IpNet;
use iptrie::{
    Ipv4Prefix, Ipv6Prefix,
    map::{LCTrieMap, RTrieMap},
};

use crate::config;

/// What happens to the clients of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Listed {
    /// Limits apply.
    #[default]
    Neither,
    /// No limit applies.
    Allowed,
    /// Every request gets 403.
    Denied,
}

/// Networks whose clients are not limited, and networks whose clients are refused, as tries.
pub(crate) struct AddressLists {
    v4: LCTrieMap<Ipv4Prefix, Listed>,
    v6: LCTrieMap<Ipv6Prefix, Listed>,
}

impl AddressLists {
    /// Returns `None` when both lists are empty.
    pub(crate) fn new(lists: &config::AddressLists) -> Option<AddressLists> {
        if lists.allow.is_empty() && lists.deny.is_empty() {
            return None;
        }
        let (mut v4, mut v6) = (RTrieMap::new(), RTrieMap::new());
        let allowed = lists.allow.iter().map(|network| (network, Listed::Allowed));
        // A network of both lists is denied.
        let denied = lists.deny.iter().map(|network| (network, Listed::Denied));
        for (network, listed) in allowed.chain(denied) {
            match network.trunc() {
                IpNet::V4(network) => {
                    v4.insert(Ipv4Prefix::from(network), listed);
                }
                IpNet::V6(network) => {
                    v6.insert(Ipv6Prefix::from(network), listed);
                }
            }
        }
        Some(AddressLists {
            v4: v4.compress(),
            v6: v6.compress(),
        })
    }

    /// Returns the list of the longest prefix that contains an address.
    pub(crate) fn find(&self, address: IpAddr) -> Listed {
        match address {
            IpAddr::V4(address) => *self.v4.lookup(&address).1,
            IpAddr::V6(address) => *self.v6.lookup(&address).1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lists(allow: &[&str], deny: &[&str]) -> AddressLists {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        AddressLists::new(&config::AddressLists {
            allow: parse(allow),
            deny: parse(deny),
        })
        .unwrap()
    }

    #[test]
    fn the_longest_prefix_counts() {
        let lists = lists(
            &["10.0.0.0/8", "10.1.2.3/32", "2001:db8::/32", "0.0.0.0/0"],
            &["10.1.0.0/16", "10.0.0.0/8", "2001:db8:1::/48"],
        );
        for (address, expected) in [
            ("10.1.2.3", Listed::Allowed),
            ("10.1.2.4", Listed::Denied),
            ("10.2.0.1", Listed::Denied),
            ("192.0.2.7", Listed::Allowed),
            ("2001:db8::1", Listed::Allowed),
            ("2001:db8:1::1", Listed::Denied),
            ("2001:db9::1", Listed::Neither),
        ] {
            assert_eq!(lists.find(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn empty_lists_need_no_lookup() {
        assert!(AddressLists::new(&config::AddressLists::default()).is_none());
    }

    /// Prints the time of a lookup of a random address in lists of random networks.
    #[test]
    #[ignore = "a measurement: cargo test --release -p tollgate-server --lib -- --ignored --nocapture lookup_time"]
    fn lookup_time() {
        // Of a linear congruential generator.
        let mut seed = 1_u64;
        let mut draw = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 32) as u32
        };
        for count in [3, 100, 10_000, 100_000] {
            let networks = (0..count).map(|_| {
                let (address, length) = (std::net::Ipv4Addr::from(draw()), 12 + draw() % 21);
                IpNet::new(address.into(), length as u8).unwrap()
            });
            let deny: Vec<_> = networks.collect();
            let given = config::AddressLists {
                allow: Vec::new(),
                deny,
            };
            let lists = AddressLists::new(&given).unwrap();
            let addresses: Vec<_> = (0..1_000_000)
                .map(|_| IpAddr::from(std::net::Ipv4Addr::from(draw())))
                .collect();
            let start = std::time::Instant::now();
            let found = addresses
                .iter()
                .filter(|address| lists.find(**address) == Listed::Denied);
            let found = found.count();
            let nanos = start.elapsed().as_nanos() / addresses.len() as u128;
            println!(
                "{count} networks: {nanos} ns, {found} of {} denied",
                addresses.len()
            );
        }
    }

    fn network(is_v6: bool) -> impl Strategy<Value = IpNet> {
        // Few bits vary, so that networks contain one another.
        (0_u32..16, 0_u8..=32, any::<bool>()).prop_map(move |(bits, length, low)| {
            let address = if low { bits } else { bits << 28 };
            if is_v6 {
                let address = std::net::Ipv6Addr::from(u128::from(address) << 96);
                IpNet::new(address.into(), length * 4).unwrap()
            } else {
                IpNet::new(std::net::Ipv4Addr::from(address).into(), length).unwrap()
            }
        })
    }

    proptest! {
        /// The trie finds what a search of the whole list finds.
        #[test]
        fn a_lookup_equals_a_search(
            (allow, deny, addresses) in any::<bool>().prop_flat_map(|is_v6| (
                prop::collection::vec(network(is_v6), 1..20),
                prop::collection::vec(network(is_v6), 0..20),
                prop::collection::vec(network(is_v6), 1..20),
            )),
        ) {
            let given = config::AddressLists { allow, deny };
            let lists = AddressLists::new(&given).unwrap();
            for address in addresses.iter().map(IpNet::addr) {
                let longest = |list: &[IpNet]| {
                    let containing = list.iter().filter(|network| network.contains(&address));
                    containing.map(IpNet::prefix_len).max()
                };
                let expected = match (longest(&given.allow), longest(&given.deny)) {
                    (None, None) => Listed::Neither,
                    (allow, deny) if deny >= allow => Listed::Denied,
                    _ => Listed::Allowed,
                };
                prop_assert_eq!(lists.find(address), expected);
            }
        }
    }
}
