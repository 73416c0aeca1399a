//! Limit check of a request, shared by a layer and its services.

use std::{fmt, sync::Arc};

use http::{Response, request::Parts};

#[cfg(feature = "tokio")]
use super::delay::Delay;
use super::{
    check_outcome::CheckOutcome,
    client_address::ClientAddressResolver,
    functions::{CostFn, ExemptFn, ObserverFn, RefusalFn},
    headers::{DEFAULT_POLICY, HeaderStyle},
    key::Key,
    key_error::KeyError,
    layer_decision::{LayerDecision, add_fallback_header},
    limited_request::LimitedRequest,
    limits::{Common, Limits},
    memory_limiter::MemoryLimiter,
    refusal::Refusal,
    response_body::ResponseBody,
};

/// Checks a request for the given number of tokens with another limiter. The text is the name of the
/// limit.
pub(super) type CustomCheck =
    dyn Fn(&LimitedRequest<'_>, u32, &'static str) -> Result<CheckOutcome, KeyError> + Send + Sync;

/// Limiter that decides on requests.
#[derive(Clone)]
pub(super) enum Backend {
    /// Decides synchronously, in memory.
    Memory(Arc<dyn MemoryLimiter>),
    /// Decides synchronously, on several limits in memory.
    Several(Limits),
    /// Decides at once, or with a request to Redis.
    #[cfg(feature = "redis")]
    Redis(crate::RedisLimiter),
    /// Decides at once or later.
    Custom {
        check: Arc<CustomCheck>,
        debug: Arc<dyn fmt::Debug + Send + Sync>,
    },
}

/// Checks requests against a limit, and refuses with bodies of type `B`.
///
/// Aligned to cache lines of its own: every clone of a service updates the reference count in the
/// `Arc` around it, and axum clones one for each request.
#[repr(align(128))]
pub(super) struct RequestLimiter<B> {
    pub(super) check: RequestCheck,
    pub(super) refusal: Option<Arc<RefusalFn<B>>>,
    pub(super) header_style: HeaderStyle,
    /// Name of the policy in the header fields, unless there are several.
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
    pub(super) observer: Option<Arc<ObserverFn>>,
    #[cfg(feature = "tokio")]
    pub(super) delay: Delay,
}

impl RequestCheck {
    /// Checks a request, and takes its cost when it is allowed. `policy` is the name of a single
    /// limit.
    pub(super) fn check(&self, head: &Parts, policy: &'static str) -> CheckOutcome {
        let request = self.request(head);
        if self.exempt.iter().any(|is_exempt| is_exempt(&request)) {
            return CheckOutcome::Exempt;
        }
        let cost = || self.cost.as_ref().map_or(1, |cost| cost(&request));
        let outcome = match &self.backend {
            Backend::Several(limits) => limits.check(
                head,
                &Common {
                    client_address: &self.client_address,
                    cost: self.cost.as_deref(),
                    observer: self.observer.as_ref(),
                    #[cfg(feature = "tokio")]
                    delay: &self.delay,
                },
            ),
            #[cfg(feature = "tokio")]
            Backend::Memory(limiter) if !self.delay.is_off() => request
                .required_key()
                .map(|key| self.delay.decide(limiter, key, cost(), policy)),
            Backend::Memory(limiter) => request
                .required_key()
                .map(|key| CheckOutcome::of_one(policy, limiter.try_acquire(key, cost()))),
            #[cfg(feature = "redis")]
            Backend::Redis(limiter) => {
                super::redis::check(limiter, &self.delay, &request, cost(), policy)
            }
            Backend::Custom { check, .. } => check(&request, cost(), policy),
        };
        outcome.unwrap_or_else(CheckOutcome::NoKey)
    }

    /// Passes the decisions to the function of [`RateLimitLayer::on_decision`](super::RateLimitLayer::on_decision).
    #[inline]
    pub(super) fn observe(&self, decision: &LayerDecision) {
        if let Some(observe) = &self.observer {
            match decision.policies() {
                [] => observe(decision.policy, &decision.view),
                all => all.iter().for_each(|(name, view)| observe(name, view)),
            }
        }
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
                observer: None,
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
        decision: &LayerDecision,
        head: &Parts,
    ) -> Response<ResponseBody<R, B>> {
        let view = &decision.view;
        let mut response = match &self.refusal {
            Some(refusal) => {
                let mut response = refusal(view, &self.check.request(head));
                let headers = decision.headers(self.header_style);
                headers.write(view, response.headers_mut());
                response.map(ResponseBody::from_refusal)
            }
            None => Refusal::new(self.header_style)
                .policy(decision.policy)
                .among(decision.policies())
                .response(view, &head.headers)
                .map(ResponseBody::from_text),
        };
        add_fallback_header(view, response.headers_mut());
        response
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
            Backend::Several(limits) => limits,
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
