//! Request head with its key, as the functions of a layer see it.

use std::{cell::OnceCell, fmt, ops::Deref};

use http::request::Parts;

use super::{
    client_address::ClientAddressResolver, key::Key, key_error::KeyError, request_key::RequestKey,
};

/// Head of a request that a layer limits, with the identity of its client. It dereferences to the
/// [`Parts`] of the request.
///
/// ```
/// # use tollgate::{Quota, tower::RateLimitLayer};
/// let layer = RateLimitLayer::per_ip(Quota::per_second(10))
///     .exempt(|request| request.uri.path() == "/health")
///     .cost(|request| {
///         let is_local = |key: &tollgate::tower::RequestKey| key.address().is_some_and(|ip| ip.is_loopback());
///         if request.key().is_some_and(is_local) { 0 } else { 1 }
///     });
/// ```
pub struct LimitedRequest<'a> {
    head: &'a Parts,
    source: &'a Key,
    client_address: &'a ClientAddressResolver,
    /// Computed once, on first use.
    key: OnceCell<Result<RequestKey<'a>, KeyError>>,
}

impl<'a> LimitedRequest<'a> {
    pub(super) fn new(
        head: &'a Parts,
        source: &'a Key,
        client_address: &'a ClientAddressResolver,
    ) -> LimitedRequest<'a> {
        LimitedRequest {
            head,
            source,
            client_address,
            key: OnceCell::new(),
        }
    }

    /// Returns the client's key: the bucket that the request takes tokens from. `None` for a
    /// request without a key, which is rejected unless it is exempt.
    #[must_use]
    pub fn key(&self) -> Option<&RequestKey<'a>> {
        self.required_key().ok()
    }

    /// Returns the key, or the reason that there is none.
    pub(super) fn required_key(&self) -> Result<&RequestKey<'a>, KeyError> {
        let key = self
            .key
            .get_or_init(|| self.source.value(self.head, self.client_address));
        key.as_ref().map_err(|error| *error)
    }

    /// Returns true when the kind of the key is not the same for all requests.
    #[cfg(feature = "redis")]
    pub(super) fn has_alternatives(&self) -> bool {
        self.source.has_alternatives()
    }
}

impl Deref for LimitedRequest<'_> {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        self.head
    }
}

impl fmt::Debug for LimitedRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedRequest")
            .field("method", &self.head.method)
            .field("uri", &self.head.uri)
            .finish_non_exhaustive()
    }
}
