//! What a bucket belongs to.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::Arc,
};

use http::{
    header::{HeaderMap, HeaderName},
    request::Parts,
};

use super::peer::Clients;

/// What requests share a bucket: those of one address, with the same header, for the same path, or
/// what you make of them.
///
/// ```
/// use {http::header::HeaderName, tollgate::{Quota, tower::{Key, RateLimitLayer}}};
///
/// // Each client and path on its own.
/// let each_page = Key::ip().and(Key::path());
/// // By API key, and by address for those who send none.
/// let by_key = Key::header(HeaderName::from_static("x-api-key")).or(Key::ip());
/// // Whatever the service knows of its users. (In axum, what is added last runs first: `.layer(limit).layer(authentication)`.)
/// #[derive(Clone)]
/// struct User(u64);
/// let by_user = Key::from_fn(|request| request.extensions.get::<User>().map(|user| user.0));
///
/// let limit = RateLimitLayer::new(Quota::per_minute(100), by_user);
/// ```
///
/// # As a key of a [`KeyedLimiter`](crate::KeyedLimiter)
///
/// A limiter that the layer [shares](super::RateLimitLayer::with_limiter) sees [`Key::ip`] as an
/// [`IpAddr`] (of an IPv6 client, the first address of its network), every other kind as a `str`:
/// so `limiter.set_rule("alice", quota)` gives the client whose header says `alice` a quota of its
/// own. A `RedisLimiter` sees all of them as text: `"192.0.2.7"`, `"2001:db8::"`.
#[derive(Clone)]
pub struct Key(Kind);

#[derive(Clone)]
enum Kind {
    Ip,
    Header(HeaderName),
    Path,
    Own(Arc<Own>),
    And(Arc<[Key; 2]>),
    Or(Arc<[Key; 2]>),
}

type Own = dyn Fn(&Parts) -> Option<String> + Send + Sync;

impl Key {
    /// The client's address: the peer's, or what [trusted
    /// proxies](super::RateLimitLayer::trust_proxies) say. IPv6 clients are told apart by their
    /// /64, or by [another prefix](super::RateLimitLayer::ipv6_prefix).
    ///
    /// A request whose peer is not known is answered with 500: see
    /// [`RateLimitLayer::peer_from`](super::RateLimitLayer::peer_from).
    #[must_use]
    pub fn ip() -> Key {
        Key(Kind::Ip)
    }

    /// The value of a header that stands there once, is not empty, and is plain ASCII; else the
    /// request is answered with 401.
    ///
    /// ```
    /// # use {http::header::HeaderName, tollgate::tower::Key};
    /// let by_api_key = Key::header(HeaderName::from_static("x-api-key"));
    /// ```
    ///
    /// Whoever can invent values gets a full bucket with each: let something in front of this layer
    /// check them.
    #[must_use]
    pub fn header(name: HeaderName) -> Key {
        Key(Kind::Header(name))
    }

    /// The path, as it stands in the request: one bucket for all clients, unless it is
    /// [combined](Key::and) with another key.
    #[must_use]
    pub fn path() -> Key {
        Key(Kind::Path)
    }

    /// What a function makes of the request; with `None` it is answered with 401.
    ///
    /// ```
    /// # use tollgate::tower::Key;
    /// let everybody_together = Key::from_fn(|_| Some("everybody"));
    /// let tenant = Key::from_fn(|request| request.uri.host().map(str::to_owned));
    /// ```
    #[must_use]
    pub fn from_fn<T: fmt::Display>(
        key: impl Fn(&Parts) -> Option<T> + Send + Sync + 'static,
    ) -> Key {
        Key(Kind::Own(Arc::new(move |request| {
            key(request).map(|key| key.to_string())
        })))
    }

    /// Both together: a bucket for each pair. Without one of them there is no key.
    ///
    /// ```
    /// # use tollgate::tower::Key;
    /// let each_client_on_each_page = Key::ip().and(Key::path());
    /// ```
    #[must_use]
    pub fn and(self, other: Key) -> Key {
        Key(Kind::And(Arc::new([self, other])))
    }

    /// This one, or the other where there is none. No value of one is ever taken for the same value
    /// of the other.
    ///
    /// ```
    /// # use {http::header::HeaderName, tollgate::tower::Key};
    /// let by_key_or_address = Key::header(HeaderName::from_static("x-api-key")).or(Key::ip());
    /// ```
    #[must_use]
    pub fn or(self, other: Key) -> Key {
        Key(Kind::Or(Arc::new([self, other])))
    }

    /// The key of this request.
    pub(super) fn of<'a>(
        &self,
        request: &'a Parts,
        clients: &Clients,
    ) -> Result<Value<'a>, Missing> {
        match &self.0 {
            Kind::Ip => clients
                .network(request)
                .map(Value::Address)
                .ok_or(Missing::Peer),
            Kind::Header(name) => sole(&request.headers, name)
                .map(Value::text)
                .ok_or(Missing::Key),
            Kind::Path => Ok(Value::text(request.uri.path())),
            Kind::Own(key) => key(request)
                .map(|key| Value::Text(key.into()))
                .ok_or(Missing::Key),
            Kind::And(both) => {
                let [one, other] = [both[0].of(request, clients)?, both[1].of(request, clients)?]
                    .map(Value::into_text);
                // With its length in front, so that nobody can move the border between the two.
                Ok(Value::Text(format!("{}:{one}{other}", one.len()).into()))
            }
            Kind::Or(either) => {
                let mut text = String::from("0:");
                let value = either[0].of(request, clients).or_else(|_| {
                    text.replace_range(..1, "1");
                    either[1].of(request, clients)
                })?;
                // Writing to a String cannot fail.
                let _ = write!(text, "{}", value.into_text());
                Ok(Value::Text(text.into()))
            }
        }
    }
}

/// The header's value, if there is one and no other.
fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    (values.next().is_none() && !value.is_empty()).then_some(value)
}

/// The key of one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Address(IpAddr),
    Text(Cow<'a, str>),
}

/// Why a request has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The service was set up wrong.
    Peer,
    /// The client has sent none.
    Key,
}

impl<'a> Value<'a> {
    fn text(text: &'a str) -> Value<'a> {
        Value::Text(Cow::Borrowed(text))
    }

    pub(super) fn into_text(self) -> Cow<'a, str> {
        match self {
            Value::Address(address) => address.to_string().into(),
            Value::Text(text) => text,
        }
    }
}

/// As what it holds, so that a user who shares the limiter can name the same key.
impl Hash for Value<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Value::Address(address) => address.hash(state),
            Value::Text(text) => text.hash(state),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Ip => f.write_str("ip"),
            Kind::Header(name) => write!(f, "header {name}"),
            Kind::Path => f.write_str("path"),
            Kind::Own(_) => f.write_str("own function"),
            Kind::And(both) => write!(f, "({:?} and {:?})", both[0], both[1]),
            Kind::Or(either) => write!(f, "({:?} or {:?})", either[0], either[1]),
        }
    }
}
