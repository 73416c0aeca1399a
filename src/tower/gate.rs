//! What a layer and its services share: from a request's head to a verdict.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use http::{Extensions, Response, request::Parts};

use super::{
    decided::Decided,
    headers::HeaderStyle,
    key::{Key, Missing, Value},
    peer::Clients,
    refusal,
};
use crate::{Decision, KeyedLimiter};

/// It takes the request's extensions with it, and what else there is to tell the service behind is
/// in them when they come back.
pub(super) type Deciding = Pin<Box<dyn Future<Output = (Decided, Extensions)> + Send>>;

/// Somebody else who decides on a request of so many tokens.
pub(super) type Elsewhere =
    dyn Fn(&Gate, &mut Parts, u32) -> Result<Verdict, Missing> + Send + Sync;

/// Who decides.
#[derive(Clone)]
pub(super) enum Limiter {
    /// At once.
    Memory(Arc<KeyedLimiter>),
    /// In its own time.
    Elsewhere {
        decide: Arc<Elsewhere>,
        shown: Arc<dyn fmt::Debug + Send + Sync>,
    },
}

/// What a request costs.
pub(super) type Cost = dyn Fn(&Parts) -> u32 + Send + Sync;
/// Whether a request is limited at all.
pub(super) type Exempt = dyn Fn(&Parts) -> bool + Send + Sync;
/// The answer to what is refused.
pub(super) type Refusal = dyn Fn(&Decision, &Parts) -> Response<String> + Send + Sync;

/// On cache lines of its own: every clone of a service counts in the `Arc` around it, and axum
/// makes one for each request.
#[derive(Clone)]
#[repr(align(128))]
pub(super) struct Gate {
    limiter: Limiter,
    key: Key,
    pub(super) clients: Clients,
    pub(super) cost: Option<Arc<Cost>>,
    pub(super) exempt: Vec<Arc<Exempt>>,
    pub(super) refusal: Option<Arc<Refusal>>,
    pub(super) headers: HeaderStyle,
}

/// What becomes of a request.
pub(super) enum Verdict {
    Exempt,
    Decided(Decided),
    /// It is being decided elsewhere.
    Deciding(Deciding),
    /// It has no key.
    Missing(Missing),
}

impl Gate {
    pub(super) fn new(limiter: Limiter, key: Key) -> Gate {
        let (clients, headers) = (Clients::default(), HeaderStyle::default());
        Gate {
            limiter,
            key,
            clients,
            cost: None,
            exempt: Vec::new(),
            refusal: None,
            headers,
        }
    }

    pub(super) fn ask(&self, request: &mut Parts) -> Verdict {
        if self.exempt.iter().any(|is_exempt| is_exempt(request)) {
            return Verdict::Exempt;
        }
        let cost = self.cost.as_ref().map_or(1, |cost| cost(request));
        let verdict = match &self.limiter {
            Limiter::Memory(limiter) => self
                .key(request)
                .map(|key| Verdict::Decided(limiter.try_acquire(&key, cost).into())),
            Limiter::Elsewhere { decide, .. } => decide(self, request, cost),
        };
        verdict.unwrap_or_else(Verdict::Missing)
    }

    /// What this request's bucket belongs to.
    pub(super) fn key<'a>(&self, request: &'a Parts) -> Result<Value<'a>, Missing> {
        self.key.of(request, &self.clients)
    }

    /// The answer to a request that was refused.
    pub(super) fn refuse(&self, decided: &Decided, request: &Parts) -> Response<String> {
        let decision = &decided.decision;
        let mut answer = match &self.refusal {
            Some(own) => {
                let mut answer = own(decision, request);
                self.headers.write(decision, answer.headers_mut());
                answer
            }
            None => self.headers.refuse(decision, &request.headers),
        };
        decided.warn(answer.headers_mut());
        answer
    }

    /// The answer to a request that nobody can tell the sender of.
    pub(super) fn missing(missing: Missing, request: &Parts) -> Response<String> {
        refusal::missing(missing, &request.headers)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limiter: &dyn fmt::Debug = match &self.limiter {
            Limiter::Memory(limiter) => limiter,
            Limiter::Elsewhere { shown, .. } => shown,
        };
        f.debug_struct("Gate")
            .field("limiter", limiter)
            .field("key", &self.key)
            .field("clients", &self.clients)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
