//! Decisions while Redis is unavailable: from memory alone, and at the speed of memory.

use std::{sync::Arc, time::Duration};

use super::{error::RedisError, keyspace::Namespace, settings::Settings};
use crate::{
    attempt::Attempt,
    clock::Clock,
    decision::{Decision, DecisionSource, Outcome, RefundError},
    keyed::{BuildError, KeyedLimiter, TooManyPauses},
    quota::{Kind, MAX_PERIOD_NANOS, Quota},
    state::{Layout, State},
};

/// Policy while Redis is unavailable.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum RedisFallback {
    /// Every process decides with local buckets, which are full at first. `share` is the fraction
    /// of the quota for each process: 1.0 is the whole quota. 0.25 is a quarter, which adds up to
    /// the same limit with four processes.
    Local {
        /// Above 0 and at most 1.
        share: f64,
    },
    /// Everything is allowed.
    Open,
    /// Everything is refused as [`Outcome::Unavailable`].
    Closed,
}

impl Default for RedisFallback {
    fn default() -> RedisFallback {
        RedisFallback::Local { share: 1.0 }
    }
}

/// The policy with its local buckets.
pub(super) enum Fallback {
    Local {
        limiter: KeyedLimiter<[u8]>,
        share: f64,
    },
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
                let limiter = local_limiter(share_of(quota, share), max_keys, clock)
                    .map_err(RedisError::Table)?;
                Fallback::Local { limiter, share }
            }
            RedisFallback::Local { share } => return Err(RedisError::Share(share)),
            RedisFallback::Open => Fallback::Open,
            RedisFallback::Closed => Fallback::Closed,
        })
    }

    /// Decides. `layout` returns the layout of the key's quota for policies without buckets.
    #[inline]
    pub(super) fn decide(
        &self,
        key: &[u8],
        cost: u32,
        layout: impl FnOnce() -> Layout,
    ) -> Decision {
        match self {
            Fallback::Local { limiter, .. } => limiter
                .try_acquire(key, cost)
                .with_source(DecisionSource::Local),
            Fallback::Open => synthetic(&layout(), cost, Outcome::Allowed, DecisionSource::Open),
            Fallback::Closed => synthetic(
                &layout(),
                cost,
                Outcome::Unavailable,
                DecisionSource::Closed,
            ),
        }
    }

    /// Refunds a decision of a local bucket. Returns whether tokens were given back.
    pub(super) fn refund(&self, key: &[u8], decision: Decision) -> Result<bool, RefundError> {
        match self {
            Fallback::Local { limiter, .. } => limiter.refund(key, decision),
            // Made by the fallback of another limiter.
            Fallback::Open | Fallback::Closed => Err(RefundError::new(decision)),
        }
    }

    /// Makes the key's local bucket full.
    pub(super) fn reset(&self, key: &[u8]) {
        if let Fallback::Local { limiter, .. } = self {
            limiter.reset(key);
        }
    }

    /// Grants nothing from the key's local bucket for `time`.
    pub(super) fn pause(&self, key: &[u8], time: Duration) -> Result<(), TooManyPauses> {
        match self {
            Fallback::Local { limiter, .. } => limiter.pause_for(key, time),
            Fallback::Open | Fallback::Closed => Ok(()),
        }
    }

    /// Applies a change of the shared settings to the local buckets.
    pub(super) fn apply(&self, old: &Settings, new: &Settings) {
        let Fallback::Local { limiter, share } = self else {
            return;
        };
        if old.default.since != new.default.since {
            limiter.replace(share_of(new.default.limit.quota, *share));
        }
        for key in old.rules.keys().filter(|key| !new.rules.contains_key(*key)) {
            limiter.remove_rule(key.as_slice());
        }
        let unchanged = |key: &[u8], rule: &Arc<Namespace>| {
            old.rules
                .get(key)
                .is_some_and(|old| old.since == rule.since)
        };
        for (key, rule) in new.rules.iter().filter(|(key, rule)| !unchanged(key, rule)) {
            limiter.set_rule(key.as_slice(), share_of(rule.limit.quota, *share));
        }
    }
}

/// Decision of a policy without buckets, as of a full bucket when allowed and of an empty one when
/// refused.
fn synthetic(layout: &Layout, cost: u32, outcome: Outcome, source: DecisionSource) -> Decision {
    let spent = if outcome == Outcome::Allowed {
        0
    } else {
        layout.capacity
    };
    Attempt::immediate(layout, 0, cost)
        .uncharged(State { spent, stamp: 0 }, outcome)
        .with_source(source)
}

fn local_limiter(
    quota: Quota,
    max_keys: usize,
    clock: &Clock,
) -> Result<KeyedLimiter<[u8]>, BuildError> {
    let builder = KeyedLimiter::builder(quota).max_keys(max_keys);
    builder.clock(clock.clone()).build()
}

/// Scales a quota down: the capacity is rounded down to at least one token, and the refill is
/// slowed by the same factor.
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
    // Always valid: a smaller capacity in a longer period is valid whenever the whole is.
    part.unwrap_or(quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_scales_capacity_and_refill() {
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
    }

    #[test]
    fn share_out_of_range_is_an_error() {
        for share in [0.0, -1.0, 1.5, f64::NAN] {
            let fallback = Fallback::new(
                RedisFallback::Local { share },
                Quota::per_second(1),
                10,
                &Clock::process(),
            );
            assert!(matches!(fallback, Err(RedisError::Share(_))), "{share}");
        }
    }
}
