//! Behaviour of keyed limiters that all backends share, tested with a manual clock.

mod memory;
#[cfg(feature = "redis")]
mod redis;

use std::time::Duration;

use tollgate::{Decision, ManualClock, Outcome, Quota, RefundError};

const SECOND: Duration = Duration::from_secs(1);

/// Limiter under test.
#[allow(async_fn_in_trait, reason = "implemented by these tests only")]
pub(crate) trait Backend: Sized {
    async fn with_clock(quota: Quota, clock: ManualClock) -> Self;
    async fn try_acquire(&self, key: &str, cost: u32) -> Decision;
    async fn available(&self, key: &str) -> u32;
    async fn refund(&self, key: &str, decision: Decision) -> Result<bool, RefundError>;
    async fn reset(&self, key: &str);
    async fn replace(&self, quota: Quota);
    async fn replace_and_reset(&self, quota: Quota);
    async fn set_rule(&self, key: &str, quota: Quota);
    async fn remove_rule(&self, key: &str) -> bool;
    fn quota(&self) -> Quota;
    fn rule(&self, key: &str) -> Option<Quota>;
}

async fn limiter<B: Backend>(quota: Quota) -> (B, ManualClock) {
    let clock = ManualClock::new();
    clock.set(1000 * SECOND);
    (B::with_clock(quota, clock.clone()).await, clock)
}

pub(crate) async fn keys_do_not_share_buckets<B: Backend>() {
    let (limiter, _) = limiter::<B>(Quota::per_second(1).with_capacity(2)).await;
    for key in 0..200_u32 {
        assert!(
            limiter.try_acquire(&key.to_string(), 2).await.is_allowed(),
            "{key}"
        );
    }
    for key in 0..200_u32 {
        assert!(
            limiter.try_acquire(&key.to_string(), 1).await.is_refused(),
            "{key}"
        );
    }
}

pub(crate) async fn tokens_refill_evenly<B: Backend>() {
    let (limiter, clock) = limiter::<B>(Quota::per_second(5).with_capacity(10)).await;
    let decision = limiter.try_acquire("a", 8).await;
    assert_eq!(
        (decision.limit(), decision.remaining(), decision.cost()),
        (10, 2, 8)
    );
    assert_eq!(
        (decision.retry_after(), decision.reset_after()),
        (None, Duration::from_millis(1600))
    );
    clock.advance(SECOND);
    assert_eq!(limiter.available("a").await, 7);
    clock.advance(SECOND);
    assert_eq!(limiter.available("a").await, 10);
}

pub(crate) async fn refused_just_before_and_allowed_exactly_at<B: Backend>() {
    for quota in [
        Quota::per_second(3).with_capacity(7),
        Quota::interval(7, Duration::from_millis(1234)),
    ] {
        let (limiter, clock) = limiter::<B>(quota).await;
        assert!(limiter.try_acquire("a", 7).await.is_allowed());
        let refused = limiter.try_acquire("a", 2).await;
        assert_eq!(
            (refused.outcome(), refused.remaining()),
            (Outcome::Refused, 0)
        );
        // The Redis server's clock counts microseconds.
        let micros = refused.retry_after().unwrap().as_nanos().div_ceil(1000) as u64;
        clock.advance(Duration::from_micros(micros - 1));
        assert!(limiter.try_acquire("a", 2).await.is_refused(), "{quota}");
        clock.advance(Duration::from_micros(1));
        assert!(limiter.try_acquire("a", 2).await.is_allowed(), "{quota}");
    }
}

pub(crate) async fn a_window_starts_at_the_first_request_and_refills_at_its_end<B: Backend>() {
    let (limiter, clock) = limiter::<B>(Quota::interval(3, 10 * SECOND)).await;
    assert!(limiter.try_acquire("a", 1).await.is_allowed());
    clock.advance(9 * SECOND);
    assert_eq!(limiter.try_acquire("a", 2).await.reset_after(), SECOND);
    assert_eq!(
        limiter.try_acquire("a", 1).await.retry_after(),
        Some(SECOND)
    );
    clock.advance(SECOND);
    assert_eq!(limiter.try_acquire("a", 1).await.remaining(), 2);
}

