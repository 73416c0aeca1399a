//! Limit check of a request, shared by a layer and its services.

use std::{fmt, sync::Arc};

use http::{Response, request::Parts};

#[cfg(feature = "tokio")]
use super::delay::Delay;
use super::{
    check_outcome::CheckOutcome,
    client_address::ClientAddressResolver,
    headers::{DEFAULT_POLICY, HeaderStyle, PolicyHeaders},
    key::Key,
    key_error::KeyError,
    layer_decision::add_fallback_header,
    limited_request::LimitedRequest,
    memory_limiter::MemoryLimiter,
    refusal::Refusal,
    response_body::ResponseBody,
};
use crate::DecisionView;

/// Checks a request for the given number of tokens with another limiter.
pub(super) type CustomCheck =
    dyn Fn(&LimitedRequest<'_>, u32) -> Result<CheckOutcome, KeyError> + Send + Sync;

/// Limiter that decides on requests.
#[derive(Clone)]
pub(super) enum Backend {
    /// Decides synchronously, in memory.
    Memory(Arc<dyn MemoryLimiter>),
    /// Decides at once, or with a request to Redis.
    #[cfg(feature = "redis")]
    Redis(crate::RedisLimiter),
    /// Decides at once or later.
    Custom {
        check: Arc<CustomCheck>,
        debug: Arc<dyn fmt::Debug + Send + Sync>,
    },
}

/// Cost of a request, in tokens.
pub(super) type CostFn = dyn Fn(&LimitedRequest<'_>) -> u32 + Send + Sync;
/// Predicate for requests that are not limited.
pub(super) type ExemptFn = dyn Fn(&LimitedRequest<'_>) -> bool + Send + Sync;
/// Response to a refused request.
pub(super) type RefusalFn<B> =
    dyn Fn(&DecisionView, &LimitedRequest<'_>) -> Response<B> + Send + Sync;

/// Checks requests against a limit, and refuses with bodies of type `B`.
///
/// Aligned to cache lines of its own: every clone of a service updates the reference count in the
/// `Arc` around it, and axum clones one for each request.
#[repr(align(128))]
pub(super) struct RequestLimiter<B> {
    pub(super) check: RequestCheck,
    pub(super) refusal: Option<Arc<RefusalFn<B>>>,
    pub(super) header_style: HeaderStyle,
    /// Name of the policy in the header fields.
    pub(super) policy: &'static str,
}

/// The part of a [`RequestLimiter`] that decides.
#[derive(Clone)]
pub(super) struct RequestCheck {
    backend: Backend,
    pub(super) key: Key,
    pub(super) client_address: ClientAddressResolver,
    pub(super) cost: Option<Arc<CostFn>>,
    pub(super) exempt: Vec<Arc<ExemptFn>>,
    #[cfg(feature = "tokio")]
    pub(super) delay: Delay,
}

impl RequestCheck {
    /// Checks a request, and takes its cost when it is allowed.
    pub(super) fn check(&self, head: &Parts) -> CheckOutcome {
        let request = self.request(head);
        if self.exempt.iter().any(|is_exempt| is_exempt(&request)) {
            return CheckOutcome::Exempt;
        }
        let cost = self.cost.as_ref().map_or(1, |cost| cost(&request));
        let outcome = match &self.backend {
            #[cfg(feature = "tokio")]
            Backend::Memory(limiter) if !self.delay.is_off() => request
                .required_key()
                .map(|key| self.delay.decide(limiter, key, cost)),
            Backend::Memory(limiter) => request
                .required_key()
                .map(|key| CheckOutcome::Decided(limiter.try_acquire(key, cost))),
            #[cfg(feature = "redis")]
            Backend::Redis(limiter) => super::redis::check(limiter, &self.delay, &request, cost),
            Backend::Custom { check, .. } => check(&request, cost),
        };
        outcome.unwrap_or_else(CheckOutcome::NoKey)
    }

    fn request<'a>(&'a self, head: &'a Parts) -> LimitedRequest<'a> {
        LimitedRequest::new(head, &self.key, &self.client_address)
    }
}

impl<B> RequestLimiter<B> {
    pub(super) fn new(backend: Backend, key: Key) -> RequestLimiter<B> {
        RequestLimiter {
            check: RequestCheck {
                backend,
                key,
                client_address: ClientAddressResolver::default(),
                cost: None,
                exempt: Vec::new(),
                #[cfg(feature = "tokio")]
                delay: Delay::default(),
            },
            refusal: None,
            header_style: HeaderStyle::default(),
            policy: DEFAULT_POLICY,
        }
    }

    /// Builds the response to a refused request.
    pub(super) fn refuse<R>(
        &self,
        decision: &DecisionView,
        head: &Parts,
    ) -> Response<ResponseBody<R, B>> {
        let mut response = match &self.refusal {
            Some(refusal) => {
                let mut response = refusal(decision, &self.check.request(head));
                self.headers().write(decision, response.headers_mut());
                response.map(ResponseBody::from_refusal)
            }
            None => Refusal::new(self.header_style)
                .policy(self.policy)
                .response(decision, &head.headers)
                .map(ResponseBody::from_text),
        };
        add_fallback_header(decision, response.headers_mut());
        response
    }

    /// Headers that announce the decisions.
    pub(super) fn headers(&self) -> PolicyHeaders<'static> {
        self.header_style.for_policy(self.policy)
    }
}

impl<B> Clone for RequestLimiter<B> {
    fn clone(&self) -> Self {
        RequestLimiter {
            check: self.check.clone(),
            refusal: self.refusal.clone(),
            header_style: self.header_style,
            policy: self.policy,
        }
    }
}

impl<B> fmt::Debug for RequestLimiter<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backend: &dyn fmt::Debug = match &self.check.backend {
            Backend::Memory(limiter) => limiter,
            #[cfg(feature = "redis")]
            Backend::Redis(limiter) => limiter,
            Backend::Custom { debug, .. } => debug,
        };
        f.debug_struct("RequestLimiter")
            .field("backend", backend)
            .field("key", &self.check.key)
            .field("client_address", &self.check.client_address)
            .field("header_style", &self.header_style)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
