//! Which headers go on, and which concern one connection alone (RFC 9110, section 7.6.1).

use hyper::{
    HeaderMap, Uri, Version,
    header::{CONNECTION, EXPECT, HOST, HeaderName, HeaderValue, TE, UPGRADE, VIA},
    http::{request, uri::PathAndQuery},
};

use crate::config::{Scheme, UpstreamUrl};

/// Makes a client's request one of ours to an upstream. `pass_on` gets the headers and the host
/// that the client asked for.
pub(super) fn to_upstream(
    parts: &mut request::Parts,
    upgrade: bool,
    url: &UpstreamUrl,
    pass_on: impl FnOnce(&mut HeaderMap, Option<&HeaderValue>),
) {
    // What the target says counts for more than the header.
    let named = parts
        .uri
        .authority()
        .and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    let host = named.or_else(|| parts.headers.get(HOST).cloned());
    let trailers = wants_trailers(&parts.headers);
    let http2 = url.scheme == Scheme::H2c;
    let via = match parts.version {
        Version::HTTP_2 => "2.0 tollgate",
        Version::HTTP_10 => "1.0 tollgate",
        _ => "1.1 tollgate",
    };
    let headers = &mut parts.headers;
    drop_hop_by_hop(headers);
    // We have given leave ourselves by now.
    headers.remove(EXPECT);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    match (upgrade, trailers && !http2) {
        (true, _) => {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        (false, true) => {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
        (false, false) => {}
    }
    headers.append(VIA, HeaderValue::from_static(via));
    pass_on(headers, host.as_ref());
    match host {
        // HTTP/2 has the upstream's name in the target, and two names would contradict each other.
        _ if http2 => drop(headers.remove(HOST)),
        Some(host) => drop(headers.insert(HOST, host)),
        // An HTTP/1.0 client need not name one.
        None => drop(
            HeaderValue::from_str(url.authority.as_str()).map(|host| headers.insert(HOST, host)),
        ),
    }
    let target = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = if http2 {
        url.of(target)
    } else {
        Uri::from(target)
    };
    parts.version = if http2 {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    };
    parts.extensions.clear();
}

/// Leaves of an upstream's headers what is meant for the client.
pub(super) fn to_client(headers: &mut HeaderMap, upgraded: bool) {
    let upgrade = headers.get(UPGRADE).cloned();
    drop_hop_by_hop(headers);
    if let (true, Some(upgrade)) = (upgraded, upgrade) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    names(headers, &TE, b"trailers")
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named = tokens(headers, &CONNECTION).filter_map(|token| HeaderName::from_bytes(token).ok());
    let named: Vec<_> = named.filter(|name| headers.contains_key(name)).collect();
    let known: Vec<_> = headers
        .keys()
        .filter(|name| is_hop_by_hop(name))
        .cloned()
        .collect();
    for name in named.iter().chain(&known) {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "http2-settings"
            | "keep-alive"
            // CGI programs take it for the address of a proxy of their own.
            | "proxy"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// The elements of all lines of a header that is a list.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).iter();
    lines.flat_map(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
    })
}

/// Whether a list names this token, in whatever case.
pub(super) fn names(headers: &HeaderMap, list: &HeaderName, token: &[u8]) -> bool {
    tokens(headers, list).any(|known| known.eq_ignore_ascii_case(token))
}
