//! What an upstream is told of where a request came from.
//!
//! The two headers say the same, so that who reads either, as [`TrustedProxies`] does, finds the same client. What an untrusted
//! peer says of itself is dropped; a trusted proxy's chain is continued, in a header that it did not write as well.

use std::{fmt::Write, net::IpAddr};

use hyper::{
    HeaderMap,
    header::{FORWARDED, HeaderName, HeaderValue},
};
use tollgate::tower::TrustedProxies;

use super::{Identify, Peer};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

impl Identify {
    /// Makes the headers tell an upstream of the peer, and of whom a trusted peer speaks for.
    pub(crate) fn pass_on(&self, peer: Peer, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        let believed = self.trusted.believes(peer.address, headers);
        drop_claims(headers, believed);
        let (x_forwarded_for, forwarded) = (chain(headers, &X_FORWARDED_FOR), chain(headers, &FORWARDED));
        let (x_chain, chain) = match (x_forwarded_for, forwarded) {
            (None, None) => (Vec::new(), Vec::new()),
            (Some(given), None) => (given, listed(headers, element)),
            (None, Some(given)) => (listed(headers, |text, hop| write!(text, "{hop}")), given),
            (Some(x_given), Some(given)) => (x_given, given),
        };
        set(headers, X_FORWARDED_FOR, &appended(x_chain, |text| write!(text, "{}", peer.address)));
        set(headers, FORWARDED, &appended(chain, |text| last_element(text, peer.address, host)));
        headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
        if let Some(host) = host {
            headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
        }
    }
}

/// Removes what only a proxy may say. Many frameworks take `_` in a name for `-`, so nobody may use that.
fn drop_claims(headers: &mut HeaderMap, believed: bool) {
    let claims = headers.keys().filter(|name| {
        let underscored = name.as_str().contains('_');
        (underscored || !believed) && is_claim(&name.as_str().replace('_', "-"))
    });
    for name in claims.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

fn is_claim(name: &str) -> bool {
    name.starts_with("x-forwarded-") || ["forwarded", "x-real-ip", "x-client-ip"].contains(&name)
}

/// All lines of a header as one.
fn chain(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

/// The hops that the other header tells of, as a chain.
fn listed(headers: &HeaderMap, write: impl Fn(&mut String, IpAddr) -> std::fmt::Result) -> Vec<u8> {
    TrustedProxies::hops(headers).into_iter().fold(Vec::new(), |chain, hop| appended(chain, |text| write(text, hop)))
}

fn appended(mut chain: Vec<u8>, write: impl FnOnce(&mut String) -> std::fmt::Result) -> Vec<u8> {
    let mut text = String::with_capacity(64);
    if !chain.is_empty() {
        text.push_str(", ");
    }
    // Writing to a String cannot fail.
    let _ = write(&mut text);
    if chain.is_empty() {
        return text.into_bytes();
    }
    chain.extend_from_slice(text.as_bytes());
    chain
}

/// `for=192.0.2.1`; an IPv6 address stands in brackets and quotes.
fn element(text: &mut String, hop: IpAddr) -> std::fmt::Result {
    match hop {
        IpAddr::V4(hop) => write!(text, "for={hop}"),
        IpAddr::V6(hop) => write!(text, "for=\"[{hop}]\""),
    }
}

fn last_element(text: &mut String, peer: IpAddr, host: Option<&HeaderValue>) -> std::fmt::Result {
    element(text, peer)?;
    // A host that was let in has neither quotes nor backslashes.
    if let Some(host) = host.and_then(|host| host.to_str().ok()) {
        write!(text, ";host=\"{host}\"")?;
    }
    text.write_str(";proto=http")
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    // It is made of what came in headers, and of our own text.
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}
