//! Charge of a request to several limits: all of its cost, or nothing.

use std::{fmt, sync::Arc, time::Duration};

use smallvec::SmallVec;
use tollgate::{Ask, CompoundDecision, MAX_LIMITS, all, all_of};

use super::{
    charge::PendingCharge,
    delay::ends_within,
    limiter::Limiter,
    policies::{AppliedLimit, AppliedLimits, TooManyAtOnce},
    policy_decision::{Part, PolicyDecision, count_refusals},
    price::{Fee, Price},
};
use crate::{
    client_slots::ClientSlot,
    endpoint::Endpoint,
    metrics::{Metrics, RouteCounters},
    request::client_id::ClientId,
};

/// Error of a path to which more than [`MAX_LIMITS`] apply by its readings.
#[derive(Debug)]
pub(crate) struct TooManyLimits;

/// Charge of a request whose client and limits are known. Borrows from the request head.
pub(crate) struct PolicyCharge<'a> {
    pub(crate) endpoint: Endpoint,
    pub(crate) client: ClientId<'a>,
    /// Of the default limit, and of routes.
    fees: SmallVec<[Fee<'a>; 1]>,
    applied: AppliedLimits<'a>,
    /// Longest wait for tokens of `fees`.
    max_wait: Duration,
    /// Requests wait for their tokens, as the limits say.
    may_wait: bool,
    default_counters: Option<&'a Arc<RouteCounters>>,
    pub(crate) counters: &'a Arc<RouteCounters>,
}

impl<'a> PolicyCharge<'a> {
    /// Creates the charge of a request. The default limit applies as well when it has counters;
    /// `max_wait` is the longest wait for its tokens, and those of routes. Returns an error when more
    /// than [`MAX_LIMITS`] apply.
    pub(crate) fn new(
        endpoint: Endpoint,
        client: ClientId<'a>,
        price: Price<'a>,
        applied: AppliedLimits<'a>,
        (default_counters, max_wait): (Option<&'a Arc<RouteCounters>>, Duration),
    ) -> Result<Box<PolicyCharge<'a>>, TooManyLimits> {
        let is_charged = |fee: &Fee<'_>| {
            fee.own.is_some() || default_counters.is_some() && !applied.replaces_default
        };
        let fees = price.fee.into_iter().chain(price.more).filter(is_charged);
        // Boxed, since it is large and moves a few times.
        let charge = Box::new(PolicyCharge {
            endpoint,
            client,
            fees: fees.collect(),
            applied,
            max_wait,
            may_wait: true,
            default_counters,
            counters: price.counters,
        });
        if charge.count_limits() > MAX_LIMITS {
            return Err(TooManyLimits);
        }
        Ok(charge)
    }

    /// Creates the charge of named limits alone. The default limit is one of them when there is a cost
    /// in its tokens.
    pub(crate) fn of_limits(
        client: ClientId<'a>,
        applied: AppliedLimits<'a>,
        (default_cost, default_counters): (Option<u32>, Option<&'a Arc<RouteCounters>>),
        counters: &'a Arc<RouteCounters>,
    ) -> PolicyCharge<'a> {
        PolicyCharge {
            endpoint: Endpoint::Check,
            client,
            fees: default_cost
                .map(|cost| Fee { own: None, cost })
                .into_iter()
                .collect(),
            applied,
            max_wait: Duration::ZERO,
            may_wait: false,
            default_counters,
            counters,
        }
    }

    /// Returns true when the default limit applies.
    pub(crate) fn has_default(&self) -> bool {
        self.fees.iter().any(|fee| fee.own.is_none())
    }

    /// Returns true when no limit takes tokens but shadow limits.
    pub(crate) fn is_exempt(&self) -> bool {
        self.fees.is_empty() && buckets_of(&self.applied.enforced) == 0
    }

    /// Returns true when no limit applies but shadow limits.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.fees.is_empty() && self.applied.enforced.is_empty()
    }

    /// Returns the number of buckets that are charged, or tried by shadow limits.
    pub(crate) fn count(&self) -> usize {
        let enforced = self.fees.len() + buckets_of(&self.applied.enforced);
        enforced.max(buckets_of(&self.applied.shadows))
    }

    /// Returns the number of limits, counted as at the start.
    fn count_limits(&self) -> usize {
        let limits_of = |applied: &[AppliedLimit<'_>]| -> usize {
            let limits = applied.iter().map(|applied| &applied.limit.configured);
            limits.map(|limit| limit.counted_names().count()).sum()
        };
        let enforced = self.fees.len() + limits_of(&self.applied.enforced);
        enforced.max(limits_of(&self.applied.shadows))
    }

    /// Returns the cost of the first part.
    pub(crate) fn cost(&self) -> u32 {
        if let Some(fee) = self.fees.first() {
            return fee.cost;
        }
        let mut limits = self.applied.enforced.iter();
        let first = limits.find(|applied| !applied.limit.quotas().is_empty());
        first.map_or(0, |applied| applied.cost)
    }

    /// Decides without waiting. Returns `None` when the decision needs Redis, or when the request may
    /// wait for its tokens.
    pub(crate) fn try_acquire(
        &self,
        default: &Limiter,
        metrics: &Metrics,
    ) -> Option<PolicyDecision<'_>> {
        let mut parts: SmallVec<[Part<'_>; 4]> = SmallVec::new();
        self.parts().for_each(|part| parts.push(part));
        if let Some(banned) = parts.iter().find_map(Part::banned) {
            return Some(banned);
        }
        let mut asks: SmallVec<[Ask<'_>; MAX_LIMITS]> = SmallVec::new();
        let may_wait = self.may_wait && parts.iter().any(|part| !part.max_wait.is_zero());
        for part in &parts {
            let limiter = part.limiter(default);
            // Requests that wait are not overtaken.
            if may_wait && limiter.has_waiters(&part.client) {
                return None;
            }
            asks.push(limiter.ask(&part.client, part.cost)?);
        }
        let decision = metrics.latency.sampled(|| take(&asks, &parts))?;
        let is_allowed = decision.decision.is_allowed();
        let refusing = parts.iter().zip(&decision.all);
        let refusing = refusing.filter(|(_, (_, view))| view.is_refused());
        if may_wait
            && !is_allowed
            && refusing
                .clone()
                .all(|(part, (_, view))| ends_within(view, part.max_wait))
        {
            return None;
        }
        for (part, (_, view)) in parts.iter().zip(&decision.all) {
            part.record(view, is_allowed);
        }
        if is_allowed {
            self.try_shadows(default);
            return Some(decision);
        }
        let begun = count_refusals(refusing.map(|(part, _)| (part.ban, part.client)));
        Some(begun.unwrap_or(decision))
    }

    /// Takes from each shadow limit alone.
    pub(crate) fn try_shadows(&self, default: &Limiter) {
        for part in self.shadows() {
            if let Some(decision) = part.limiter(default).try_acquire(&part.client, part.cost) {
                part.record_shadow(&decision.view());
            }
        }
    }

    /// Takes the slots of the limits of concurrent requests, or none.
    pub(crate) fn try_slots(&self) -> Result<Vec<ClientSlot>, TooManyAtOnce<'_>> {
        let mut slots = Vec::new();
        for applied in &self.applied.enforced {
            slots.extend(applied.limit.try_slot(applied.key.as_client_id())?);
        }
        Ok(slots)
    }

    /// Copies the charge, so that it can be awaited without borrowing the request head.
    pub(crate) fn into_pending(self, slots: Vec<ClientSlot>) -> Option<PendingCharge> {
        PendingCharge::of_parts(
            self.endpoint,
            self.client,
            self.parts(),
            self.shadows(),
            self.counters,
            slots,
        )
    }

    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let of_fees = self.fees.iter().map(|fee| Part {
            own: fee.own,
            client: self.client,
            cost: fee.cost,
            max_wait: self.max_wait,
            ban: None,
            counters: self.default_counters.filter(|_| fee.own.is_none()),
        });
        of_fees.chain(self.applied.enforced.iter().flat_map(parts))
    }

    fn shadows(&self) -> impl Iterator<Item = Part<'_>> {
        self.applied.shadows.iter().flat_map(parts)
    }
}

