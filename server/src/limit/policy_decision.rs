//! Decision on several limits, and its parts.

use std::{sync::Arc, time::Duration};

use tollgate::DecisionView;

use super::{ban::Ban, limiter::Limiter, price::OwnLimit};
use crate::{
    metrics::{Reason, RouteCounters},
    request::client_id::ClientId,
};

/// Policy that decided: `None` is the default.
pub(crate) type Policy<'a> = Option<&'a Arc<str>>;

/// Decision on several limits.
pub(crate) struct PolicyDecision<'a> {
    /// Of the limit that refuses, or else allows the fewest further requests.
    pub(crate) decision: DecisionView,
    pub(crate) policy: Policy<'a>,
    pub(crate) all: Vec<(Policy<'a>, DecisionView)>,
}

/// Tokens of one bucket.
pub(super) struct Part<'c> {
    pub(super) own: Option<&'c OwnLimit>,
    pub(super) client: ClientId<'c>,
    pub(super) cost: u32,
    /// Longest wait for the tokens. Zero: none.
    pub(super) max_wait: Duration,
    pub(super) ban: Option<&'c Arc<Ban>>,
    /// Counters of the limit.
    pub(super) counters: Option<&'c Arc<RouteCounters>>,
}

impl<'c> Part<'c> {
    pub(super) fn limiter<'d: 'c>(&self, default: &'d Limiter) -> &'c Limiter {
        self.own.map_or(default, |own| &own.limiter)
    }

    pub(super) fn policy(&self) -> Policy<'c> {
        self.own.map(|own| &own.policy)
    }

    /// Returns the refusal of a key that the limit has banned.
    pub(super) fn banned(&self) -> Option<PolicyDecision<'c>> {
        let ban = self.ban?;
        let refusal = ban.refusal(&self.client)?;
        if let Some(counters) = self.counters {
            counters.add(Reason::Banned);
        }
        Some(PolicyDecision::of_one(refusal, Some(ban.policy())))
    }

    /// Counts the decision of the limit. Of a refused request, only those that refuse it count: the
    /// others have taken nothing.
    pub(super) fn record(&self, decision: &DecisionView, is_allowed: bool) {
        if let Some(counters) = self.counters
            && (is_allowed || decision.is_refused())
        {
            counters.record(decision);
        }
    }

    pub(super) fn record_shadow(&self, decision: &DecisionView) {
        if let Some(counters) = self.counters {
            record_shadow(counters, self.policy(), decision);
        }
    }
}

/// Counts and logs the decision of a shadow limit.
pub(super) fn record_shadow(counters: &RouteCounters, policy: Policy<'_>, decision: &DecisionView) {
    counters.record(decision);
    if decision.is_refused() {
        let limit = policy.map_or("", |name| name);
        tracing::debug!(limit, "shadow limit would refuse the request");
    }
}

/// Returns the bans of limits, once for each of their keys.
pub(super) fn bans_of<'a, K: Copy + PartialEq>(
    limits: impl Iterator<Item = (Option<&'a Arc<Ban>>, K)>,
) -> impl Iterator<Item = (&'a Arc<Ban>, K)> {
    // The quotas of a limit with one key follow one another.
    let mut last = None;
    let limits = limits.filter_map(|(ban, key)| Some((ban?, key)));
    limits.filter(move |(ban, key)| {
        last.replace((Arc::as_ptr(ban), *key)) != Some((Arc::as_ptr(ban), *key))
    })
}

/// Counts a refused request for the bans, in memory, of the limits that refuse it. Returns the refusal
/// of the ban that begins, the longest of several.
pub(super) fn count_refusals<'a, 'c>(
    refusing: impl Iterator<Item = (Option<&'a Arc<Ban>>, ClientId<'c>)>,
) -> Option<PolicyDecision<'a>> {
    let bans = bans_of(refusing);
    bans.fold(None, |longest, (ban, key)| {
        longer(longest, ban, ban.count_refusal(&key))
    })
}

/// Like [`count_refusals`], in memory or in Redis.
pub(super) async fn count_refusals_anywhere<'a>(
    bans: Vec<(&'a Arc<Ban>, ClientId<'_>)>,
) -> Option<PolicyDecision<'a>> {
    let mut longest = None;
    for (ban, key) in bans {
        longest = longer(longest, ban, ban.count_refusal_anywhere(&key).await);
    }
    longest
}

/// Returns the longer refusal of two bans.
fn longer<'a>(
    longest: Option<PolicyDecision<'a>>,
    ban: &'a Arc<Ban>,
    begun: Option<DecisionView>,
) -> Option<PolicyDecision<'a>> {
    let wait = |decision: &PolicyDecision<'_>| decision.decision.retry_after();
    match begun {
        Some(begun) if longest.as_ref().and_then(wait) < begun.retry_after() => {
            Some(PolicyDecision::of_one(begun, Some(ban.policy())))
        }
        _ => longest,
    }
}

impl<'a> PolicyDecision<'a> {
    /// Creates a decision, of which the part with this index decides.
    pub(super) fn new(
        all: Vec<(Policy<'a>, DecisionView)>,
        deciding: usize,
    ) -> Option<PolicyDecision<'a>> {
        let (policy, decision) = *all.get(deciding)?;
        Some(PolicyDecision {
            decision,
            policy,
            all,
        })
    }

    /// Creates the decision of one limit.
    pub(crate) fn of_one(decision: DecisionView, policy: Policy<'a>) -> PolicyDecision<'a> {
        PolicyDecision {
            decision,
            policy,
            all: Vec::new(),
        }
    }
}
