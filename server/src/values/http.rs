//! Addresses, networks, header names, methods and paths.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use hyper::{Method, header::HeaderName};
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