pub(crate) async fn a_cost_above_the_capacity_has_its_own_outcome<B: Backend>() {
    let (limiter, _) = limiter::<B>(Quota::per_second(5)).await;
    let decision = limiter.try_acquire("a", 6).await;
    assert_eq!(
        (decision.outcome(), decision.retry_after()),
        (Outcome::CostAboveCapacity, None)
    );
    assert_eq!(limiter.available("a").await, 5);
}

pub(crate) async fn a_cost_of_zero_shows_the_state<B: Backend>() {
    let (limiter, _) = limiter::<B>(Quota::per_second(5)).await;
    assert!(limiter.try_acquire("a", 5).await.is_allowed());
    let decision = limiter.try_acquire("a", 0).await;
    assert_eq!(
        (
            decision.outcome(),
            decision.remaining(),
            decision.reset_after()
        ),
        (Outcome::Allowed, 0, SECOND)
    );
}

pub(crate) async fn a_clock_that_steps_back_refills_nothing<B: Backend>() {
    for quota in [Quota::per_second(10), Quota::interval(10, SECOND)] {
        let (limiter, clock) = limiter::<B>(quota).await;
        assert!(limiter.try_acquire("a", 10).await.is_allowed());
        for _ in 0..5 {
            clock.set(500 * SECOND);
            assert!(limiter.try_acquire("a", 1).await.is_refused(), "{quota}");
            clock.set(1000 * SECOND);
            assert!(limiter.try_acquire("a", 1).await.is_refused(), "{quota}");
        }
        clock.set(1001 * SECOND);
        assert_eq!(limiter.available("a").await, 10, "{quota}");
    }
}

pub(crate) async fn replacing_the_quota_resets_all_keys<B: Backend>() {
    let (limiter, _) = limiter::<B>(Quota::per_second(1)).await;
    let decision = limiter.try_acquire("a", 1).await;
    limiter.set_rule("vip", Quota::per_second(7)).await;
    assert!(limiter.try_acquire("vip", 7).await.is_allowed());
    limiter.replace(Quota::per_second(3)).await;
    assert_eq!(
        (limiter.available("a").await, limiter.available("vip").await),
        (3, 7)
    );
    assert_eq!(limiter.quota(), Quota::per_second(3));
    assert!(limiter.try_acquire("a", 2).await.is_allowed());
    assert!(
        !limiter.refund("a", decision).await.unwrap(),
        "a decision from before the change gives nothing back"
    );
    assert_eq!(limiter.available("a").await, 1);
}

pub(crate) async fn a_rule_affects_one_key_only<B: Backend>() {
    let (limiter, _) = limiter::<B>(Quota::per_second(2)).await;
    assert!(limiter.try_acquire("a", 1).await.is_allowed());
    assert!(limiter.try_acquire("b", 1).await.is_allowed());
    limiter.set_rule("a", Quota::per_second(50)).await;
    assert_eq!(
        (limiter.available("a").await, limiter.available("b").await),
        (50, 1)
    );
    assert_eq!(
        (limiter.rule("a"), limiter.rule("b")),
        (Some(Quota::per_second(50)), None)
    );
    assert!(limiter.remove_rule("a").await);
    assert!(!limiter.remove_rule("a").await);
    assert_eq!(limiter.available("a").await, 1);
}

pub(crate) async fn a_refund_undoes_one_decision<B: Backend>() {
    for quota in [Quota::per_second(10), Quota::interval(10, SECOND)] {
        let (limiter, _) = limiter::<B>(quota).await;
        let decision = limiter.try_acquire("a", 4).await;
        let error = limiter.refund("b", decision).await.unwrap_err();
        let decision = error.into_decision();
        let (another, _) = self::limiter::<B>(quota).await;
        let error = another.refund("a", decision).await.unwrap_err();
        let decision = error.into_decision();
        assert_eq!(limiter.available("a").await, 6, "nothing was given back");
        assert!(limiter.refund("a", decision).await.unwrap());
        assert_eq!(limiter.available("a").await, 10);
        let refused = limiter.try_acquire("a", 11).await;
        assert!(
            !limiter.refund("a", refused).await.unwrap(),
            "a refusal took nothing"
        );
    }
}

