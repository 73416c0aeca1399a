//! What an upstream is told of where a request came from.
//!
//! The two headers say the same, so that who reads either, as [`TrustedProxies`] does, finds the
//! same client. What an untrusted peer says of itself is dropped; a trusted proxy's chain is
//! continued, in a header that it did not write as well.

use std::{fmt::Write, net::IpAddr};

use bytes::Bytes;
use hyper::{
    HeaderMap,
    header::{FORWARDED, HeaderName, HeaderValue},
};
use tollgate::tower::TrustedProxies;

use super::{Identify, Peer};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The other end of a connection as a hop of a chain; written once for all requests.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    /// All of `X-Forwarded-For`, when nobody else is in it.
    address: Bytes,
    /// The beginning of its element in `Forwarded`.
    element: String,
}

impl Hop {
    pub(crate) fn new(address: IpAddr) -> Hop {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = element(&mut text, address);
        Hop {
            address: address.to_string().into(),
            element: text,
        }
    }

    /// All of `Forwarded`, when nobody else is in it. A host that was let in has neither quotes nor
    /// backslashes.
    fn last_element(&self, host: Option<&HeaderValue>) -> Vec<u8> {
        let [quoted, end, proto] = [";host=\"", "\"", ";proto=http"];
        let host = host.and_then(|host| host.to_str().ok());
        let parts = match host {
            Some(host) => [&self.element, quoted, host, end, proto],
            None => [&self.element, proto, "", "", ""],
        };
        parts.concat().into_bytes()
    }
}

impl Identify {
    /// Makes the headers tell an upstream of the peer, and of whom a trusted peer speaks for.
    pub(crate) fn pass_on(
        &self,
        peer: Peer,
        hop: &Hop,
        headers: &mut HeaderMap,
        host: Option<&HeaderValue>,
    ) {
        headers.reserve(4);
        if headers.keys().any(is_claim) {
            self.go_on(peer, hop, headers, host);
        } else {
            set(headers, X_FORWARDED_FOR, hop.address.clone());
            set(headers, FORWARDED, hop.last_element(host));
        }
        headers
            .entry(X_FORWARDED_PROTO)
            .or_insert(HeaderValue::from_static("http"));
        if let Some(host) = host {
            headers
                .entry(X_FORWARDED_HOST)
                .or_insert_with(|| host.clone());
        }
    }

    /// Continues what a trusted peer says of where the request came from.
    fn go_on(&self, peer: Peer, hop: &Hop, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        drop_claims(headers, self.trusted.believes(peer.address, headers));
        let (x_forwarded_for, forwarded) =
            (chain(headers, &X_FORWARDED_FOR), chain(headers, &FORWARDED));
        let (x_chain, chain) = match (x_forwarded_for, forwarded) {
            (None, None) => (Vec::new(), Vec::new()),
            (Some(given), None) => (given, listed(headers, element)),
            (None, Some(given)) => (listed(headers, |text, hop| write!(text, "{hop}")), given),
            (Some(x_given), Some(given)) => (x_given, given),
        };
        set(headers, X_FORWARDED_FOR, appended(x_chain, &hop.address));
        set(headers, FORWARDED, appended(chain, &hop.last_element(host)));
    }
}

/// Removes what only a proxy may say, and from nobody with `_` for `-`.
fn drop_claims(headers: &mut HeaderMap, believed: bool) {
    let claims = headers
        .keys()
        .filter(|name| is_claim(name) && (!believed || name.as_str().contains('_')));
    for name in claims.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// Whether it says where a request came from. Many frameworks take `_` in a name for `-`.
fn is_claim(name: &HeaderName) -> bool {
    const WHOLE: [&str; 3] = ["forwarded", "x-real-ip", "x-client-ip"];
    let name = name.as_str().as_bytes();
    let is = |known: &str, name: &[u8]| {
        let mut letters = name.iter().zip(known.as_bytes());
        name.len() == known.len()
            && letters.all(|(letter, known)| letter == known || (*letter, *known) == (b'_', b'-'))
    };
    let begins = |known: &str| {
        name.get(..known.len())
            .is_some_and(|beginning| is(known, beginning))
    };
    begins("x-forwarded-") || WHOLE.iter().any(|known| is(known, name))
}

/// All lines of a header as one.
fn chain(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

/// The hops that the other header tells of, as a chain.
fn listed(headers: &HeaderMap, write: impl Fn(&mut String, IpAddr) -> std::fmt::Result) -> Vec<u8> {
    TrustedProxies::hops(headers)
        .into_iter()
        .fold(Vec::new(), |chain, hop| {
            let mut text = String::new();
            // Writing to a String cannot fail.
            let _ = write(&mut text, hop);
            appended(chain, text.as_bytes())
        })
}

fn appended(mut chain: Vec<u8>, element: &[u8]) -> Vec<u8> {
    if !chain.is_empty() {
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(element);
    chain
}

/// `for=192.0.2.1`; an IPv6 address stands in brackets and quotes.
fn element(text: &mut String, hop: IpAddr) -> std::fmt::Result {
    match hop {
        IpAddr::V4(hop) => write!(text, "for={hop}"),
        IpAddr::V6(hop) => write!(text, "for=\"[{hop}]\""),
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: impl Into<Bytes>) {
    // It is made of what came in headers, and of our own text.
    if let Ok(value) = HeaderValue::from_maybe_shared(value.into()) {
        headers.insert(name, value);
    }
}
