//! What the machines answer, as decisions.
//!
//! Such a decision has no time of the server's: its times count from the decision, and what it says
//! is left is what this process knows: what was in the bucket when it was last heard of, without
//! what has come back since, and what the process holds itself. It is more than there is only by
//! what other processes have taken since.

use crate::{
    attempt::Attempt,
    decision::{Decision, Outcome},
    redis::{
        decision::{DecisionSource, SharedDecision},
        lease::key::Key,
        terms::Limit,
    },
    state::{Layout, State},
};

/// Taken from what is on lease, with so many tokens left there.
#[inline]
pub(super) fn allowed(limit: &Limit, key: &Key, turn: u64, cost: u32, left: u32) -> SharedDecision {
    let request = Attempt::immediate(&limit.layout, 0, cost);
    let state = holding(&limit.layout, key.bucket_remaining().saturating_add(left));
    leased(
        request.charged(state, request.units()),
        key.holder_id(),
        turn,
    )
}

/// Not there before so many nanoseconds have passed.
pub(super) fn refused(limit: &Limit, key: &Key, now: u64, cost: u32, retry: u64) -> SharedDecision {
    let layout = &limit.layout;
    let known = key
        .bucket_remaining()
        .saturating_add(key.leased(now))
        .min(cost - 1);
    // At a tick from which on the tokens can be there after that time, and a decision that much
    // earlier.
    let state = State {
        stamp: layout.tick(retry),
        ..holding(layout, known)
    };
    let there_at = layout.nanos_at(layout.allowed_at(state, layout.units(cost)));
    let now_nanos = there_at.map_or(0, |at| at.saturating_sub(retry));
    leased(
        Attempt::immediate(layout, now_nanos, cost).uncharged(state, Outcome::Refused),
        key.holder_id(),
        0,
    )
}

/// More than there can ever be.
pub(super) fn above_capacity(limit: &Limit, known: u32, cost: u32) -> SharedDecision {
    let request = Attempt::immediate(&limit.layout, 0, cost);
    leased(
        request.uncharged(holding(&limit.layout, known), Outcome::CostAboveCapacity),
        0,
        0,
    )
}

fn leased(decision: Decision, key: u64, turn: u64) -> SharedDecision {
    SharedDecision {
        decision,
        source: DecisionSource::Lease,
        life: key,
        turn,
    }
}

/// A bucket with so many tokens.
#[inline]
fn holding(layout: &Layout, tokens: u32) -> State {
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
    use crate::{quota::Quota, redis::lease::keys::Keys, redis::leasing::Leasing};

    fn key_of(limit: &Limit) -> (Keys, std::sync::Arc<Key>) {
        let leasing = Leasing {
            fraction: 1.0,
            timeout: Duration::from_secs(1),
            max_keys: 1,
        };
        let keys = leasing.keys(limit, 1).unwrap();
        let key = keys.get_or_insert(0, b"key").unwrap();
        (keys, key)
    }

    #[test]
    fn a_refusal_says_the_very_time_that_is_barred() {
        for quota in [
            Quota::per_second(7),
            Quota::per_day(3),
            Quota::interval(10, Duration::from_millis(1234)),
        ] {
            let limit = Limit::new(quota);
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
    fn what_is_left_is_what_is_known() {
        let limit = Limit::new(Quota::per_second(1).with_capacity(10));
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
