//! What a proxy has in hand when it asks `/auth`: nginx, Traefik and Caddy name its method and path
//! in headers.
//!
//! They count from a trusted peer alone. A proxy sets one of two spellings and may pass the other
//! on as the client wrote it: when both are there, the costlier one counts, so that a client cannot
//! make its request any cheaper; where they go by different limits, both do.

use std::{borrow::Cow, net::IpAddr, sync::Once};

use hyper::{
    HeaderMap, Method,
    header::{FORWARDED, HeaderName, HeaderValue},
};

use super::{charges::Charges, endpoint::Endpoint, price::Price};

static METHODS: [HeaderName; 2] = [
    HeaderName::from_static("x-original-method"),
    HeaderName::from_static("x-forwarded-method"),
];
static PATHS: [HeaderName; 2] = [
    HeaderName::from_static("x-original-uri"),
    HeaderName::from_static("x-forwarded-uri"),
];

/// What the request in hand costs. `method` and `path` are those of the question. An error is the
/// header that cannot be read.
pub(super) fn price<'a>(
    charges: &'a Charges,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Price<'a>, &'static HeaderName> {
    let (methods, paths) = (
        named(headers, &METHODS, parsed)?,
        named(headers, &PATHS, |value| Some(path_of(value)))?,
    );
    let methods = methods.iter().chain(methods.is_empty().then_some(method));
    let own = Cow::Borrowed(path);
    let paths = || paths.iter().chain(paths.is_empty().then_some(&own));
    let prices =
        methods.flat_map(|method| paths().map(|path| charges.price(method, path, Endpoint::Auth)));
    Ok(prices
        .reduce(Price::and)
        .unwrap_or_else(|| charges.price(method, path, Endpoint::Auth)))
}

/// A proxy that is not trusted asks as one client, whoever is behind it: told once, since it is
/// told for each request.
pub(super) fn warn_of_a_stranger(peer: IpAddr, headers: &HeaderMap) {
    static TOLD: Once = Once::new();
    let speaks_for_others = [
        PATHS[0].as_str(),
        PATHS[1].as_str(),
        "x-forwarded-for",
        FORWARDED.as_str(),
    ];
    if speaks_for_others
        .iter()
        .any(|name| headers.contains_key(*name))
    {
        TOLD.call_once(|| {
            tracing::warn!(%peer, "/auth was asked for others by a peer that is not trusted, and is one client: if it is your proxy, --trust-proxy it");
        });
    }
}

/// The values of those headers that are there. A second line of one of them is somebody else's.
fn named<'a, T>(
    headers: &'a HeaderMap,
    names: &'static [HeaderName; 2],
    read: impl Fn(&'a HeaderValue) -> Option<T>,
) -> Result<Vec<T>, &'static HeaderName> {
    let mut found = Vec::new();
    for name in names {
        let mut lines = headers.get_all(name).iter();
        match (lines.next(), lines.next()) {
            (None, _) => {}
            (Some(value), None) => found.push(read(value).ok_or(name)?),
            _ => return Err(name),
        }
    }
    Ok(found)
}

fn parsed(value: &HeaderValue) -> Option<Method> {
    Method::from_bytes(value.as_bytes()).ok()
}

/// The path without its query, and without a scheme and a host.
fn path_of(value: &HeaderValue) -> Cow<'_, str> {
    let bytes = value.as_bytes();
    let end = bytes
        .iter()
        .position(|byte| b"?#".contains(byte))
        .unwrap_or(bytes.len());
    // Nothing that is configured has bytes of any other kind.
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
    fn a_path_stands_alone() {
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
