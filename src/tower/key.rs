//! Key that requests share a bucket by.

use std::{fmt, sync::Arc};

use http::{header::HeaderName, request::Parts};

use super::{
    client_address::ClientAddressResolver,
    header_key::HeaderKey,
    ipv6_prefix::Ipv6Prefix,
    key_error::KeyError,
    request_key::{KeyMismatch, RequestKey, Value},
};

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
/// The value for one request is a [`RequestKey`], which is also what the rules of a limiter take.
#[derive(Clone)]
pub struct Key(Kind);

#[derive(Clone)]
enum Kind {
    Ip,
    Header(HeaderKey),
    Path,
    /// Function, and its index among the functions of the key.
    Custom(Arc<KeyFn>, usize),
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
        let key: Arc<KeyFn> = Arc::new(move |request| key(request).map(|key| key.to_string()));
        Key(Kind::Custom(key, 0))
    }

    /// Both keys combined: one bucket per pair. A request that lacks one of them has no key.
    ///
    /// ```
    /// # use tollgate::tower::Key;
    /// let per_client_and_page = Key::ip().and(Key::path());
    /// ```
    #[must_use]
    pub fn and(self, other: Key) -> Key {
        let other = other.renumbered(self.functions());
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
        let other = other.renumbered(self.functions());
        Key(Kind::Or(Arc::new([self, other])))
    }

    /// Number of functions in this key.
    fn functions(&self) -> usize {
        match &self.0 {
            Kind::Custom(..) => 1,
            Kind::And(keys) | Kind::Or(keys) => keys.iter().map(Key::functions).sum(),
            Kind::Ip | Kind::Header(_) | Kind::Path => 0,
        }
    }

    /// Adds `first` to the indexes of the functions, so that their values differ from those
    /// of the functions before.
    fn renumbered(self, first: usize) -> Key {
        let both = |keys: &[Key; 2]| Arc::new(keys.clone().map(|key| key.renumbered(first)));
        Key(match self.0 {
            Kind::Custom(key, index) => Kind::Custom(key, index + first),
            Kind::And(keys) => Kind::And(both(&keys)),
            Kind::Or(keys) => Kind::Or(both(&keys)),
            other => other,
        })
    }

    /// Extracts the key's value from a request.
    pub(super) fn value<'a>(
        &self,
        request: &'a Parts,
        client_address: &ClientAddressResolver,
    ) -> Result<RequestKey<'a>, KeyError> {
        match &self.0 {
            Kind::Ip => client_address
                .resolve(request)
                .map(|address| RequestKey(Value::Address(address))),
            Kind::Header(header) => header
                .value(&request.headers)
                .map(|value| RequestKey(Value::Header(header.name().clone(), value)))
                .ok_or(KeyError::NoKey),
            Kind::Path => Ok(RequestKey::path(request.uri.path())),
            Kind::Custom(key, index) => key(request)
                .map(|key| RequestKey::nth_custom(*index, key))
                .ok_or(KeyError::NoKey),
            Kind::And(keys) => {
                let first = keys[0].value(request, client_address)?;
                Ok(first.and(keys[1].value(request, client_address)?))
            }
            Kind::Or(keys) => match keys[0].value(request, client_address) {
                // A client could otherwise choose the other key.
                Err(KeyError::ConflictingHeaders) => Err(KeyError::ConflictingHeaders),
                Err(KeyError::UnknownPeer | KeyError::NoKey) => {
                    keys[1].value(request, client_address)
                }
                Ok(value) => Ok(value),
            },
        }
    }

    /// Checks that a request can have this key.
    pub(super) fn verify(
        &self,
        key: &RequestKey<'_>,
        prefix: Ipv6Prefix,
    ) -> Result<(), KeyMismatch> {
        if self.has(key, prefix) {
            return Ok(());
        }
        Err(KeyMismatch {
            expected: format!("{self:?}"),
            got: key.to_string(),
        })
    }

    fn has(&self, key: &RequestKey<'_>, prefix: Ipv6Prefix) -> bool {
        match (&self.0, &key.0) {
            (Kind::Ip, Value::Address(address)) => prefix.network(*address) == *address,
            (Kind::Header(own), Value::Header(name, value)) => {
                own.name() == name && own.normalize(value).as_ref() == Some(value)
            }
            (Kind::Path, Value::Path(_)) => true,
            (Kind::Custom(_, own), Value::Custom(index, _)) => own == index,
            (Kind::And(keys), Value::Pair(parts)) => {
                keys[0].has(&parts[0], prefix) && keys[1].has(&parts[1], prefix)
            }
            (Kind::Or(keys), _) => keys.iter().any(|alternative| alternative.has(key, prefix)),
            _ => false,
        }
    }

    /// Returns true when the kind of a value is not the same for all requests.
    #[cfg(feature = "redis")]
    pub(super) fn has_alternatives(&self) -> bool {
        match &self.0 {
            Kind::Or(_) => true,
            Kind::And(keys) => keys.iter().any(Key::has_alternatives),
            _ => false,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Ip => f.write_str("ip"),
            Kind::Header(header) => write!(f, "header {}", header.name()),
            Kind::Path => f.write_str("path"),
            Kind::Custom(..) => f.write_str("custom function"),
            Kind::And(keys) => write!(f, "({:?} and {:?})", keys[0], keys[1]),
            Kind::Or(keys) => write!(f, "({:?} or {:?})", keys[0], keys[1]),
        }
    }
}
