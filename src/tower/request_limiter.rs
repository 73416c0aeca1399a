//! Limit check of a request, shared by a layer and its services.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use http::{Extensions, Response, request::Parts};

use super::{
    client_address::ClientAddressResolver,
    headers::HeaderStyle,
    key::{Key, KeyValue},
    key_error::KeyError,
    layer_decision::LayerDecision,
    refusal::Refusal,
};
use crate::{Decision, KeyedLimiter};

/// Future of a decision. It owns the request's extensions meanwhile, and returns them with
/// everything else that the backend inserts for the inner service.
pub(super) type PendingDecision = Pin<Box<dyn Future<Output = (LayerDecision, Extensions)> + Send>>;

/// Checks a request for the given number of tokens with another limiter.
pub(super) type CustomCheck =
    dyn Fn(&RequestLimiter, &mut Parts, u32) -> Result<CheckOutcome, KeyError> + Send + Sync;

/// Limiter that decides on requests.
#[derive(Clone)]
pub(super) enum Backend {
    /// Decides synchronously, in memory.
    Memory(Arc<KeyedLimiter>),
    /// Decides at once or later.
    Custom {
        check: Arc<CustomCheck>,
        debug: Arc<dyn fmt::Debug + Send + Sync>,
    },
}

/// Cost of a request, in tokens.
pub(super) type CostFn = dyn Fn(&Parts) -> u32 + Send + Sync;
/// Predicate for requests that are not limited.
pub(super) type ExemptFn = dyn Fn(&Parts) -> bool + Send + Sync;
/// Response to a refused request.
pub(super) type RefusalFn = dyn Fn(&Decision, &Parts) -> Response<String> + Send + Sync;

/// Checks requests against a limit.
///
/// Aligned to cache lines of its own: every clone of a service updates the reference count in the
/// `Arc` around it, and axum clones one for each request.
#[derive(Clone)]
#[repr(align(128))]
pub(super) struct RequestLimiter {
    backend: Backend,
    key: Key,
    pub(super) client_address: ClientAddressResolver,
    pub(super) cost: Option<Arc<CostFn>>,
    pub(super) exempt: Vec<Arc<ExemptFn>>,
    pub(super) refusal: Option<Arc<RefusalFn>>,
    pub(super) header_style: HeaderStyle,
}

/// Outcome of checking a request.
pub(super) enum CheckOutcome {
    /// The request is not limited.
    Exempt,
    Decided(LayerDecision),
    /// The decision takes time.
    Pending(PendingDecision),
    NoKey(KeyError),
}

impl RequestLimiter {
    pub(super) fn new(backend: Backend, key: Key) -> RequestLimiter {
        RequestLimiter {
            backend,
            key,
            client_address: ClientAddressResolver::default(),
            cost: None,
            exempt: Vec::new(),
            refusal: None,
            header_style: HeaderStyle::default(),
        }
    }

    /// Checks a request, and takes its cost when it is allowed.
    pub(super) fn check(&self, request: &mut Parts) -> CheckOutcome {
        if self.exempt.iter().any(|is_exempt| is_exempt(request)) {
            return CheckOutcome::Exempt;
        }
        let cost = self.cost.as_ref().map_or(1, |cost| cost(request));
        let outcome = match &self.backend {
            Backend::Memory(limiter) => self
                .key(request)
                .map(|key| CheckOutcome::Decided(limiter.try_acquire(&key, cost).into())),
            Backend::Custom { check, .. } => check(self, request, cost),
        };
        outcome.unwrap_or_else(CheckOutcome::NoKey)
    }

    /// Key of the bucket that a request takes tokens from.
    pub(super) fn key<'a>(&self, request: &'a Parts) -> Result<KeyValue<'a>, KeyError> {
        self.key.value(request, &self.client_address)
    }

    /// Builds the response to a refused request.
    pub(super) fn refuse(&self, decided: &LayerDecision, request: &Parts) -> Response<String> {
        let decision = &decided.decision;
        let mut response = match &self.refusal {
            Some(refusal) => {
                let mut response = refusal(decision, request);
                self.header_style.write(decision, response.headers_mut());
                response
            }
            None => Refusal::new(self.header_style).response(decision, &request.headers),
        };
        decided.add_fallback_header(response.headers_mut());
        response
    }
}

impl fmt::Debug for RequestLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backend: &dyn fmt::Debug = match &self.backend {
            Backend::Memory(limiter) => limiter,
            Backend::Custom { debug, .. } => debug,
        };
        f.debug_struct("RequestLimiter")
            .field("backend", backend)
            .field("key", &self.key)
            .field("client_address", &self.client_address)
            .field("header_style", &self.header_style)
            .finish_non_exhaustive()
    }
}
