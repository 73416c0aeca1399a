//! Several limits of a layer, all or nothing.

use std::sync::Arc;

use http::request::Parts;

use super::{
    check_outcome::CheckOutcome,
    client_address::ClientAddressResolver,
    functions::{CostFn, ObserverFn},
    key_error::KeyError,
    layer_decision::LayerDecision,
    limit::Limit,
    limited_request::LimitedRequest,
};
#[cfg(feature = "tokio")]
use super::{
    delay::Delay,
    delayed_request::{DelayedRequest, OwnedAsk},
};
use crate::{Ask, DecisionView, MAX_LIMITS, all_of};

/// Limits of which a request takes from all that apply to it, or from none.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    enforced: Arc<[Limit]>,
    shadows: Arc<[Limit]>,
}

/// What the limits of a layer have in common.
pub(super) struct Common<'a> {
    pub(super) client_address: &'a ClientAddressResolver,
    pub(super) cost: Option<&'a CostFn>,
    pub(super) observer: Option<&'a Arc<ObserverFn>>,
    #[cfg(feature = "tokio")]
    pub(super) delay: &'a Delay,
}

impl Limits {
    pub(super) fn new(limits: impl IntoIterator<Item = Limit>) -> Limits {
        let (shadows, enforced): (Vec<_>, Vec<_>) =
            limits.into_iter().partition(|limit| limit.is_shadow);
        Limits {
            enforced: enforced.into(),
            shadows: shadows.into(),
        }
    }

    /// Checks a request. The decisions are in the order of the limits.
    pub(super) fn check(
        &self,
        head: &Parts,
        common: &Common<'_>,
    ) -> Result<CheckOutcome, KeyError> {
        let mut limits = [None; MAX_LIMITS];
        let mut asks: Option<[Ask<'_>; MAX_LIMITS]> = None;
        let mut len = 0;
        for limit in &*self.enforced {
            let Some(ask) = limit.ask(head, common)? else {
                continue;
            };
            limits[len] = Some(limit);
            asks.get_or_insert([ask; MAX_LIMITS])[len] = ask;
            len += 1;
        }
        let limits = limits.iter().copied().flatten();
        #[cfg(feature = "tokio")]
        if let Some(asks) = &asks
            && !common.delay.is_off()
        {
            return self.check_with_delay(head, common, limits, &asks[..len]);
        }
        let Some(Ok(all)) = asks.as_ref().map(|asks| all_of(&asks[..len])) else {
            self.try_shadows(head, common);
            return Ok(CheckOutcome::Exempt);
        };
        let decision = all.try_acquire();
        if decision.is_allowed() {
            self.try_shadows(head, common);
        }
        let parts = limits.map(|limit| limit.name).zip(decision.parts());
        Ok(CheckOutcome::Decided(LayerDecision::of_several(
            parts.collect(),
            decision.tightest(),
        )))
    }

    /// Checks a request that may wait for its tokens.
    #[cfg(feature = "tokio")]
    fn check_with_delay<'a>(
        &self,
        head: &Parts,
        common: &Common<'_>,
        limits: impl Iterator<Item = &'a Limit> + Clone,
        asks: &[Ask<'_>],
    ) -> Result<CheckOutcome, KeyError> {
        let enforced = limits.clone().zip(asks);
        let enforced = enforced.filter_map(|(limit, ask)| limit.owned(ask));
        let mut shadows = Vec::new();
        for limit in &*self.shadows {
            // A request without the key passes.
            if let Ok(Some(ask)) = limit.ask(head, common) {
                shadows.extend(limit.owned(&ask));
            }
        }
        let request = DelayedRequest {
            enforced: enforced.collect(),
            shadows,
            observer: common.observer.cloned(),
        };
        // The client is the key of the first limit that applies.
        let first = limits.clone().next();
        let client =
            first.map(|limit| LimitedRequest::new(head, &limit.key, common.client_address));
        match client {
            Some(client) => Ok(request.decide(common.delay, client.required_key()?)),
            None => Ok(CheckOutcome::Exempt),
        }
    }

    /// Takes from each shadow limit alone.
    fn try_shadows(&self, head: &Parts, common: &Common<'_>) {
        for limit in &*self.shadows {
            // A request without the key passes.
            if let Ok(Some(decision)) = limit.try_acquire(head, common)
                && let Some(observe) = common.observer
            {
                observe(limit.name, &decision);
            }
        }
    }
}

impl Limit {
    /// Returns the request for tokens, or `None` when the limit does not apply to the request.
    fn ask<'a>(
        &'a self,
        head: &'a Parts,
        common: &Common<'a>,
    ) -> Result<Option<Ask<'a>>, KeyError> {
        let request = LimitedRequest::new(head, &self.key, common.client_address);
        let Some(cost) = self.cost_of(&request, common) else {
            return Ok(None);
        };
        let key = request.required_key()?;
        Ok(Some(self.limiter.ask(key, cost)))
    }

    /// Returns the same request for tokens, without the key.
    #[cfg(feature = "tokio")]
    fn owned(&self, ask: &Ask<'_>) -> Option<OwnedAsk> {
        Some(OwnedAsk {
            name: self.name,
            limiter: Arc::clone(&self.limiter),
            hash: ask.hash()?,
            cost: ask.cost(),
        })
    }

    fn try_acquire(
        &self,
        head: &Parts,
        common: &Common<'_>,
    ) -> Result<Option<DecisionView>, KeyError> {
        let request = LimitedRequest::new(head, &self.key, common.client_address);
        let Some(cost) = self.cost_of(&request, common) else {
            return Ok(None);
        };
        let key = request.required_key()?;
        Ok(Some(self.limiter.try_acquire(key, cost)))
    }

    /// Returns the cost of a request, or `None` when it is exempt.
    fn cost_of(&self, request: &LimitedRequest<'_>, common: &Common<'_>) -> Option<u32> {
        let is_exempt = self.exempt.iter().any(|is_exempt| is_exempt(request));
        let cost = self.cost.as_deref().or(common.cost);
        (!is_exempt).then(|| cost.map_or(1, |cost| cost(request)))
    }
}
