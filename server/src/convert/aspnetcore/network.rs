//! Networks of a list: with a prefix, a mask, or as a range.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Subnets};

use crate::{convert::field::Field, values::Value};

/// Returns the networks of an item such as `10.0.0.0/8`, `192.0.2.0-192.0.2.255` or
/// `192.0.2.0/255.255.255.0`.
///
/// # Errors
/// The field, what was expected, and what was found.
pub(crate) fn networks(field: &Field<'_>) -> Result<Vec<IpNet>, String> {
    let text = field.text()?.trim();
    let found = match IpNet::from_text(text) {
        Some(network) => Some(vec![network.trunc()]),
        None => range(text).or_else(|| mask(text)),
    };
    found.ok_or_else(|| field.expected("a network such as 10.0.0.0/8, or a range of addresses"))
}

fn range(text: &str) -> Option<Vec<IpNet>> {
    let (first, last) = text.split_once('-')?;
    match (first.trim().parse().ok()?, last.trim().parse().ok()?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Some(Ipv4Subnets::new(first, last, 0).map(IpNet::from).collect())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Some(Ipv6Subnets::new(first, last, 0).map(IpNet::from).collect())
        }
        _ => None,
    }
}

fn mask(text: &str) -> Option<Vec<IpNet>> {
    let (address, mask) = text.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let network = Ipv4Net::with_netmask(address, mask.parse().ok()?).ok()?;
    Some(vec![IpNet::from(network.trunc())])
}
