//! One of the limits of a layer.

use std::{fmt, hash::BuildHasher, sync::Arc};

use super::{
    functions::{CostFn, ExemptFn},
    key::Key,
    limited_request::LimitedRequest,
    memory_limiter::{self, MemoryLimiter},
    request_key::RequestKey,
};
use crate::{KeyedLimiter, Quota};

/// One of the limits of a [`RateLimitLayer::all`](super::RateLimitLayer::all): a quota for each value
/// of a key.
///
/// ```
/// use tollgate::{Quota, tower::{Key, Limit, RateLimitLayer}};
///
/// let layer = RateLimitLayer::all([
///     Limit::new("burst", Quota::per_second(10), Key::ip()),
///     Limit::new("search", Quota::per_minute(20), Key::ip())
///         .exempt(|request| request.uri.path() != "/search"),
///     Limit::new("stricter", Quota::per_second(5), Key::ip()).shadow(),
/// ]);
/// ```
#[derive(Clone)]
#[must_use = "a Limit does nothing by itself: pass it to `RateLimitLayer::all`"]
pub struct Limit {
    pub(super) name: &'static str,
    pub(super) limiter: Arc<dyn MemoryLimiter>,
    pub(super) key: Key,
    pub(super) cost: Option<Arc<CostFn>>,
    pub(super) exempt: Vec<Arc<ExemptFn>>,
    pub(super) is_shadow: bool,
}

impl Limit {
    /// Creates a limit for up to 100,000 keys. Headers, refusals and
    /// [`RateLimitLayer::on_decision`](super::RateLimitLayer::on_decision) show its name.
    ///
    /// # Panics
    /// Panics when the 2.7 MB of the limiter's table cannot be allocated.
    #[track_caller]
    pub fn new(name: &'static str, quota: Quota, key: Key) -> Limit {
        Limit::with_limiter(name, memory_limiter::of_default_size(quota), key)
    }

    /// Creates a limit that uses the given limiter; see
    /// [`RateLimitLayer::with_limiter`](super::RateLimitLayer::with_limiter).
    pub fn with_limiter<S>(
        name: &'static str,
        limiter: impl Into<Arc<KeyedLimiter<RequestKey<'static>, S>>>,
        key: Key,
    ) -> Limit
    where
        S: BuildHasher + Send + Sync + 'static,
    {
        Limit {
            name,
            limiter: limiter.into(),
            key,
            cost: None,
            exempt: Vec::new(),
            is_shadow: false,
        }
    }

    /// Sets the cost of a request in tokens: that of the layer by default, which is 1. See
    /// [`RateLimitLayer::cost`](super::RateLimitLayer::cost).
    pub fn cost(
        mut self,
        cost: impl Fn(&LimitedRequest<'_>) -> u32 + Send + Sync + 'static,
    ) -> Limit {
        self.cost = Some(Arc::new(cost));
        self
    }

    /// Exempts the requests for which the function returns `true` from this limit; several functions
    /// may be added. They need no key.
    pub fn exempt(
        mut self,
        is_exempt: impl Fn(&LimitedRequest<'_>) -> bool + Send + Sync + 'static,
    ) -> Limit {
        self.exempt.push(Arc::new(is_exempt));
        self
    }

    /// Makes this a limit that refuses nothing, to try it out: its decision is only passed to
    /// [`RateLimitLayer::on_decision`](super::RateLimitLayer::on_decision).
    ///
    /// It takes tokens of its own after the other limits have allowed a request, and none when they
    /// refuse. A request without its key passes.
    pub fn shadow(mut self) -> Limit {
        self.is_shadow = true;
        self
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("name", &self.name)
            .field("limiter", &self.limiter)
            .field("key", &self.key)
            .field("is_shadow", &self.is_shadow)
            .finish_non_exhaustive()
    }
}
