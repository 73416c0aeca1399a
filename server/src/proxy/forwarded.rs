//! `X-Forwarded-*` and `Forwarded` headers of requests to an upstream.
//!
//! `X-Forwarded-For` and `Forwarded` carry the same chain, so that an upstream finds the same
//! client in either header, as [`TrustedProxies`] does. Headers of an untrusted peer that name a
//! client are removed. The chain of a trusted proxy is continued in both headers, even if the proxy
//! wrote only one of them, or another header.

use std::{fmt::Write, net::IpAddr, sync::Arc};

use bytes::Bytes;
use hyper::{
    HeaderMap,
    header::{FORWARDED, HeaderName, HeaderValue},
};
use tollgate::tower::TrustedProxies;

use crate::request::header_rules::HeaderRules;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Peer of a connection as the last hop of a chain. The text is formatted once per connection.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    peer: IpAddr,
    /// Value of `X-Forwarded-For` when this is the only hop.
    address: Bytes,
    /// Beginning of this hop's element in `Forwarded`.
    element: String,
}

impl Hop {
    pub(crate) fn new(peer: IpAddr) -> Hop {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write_element(&mut text, peer);
        Hop {
            peer,
            address: peer.to_string().into(),
            element: text,
        }
    }

    /// Value of `Forwarded` when this is the only hop. A validated host contains neither quotes nor
    /// backslashes.
    fn forwarded_element(&self, host: Option<&HeaderValue>) -> Vec<u8> {
        let [quoted, end, proto] = [";host=\"", "\"", ";proto=http"];
        let host = host.and_then(|host| host.to_str().ok());
        let parts = match host {
            Some(host) => [&self.element, quoted, host, end, proto],
            None => [&self.element, proto, "", "", ""],
        };
        parts.concat().into_bytes()
    }
}

/// Writer of a request's forwarding headers.
pub(crate) struct ForwardedHeaders<'a> {
    hop: &'a Hop,
    trusted: &'a TrustedProxies,
    rules: &'a Arc<HeaderRules>,
}

impl<'a> ForwardedHeaders<'a> {
    /// Forwarding headers that add `hop` to the chain of a peer that `trusted` contains.
    pub(crate) fn new(
        hop: &'a Hop,
        trusted: &'a TrustedProxies,
        rules: &'a Arc<HeaderRules>,
    ) -> ForwardedHeaders<'a> {
        ForwardedHeaders {
            hop,
            trusted,
            rules,
        }
    }

    /// Rules for the other headers and for trailers.
    pub(super) fn rules(&self) -> &'a Arc<HeaderRules> {
        self.rules
    }

    /// Replaces the forwarding headers of a request, and removes the headers that do not pass.
    /// `host` is the host that the client requested.
    pub(super) fn write(&self, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        let is_trusted =
            self.trusted.trusts(self.hop.peer) && self.trusted.named_client(headers).is_ok();
        self.rules.apply(headers, is_trusted);
        headers.reserve(4);
        if is_trusted {
            self.continue_chain(headers, host);
        } else {
            insert(headers, &X_FORWARDED_FOR, self.hop.address.clone());
            insert(headers, &FORWARDED, self.hop.forwarded_element(host));
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

    /// Appends the hop to the chain of a trusted peer. A header that does not count may be the
    /// client's own, and is replaced.
    fn continue_chain(&self, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        let counted = |name| match self.trusted.header() {
            Some(header) if header != name => None,
            _ => joined(headers, name),
        };
        let x_forwarded_for = counted(&X_FORWARDED_FOR)
            .unwrap_or_else(|| self.converted(headers, |text, hop| write!(text, "{hop}")));
        let forwarded =
            counted(&FORWARDED).unwrap_or_else(|| self.converted(headers, write_element));
        let x_forwarded_for = appended(x_forwarded_for, &self.hop.address);
        let forwarded = appended(forwarded, &self.hop.forwarded_element(host));
        insert(headers, &X_FORWARDED_FOR, x_forwarded_for);
        insert(headers, &FORWARDED, forwarded);
    }

    /// Chain of the header that counts, written in the syntax of another one by `write`.
    fn converted(
        &self,
        headers: &HeaderMap,
        write: impl Fn(&mut String, IpAddr) -> std::fmt::Result,
    ) -> Vec<u8> {
        let hops = self.trusted.hops(headers);
        hops.into_iter().fold(Vec::new(), |chain, hop| {
            let mut text = String::new();
            // Writing to a String cannot fail.
            let _ = write(&mut text, hop);
            appended(chain, text.as_bytes())
        })
    }
}

/// All lines of a header joined to one list.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

fn appended(mut chain: Vec<u8>, element: &[u8]) -> Vec<u8> {
    if !chain.is_empty() {
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(element);
    chain
}

/// Writes `for=192.0.2.1`; an IPv6 address is bracketed and quoted.
fn write_element(text: &mut String, hop: IpAddr) -> std::fmt::Result {
    match hop {
        IpAddr::V4(hop) => write!(text, "for={hop}"),
        IpAddr::V6(hop) => write!(text, "for=\"[{hop}]\""),
    }
}

fn insert(headers: &mut HeaderMap, name: &HeaderName, value: impl Into<Bytes>) {
    // The value consists of received header values and literals, so it is always valid.
    if let Ok(value) = HeaderValue::from_maybe_shared(value.into()) {
        headers.insert(name, value);
    }
}
