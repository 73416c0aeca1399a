//! Key that requests share a bucket by.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::Arc,
};

use http::{header::HeaderName, request::Parts};

use super::{client_address::ClientAddressResolver, header_key::HeaderKey, key_error::KeyError};

/// Key of a request's bucket: the client address, a header, the path, or a value that a function
/// returns.
///
/// ```
/// use {http::header::HeaderName, tollgate::{Quota, tower::{Key, RateLimitLayer}}};
///
/// // One bucket per client and path.
/// let per_page = Key::ip().and(Key::path());
/// // By API key, and by address for requests without one.
/// let by_api_key = Key::header(HeaderName::from_static("x-api-key")).or(Key::ip());
/// // By an extension that an authentication layer inserts. (In axum, the layer that is added last
/// // runs first: `.layer(limit).layer(authentication)`.)
/// #[derive(Clone)]
/// struct User(u64);
/// let by_user = Key::from_fn(|request| request.extensions.get::<User>().map(|user| user.0));
///
/// let limit = RateLimitLayer::new(Quota::per_minute(100), by_user);
/// ```
///
/// # As a key of a [`KeyedLimiter`](crate::KeyedLimiter)
///
/// A limiter that is [shared with the layer](super::RateLimitLayer::with_limiter) sees [`Key::ip`]
/// as an [`IpAddr`] (for an IPv6 client, the first address of its network) and every other kind as
/// a `str`. `limiter.set_rule("alice", quota)` therefore sets the quota of the client whose header
/// is `alice`. A `RedisLimiter` sees all keys as text: `"192.0.2.7"`, `"2001:db8::"`.
#[derive(Clone)]
pub struct Key(Kind);

#[derive(Clone)]
enum Kind {
    Ip,
    Header(HeaderKey),
    Path,
    Custom(Arc<KeyFn>),
    And(Arc<[Key; 2]>),
    Or(Arc<[Key; 2]>),
}

type KeyFn = dyn Fn(&Parts) -> Option<String> + Send + Sync;

impl Key {
    /// The client address: the peer's, or the one that [trusted
    /// proxies](super::RateLimitLayer::trust_proxies) forward. IPv6 clients are keyed by their /64,
    /// or by [another prefix](super::RateLimitLayer::ipv6_prefix).
    ///
    /// A request without a peer address is rejected with 500: see
    /// [`RateLimitLayer::peer_from`](super::RateLimitLayer::peer_from). A request whose forwarding
    /// headers name different clients is rejected with 400: see
    /// [`RateLimitLayer::client_address_header`](super::RateLimitLayer::client_address_header).
    #[must_use]
    pub fn ip() -> Key {
        Key(Kind::Ip)
    }

    /// The value of a header. A request is rejected with 401 when the header is missing, repeated,
    /// empty, longer than 1024 bytes, or not visible ASCII. Spellings of one `Authorization` value
    /// are one key; see [`HeaderKey`](super::HeaderKey).
    ///
    /// ```
    /// # use {http::header::HeaderName, tollgate::tower::Key};
    /// let by_api_key = Key::header(HeaderName::from_static("x-api-key"));
    /// ```
    ///
    /// A client that invents values gets a full bucket for each of them, so a layer that runs
    /// before this one must validate them.
    #[must_use]
    pub fn header(name: HeaderName) -> Key {
        Key(Kind::Header(HeaderKey::new(name)))
    }

    /// The path of the request, neither decoded nor normalized: one bucket for all clients, unless
    /// it is [combined](Key::and) with another key.
    #[must_use]
    pub fn path() -> Key {
        Key(Kind::Path)
    }

    /// The value that a function returns. A request for which it returns `None` is rejected with
    /// 401.
    ///
    /// ```
    /// # use tollgate::tower::Key;
    /// let global = Key::from_fn(|_| Some("global"));
    /// let by_tenant = Key::from_fn(|request| request.uri.host().map(str::to_owned));
    /// ```
    #[must_use]
    pub fn from_fn<T: fmt::Display>(
        key: impl Fn(&Parts) -> Option<T> + Send + Sync + 'static,
    ) -> Key {
        Key(Kind::Custom(Arc::new(move |request| {
            key(request).map(|key| key.to_string())
        })))
    }

