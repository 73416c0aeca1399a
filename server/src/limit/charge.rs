//! Charging a request: all of its cost, or nothing.

use std::{iter, sync::Arc, time::Duration};

use tollgate::{Decision, DecisionView, Refused};

use super::{
    delay::Delay,
    limiter::Limiter,
    policy_decision::{Part, Policy, PolicyDecision, record_shadow},
    price::{Fee, OwnLimit, Price},
};
use crate::{
    client_slots::ClientSlot,
    endpoint::Endpoint,
    metrics::{Metrics, RouteCounters},
    request::client_id::{ClientId, OwnedClientId},
};

/// Charge of a request whose client and price are known. Borrows from the request head.
pub(crate) struct Charge<'a> {
    pub(crate) endpoint: Endpoint,
    pub(crate) client: ClientId<'a>,
    pub(crate) fee: Fee<'a>,
    /// Fees from other buckets; see [`Price`].
    more: Vec<Fee<'a>>,
    pub(crate) counters: &'a Arc<RouteCounters>,
}

impl<'a> Charge<'a> {
    /// Creates the charge of a request that is not exempt: `fee` is that of `price`.
    #[inline]
    pub(crate) fn new(
        endpoint: Endpoint,
        client: ClientId<'a>,
        fee: Fee<'a>,
        price: Price<'a>,
    ) -> Charge<'a> {
        Charge {
            endpoint,
            client,
            fee,
            more: price.more,
            counters: price.counters,
        }
    }

    /// Returns the policy of the first fee.
    #[inline]
    pub(crate) fn policy(&self) -> Policy<'a> {
        self.fee.own.map(|own| &own.policy)
    }

    /// Decides without waiting. Returns `None` when the decision needs Redis or several buckets, or
    /// when the request may wait for its tokens: then see [`Charge::into_pending`].
    #[inline]
    pub(crate) fn try_acquire(
        &self,
        default: &Limiter,
        metrics: &Metrics,
        delay: Option<&Delay>,
    ) -> Option<DecisionView> {
        if !self.more.is_empty() {
            return None;
        }
        let limiter = self.fee.own.map_or(default, |own| &own.limiter);
        if delay.is_some() && limiter.has_waiters(&self.client) {
            return None;
        }
        let decision = metrics
            .latency
            .sampled(|| limiter.try_acquire(&self.client, self.fee.cost))?;
        let may_wait = delay.is_some_and(|delay| delay.covers(&decision));
        (!may_wait).then(|| decision.view())
    }

    /// Copies the charge, so that it can be awaited without borrowing the request head. The head is
    /// therefore processed once, also when the decision needs Redis.
    pub(crate) fn into_pending(self) -> PendingCharge {
        let owned = |fee: &Fee<'_>| OwnedFee {
            own: fee.own.cloned(),
            client: None,
            cost: fee.cost,
            counters: None,
        };
        PendingCharge {
            endpoint: self.endpoint,
            client: self.client.into_owned(),
            fee: owned(&self.fee),
            more: self.more.iter().map(owned).collect(),
            shadows: Vec::new(),
            has_policies: false,
            slots: Vec::new(),
            counters: Arc::clone(self.counters),
        }
    }
}

/// [`Charge`] that does not borrow from the request.
pub(crate) struct PendingCharge {
    pub(crate) endpoint: Endpoint,
    client: OwnedClientId,
    fee: OwnedFee,
    more: Vec<OwnedFee>,
    shadows: Vec<OwnedFee>,
    /// The decision lists all limits.
    has_policies: bool,
    /// Slots of limits of concurrent requests.
    slots: Vec<ClientSlot>,
    pub(crate) counters: Arc<RouteCounters>,
}

/// [`Fee`] that does not borrow from the configuration.
struct OwnedFee {
    own: Option<OwnLimit>,
    /// `None`: the client of the request.
    client: Option<OwnedClientId>,
    cost: u32,
    /// Counters of the limit.
    counters: Option<Arc<RouteCounters>>,
}

