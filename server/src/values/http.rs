//! Addresses, networks, header names, methods and paths.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use hyper::{
    Method,
    header::HeaderName,
    http::uri::{Authority, Scheme},
};
use ipnet::IpNet;

use super::parse::Value;

impl Value for SocketAddr {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an IP address and a port, such as 127.0.0.1:8000 or [::1]:8000")
    }

    fn from_text(text: &str) -> Option<SocketAddr> {
        text.parse().ok()
    }
}

impl Value for IpNet {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a network such as 10.0.0.0/8 or 2001:db8::/32, or an IP address")
    }

    fn from_text(text: &str) -> Option<IpNet> {
        text.parse()
            .ok()
            .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    }
}

impl Value for HeaderName {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a header, such as X-API-Key")
    }

    fn from_text(text: &str) -> Option<HeaderName> {
        HeaderName::from_str(text).ok()
    }
}

impl Value for Method {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an HTTP method, such as GET")
    }

    fn from_text(text: &str) -> Option<Method> {
        Method::from_str(text)
            .ok()
            .filter(|_| text.chars().all(|c| c.is_ascii_uppercase() || c == '-'))
    }
}

/// Returns true if CGI, WSGI and PHP read both header names, in lower case, as one variable: all
/// characters but letters and digits are alike.
pub(crate) fn is_same_variable(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).all(|(one, other)| {
            one == other || !one.is_ascii_alphanumeric() && !other.is_ascii_alphanumeric()
        })
}

/// Origin of web pages, as browsers send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Any,
    Exact(String),
}

impl Value for Origin {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an origin in lower case without a path, such as https://app.example, or *")
    }

    fn from_text(text: &str) -> Option<Origin> {
        if text == "*" {
            return Some(Origin::Any);
        }
        let (scheme, authority) = text.split_once("://")?;
        // Browsers leave out the default port.
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "\0",
        };
        let is_valid = authority.parse::<Authority>().is_ok()
            && scheme.parse::<Scheme>().is_ok()
            && !text.contains('@')
            && !text.bytes().any(|byte| byte.is_ascii_uppercase())
            && !authority.ends_with(default_port);
        is_valid.then(|| Origin::Exact(text.to_owned()))
    }
}

/// Path of a route or an upstream's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path(String);

impl Path {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

impl Value for Path {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path that begins with / and has no query, such as /api/data")
    }

    fn from_text(text: &str) -> Option<Path> {
        let valid = text.starts_with('/')
            && !text.contains(['?', '#'])
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        valid.then(|| Path(text.to_owned()))
    }
}
