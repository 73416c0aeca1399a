//! Charging a request: all of its cost, or nothing.

use std::{iter, sync::Arc, time::Duration};

use tollgate::{DecisionView, Outcome};

use super::{
    ban::Ban,
    delay::{Delay, ends_within},
    limiter::{Limiter, Take, Taken},
    policy_decision::{
        Part, Policy, PolicyDecision, bans_of, count_refusals_anywhere, record_shadow,
    },
    price::{Fee, OwnLimit, Price},
};
use crate::{
    client_slots::ClientSlot,
    endpoint::Endpoint,
    metrics::{Metrics, Reason, RouteCounters},
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
            max_wait: Duration::ZERO,
            ban: None,
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
    /// Longest wait for the tokens of a limit. Zero: none.
    max_wait: Duration,
    ban: Option<Arc<Ban>>,
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
    /// that refused, and then nothing is taken. With several limits it is that of the one that allows
    /// the fewest further requests.
    pub(crate) async fn acquire(&self, default: &Limiter, metrics: &Metrics) -> PolicyDecision<'_> {
        let acquired = if self.more.is_empty() && self.fee.ban.is_none() {
            let view = self.take(&self.fee, default, metrics).await;
            self.fee.record(&view);
            self.of_one(&self.fee, view)
        } else {
            let (fees, clients) = self.fees_and_clients();
            let takes = takes(&fees, &clients, default);
            let taken = metrics.latency.timed(Limiter::acquire_all(&takes)).await;
            self.decided(&fees, taken, default).await
        };
        self.try_shadows(&acquired, default).await;
        acquired
    }

    /// Decides about a request under limits in Redis, unless it may wait for its tokens: then it takes
    /// and counts nothing. Limits in memory have been tried already.
    pub(crate) async fn acquire_unless_delayed(
        &self,
        default: &Limiter,
        metrics: &Metrics,
    ) -> Option<PolicyDecision<'_>> {
        let (fees, clients) = self.fees_and_clients();
        let takes = takes(&fees, &clients, default);
        let has_waiters = |take: &Take<'_>| take.limiter.has_waiters(take.client);
        // Requests that wait are not overtaken.
        if !takes.iter().all(|take| take.limiter.is_shared()) || takes.iter().any(has_waiters) {
            return None;
        }
        let taken = metrics.latency.timed(Limiter::acquire_all(&takes)).await;
        if let Some(taken) = &taken
            && taken.decision.is_refused()
            && !taken.views.iter().skip(fees.len()).any(refuses)
        {
            let views = fees.iter().zip(&taken.views);
            let mut refusing =
                views.filter_map(|(fee, view)| Some((fee, view.filter(|view| view.is_refused())?)));
            if refusing.all(|(fee, view)| ends_within(&view, fee.max_wait)) {
                return None;
            }
        }
        let acquired = self.decided(&fees, taken, default).await;
        self.try_shadows(&acquired, default).await;
        Some(acquired)
    }

    /// Takes from each shadow limit alone, when the request is allowed.
    async fn try_shadows(&self, acquired: &PolicyDecision<'_>, default: &Limiter) {
        for fee in &self.shadows {
            if acquired.decision.is_refused() {
                return;
            }
            let client = self.client_of(fee);
            let decision = fee.limiter(default).acquire(&client, fee.cost).await;
            if let Some(counters) = &fee.counters {
                record_shadow(counters, fee.policy(), &decision.view());
            }
        }
    }

    fn fees_and_clients(&self) -> (Vec<&OwnedFee>, Vec<ClientId<'_>>) {
        let fees: Vec<_> = self.fees().collect();
        let clients = fees.iter().map(|fee| self.client_of(fee)).collect();
        (fees, clients)
    }

    /// Counts what several limiters have decided. `None`: there were too many for one call.
    async fn decided<'a>(
        &'a self,
        fees: &[&'a OwnedFee],
        taken: Option<Taken>,
        default: &Limiter,
    ) -> PolicyDecision<'a> {
        let Some(taken) = taken else {
            return self.take_in_turn(default).await;
        };
        let Taken {
            views,
            deciding,
            decision,
        } = taken;
        if let Some(banned) = self.banned(fees, views.get(fees.len()..).unwrap_or_default()) {
            return banned;
        }
        for (fee, view) in fees.iter().zip(&views) {
            if let Some(view) = view
                && (decision.is_allowed() || view.is_refused())
            {
                fee.record(view);
            }
        }
        let deciding = fees.get(deciding).copied().unwrap_or(&self.fee);
        if !self.has_policies {
            // Of buckets that are no limits, the first tells of an allowed request.
            let first = views.first().copied().flatten();
            return match first.filter(|_| decision.is_allowed()) {
                Some(first) => self.of_one(&self.fee, first),
                None => self.of_one(deciding, decision),
            };
        }
        let refusing = fees.iter().zip(&views);
        let refusing = refusing.filter(|(_, view)| decision.is_refused() && refuses(view));
        let refusing = refusing.map(|(fee, _)| (fee.ban.as_ref(), self.client_of(fee)));
        if let Some(begun) = count_refusals_anywhere(bans_of(refusing).collect()).await {
            return begun;
        }
        let known = fees.iter().zip(&views);
        let known = known.filter_map(|(fee, view)| Some((fee.policy(), (*view)?)));
        PolicyDecision {
            decision,
            policy: deciding.policy(),
            all: known.collect(),
        }
    }

    /// Returns the refusal of a key that a limit has banned, by the looks for bans in Redis.
    fn banned<'a>(
        &'a self,
        fees: &[&'a OwnedFee],
        looks: &[Option<DecisionView>],
    ) -> Option<PolicyDecision<'a>> {
        let bans = bans_of(
            fees.iter()
                .map(|fee| (fee.ban.as_ref(), self.client_of(fee))),
        );
        let (ban, refusal) = bans.zip(looks).find_map(|((ban, _), look)| {
            let refusal = look.filter(|look| look.outcome() == Outcome::Refused)?;
            Some((ban, refusal))
        })?;
        let mut of_ban = fees
            .iter()
            .filter(|fee| fee.ban.as_ref().is_some_and(|own| Arc::ptr_eq(own, ban)));
        if let Some(counters) = of_ban.next().and_then(|fee| fee.counters.as_ref()) {
            counters.add(Reason::Banned);
        }
        Some(PolicyDecision::of_one(refusal, Some(ban.policy())))
    }

    /// Takes from one bucket after another, and gives the tokens back when one refuses: for paths that
    /// are read as more routes than a call can take from.
    async fn take_in_turn(&self, default: &Limiter) -> PolicyDecision<'_> {
        let take = async |fee: &OwnedFee| {
            let client = self.client_of(fee);
            fee.limiter(default).acquire(&client, fee.cost).await
        };
        let first = take(&self.fee).await;
        let view = first.view();
        if view.is_refused() {
            return self.of_one(&self.fee, view);
        }
        let mut taken = vec![(&self.fee, first)];
        for fee in &self.more {
            let decision = take(fee).await;
            let view = decision.view();
            if view.is_refused() {
                for (fee, decision) in taken {
                    let client = self.client_of(fee);
                    fee.limiter(default).refund(&client, decision).await;
                }
                return self.of_one(fee, view);
            }
            taken.push((fee, decision));
        }
        self.of_one(&self.fee, view)
    }

    /// Returns the decision of one bucket, which lists itself when it is a limit.
    fn of_one<'a>(&'a self, fee: &'a OwnedFee, view: DecisionView) -> PolicyDecision<'a> {
        let all = self.has_policies.then(|| (fee.policy(), view));
        PolicyDecision {
            decision: view,
            policy: fee.policy(),
            all: all.into_iter().collect(),
        }
    }

    fn client_of<'a>(&'a self, fee: &'a OwnedFee) -> ClientId<'a> {
        fee.client.as_ref().unwrap_or(&self.client).as_ref()
    }

    async fn take(&self, fee: &OwnedFee, default: &Limiter, metrics: &Metrics) -> DecisionView {
        let client = self.client_of(fee);
        let decision = fee.limiter(default).acquire(&client, fee.cost);
        metrics.latency.timed(decision).await.view()
    }

    /// Returns true for a request that may wait for its tokens: of limits, one has a delay, and of
    /// buckets there is one.
    pub(crate) fn may_wait(&self) -> bool {
        if self.has_policies {
            self.fees().any(|fee| !fee.max_wait.is_zero())
        } else {
            self.more.is_empty()
        }
    }

    /// Returns true when this is the charge of limits, which has been refused for now, or found other
    /// requests that wait.
    pub(crate) fn has_policies(&self) -> bool {
        self.has_policies
    }

    /// Returns true when requests wait for tokens of the first bucket.
    pub(crate) fn has_waiters(&self, default: &Limiter) -> bool {
        self.fee.limiter(default).has_waiters(&self.client())
    }

    /// Takes the tokens, and waits for them in the order of arrival, at most as long as `max_wait` and,
    /// of limits, their delays.
    pub(crate) async fn acquire_within(
        &self,
        default: &Limiter,
        max_wait: Duration,
    ) -> PolicyDecision<'_> {
        if self.has_policies {
            let (fees, clients) = self.fees_and_clients();
            let waits = fees.iter().map(|fee| fee.max_wait.min(max_wait));
            let waits: Vec<_> = waits.collect();
            let takes = takes(&fees, &clients, default);
            let taken = Limiter::acquire_all_within(&takes, &waits).await;
            let acquired = self.decided(&fees, taken, default).await;
            self.try_shadows(&acquired, default).await;
            return acquired;
        }
        let (client, limiter) = (self.client(), self.fee.limiter(default));
        let acquired = limiter.acquire_within(&client, self.fee.cost, max_wait);
        PolicyDecision::of_one(acquired.await.into(), self.fee.policy())
    }

    fn fees(&self) -> impl Iterator<Item = &OwnedFee> {
        iter::once(&self.fee).chain(&self.more)
    }
}

/// Returns the tokens of fees, each of its client, and behind them the looks for bans in Redis.
fn takes<'a>(
    fees: &[&'a OwnedFee],
    clients: &'a [ClientId<'a>],
    default: &'a Limiter,
) -> Vec<Take<'a>> {
    let takes = fees.iter().zip(clients).map(|(fee, client)| Take {
        limiter: fee.limiter(default),
        client,
        cost: fee.cost,
        only_looks: false,
    });
    let with_bans = fees.iter().zip(clients);
    let with_bans = with_bans.map(|(fee, client)| (fee.ban.as_ref(), client));
    let looks = bans_of(with_bans).filter_map(|(ban, client)| ban.look(client));
    takes.chain(looks).collect()
}

fn refuses(view: &Option<DecisionView>) -> bool {
    view.is_some_and(|view| view.is_refused())
}

impl OwnedFee {
    fn of_part(part: Part<'_>) -> OwnedFee {
        OwnedFee {
            own: part.own.cloned(),
            client: Some(part.client.into_owned()),
            cost: part.cost,
            max_wait: part.max_wait,
            ban: part.ban.cloned(),
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