impl PendingCharge {
    /// Creates the charge of several limits. Returns `None` when there is no part.
    pub(super) fn of_parts<'c>(
        endpoint: Endpoint,
        client: ClientId<'_>,
        parts: impl Iterator<Item = Part<'c>>,
        shadows: impl Iterator<Item = Part<'c>>,
        counters: &Arc<RouteCounters>,
        slots: Vec<ClientSlot>,
    ) -> Option<PendingCharge> {
        let mut parts = parts.map(OwnedFee::of_part);
        Some(PendingCharge {
            endpoint,
            client: client.into_owned(),
            fee: parts.next()?,
            more: parts.collect(),
            shadows: shadows.map(OwnedFee::of_part).collect(),
            has_policies: true,
            slots,
            counters: Arc::clone(counters),
        })
    }

    /// Returns the slots of limits of concurrent requests.
    pub(crate) fn take_slots(&mut self) -> Vec<ClientSlot> {
        std::mem::take(&mut self.slots)
    }

    pub(crate) fn client(&self) -> ClientId<'_> {
        self.client.as_ref()
    }

    /// Cost of the first fee.
    pub(crate) fn cost(&self) -> u32 {
        self.fee.cost
    }

    /// Decides, waiting for Redis if necessary, but not for tokens.
    ///
    /// With several buckets, the result is the decision of the first one, or else of the bucket
    /// that refused; then the tokens taken from the others are refunded. With several limits it is
    /// that of the one that allows the fewest further requests.
    pub(crate) async fn acquire(&self, default: &Limiter, metrics: &Metrics) -> PolicyDecision<'_> {
        let first = match self.take(&self.fee, default, metrics).await {
            Ok(decision) => decision,
            Err(refused) => return self.refused_by(&self.fee, refused),
        };
        let decision = first.view();
        // Not allocated when there is one bucket.
        let mut taken = Vec::with_capacity(self.more.len());
        for fee in &self.more {
            match self.take(fee, default, metrics).await {
                Ok(decision) => taken.push((fee, decision)),
                Err(refused) => {
                    for (fee, decision) in iter::once((&self.fee, first)).chain(taken) {
                        let limiter = fee.limiter(default);
                        limiter.refund(&self.client_of(fee), decision).await;
                    }
                    return self.refused_by(fee, refused);
                }
            }
        }
        let first = PolicyDecision::of_one(decision, self.fee.policy());
        if !self.has_policies {
            return first;
        }
        let more = taken.iter().map(|(fee, decision)| (*fee, decision.view()));
        let all = iter::once((&self.fee, decision)).chain(more);
        let all = all.map(|(fee, view)| {
            fee.record(&view);
            (fee.policy(), view)
        });
        let all: Vec<_> = all.collect();
        for fee in &self.shadows {
            let client = self.client_of(fee);
            let decision = fee.limiter(default).acquire(&client, fee.cost).await;
            if let Some(counters) = &fee.counters {
                record_shadow(counters, fee.policy(), &decision.view());
            }
        }
        PolicyDecision::tightest(all).unwrap_or(first)
    }

    /// Returns the refusal by one limit.
    fn refused_by<'a>(&'a self, fee: &'a OwnedFee, refused: Refused) -> PolicyDecision<'a> {
        let view = refused.decision();
        fee.record(&view);
        PolicyDecision::of_one(view, fee.policy())
    }

    fn client_of<'a>(&'a self, fee: &'a OwnedFee) -> ClientId<'a> {
        fee.client.as_ref().unwrap_or(&self.client).as_ref()
    }

    async fn take(
        &self,
        fee: &OwnedFee,
        default: &Limiter,
        metrics: &Metrics,
    ) -> Result<Decision, Refused> {
        let client = self.client_of(fee);
        let decision = fee.limiter(default).acquire(&client, fee.cost);
        metrics.latency.timed(decision).await.ok()
    }

    /// Returns true for a request that is charged to one bucket. Only such a request may wait:
    /// tokens of one bucket that are held during the wait for another one are used too late, and many
    /// of them at the same time.
    pub(crate) fn may_wait(&self) -> bool {
        self.more.is_empty()
    }

    /// Returns true when requests wait for tokens of the first bucket.
    pub(crate) fn has_waiters(&self, default: &Limiter) -> bool {
        self.fee.limiter(default).has_waiters(&self.client())
    }

    /// Takes from the first bucket, and waits for the tokens in the order of arrival, at most as long
    /// as `max_wait`.
    pub(crate) async fn acquire_within(
        &self,
        default: &Limiter,
        max_wait: Duration,
    ) -> PolicyDecision<'_> {
        let (client, limiter) = (self.client(), self.fee.limiter(default));
        let acquired = limiter.acquire_within(&client, self.fee.cost, max_wait);
        PolicyDecision::of_one(acquired.await.into(), self.fee.policy())
    }
}

impl OwnedFee {
    fn of_part(part: Part<'_>) -> OwnedFee {
        OwnedFee {
            own: part.own.cloned(),
            client: Some(part.client.into_owned()),
            cost: part.cost,
            counters: part.counters.cloned(),
        }
    }

    /// Counts the decision of the limit.
    fn record(&self, decision: &DecisionView) {
        if let Some(counters) = &self.counters {
            counters.record(decision);
        }
    }

    fn limiter<'a>(&'a self, default: &'a Limiter) -> &'a Limiter {
        self.own.as_ref().map_or(default, |own| &own.limiter)
    }

    fn policy(&self) -> Policy<'_> {
        self.own.as_ref().map(|own| &own.policy)
    }
}
