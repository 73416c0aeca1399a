//! Access control of the admin API and other guarded endpoints.
//!
//! With tokens, a request must carry one of them. Without tokens, only a direct request from this
//! machine has access, and only where no proxy is expected: a proxy on this machine connects from
//! loopback too, and need not add a forwarding header. Web pages in a browser on this machine also
//! connect from loopback, so signs of a browser deny access: an `Origin` header, a `Sec-Fetch-Site`
//! header (unless the user typed the address), or a `Host` that is neither an IP address nor
//! localhost (DNS rebinding). A page cannot connect to a Unix socket.

use std::net::IpAddr;

use hyper::{
    HeaderMap, Request, StatusCode, Uri,
    header::{AUTHORIZATION, HOST, HeaderName, ORIGIN, VIA},
};
use subtle::ConstantTimeEq;

use super::{
    client_identifier::Peer, header_rules::is_client_header, headers::single_header_value,
};
use crate::{
    config::Tokenless,
    response::{self, Response},
    values::Secret,
};

/// Set by browsers: the relation between the page that sends a request and its target.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Access rule of a guarded resource.
#[derive(Debug)]
pub(crate) struct Access {
    /// Name of the resource in error messages.
    resource: &'static str,
    /// Accepted bearer tokens.
    tokens: Vec<Secret>,
    /// Requests that have access when there is no token.
    tokenless: Tokenless,
}

/// Reasons a request has no access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    MissingToken,
    WrongToken,
    /// No token is configured, and the request is not a direct one from this machine.
    Forbidden(&'static str),
}

impl Access {
    pub(crate) fn new(
        resource: &'static str,
        tokens: impl IntoIterator<Item = Secret>,
        tokenless: Tokenless,
    ) -> Access {
        Access {
            resource,
            tokens: tokens.into_iter().collect(),
            tokenless,
        }
    }

    /// Returns whether the request has access.
    pub(crate) fn check<B>(&self, peer: Peer, request: &Request<B>) -> Result<(), Denial> {
        let headers = request.headers();
        if !self.tokens.is_empty() {
            return match self.tokens.iter().any(|token| has_token(headers, token)) {
                true => Ok(()),
                false if headers.contains_key(AUTHORIZATION) => Err(Denial::WrongToken),
                false => Err(Denial::MissingToken),
            };
        }
        let is_from_page = || is_from_page(headers) || !has_local_host(headers, request.uri());
        Err(Denial::Forbidden(match self.tokenless {
            Tokenless::Refused => {
                "requires a token (--admin-token) or a listener of its own (--admin-listen)"
            }
            Tokenless::Loopback if !peer.address.is_loopback() => {
                "accepts requests from loopback addresses only, unless a token is configured"
            }
            _ if is_forwarded(headers) => {
                "accepts direct requests only, unless a token is configured"
            }
            Tokenless::Loopback if is_from_page() => {
                "accepts no requests from web pages, unless a token is configured"
            }
            Tokenless::Loopback | Tokenless::Socket => return Ok(()),
        }))
    }

    /// Returns the response to a request without access: 401 or 403.
    pub(crate) fn denied(&self, denial: Denial) -> Response {
        match denial {
            Denial::MissingToken | Denial::WrongToken => response::unauthorized(self.resource),
            Denial::Forbidden(requirement) => response::error(
                StatusCode::FORBIDDEN,
                &format!("{} {requirement}", self.resource),
            ),
        }
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

/// Returns true if a web page sent the request.
fn is_from_page(headers: &HeaderMap) -> bool {
    let sites = headers.get_all(SEC_FETCH_SITE);
    headers.contains_key(ORIGIN) || sites.iter().any(|site| site != "none")
}

/// Returns true if a header says that a proxy forwarded the request.
pub(crate) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers
        .keys()
        .any(|name| *name == VIA || is_client_header(name.as_str()))
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
