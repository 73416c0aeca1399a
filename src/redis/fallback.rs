//! What decides while Redis cannot be asked: memory alone, and at memory's speed.

use std::sync::Arc;

use super::{
    decision::{DecisionSource, SharedDecision},
    error::RedisError,
    settings::{Owner, Settings},
};
use crate::{
    attempt::Attempt,
    clock::Clock,
    decision::{Decision, Outcome},
    keyed::{BuildError, KeyedLimiter},
    quota::{Kind, MAX_PERIOD_NANOS, Quota},
    state::{Layout, State},
};

/// What to do while Redis cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum RedisFallback {
    /// Every process goes on with buckets of its own, full at first. `share` is how much of the
    /// quota each gets: 1.0 the whole of it, 0.25 a quarter, which is the same limit in total when
    /// there are four processes.
    Local {
        /// Above 0, and at most 1.
        share: f64,
    },
    /// Everything is allowed.
    Open,
    /// Everything is refused, as [`Outcome::Unavailable`].
    Closed,
}

impl Default for RedisFallback {
    fn default() -> RedisFallback {
        RedisFallback::Local { share: 1.0 }
    }
}

pub(super) enum Fallback {
    Local { limiter: KeyedLimiter, share: f64 },
    Open,
    Closed,
}

impl Fallback {
    pub(super) fn new(
        policy: RedisFallback,
        quota: Quota,
        max_keys: usize,
        clock: &Clock,
    ) -> Result<Fallback, RedisError> {
        Ok(match policy {
            RedisFallback::Local { share } if share > 0.0 && share <= 1.0 => {
                let limiter =
                    local(share_of(quota, share), max_keys, clock).map_err(RedisError::Table)?;
                Fallback::Local { limiter, share }
            }
            RedisFallback::Local { share } => return Err(RedisError::Share(share)),
            RedisFallback::Open => Fallback::Open,
            RedisFallback::Closed => Fallback::Closed,
        })
    }

    /// `layout` says what the key's quota is, where there is no bucket that knows.
    #[inline]
    pub(super) fn decide(
        &self,
        key: &[u8],
        cost: u32,
        layout: impl FnOnce() -> Layout,
    ) -> SharedDecision {
        match self {
            Fallback::Local { limiter, .. } => {
                SharedDecision::without_redis(limiter.try_acquire(key, cost), DecisionSource::Local)
            }
            Fallback::Open => made_up(&layout(), cost, Outcome::Allowed, DecisionSource::Open),
            Fallback::Closed => made_up(
                &layout(),
                cost,
                Outcome::Unavailable,
                DecisionSource::Closed,
            ),
        }
    }

    pub(super) fn refund(&self, key: &[u8], decision: Decision) -> bool {
        match self {
            Fallback::Local { limiter, .. } => limiter.refund(key, decision),
            Fallback::Open | Fallback::Closed => false,
        }
    }

    pub(super) fn reset(&self, key: &[u8]) {
        if let Fallback::Local { limiter, .. } = self {
            limiter.reset(key);
        }
    }

    /// Follows a change of the shared settings.
    pub(super) fn adopt(&self, old: &Settings, new: &Settings) {
        let Fallback::Local { limiter, share } = self else {
            return;
        };
        if old.default.since != new.default.since {
            limiter.replace(share_of(new.default.limit.quota, *share));
        }
        for key in old.rules.keys().filter(|key| !new.rules.contains_key(*key)) {
            limiter.remove_rule(key.as_slice());
        }
        let same = |key: &[u8], rule: &Arc<Owner>| {
            old.rules
                .get(key)
                .is_some_and(|old| old.since == rule.since)
        };
        for (key, rule) in new.rules.iter().filter(|(key, rule)| !same(key, rule)) {
            limiter.set_rule(key.as_slice(), share_of(rule.limit.quota, *share));
        }
    }
}

/// As of a bucket that is full, or empty.
fn made_up(layout: &Layout, cost: u32, outcome: Outcome, source: DecisionSource) -> SharedDecision {
    let spent = if outcome == Outcome::Allowed {
        0
    } else {
        layout.capacity
    };
    let decision =
        Attempt::immediate(layout, 0, cost).uncharged(State { spent, stamp: 0 }, outcome);
    SharedDecision::without_redis(decision, source)
}

fn local(quota: Quota, max_keys: usize, clock: &Clock) -> Result<KeyedLimiter, BuildError> {
    let builder = KeyedLimiter::builder(quota).max_keys(max_keys);
    match clock {
        Clock::Process => builder.build(),
        Clock::Manual(clock) => builder.clock(clock.clone()).build(),
    }
}

/// A part of a quota: so much of the capacity, rounded down but at least one token, as slowly as
/// that.
fn share_of(quota: Quota, share: f64) -> Quota {
    if share >= 1.0 {
        return quota;
    }
    let capacity = ((f64::from(quota.capacity()) * share) as u32).max(1);
    let part = if quota.is_interval() {
        Quota::validated(
            capacity,
            capacity.into(),
            quota.period_nanos(),
            Kind::Interval,
        )
    } else {
        let period_nanos =
            ((quota.period_nanos() as f64 / share).ceil() as u64).min(MAX_PERIOD_NANOS);
        Quota::validated(capacity, quota.tokens(), period_nanos, Kind::Greedy)
    };
    // A smaller capacity in a longer time is as valid as the whole was.
    part.unwrap_or(quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_less_of_everything() {
        let share = |text: &str, share| share_of(text.parse().unwrap(), share).to_string();
        assert_eq!(
            share("100/second, capacity 40", 0.25),
            "100/4s, capacity 10"
        );
        assert_eq!(
            share("100 per hour, all at once", 0.25),
            "25 per hour, all at once"
        );
        assert_eq!(share("3/second", 0.1), "3/10s, capacity 1");
        assert_eq!(share("3/second, debt 5", 1.0), "3/second, debt 5");
    }

    #[test]
    fn a_share_above_one_or_below_is_refused() {
        for share in [0.0, -1.0, 1.5, f64::NAN] {
            let fallback = Fallback::new(
                RedisFallback::Local { share },
                Quota::per_second(1),
                10,
                &Clock::Process,
            );
            assert!(matches!(fallback, Err(RedisError::Share(_))), "{share}");
        }
    }
}
