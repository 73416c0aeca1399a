//! Access control of the admin API and other guarded endpoints.
//!
//! With tokens, a request must carry one of them. Without tokens, only a direct request from this
//! machine has access, and only where no proxy is expected: a proxy on this machine connects from
//! loopback too, and need not add a forwarding header. Web pages in a browser on this machine also
//! connect from loopback, so signs of a browser deny access: an `Origin` header, a `Sec-Fetch-Site`
//! header (unless the user typed the address), or a `Host` that is neither an IP address nor
//! localhost (DNS rebinding). A page cannot connect to a Unix socket.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::{
    HeaderMap, Request, StatusCode, Uri,
    header::{AUTHORIZATION, HOST, HeaderName, ORIGIN, VIA},
};
use subtle::ConstantTimeEq;

use super::{client_identifier::Peer, header_rules::is_client_header, headers::bearer_token};
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
    bearer_token(headers)
        .is_some_and(|given| given.as_bytes().ct_eq(token.as_str().as_bytes()).into())
}

/// Returns true if a web page sent the request.
fn is_from_page(headers: &HeaderMap) -> bool {
    // Comparing the few names of a request costs less than hashing two.
    headers
        .iter()
        .any(|(name, value)| *name == ORIGIN || *name == SEC_FETCH_SITE && value != "none")
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
    let given = headers.iter().find(|(name, _)| **name == HOST);
    match (uri.authority(), given) {
        (Some(authority), _) => is_local(authority.host()),
        (None, Some((_, value))) => value
            .to_str()
            .is_ok_and(|host| is_local(without_port(host))),
        (None, None) => true,
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    }
}

fn is_local(host: &str) -> bool {
    match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.eq_ignore_ascii_case("localhost") || host.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_local_hosts() {
        let is_local = |host: &str| {
            let request = Request::post("/check").header(HOST, host).body(()).unwrap();
            has_local_host(request.headers(), request.uri())
        };
        for host in [
            "localhost",
            "LocalHost:8000",
            "127.0.0.1",
            "127.0.0.1:8000",
            "192.0.2.1:80",
            "[::1]",
            "[::1]:8000",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            ":8000",
            "attacker.example",
            "attacker.example:8000",
            "localhost.attacker.example",
            "127.0.0.1.attacker.example",
            "127.0.0.1:8000.attacker.example",
            "user@127.0.0.1",
            "[::1",
            "::1]",
            "[127.0.0.1]",
            "[::1].attacker.example",
        ] {
            assert!(!is_local(host), "{host}");
        }
        let target = |target: &str| {
            Request::post(target)
                .header(HOST, "127.0.0.1")
                .body(())
                .unwrap()
        };
        for (uri, expected) in [
            ("http://127.0.0.1:8000/check", true),
            ("http://[::1]/check", true),
            ("http://attacker.example/check", false),
        ] {
            let request = target(uri);
            assert_eq!(
                has_local_host(request.headers(), request.uri()),
                expected,
                "{uri}"
            );
        }
    }

    #[test]
    fn pages_are_recognized_in_any_of_several_headers() {
        let is_page = |headers: &[(&str, &str)]| {
            let request = headers
                .iter()
                .fold(Request::post("/check"), |request, header| {
                    request.header(header.0, header.1)
                });
            is_from_page(request.body(()).unwrap().headers())
        };
        assert!(!is_page(&[]));
        assert!(!is_page(&[("sec-fetch-site", "none")]));
        assert!(is_page(&[
            ("sec-fetch-site", "none"),
            ("sec-fetch-site", "cross-site")
        ]));
        assert!(is_page(&[("origin", "null")]));
    }
}