    /// Both keys combined: one bucket per pair. A request that lacks one of them has no key.
    ///
    /// ```
    /// # use tollgate::tower::Key;
    /// let per_client_and_page = Key::ip().and(Key::path());
    /// ```
    #[must_use]
    pub fn and(self, other: Key) -> Key {
        Key(Kind::And(Arc::new([self, other])))
    }

    /// This key, or the other one for requests that lack it. Equal values of the two kinds are
    /// distinct keys.
    ///
    /// ```
    /// # use {http::header::HeaderName, tollgate::tower::Key};
    /// let by_key_or_address = Key::header(HeaderName::from_static("x-api-key")).or(Key::ip());
    /// ```
    #[must_use]
    pub fn or(self, other: Key) -> Key {
        Key(Kind::Or(Arc::new([self, other])))
    }

    /// Extracts the key's value from a request.
    pub(super) fn value<'a>(
        &self,
        request: &'a Parts,
        client_address: &ClientAddressResolver,
    ) -> Result<KeyValue<'a>, KeyError> {
        match &self.0 {
            Kind::Ip => client_address.resolve(request).map(KeyValue::Address),
            Kind::Header(header) => header
                .value(&request.headers)
                .map(KeyValue::Text)
                .ok_or(KeyError::NoKey),
            Kind::Path => Ok(KeyValue::text(request.uri.path())),
            Kind::Custom(key) => key(request)
                .map(|key| KeyValue::Text(key.into()))
                .ok_or(KeyError::NoKey),
            Kind::And(keys) => {
                let [first, second] = [
                    keys[0].value(request, client_address)?,
                    keys[1].value(request, client_address)?,
                ]
                .map(KeyValue::into_text);
                // The length prefix keeps a client from moving text across the boundary between the
                // two values.
                Ok(KeyValue::Text(
                    format!("{}:{first}{second}", first.len()).into(),
                ))
            }
            Kind::Or(keys) => {
                let mut text = String::from("0:");
                let value = match keys[0].value(request, client_address) {
                    // A client could otherwise choose the other key.
                    Err(KeyError::ConflictingHeaders) => return Err(KeyError::ConflictingHeaders),
                    Err(KeyError::UnknownPeer | KeyError::NoKey) => {
                        text.replace_range(..1, "1");
                        keys[1].value(request, client_address)?
                    }
                    Ok(value) => value,
                };
                // Writing to a String cannot fail.
                let _ = write!(text, "{}", value.into_text());
                Ok(KeyValue::Text(text.into()))
            }
        }
    }
}

/// Value of a [`Key`] for one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyValue<'a> {
    Address(IpAddr),
    Text(Cow<'a, str>),
}

impl<'a> KeyValue<'a> {
    fn text(text: &'a str) -> KeyValue<'a> {
        KeyValue::Text(Cow::Borrowed(text))
    }

    pub(super) fn into_text(self) -> Cow<'a, str> {
        match self {
            KeyValue::Address(address) => address.to_string().into(),
            KeyValue::Text(text) => text,
        }
    }
}

/// Hashes like the value inside, so that an application that shares the limiter can name the same
/// key.
impl Hash for KeyValue<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            KeyValue::Address(address) => address.hash(state),
            KeyValue::Text(text) => text.hash(state),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Ip => f.write_str("ip"),
            Kind::Header(header) => write!(f, "header {}", header.name()),
            Kind::Path => f.write_str("path"),
            Kind::Custom(_) => f.write_str("custom function"),
            Kind::And(keys) => write!(f, "({:?} and {:?})", keys[0], keys[1]),
            Kind::Or(keys) => write!(f, "({:?} or {:?})", keys[0], keys[1]),
        }
    }
}
