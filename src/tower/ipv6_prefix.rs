//! Prefix length that identifies IPv6 clients.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use super::embedded_ipv4::{embedded_ipv4, is_local_nat64};

/// Providers assign at least a /64 to each IPv6 client.
const DEFAULT_BITS: u8 = 64;

/// Number of leading bits of an IPv6 address that identify a client: 64 by default.
///
/// ```
/// use {std::net::IpAddr, tollgate::tower::Ipv6Prefix};
///
/// let [v6, v4]: [IpAddr; 2] = ["2001:db8:0:1:2:3:4:5".parse()?, "192.0.2.7".parse()?];
/// assert_eq!(Ipv6Prefix::default().network(v6).to_string(), "2001:db8:0:1::");
/// assert_eq!(Ipv6Prefix::new(48).network(v6).to_string(), "2001:db8::");
/// assert_eq!(Ipv6Prefix::new(48).network(v4), v4);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
///
/// An address that embeds an IPv4 address identifies the IPv4 client, for every length: NAT64
/// (`64:ff9b::/96`), 6to4, Teredo, and IPv4-mapped, -translated and -compatible addresses. An
/// address of a local NAT64 (`64:ff9b:1::/48`) counts as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Prefix {
    mask: u128,
}

impl Ipv6Prefix {
    /// Creates a prefix of `bits` leading bits. More than 128 bits count as 128.
    #[must_use]
    pub const fn new(bits: u8) -> Ipv6Prefix {
        let mask = match u128::MAX.checked_shl(128_u32.saturating_sub(bits as u32)) {
            Some(mask) => mask,
            None => 0,
        };
        Ipv6Prefix { mask }
    }

    /// Number of leading bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.mask.leading_ones() as u8
    }

    /// Returns the address that identifies a client: the first address of an IPv6 client's network,
    /// an embedded IPv4 address, or an IPv4 address unchanged.
    ///
    /// ```
    /// # use {std::net::IpAddr, tollgate::tower::Ipv6Prefix};
    /// let behind_nat64: IpAddr = "64:ff9b::192.0.2.7".parse()?;
    /// assert_eq!(Ipv6Prefix::default().network(behind_nat64).to_string(), "192.0.2.7");
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn network(self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V6(v6) if is_local_nat64(v6) => address,
            IpAddr::V6(v6) => embedded_ipv4(v6).map_or_else(
                || Ipv6Addr::from_bits(v6.to_bits() & self.mask).into(),
                IpAddr::V4,
            ),
            IpAddr::V4(_) => address,
        }
    }
}

impl Default for Ipv6Prefix {
    fn default() -> Ipv6Prefix {
        Ipv6Prefix::new(DEFAULT_BITS)
    }
}

impl fmt::Debug for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ipv6Prefix").field(&self.bits()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_above_128_count_as_128() {
        assert_eq!(
            [0, 1, 64, 127, 128, 129, 255].map(|bits| Ipv6Prefix::new(bits).bits()),
            [0, 1, 64, 127, 128, 128, 128]
        );
    }

    #[test]
    fn clients_of_a_translator_are_told_apart_at_every_length() {
        for bits in [0, 16, 48, 64, 96, 128] {
            let network = |text: &str| Ipv6Prefix::new(bits).network(text.parse().unwrap());
            assert_eq!(
                network("64:ff9b::192.0.2.7"),
                network("192.0.2.7"),
                "{bits}"
            );
            assert_eq!(
                network("2002:c000:207:1::1"),
                network("192.0.2.7"),
                "{bits}"
            );
            let local = ["64:ff9b:1::192.0.2.7", "64:ff9b:1::192.0.2.8"];
            assert_eq!(
                local.map(network),
                local.map(|text| text.parse::<IpAddr>().unwrap())
            );
        }
    }
}
