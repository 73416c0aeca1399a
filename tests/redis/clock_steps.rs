//! Steps of the server's clock: no key is locked out, what was spent stays spent, and earlier
//! decisions refund nothing.

use std::time::Duration;

use test_support::redis::RedisServer;
use tollgate::{DecisionSource, ManualClock, Quota, RedisLimiter, RedisLimiterBuilder};

const HOUR: Duration = Duration::from_secs(3600);
const WINDOW: Duration = Duration::from_secs(4);

fn quotas() -> [Quota; 2] {
    [
        Quota::per_second(1).with_capacity(4),
        Quota::interval(4, WINDOW),
    ]
}

/// Connects with a clock that is ten hours after the zero.
async fn connect(builder: RedisLimiterBuilder, quota: Quota) -> (RedisLimiter, ManualClock) {
    let clock = ManualClock::new();
    clock.set(10 * HOUR);
    let builder = builder
        .timeout(Duration::from_secs(10))
        .clock(clock.clone());
    let limiter = builder.connect().await.unwrap();
    limiter.replace(quota).await.unwrap();
    (limiter, clock)
}

#[tokio::test]
async fn client_is_not_locked_out_after_a_step_back() {
    let server = RedisServer::start();
    for quota in quotas() {
        for (lease, key) in [(false, "exact"), (true, "lease")] {
            let builder = RedisLimiter::builder(&server.url(), quota).prefix(key);
            // Leases of this fraction have no tokens, so each request is a call.
            let builder = if lease { builder.lease(0.1) } else { builder };
            let (limiter, clock) = connect(builder, quota).await;
            // Two, since each may be refunded once.
            let first = limiter.try_acquire("key", 2).await;
            let second = limiter.try_acquire("key", 2).await;
            assert!(first.is_allowed() && second.is_allowed());
            clock.set(9 * HOUR);
            let refused = limiter.try_acquire("key", 4).await;
            assert!(refused.is_refused(), "what was spent stays spent");
            assert_eq!(refused.retry_after(), Some(WINDOW), "{quota} {key}");
            assert_eq!(limiter.stats().rebased, 1);
            assert!(!limiter.refund("key", first).await.unwrap());
            clock.advance(WINDOW);
            let waited = limiter.try_acquire("key", 4).await;
            assert!(waited.is_allowed(), "{quota} {key}: {waited}");
            assert_eq!(limiter.stats().rebased, 1, "the first refusal wrote it");

            // When the clock catches up, the earlier decision is still no decision on this bucket.
            clock.set(10 * HOUR + Duration::from_millis(500));
            assert!(limiter.try_acquire("key", 4).await.is_allowed());
            assert!(!limiter.refund("key", second).await.unwrap());
        }
    }
}

#[tokio::test]
async fn bucket_within_the_tolerance_waits_for_the_clock() {
    let server = RedisServer::start();
    let quota = Quota::per_second(1).with_capacity(4);
    for (tolerance, rebased) in [(1, 1), (2, 0)] {
        let builder = RedisLimiter::builder(&server.url(), quota)
            .prefix(&format!("tolerance{tolerance}"))
            .clock_tolerance(Duration::from_secs(tolerance));
        let (limiter, clock) = connect(builder, quota).await;
        assert!(limiter.try_acquire("key", 4).await.is_allowed());
        clock.set(10 * HOUR - Duration::from_millis(900));
        let refused = limiter.try_acquire("key", 1).await;
        assert_eq!(refused.retry_after(), Some(Duration::from_millis(1900)));
        assert_eq!(limiter.stats().rebased, 0);
        clock.set(10 * HOUR - Duration::from_millis(1900));
        let wait = Duration::from_millis(if rebased == 1 { 1000 } else { 2900 });
        let refused = limiter.try_acquire("key", 1).await;
        // The stamp is rounded down to a tick.
        let error = wait.saturating_sub(refused.retry_after().unwrap());
        assert!(error < Duration::from_micros(1), "{refused}, {error:?}");
        assert_eq!(limiter.stats().rebased, rebased);
    }
}

#[tokio::test]
async fn reading_a_bucket_from_the_future_rebases_it() {
    let server = RedisServer::start();
    let quota = Quota::per_second(1).with_capacity(4);
    let (limiter, clock) = connect(RedisLimiter::builder(&server.url(), quota), quota).await;
    assert!(limiter.try_acquire("key", 4).await.is_allowed());
    clock.set(5 * HOUR);
    assert_eq!(limiter.available("key").await, 0);
    clock.advance(Duration::from_secs(3));
    assert_eq!(limiter.available("key").await, 3);
}

/// A lease from before the step would keep its token from other processes for an hour.
#[tokio::test]
async fn lease_from_before_a_step_ends() {
    let server = RedisServer::start();
    let quota = Quota::per_day(1000);
    // One token may be on lease, and the first process takes it with it.
    let builder = || RedisLimiter::builder(&server.url(), quota).lease(0.001);
    let (crashed, _) = connect(builder(), quota).await;
    let (survivor, clock) = connect(builder(), quota).await;
    let lease = crashed.try_acquire("key", 1).await;
    assert_eq!(lease.source(), DecisionSource::Lease);
    let first = survivor.try_acquire("key", 1).await;
    assert_eq!(
        first.source(),
        DecisionSource::Redis,
        "no token is left to lease"
    );

    clock.set(9 * HOUR);
    let mut sources = Vec::new();
    for _ in 0..40 {
        sources.push(survivor.try_acquire("key", 1).await.source());
        clock.advance(Duration::from_millis(500));
    }
    assert_eq!(sources[0], DecisionSource::Redis, "the lease lasts for 2 s");
    assert!(sources.contains(&DecisionSource::Lease), "{sources:?}");
}
