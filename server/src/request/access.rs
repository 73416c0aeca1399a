//! Access control of the admin API and other guarded endpoints.
//!
//! With tokens, a request must carry one of them. Without tokens, only a loopback peer that sent
//! the request directly has access. Web pages in a browser on this machine connect from loopback as
//! well, so signs of a browser deny access too: an `Origin` header, or a `Host` that is neither an
//! IP address nor localhost (DNS rebinding).

use std::net::IpAddr;

use hyper::{
    HeaderMap, Request, StatusCode, Uri,
    header::{AUTHORIZATION, HOST, HeaderName, ORIGIN, VIA},
};
use subtle::ConstantTimeEq;

use super::{client_id::Peer, headers::single_header_value};
use crate::{
    response::{self, Response},
    values::Secret,
};

/// Access rule of a guarded resource.
#[derive(Debug)]
pub(crate) struct Access {
    /// Name of the resource in error messages.
    resource: &'static str,
    /// Accepted bearer tokens. Without any, access is limited to direct loopback requests.
    tokens: Vec<Secret>,
}

impl Access {
    pub(crate) fn new(resource: &'static str, tokens: impl IntoIterator<Item = Secret>) -> Access {
        Access {
            resource,
            tokens: tokens.into_iter().collect(),
        }
    }

    /// Returns the response that denies access, 401 or 403, or `None` if the request has access.
    pub(crate) fn denial<B>(&self, peer: Peer, request: &Request<B>) -> Option<Response> {
        let headers = request.headers();
        if !self.tokens.is_empty() {
            let has_access = self.tokens.iter().any(|token| has_token(headers, token));
            return (!has_access).then(|| response::unauthorized(self.resource));
        }
        let requirement = if !peer.address.is_loopback() {
            "accepts requests from loopback addresses only, unless a token is configured"
        } else if is_forwarded(headers) {
            "accepts direct requests only, unless a token is configured"
        } else if headers.contains_key(ORIGIN) || !has_local_host(headers, request.uri()) {
            "accepts no requests from web pages, unless a token is configured"
        } else {
            return None;
        };
        Some(response::error(
            StatusCode::FORBIDDEN,
            &format!("{} {requirement}", self.resource),
        ))
    }
}

/// Compares tokens of equal length in constant time. The length of the token may leak.
fn has_token(headers: &HeaderMap, token: &Secret) -> bool {
    let Some((scheme, given)) =
        single_header_value(headers, &AUTHORIZATION).and_then(|value| value.split_once(' '))
    else {
        return false;
    };
    scheme.eq_ignore_ascii_case("Bearer")
        && given.as_bytes().ct_eq(token.as_str().as_bytes()).into()
}

/// Returns true if a header says that a proxy forwarded the request.
pub(crate) fn is_forwarded(headers: &HeaderMap) -> bool {
    const NAMES: [HeaderName; 3] = [
        HeaderName::from_static("forwarded"),
        HeaderName::from_static("x-real-ip"),
        HeaderName::from_static("x-client-ip"),
    ];
    let is_forwarding = |name: &HeaderName| {
        NAMES.contains(name) || *name == VIA || name.as_str().starts_with("x-forwarded")
    };
    headers.keys().any(is_forwarding)
}

/// Returns true if the request's host is an IP address or localhost. An attacker may control any
/// other name.
fn has_local_host(headers: &HeaderMap, uri: &Uri) -> bool {
    let host = match (uri.authority(), headers.get(HOST)) {
        (Some(authority), _) => Some(authority.host().to_owned()),
        (None, Some(value)) => value
            .to_str()
            .ok()
            .and_then(|value| value.parse::<Uri>().ok()?.host().map(str::to_owned)),
        (None, None) => return true,
    };
    host.is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
    })
}
