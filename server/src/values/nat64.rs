//! Prefixes of NAT64 translators.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::Ipv6Net;

use super::parse::Value;

/// Prefix of a NAT64 translator, whose addresses embed an IPv4 address (RFC 6052).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nat64Prefix(Ipv6Net);

impl Nat64Prefix {
    /// Returns the IPv4 address that an address of the translator embeds.
    #[inline]
    pub(crate) fn embedded_ipv4(self, address: IpAddr) -> Option<Ipv4Addr> {
        let IpAddr::V6(address) = address else {
            return None;
        };
        let address = self.0.contains(&address).then_some(address)?;
        // Bits after the IPv4 address, without those of the octet u.
        let after = match self.0.prefix_len() {
            96 => 0,
            length => 88 - length,
        };
        Some(Ipv4Addr::from_bits(
            (bits_without_octet_u(address) >> after) as u32,
        ))
    }
}

/// Returns the bits of an address without bits 64 to 71, the octet u, which the IPv4 address never
/// covers.
fn bits_without_octet_u(address: Ipv6Addr) -> u128 {
    let bits = address.to_bits();
    let after = bits & (u128::MAX >> 72);
    (bits >> 64 << 56) | after
}

impl Value for Nat64Prefix {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the prefix of a NAT64 of 32, 40, 48, 56, 64 or 96 bits, such as 2001:db8:64::/96",
        )
    }

    fn from_text(text: &str) -> Option<Nat64Prefix> {
        let prefix: Ipv6Net = text.parse().ok()?;
        let is_known = matches!(prefix.prefix_len(), 32 | 40 | 48 | 56 | 64 | 96);
        // Bits 64 to 71 are zero in every address (RFC 6052, section 2.2).
        let has_octet_u = prefix.addr().octets()[8] != 0;
        (is_known && !has_octet_u && prefix.addr() == prefix.network())
            .then_some(Nat64Prefix(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedded(prefix: &str, address: &str) -> Option<String> {
        let prefix = Nat64Prefix::from_text(prefix).unwrap();
        let ipv4 = prefix.embedded_ipv4(address.parse().unwrap());
        ipv4.map(|ipv4| ipv4.to_string())
    }

    /// The examples of RFC 6052, section 2.4.
    #[test]
    fn every_length_yields_the_ipv4_address() {
        for (prefix, address) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
            ("64:ff9b:1:fffe::/96", "64:ff9b:1:fffe::192.0.2.33"),
        ] {
            let expected = Some("192.0.2.33".to_owned());
            assert_eq!(embedded(prefix, address), expected, "{address}");
        }
        for other in ["2001:db8:122:345::192.0.2.33", "192.0.2.33"] {
            assert_eq!(embedded("2001:db8:122:344::/96", other), None, "{other}");
        }
    }

    #[test]
    fn other_prefixes_are_refused() {
        for text in [
            "2001:db8::/33",
            "2001:db8::/128",
            "2001:db8::1/96",
            "2001:db8:0:0:100::/96",
            "192.0.2.0/24",
            "2001:db8::",
        ] {
            assert_eq!(Nat64Prefix::from_text(text), None, "{text}");
        }
    }
}
