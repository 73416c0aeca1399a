//! URL of an upstream.

use std::fmt;

use hyper::{
    Uri,
    http::uri::{self, Authority, PathAndQuery},
};

use super::parse::Value;

/// URL of an upstream: scheme, host and port, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamUrl {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
}

impl UpstreamUrl {
    /// Returns the URL to connect to.
    pub(crate) fn uri(&self) -> Uri {
        self.of(PathAndQuery::from_static("/"))
    }

    /// Returns the absolute URI of a request target on this upstream.
    pub(crate) fn of(&self, target: PathAndQuery) -> Uri {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(if self.scheme == Scheme::Https {
            uri::Scheme::HTTPS
        } else {
            uri::Scheme::HTTP
        });
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target);
        // With scheme, authority and path present, the parts always form a URI.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
    /// HTTP/2 without TLS, with prior knowledge.
    H2c,
}

impl Value for UpstreamUrl {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "http://host[:port], https://host[:port] or h2c://host[:port], without a path, as in http://127.0.0.1:9000",
        )
    }

    fn from_text(text: &str) -> Option<UpstreamUrl> {
        let uri = text.parse::<Uri>().ok()?;
        let scheme = match uri.scheme_str()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "h2c" => Scheme::H2c,
            _ => return None,
        };
        let bare =
            uri.path_and_query().is_none_or(|path| path.as_str() == "/") && !text.contains('#');
        let authority = uri
            .authority()
            .filter(|authority| !authority.as_str().contains('@'))?;
        // `host:` has an empty port, and the port of `host:99999` is out of range.
        let port_is_valid =
            authority.port_u16().is_some() || authority.as_str().len() == authority.host().len();
        let valid = bare
            && port_is_valid
            && authority.port_u16() != Some(0)
            && !authority.host().is_empty();
        valid.then(|| UpstreamUrl {
            scheme,
            authority: authority.clone(),
        })
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::H2c => "h2c",
        };
        write!(f, "{scheme}://{}", self.authority)
    }
}
