//! IPv4 addresses inside IPv6 addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Returns the IPv4 address that an IPv6 address embeds, or `None` for other addresses.
///
/// - `::ffff:0:0/96`, IPv4-mapped, and `::ffff:0:0:0/96`, IPv4-translated
/// - `::/96`, IPv4-compatible, without `::1` and its neighbours
/// - `64:ff9b::/96`, NAT64 (RFC 6052)
/// - `2002::/16`, 6to4 (RFC 3056)
/// - `2001::/32`, Teredo, which inverts the bits of the client's address (RFC 4380)
#[inline]
pub(super) fn embedded_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = address.to_bits();
    let ipv4 = match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, _, _]
        | [0, 0, 0, 0, 0xffff, 0, _, _]
        | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => bits as u32,
        [0, 0, 0, 0, 0, 0, 0x100..=0xffff, _] => bits as u32,
        [0x2002, ..] => (bits >> 80) as u32,
        [0x2001, 0, ..] => !(bits as u32),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(ipv4))
}

/// Returns true for addresses of `64:ff9b:1::/48`, local NAT64 (RFC 8215).
///
/// The position of the IPv4 address depends on the length of the translator's prefix, so only the
/// whole address tells two clients apart.
#[inline]
pub(super) fn is_local_nat64(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0x64, 0xff9b, 1, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedding_yields_the_ipv4_address() {
        for text in [
            "::ffff:192.0.2.7",
            "::ffff:0:192.0.2.7",
            "::192.0.2.7",
            "64:ff9b::192.0.2.7",
            "2002:c000:207::",
            "2002:c000:207:1:2:3:4:5",
            "2001:0:4136:e378:8000:63bf:3fff:fdf8",
        ] {
            let ipv4 = embedded_ipv4(text.parse().unwrap());
            assert_eq!(ipv4, Some(Ipv4Addr::new(192, 0, 2, 7)), "{text}");
        }
    }

    #[test]
    fn other_addresses_embed_none() {
        for text in [
            "::",
            "::1",
            "64:ff9b:0:1::192.0.2.7",
            "64:ff9b:1::192.0.2.7",
            "2001:db8::192.0.2.7",
            "2001:1::192.0.2.7",
            "fe80::5efe:192.0.2.7",
        ] {
            assert_eq!(embedded_ipv4(text.parse().unwrap()), None, "{text}");
        }
    }
}
