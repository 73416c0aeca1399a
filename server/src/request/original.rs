//! Original requests behind `/auth`: nginx, Traefik and Caddy send their method and path in
//! headers.
//!
//! The headers count only from a trusted peer. A proxy sets one of two header names and may pass
//! the other one through as the client sent it. When both are present, the higher cost counts, so
//! that a client cannot lower the cost of its request, and different limits are charged both.

use std::{borrow::Cow, net::IpAddr, sync::Once};

use hyper::{
    HeaderMap, Method,
    header::{FORWARDED, HeaderName, HeaderValue},
};

static METHODS: [HeaderName; 2] = [
    HeaderName::from_static("x-original-method"),
    HeaderName::from_static("x-forwarded-method"),
];
static PATHS: [HeaderName; 2] = [
    HeaderName::from_static("x-original-uri"),
    HeaderName::from_static("x-forwarded-uri"),
];

/// Method and path readings of an original request. Empty when no header supplies them.
pub(crate) struct OriginalRequest<'a> {
    pub(crate) methods: Vec<Method>,
    pub(crate) paths: Vec<Cow<'a, str>>,
    queries: Vec<Option<&'a str>>,
}

impl<'a> OriginalRequest<'a> {
    /// Parses the headers of a request to `/auth`. An error is the name of a header that is
    /// repeated or malformed.
    pub(crate) fn parse(
        headers: &'a HeaderMap,
    ) -> Result<OriginalRequest<'a>, &'static HeaderName> {
        Ok(OriginalRequest {
            methods: values(headers, &METHODS, parse_method)?,
            paths: values(headers, &PATHS, |value| Some(path_of(value)))?,
            queries: values(headers, &PATHS, |value| Some(query_of(value)))?,
        })
    }
}

impl<'a> OriginalRequest<'a> {
    /// Returns the query of the original request. `None`: there is none, or there are several.
    pub(crate) fn query(&self) -> Option<&'a str> {
        let (first, others) = self.queries.split_first()?;
        first.filter(|_| others.iter().all(|other| other == first))
    }

    /// Returns the only method of the original request, or GET when there is none or several.
    pub(crate) fn method(&self) -> &Method {
        match self.methods.as_slice() {
            [method, others @ ..] if others.iter().all(|other| other == method) => method,
            _ => &Method::GET,
        }
    }
}

/// Warns once per process about an untrusted peer whose requests carry forwarding headers. All
/// clients behind such a proxy share the proxy's bucket.
pub(crate) fn warn_if_untrusted_proxy(peer: IpAddr, headers: &HeaderMap) {
    static WARNED: Once = Once::new();
    let forwarding = [
        PATHS[0].as_str(),
        PATHS[1].as_str(),
        "x-forwarded-for",
        FORWARDED.as_str(),
    ];
    if forwarding.iter().any(|name| headers.contains_key(*name)) {
        WARNED.call_once(|| {
            tracing::warn!(%peer, "untrusted peer sends forwarding headers to /auth; if it is your proxy, add it with --trust-proxy, else all its clients share a bucket");
        });
    }
}

/// Parses the values of the headers that are present. A repeated header is an error: one of its
/// values is not the proxy's.
fn values<'a, T>(
    headers: &'a HeaderMap,
    names: &'static [HeaderName; 2],
    parse: impl Fn(&'a HeaderValue) -> Option<T>,
) -> Result<Vec<T>, &'static HeaderName> {
    let mut found = Vec::new();
    for name in names {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => {}
            (Some(value), None) => found.push(parse(value).ok_or(name)?),
            _ => return Err(name),
        }
    }
    Ok(found)
}

fn parse_method(value: &HeaderValue) -> Option<Method> {
    Method::from_bytes(value.as_bytes()).ok()
}

/// Returns the query of a URI.
fn query_of(value: &HeaderValue) -> Option<&str> {
    let uri = value.to_str().ok()?;
    let uri = uri.split_once('#').map_or(uri, |(uri, _)| uri);
    uri.split_once('?').map(|(_, query)| query)
}

/// Returns the path of a URI, without scheme, host, query and fragment.
fn path_of(value: &HeaderValue) -> Cow<'_, str> {
    let bytes = value.as_bytes();
    let end = bytes
        .iter()
        .position(|byte| b"?#".contains(byte))
        .unwrap_or(bytes.len());
    // Configured paths are UTF-8, so that a path with other bytes matches none of them.
    let path = String::from_utf8_lossy(&bytes[..end]);
    match path.split_once("://") {
        Some((_, rest)) if !path.starts_with('/') => rest
            .find('/')
            .map_or("/", |at| &rest[at..])
            .to_owned()
            .into(),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_extracted_from_a_uri() {
        for (given, expected) in [
            ("/", "/"),
            ("/a/b?c=/d#e", "/a/b"),
            ("/a#b?c", "/a"),
            ("http://host/a?b", "/a"),
            ("http://host", "/"),
            ("http://host?a", "/"),
            ("/go/http://host/a", "/go/http://host/a"),
            ("", ""),
            ("*", "*"),
        ] {
            assert_eq!(
                path_of(&HeaderValue::from_static(given)),
                expected,
                "{given}"
            );
        }
        assert_eq!(
            path_of(&HeaderValue::from_bytes(b"/caf\xe9?x").unwrap()),
            "/caf\u{fffd}"
        );
    }
}
