//! Charging a request: all of its cost, or nothing.

use std::{iter, sync::Arc, time::Duration};

use tokio::time::Instant;
use tollgate::{Decision, DecisionView, Refused};

use super::{
    delay::Delay,
    limiter::Limiter,
    price::{Fee, OwnLimit, Price},
};
use crate::{
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
            cost: fee.cost,
        };
        PendingCharge {
            endpoint: self.endpoint,
            client: self.client.into_owned(),
            fee: owned(&self.fee),
            more: self.more.iter().map(owned).collect(),
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
    pub(crate) counters: Arc<RouteCounters>,
}

/// [`Fee`] that does not borrow from the configuration.
struct OwnedFee {
    own: Option<OwnLimit>,
    cost: u32,
}

/// Policy that decided: `None` is the default.
pub(crate) type Policy<'a> = Option<&'a Arc<str>>;

impl PendingCharge {
    pub(crate) fn client(&self) -> ClientId<'_> {
        self.client.as_ref()
    }

    /// Cost of the first fee.
    pub(crate) fn cost(&self) -> u32 {
        self.fee.cost
    }

    /// Returns true when requests wait for tokens of one of the buckets.
    pub(crate) fn has_waiters(&self, default: &Limiter) -> bool {
        let (mut fees, client) = (self.fees(), self.client());
        fees.any(|fee| fee.limiter(default).has_waiters(&client))
    }

    /// Decides, waiting for Redis if necessary, and for tokens at most as long as `max_wait`.
    /// Without `max_wait` requests that wait are overtaken. Returns the policy of the decision as
    /// well.
    ///
    /// With several buckets, the result is the decision of the first one, or else of the bucket
    /// that refused; then the tokens taken from the others are refunded. They are spent when the
    /// client disconnects while the request waits for a later bucket.
    pub(crate) async fn acquire(
        &self,
        default: &Limiter,
        metrics: &Metrics,
        max_wait: Option<Duration>,
    ) -> (DecisionView, Policy<'_>) {
        let deadline = max_wait.map(|max_wait| Instant::now() + max_wait);
        let first = match self.take(&self.fee, default, metrics, deadline).await {
            Ok(decision) => decision,
            Err(refused) => return (refused.decision(), self.fee.policy()),
        };
        let decision = first.view();
        // Not allocated when there is one bucket.
        let mut taken = Vec::with_capacity(self.more.len());
        for fee in &self.more {
            match self.take(fee, default, metrics, deadline).await {
                Ok(decision) => taken.push((fee, decision)),
                Err(refused) => {
                    for (fee, decision) in iter::once((&self.fee, first)).chain(taken) {
                        let limiter = fee.limiter(default);
                        limiter.refund(&self.client(), decision).await;
                    }
                    return (refused.decision(), fee.policy());
                }
            }
        }
        (decision, self.fee.policy())
    }

    async fn take(
        &self,
        fee: &OwnedFee,
        default: &Limiter,
        metrics: &Metrics,
        deadline: Option<Instant>,
    ) -> Result<Decision, Refused> {
        let (client, limiter) = (self.client(), fee.limiter(default));
        match deadline {
            None => {
                let decision = limiter.acquire(&client, fee.cost);
                metrics.latency.timed(decision).await.ok()
            }
            Some(deadline) => {
                let max_wait = deadline.saturating_duration_since(Instant::now());
                limiter.acquire_within(&client, fee.cost, max_wait).await
            }
        }
    }

    fn fees(&self) -> impl Iterator<Item = &OwnedFee> {
        iter::once(&self.fee).chain(&self.more)
    }
}

impl OwnedFee {
    fn limiter<'a>(&'a self, default: &'a Limiter) -> &'a Limiter {
        self.own.as_ref().map_or(default, |own| &own.limiter)
    }

    fn policy(&self) -> Policy<'_> {
        self.own.as_ref().map(|own| &own.policy)
    }
}
