//! Headers of forwarded requests and responses. Hop-by-hop headers, which concern one connection
//! alone, are removed (RFC 9110, section 7.6.1).

use hyper::{
    HeaderMap, Uri, Version,
    body::Body,
    header::{
        CONNECTION, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
        UPGRADE, VIA,
    },
    http::{request, uri::PathAndQuery},
};

use super::forwarded::ForwardedHeaders;
use crate::{
    request::headers::{contains, tokens},
    values::{Scheme, UpstreamUrl},
};

/// Converts a client's request head to the one sent with `body` to the upstream at `url`.
/// `upgrade`: the request is a WebSocket handshake.
pub(super) fn prepare_request(
    parts: &mut request::Parts,
    body: &impl Body,
    upgrade: bool,
    url: &UpstreamUrl,
    forwarded: &ForwardedHeaders<'_>,
) {
    // The authority of the request target takes precedence over `Host`.
    let authority = parts
        .uri
        .authority()
        .and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    let host = authority.or_else(|| parts.headers.get(HOST).cloned());
    let trailers =
        contains(&parts.headers, &TE) && contains_token(&parts.headers, &TE, b"trailers");
    let http2 = url.scheme == Scheme::H2c;
    let via = match parts.version {
        Version::HTTP_2 => "2.0 tollgate",
        Version::HTTP_10 => "1.0 tollgate",
        _ => "1.1 tollgate",
    };
    let headers = &mut parts.headers;
    remove_hop_by_hop(headers);
    // The server itself has sent 100 Continue by now.
    if contains(headers, &EXPECT) {
        headers.remove(EXPECT);
    }
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
    forwarded.write(headers, host.as_ref());
    match host {
        // HTTP/2 carries the upstream's name in `:authority`, which a different `Host` would
        // contradict.
        _ if http2 => drop(headers.remove(HOST)),
        Some(host) => drop(headers.insert(HOST, host)),
        // HTTP/1.0 clients may omit `Host`.
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
    // Without the header, hyper would drop the body of a GET or HEAD request. HTTP/2 frames the body
    // itself.
    if !http2 && !body.is_end_stream() && body.size_hint().exact().is_none() {
        let chunked = HeaderValue::from_static("chunked");
        parts.headers.insert(TRANSFER_ENCODING, chunked);
    }
    parts.extensions.clear();
}

/// Removes the headers of an upstream's response that are not meant for the client.
pub(super) fn prepare_response(headers: &mut HeaderMap, upgraded: bool) {
    let upgrade = upgraded.then(|| headers.get(UPGRADE).cloned()).flatten();
    remove_hop_by_hop(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
}

/// Removes the known hop-by-hop headers and those that `Connection` lists.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let known: Vec<_> = headers
        .keys()
        .filter(|name| is_hop_by_hop(name))
        .cloned()
        .collect();
    // `Connection` is one of them.
    if known.is_empty() {
        return;
    }
    let listed =
        tokens(headers, &CONNECTION).filter_map(|token| HeaderName::from_bytes(token).ok());
    let listed: Vec<_> = listed.filter(|name| headers.contains_key(name)).collect();
    for name in listed.iter().chain(&known) {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "http2-settings"
            | "keep-alive"
            // CGI programs read it as `HTTP_PROXY`, the address of an outgoing proxy.
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

/// Returns true if the response is a stream of server-sent events.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let essence = headers.get(CONTENT_TYPE).and_then(|value| {
        let text = value.to_str().ok()?;
        text.split(';').next()
    });
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Returns true if a list header contains this token, compared without regard to case.
pub(super) fn contains_token(headers: &HeaderMap, list: &HeaderName, token: &[u8]) -> bool {
    tokens(headers, list).any(|element| element.eq_ignore_ascii_case(token))
}
