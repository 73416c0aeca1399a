//! Value of a key for one request, which is the key of a layer's limiter.

use std::{borrow::Cow, fmt, net::IpAddr};

use http::header::HeaderName;

use super::ipv6_prefix::Ipv6Prefix;

/// Key of a client in the limiter of a layer: the value that a [`Key`](super::Key) has for its
/// requests.
///
/// A limiter that is [shared with a layer](super::RateLimitLayer::with_limiter) is a
/// `KeyedLimiter<RequestKey<'static>>`. Its rules take this type, so a rule for a key of another
/// type does not compile. [`RateLimitLayer::verify_key`](super::RateLimitLayer::verify_key) detects
/// a key that no request of the layer can have.
///
/// ```
/// use std::sync::Arc;
/// use http::header::HeaderName;
/// use tollgate::{KeyedLimiter, Quota, tower::{Key, RateLimitLayer, RequestKey}};
///
/// let api_key = HeaderName::from_static("x-api-key");
/// let limiter = Arc::new(KeyedLimiter::new(Quota::per_second(10), 1_000_000));
/// let layer = RateLimitLayer::with_limiter(limiter.clone(), Key::header(api_key.clone()).or(Key::ip()));
/// for key in [RequestKey::header(api_key, "alice"), RequestKey::ip("2001:db8::7".parse()?)] {
///     limiter.set_rule(&layer.verify_key(key)?, Quota::per_second(100));
/// }
/// assert!(layer.verify_key(RequestKey::path("/search")).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// ```compile_fail,E0308
/// # use {std::sync::Arc, tollgate::{KeyedLimiter, Quota, tower::{Key, RateLimitLayer}}};
/// let limiter = Arc::new(KeyedLimiter::new(Quota::per_second(10), 1000));
/// let layer = RateLimitLayer::with_limiter(limiter.clone(), Key::ip());
/// limiter.set_rule("192.0.2.7", Quota::per_second(100)); // expected `&RequestKey`, found `&str`
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey<'a>(pub(super) Value<'a>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value<'a> {
    /// Client address; for an IPv6 client, the first address of its network.
    Address(IpAddr),
    Header(HeaderName, Cow<'a, str>),
    Path(Cow<'a, str>),
    /// Value of the function with this index among the functions of a key.
    Custom(usize, Cow<'a, str>),
    Pair(Box<[RequestKey<'a>; 2]>),
}

impl<'a> RequestKey<'a> {
    /// The key of [`Key::ip`](super::Key::ip): an IPv4 address, or the /64 of an IPv6 address.
    #[must_use]
    pub fn ip(address: IpAddr) -> RequestKey<'static> {
        RequestKey::network(address, Ipv6Prefix::default())
    }

    /// The key of [`Key::ip`](super::Key::ip) on a layer with another
    /// [IPv6 prefix](super::RateLimitLayer::ipv6_prefix).
    #[must_use]
    pub fn network(address: IpAddr, prefix: Ipv6Prefix) -> RequestKey<'static> {
        RequestKey(Value::Address(prefix.network(address.to_canonical())))
    }

    /// The key of [`Key::header`](super::Key::header).
    #[must_use]
    pub fn header(name: HeaderName, value: impl Into<Cow<'a, str>>) -> RequestKey<'a> {
        RequestKey(Value::Header(name, value.into()))
    }

    /// The key of [`Key::path`](super::Key::path).
    #[must_use]
    pub fn path(path: impl Into<Cow<'a, str>>) -> RequestKey<'a> {
        RequestKey(Value::Path(path.into()))
    }

    /// The key of [`Key::from_fn`](super::Key::from_fn), with the value formatted as text.
    #[must_use]
    pub fn custom(value: impl Into<Cow<'a, str>>) -> RequestKey<'a> {
        RequestKey::nth_custom(0, value)
    }

    /// The key of one of several functions of a key, in the order of their appearance from 0.
    #[must_use]
    pub fn nth_custom(index: usize, value: impl Into<Cow<'a, str>>) -> RequestKey<'a> {
        RequestKey(Value::Custom(index, value.into()))
    }

    /// The key of [`Key::and`](super::Key::and).
    #[must_use]
    pub fn and(self, other: RequestKey<'a>) -> RequestKey<'a> {
        RequestKey(Value::Pair(Box::new([self, other])))
    }

    /// Returns the client address: for an IPv6 client, the first address of its network. `None` for
    /// a key of another kind.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.0 {
            Value::Address(address) => Some(address),
            _ => None,
        }
    }

    /// Returns the value of a header, the path, or the value of a function. `None` for an address
    /// and for a pair.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.0 {
            Value::Header(_, text) | Value::Path(text) | Value::Custom(_, text) => Some(text),
            Value::Address(_) | Value::Pair(_) => None,
        }
    }

    /// Returns the parts of a pair.
    #[must_use]
    pub fn parts(&self) -> Option<&[RequestKey<'a>; 2]> {
        match &self.0 {
            Value::Pair(parts) => Some(parts),
            _ => None,
        }
    }

    /// Converts into a key that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> RequestKey<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        RequestKey(match self.0 {
            Value::Address(address) => Value::Address(address),
            Value::Header(name, text) => Value::Header(name, owned(text)),
            Value::Path(text) => Value::Path(owned(text)),
            Value::Custom(index, text) => Value::Custom(index, owned(text)),
            Value::Pair(parts) => Value::Pair(Box::new(parts.map(RequestKey::into_owned))),
        })
    }

    /// Returns the bytes by which a Redis limiter knows the key. With `kinds`, the kind is part of
    /// them: then no two keys of different kinds have the same bytes.
    #[cfg(feature = "redis")]
    pub(super) fn redis_text(&self, kinds: bool) -> String {
        match &self.0 {
            Value::Pair(parts) => {
                let [first, second] = [0, 1].map(|part: usize| parts[part].redis_text(kinds));
                // The length prefix keeps a client from moving text across the boundary between the
                // two values.
                format!("{}:{first}{second}", first.len())
            }
            _ if kinds => self.to_string(),
            Value::Address(address) => address.to_string(),
            Value::Header(_, text) | Value::Path(text) | Value::Custom(_, text) => {
                text.clone().into_owned()
            }
        }
    }
}

/// Formats as `192.0.2.7`, `x-api-key=alice`, `:path=/search`, `:key=tenant`, or two of these.
impl fmt::Display for RequestKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Value::Address(address) => address.fmt(f),
            Value::Header(name, text) => write!(f, "{name}={text}"),
            // A colon begins no header name.
            Value::Path(text) => write!(f, ":path={text}"),
            Value::Custom(0, text) => write!(f, ":key={text}"),
            Value::Custom(index, text) => write!(f, ":key{index}={text}"),
            Value::Pair(parts) => write!(f, "{} {}", parts[0], parts[1]),
        }
    }
}

/// Error of a key that no request of a layer can have: it is of another kind, of another header, or
/// an IPv6 address that is not cut to the layer's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMismatch {
    pub(super) expected: String,
    pub(super) got: String,
}

impl fmt::Display for KeyMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeyMismatch { expected, got } = self;
        write!(f, "key: expected a value of {expected}, got {got}")
    }
}

impl std::error::Error for KeyMismatch {}
