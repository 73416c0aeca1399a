//! Decision on several limits in Redis.

use std::{fmt, time::Duration};

use super::ask::RedisAsk;
use crate::{
    compound::parts,
    decision::{Decision, DecisionView, Refused},
};

/// Decision on several limits in Redis: all of them, or none.
///
/// Parts are numbered as in the call of [`all_in_redis`](crate::all_in_redis). Only the whole can be refunded, and only once.
#[must_use = "the decision states whether the request is allowed"]
pub struct RedisCompoundDecision<'a> {
    /// `None`: another limit refused, and what this one would have decided is unknown.
    pub(super) parts: Vec<(RedisAsk<'a>, Option<Decision>)>,
    pub(super) is_refused: bool,
}

impl<'a> RedisCompoundDecision<'a> {
    pub(super) fn new(parts: Vec<(RedisAsk<'a>, Option<Decision>)>) -> RedisCompoundDecision<'a> {
        let refuses = |(_, part): &(RedisAsk<'_>, Option<Decision>)| {
            part.as_ref().is_some_and(|part| part.is_refused())
        };
        RedisCompoundDecision {
            is_refused: parts.iter().any(refuses),
            parts,
        }
    }

    /// Creates the refusal by the limit with this number, when no other is known.
    pub(super) fn refused_by_one(
        asks: &[RedisAsk<'a>],
        number: usize,
        refusal: Decision,
    ) -> RedisCompoundDecision<'a> {
        let mut refusal = Some(refusal);
        let parts = asks.iter().enumerate().map(|(index, ask)| {
            let decision = refusal.take_if(|_| index == number);
            (*ask, decision)
        });
        RedisCompoundDecision::new(parts.collect())
    }

    /// Adds the refusals of the other limits without Redis, which refuse everything. Each limiter finds
    /// out on its own that the server is down.
    pub(super) fn with_unavailable(mut self, number: usize) -> Self {
        let down = self.parts[number].0;
        for (ask, part) in &mut self.parts {
            let store = ask.store();
            let is_down = !store.health.is_up() || store.client.shares_server(&down.store().client);
            if part.is_none() && !ask.only_looks && is_down {
                *part = ask.limiter.unavailable(ask.key, ask.cost);
            }
        }
        self
    }

    /// Replaces a part of a decision that has taken nothing by a refusal.
    pub(super) fn with_refusal(mut self, number: usize, refusal: Refused) -> Self {
        self.parts[number].1 = Some(Decision::new(refusal.decision()));
        self.is_refused = true;
        self
    }

    /// Returns true when the tokens of all limits were taken.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        !self.is_refused
    }

    /// Returns true when nothing was taken, or all was given back.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Returns the number of the limit that decides the refusal; see
    /// [`CompoundDecision::refused_by`](crate::CompoundDecision::refused_by).
    #[must_use]
    pub fn refused_by(&self) -> Option<usize> {
        parts::refused_by(self.views())
    }

    /// Returns the number of the limit that allows the fewest further requests of this kind, or
    /// decides the refusal.
    #[must_use]
    pub fn tightest(&self) -> usize {
        parts::tightest(self.views())
    }

    /// Returns the time from the decision until the same request is allowed, if no other attempt
    /// takes tokens. `None`: the request was allowed, or can never be allowed.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.part(self.refused_by()?)?.retry_after()
    }

    /// Returns the decision of a limit. `None`: another one refused, and what this one would have
    /// decided is unknown.
    #[must_use]
    pub fn part(&self, number: usize) -> Option<DecisionView> {
        Some(self.parts.get(number)?.1.as_ref()?.view())
    }

    /// Returns the decisions of all limits, in their order.
    pub fn parts(&self) -> impl Iterator<Item = Option<DecisionView>> + '_ {
        let parts = self.parts.iter();
        parts.map(|(_, decision)| decision.as_ref().map(Decision::view))
    }

    /// Converts the decision into a `Result`, for use with `?`.
    ///
    /// # Errors
    /// When nothing was taken: the refusal of the limit that decides.
    pub fn ok(self) -> Result<RedisCompoundDecision<'a>, Refused> {
        match self.refused_by().and_then(|number| self.part(number)) {
            None => Ok(self),
            Some(refusal) => Err(Refused::new(refusal)),
        }
    }

    /// Undoes the decision, as far as tokens are still owed: of all limits, the last one first. Returns
    /// whether any tokens were given back. See [`RedisLimiter::refund`](crate::RedisLimiter::refund).
    pub async fn refund(self) -> bool {
        give_back(self.parts).await
    }

    /// Returns the decisions that decide, with their numbers.
    fn views(&self) -> impl DoubleEndedIterator<Item = (usize, DecisionView)> + Clone + '_ {
        let parts = self.parts.iter().enumerate();
        parts.filter_map(|(number, (ask, part))| {
            let part = part.as_ref()?.view();
            (!ask.only_looks || part.is_refused()).then_some((number, part))
        })
    }
}

impl fmt::Debug for RedisCompoundDecision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCompoundDecision")
            .field("is_allowed", &self.is_allowed())
            .field("parts", &self.parts().collect::<Vec<_>>())
            .finish()
    }
}

/// Formats as the limit that decides, or the tightest one: `refused: cost 3, 1 of 100 left, retry
/// after 1.2s`.
impl fmt::Display for RedisCompoundDecision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part(self.tightest()) {
            Some(part) => part.fmt(f),
            None => f.write_str("no limit was asked"),
        }
    }
}

/// Refunds decisions, the last one first. Returns whether tokens were given back.
pub(super) async fn give_back(decisions: Vec<(RedisAsk<'_>, Option<Decision>)>) -> bool {
    let mut any = false;
    for (ask, decision) in decisions.into_iter().rev() {
        if let Some(decision) = decision {
            // An error means another limiter or key: the ask names both.
            any |= matches!(ask.limiter.refund(ask.key, decision).await, Ok(true));
        }
    }
    any
}
