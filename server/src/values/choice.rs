//! Settings that are one of a few words.

use std::fmt;

use tollgate::tower::HeaderStyle;

use super::parse::Value;

/// Access to `POST /check`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Check {
    /// Requests need a token. When no token is configured, only requests from this machine are
    /// accepted.
    #[default]
    Guarded,
    Open,
}

impl Value for Check {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("guarded or open")
    }

    fn from_text(text: &str) -> Option<Check> {
        match text {
            "guarded" => Some(Check::Guarded),
            "open" => Some(Check::Open),
            _ => None,
        }
    }
}

/// Product whose rate limits can be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    Nginx,
    Traefik,
    Aspnetcore,
}

impl Value for Product {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nginx, traefik or aspnetcore")
    }

    fn from_text(text: &str) -> Option<Product> {
        match text {
            "nginx" => Some(Product::Nginx),
            "traefik" => Some(Product::Traefik),
            "aspnetcore" => Some(Product::Aspnetcore),
            _ => None,
        }
    }
}

/// Handling of CORS preflights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Preflight {
    /// The server responds itself.
    #[default]
    Answer,
    /// The upstream responds.
    Pass,
}

impl Value for Preflight {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("answer or pass")
    }

    fn from_text(text: &str) -> Option<Preflight> {
        match text {
            "answer" => Some(Preflight::Answer),
            "pass" => Some(Preflight::Pass),
            _ => None,
        }
    }
}

impl Value for HeaderStyle {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("x, x-epoch, draft, both or none")
    }

    fn from_text(text: &str) -> Option<HeaderStyle> {
        match text {
            "x" => Some(HeaderStyle::XRateLimit),
            "x-epoch" => Some(HeaderStyle::XRateLimitEpoch),
            "draft" => Some(HeaderStyle::Draft11),
            "both" => Some(HeaderStyle::Both),
            "none" => Some(HeaderStyle::RetryAfter),
            _ => None,
        }
    }
}

/// How instances share buckets through Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RedisMode {
    #[default]
    Exact,
    Lease,
}

impl Value for RedisMode {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("exact or lease")
    }

    fn from_text(text: &str) -> Option<RedisMode> {
        match text {
            "exact" => Some(RedisMode::Exact),
            "lease" => Some(RedisMode::Lease),
            _ => None,
        }
    }
}

impl fmt::Display for RedisMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RedisMode::Exact => "exact",
            RedisMode::Lease => "lease",
        })
    }
}

/// Fallback policy while Redis is unavailable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnRedisError {
    #[default]
    Local,
    Open,
    Closed,
}

impl Value for OnRedisError {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("local, open or closed")
    }

    fn from_text(text: &str) -> Option<OnRedisError> {
        match text {
            "local" => Some(OnRedisError::Local),
            "open" => Some(OnRedisError::Open),
            "closed" => Some(OnRedisError::Closed),
            _ => None,
        }
    }
}

impl fmt::Display for OnRedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnRedisError::Local => "local",
            OnRedisError::Open => "open",
            OnRedisError::Closed => "closed",
        })
    }
}