/// Takes from all limits, or from none. The usual numbers of limits are constants: a call whose number
/// is known at run time moves the greatest number of everything, and costs some thousand instructions
/// more.
fn take<'c>(asks: &[Ask<'_>], parts: &[Part<'c>]) -> Option<PolicyDecision<'c>> {
    match *asks {
        [one] => decided(parts, &all([one]).try_acquire()),
        [one, two] => decided(parts, &all([one, two]).try_acquire()),
        [one, two, three] => decided(parts, &all([one, two, three]).try_acquire()),
        [one, two, three, four] => decided(parts, &all([one, two, three, four]).try_acquire()),
        _ => decided(parts, &all_of(asks).ok()?.try_acquire()),
    }
}

impl fmt::Display for TooManyLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected a path to which at most {MAX_LIMITS} limits apply"
        )
    }
}

fn decided<'c, const K: usize>(
    parts: &[Part<'c>],
    decision: &CompoundDecision<'_, K>,
) -> Option<PolicyDecision<'c>> {
    let policies = parts.iter().map(Part::policy);
    PolicyDecision::new(
        policies.zip(decision.parts()).collect(),
        decision.tightest(),
    )
}

/// Returns the number of the buckets of limits.
fn buckets_of(limits: &[AppliedLimit<'_>]) -> usize {
    let quotas = limits.iter().map(|applied| applied.limit.quotas().len());
    quotas.sum()
}

/// Returns a part for each quota of a limit.
fn parts<'c>(applied: &'c AppliedLimit<'_>) -> impl Iterator<Item = Part<'c>> {
    let client = applied.key.as_client_id();
    applied.limit.quotas().iter().map(move |quota| Part {
        own: Some(&quota.own),
        client,
        cost: applied.cost,
        max_wait: applied.limit.configured.delay,
        ban: applied.limit.ban.as_ref(),
        counters: Some(&quota.counters),
    })
}
