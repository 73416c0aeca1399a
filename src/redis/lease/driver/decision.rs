//! Results of the lease protocol as decisions.
//!
//! Such a decision has no server time: its times count from the decision. Its remaining tokens are
//! those that this process knows of: the tokens in the bucket at the last reply, without the refill
//! since, plus the tokens that the process holds. The number exceeds the truth only by tokens that
//! other processes have taken since.

use crate::{
    attempt::Attempt,
    decision::{Decision, DecisionSource, Outcome},
    origin::Origin,
    redis::{lease::key::Key, script_quota::ScriptQuota},
    state::{Layout, State},
};

/// Decision that took tokens from the lease and left `left` tokens there.
#[inline]
pub(super) fn allowed(
    limit: &ScriptQuota,
    key: &Key,
    epoch: u64,
    cost: u32,
    left: u32,
) -> Decision {
    let attempt = Attempt::immediate(&limit.layout, 0, cost);
    let state = state_with(&limit.layout, key.bucket_remaining().saturating_add(left));
    from_lease(
        attempt.charged(state, attempt.units()),
        key.holder_id(),
        epoch,
    )
}

/// Refusal: the tokens are not available before `retry` nanoseconds have passed.
pub(super) fn refused(limit: &ScriptQuota, key: &Key, now: u64, cost: u32, retry: u64) -> Decision {
    let layout = &limit.layout;
    let known = key
        .bucket_remaining()
        .saturating_add(key.leased(now))
        .min(cost - 1);
    // The stamp is the tick from which the tokens can be available after `retry`; the decision is
    // dated that much earlier.
    let state = State {
        stamp: layout.tick(retry),
        ..state_with(layout, known)
    };
    let available_at = layout.nanos_at(layout.allowed_at(state, layout.units(cost)));
    let now_nanos = available_at.map_or(0, |at| at.saturating_sub(retry));
    from_lease(
        Attempt::immediate(layout, now_nanos, cost).uncharged(state, Outcome::Refused),
        key.holder_id(),
        0,
    )
}

/// Refusal of a cost above the capacity.
pub(super) fn above_capacity(limit: &ScriptQuota, known: u32, cost: u32) -> Decision {
    let attempt = Attempt::immediate(&limit.layout, 0, cost);
    from_lease(
        attempt.uncharged(state_with(&limit.layout, known), Outcome::CostAboveCapacity),
        0,
        0,
    )
}

fn from_lease(decision: Decision, holder: u64, epoch: u64) -> Decision {
    let origin = Origin {
        epoch,
        ..Origin::new(0, holder)
    };
    decision
        .with_source(DecisionSource::Lease)
        .with_origin(origin)
}

/// State of a bucket with this many tokens.
#[inline]
fn state_with(layout: &Layout, tokens: u32) -> State {
    let tokens = tokens.min(layout.capacity_tokens());
    State {
        spent: layout.capacity - layout.units(tokens),
        stamp: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        quota::Quota,
        redis::lease::{
            keys::Keys,
            protocol::{Limits, Settings},
        },
    };

    fn key_of(limit: &ScriptQuota) -> (Keys, std::sync::Arc<Key>) {
        let settings = Settings {
            layout: limit.layout,
            limits: Limits::for_fraction(&limit.layout.scaled, 1.0, 2_000_000).unwrap(),
            timeout_nanos: 1_000_000_000,
        };
        let keys = Keys::new(settings, 1);
        let key = keys.get_or_insert(0, b"key").unwrap();
        (keys, key)
    }

    #[test]
    fn refusal_returns_exactly_the_given_retry_time() {
        for quota in [
            Quota::per_second(7),
            Quota::per_day(3),
            Quota::interval(10, Duration::from_millis(1234)),
        ] {
            let limit = ScriptQuota::new(quota, Duration::from_secs(1));
            let (_, key) = key_of(&limit);
            for retry in [1, 128_000_000, 1_234_567_891, 3_600_000_000_000] {
                let decision = refused(&limit, &key, 0, 3, retry);
                assert_eq!(
                    (decision.outcome(), decision.cost(), decision.remaining()),
                    (Outcome::Refused, 3, 0)
                );
                assert_eq!(
                    decision.retry_after(),
                    Some(Duration::from_nanos(retry)),
                    "{quota}"
                );
                assert!(
                    decision.reset_after() >= Duration::from_nanos(retry),
                    "{quota}: {decision:?}"
                );
            }
            assert_eq!(
                refused(&limit, &key, 0, 3, u64::MAX).retry_after(),
                None,
                "{quota}"
            );
        }
    }

    #[test]
    fn remaining_is_the_last_seen_bucket_plus_the_lease() {
        let limit = ScriptQuota::new(
            Quota::per_second(1).with_capacity(10),
            Duration::from_secs(1),
        );
        let (keys, key) = key_of(&limit);
        assert_eq!(allowed(&limit, &key, 0, 1, 3).remaining(), 3);
        key.observe_bucket(
            keys.settings(),
            State {
                spent: limit.layout.units(6),
                stamp: 5,
            },
            0,
        );
        let decision = allowed(&limit, &key, 9, 1, 3);
        assert_eq!(
            (decision.remaining(), decision.cost(), decision.limit()),
            (7, 1, 10)
        );
        assert_eq!(decision.reset_after(), Duration::from_secs(3));
        assert_eq!(refused(&limit, &key, 0, 3, 1).remaining(), 2);
    }
}