pub(crate) async fn a_refund_excludes_tokens_that_were_refilled_since<B: Backend>() {
    let (limiter, clock) = limiter::<B>(Quota::per_second(1).with_capacity(10)).await;
    let decision = limiter.try_acquire("a", 4).await;
    clock.advance(3 * SECOND);
    assert!(limiter.try_acquire("a", 9).await.is_allowed());
    assert!(limiter.refund("a", decision).await.unwrap());
    assert_eq!(limiter.available("a").await, 1);
}

pub(crate) async fn a_reset_affects_one_key_only<B: Backend>() {
    let (limiter, _) = limiter::<B>(Quota::per_second(2)).await;
    let before = limiter.try_acquire("a", 2).await;
    assert!(limiter.try_acquire("b", 1).await.is_allowed());
    limiter.reset("a").await;
    limiter.reset("unknown").await;
    assert_eq!(
        (limiter.available("a").await, limiter.available("b").await),
        (2, 1)
    );
    assert!(limiter.try_acquire("a", 2).await.is_allowed());
    assert!(!limiter.refund("a", before).await.unwrap());
    assert_eq!(limiter.available("a").await, 0);
}

pub(crate) async fn time_stands_still_beyond_the_horizon<B: Backend>() {
    let (limiter, clock) = limiter::<B>(Quota::per_second(10)).await;
    clock.set(Duration::from_secs(1 << 31));
    assert!(limiter.try_acquire("a", 10).await.is_allowed());
    clock.set(Duration::MAX);
    let refused = limiter.try_acquire("a", 1).await;
    assert_eq!(
        (
            refused.outcome(),
            refused.retry_after(),
            refused.reset_after()
        ),
        (Outcome::Refused, None, Duration::MAX)
    );
}

/// A job that applied its configuration again and again handed out full buckets.
pub(crate) async fn settings_in_force_change_no_bucket<B: Backend>() {
    let (quota, own) = (Quota::per_hour(10), Quota::per_hour(20));
    let (limiter, _) = limiter::<B>(quota).await;
    limiter.set_rule("own", own).await;
    let refundable = limiter.try_acquire("own", 5).await;
    for key in ["own", "other"] {
        assert!(limiter.try_acquire(key, 10).await.is_allowed(), "{key}");
    }
    // The second time, the quota was set before.
    for round in 0..2 {
        limiter.replace(quota).await;
        limiter.set_rule("own", own).await;
        let left = (
            limiter.available("own").await,
            limiter.available("other").await,
        );
        assert_eq!(left, (5, 0), "round {round}");
    }
    assert!(limiter.refund("own", refundable).await.unwrap());
    assert_eq!(limiter.available("own").await, 10);

    limiter.set_rule("other", quota).await;
    assert_eq!(
        limiter.available("other").await,
        10,
        "a rule that equals the default is new nevertheless"
    );
    assert!(limiter.try_acquire("other", 3).await.is_allowed());

    limiter.replace_and_reset(quota).await;
    for (key, full) in [("own", 20), ("other", 10), ("third", 10)] {
        assert_eq!(limiter.available(key).await, full, "{key}");
    }
    assert_eq!(
        (limiter.quota(), limiter.rule("own"), limiter.rule("other")),
        (quota, Some(own), Some(quota))
    );
}

/// Defines the tests for one backend.
macro_rules! behaviour_tests {
    ($backend:ty: $($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                crate::behaviour::$name::<$backend>().await;
            }
        )*
    };
    ($backend:ty) => {
        behaviour_tests! { $backend:
            keys_do_not_share_buckets
            tokens_refill_evenly
            refused_just_before_and_allowed_exactly_at
            a_window_starts_at_the_first_request_and_refills_at_its_end
            a_cost_above_the_capacity_has_its_own_outcome
            a_cost_of_zero_shows_the_state
            a_clock_that_steps_back_refills_nothing
            replacing_the_quota_resets_all_keys
            settings_in_force_change_no_bucket
            a_rule_affects_one_key_only
            a_refund_undoes_one_decision
            a_refund_excludes_tokens_that_were_refilled_since
            a_reset_affects_one_key_only
            time_stands_still_beyond_the_horizon
        }
    };
}
pub(crate) use behaviour_tests;
