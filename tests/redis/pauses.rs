//! Pauses of a key in Redis: nothing is granted before the end, by any process.

use std::time::Duration;

use test_support::redis::{RedisServer, TEST_TIMEOUT, eventually};
use tollgate::{DecisionSource, ManualClock, Quota, RedisError, RedisFallback, RedisLimiter};

use crate::waiting::soon;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

fn quotas() -> [Quota; 2] {
    [
        Quota::per_second(1).with_capacity(4),
        Quota::interval(4, Duration::from_secs(4)),
    ]
}

/// Connects with a clock that is ten hours after the zero. A lease of half the capacity, if any.
async fn connect(server: &RedisServer, quota: Quota, lease: bool) -> (RedisLimiter, ManualClock) {
    let clock = ManualClock::new();
    clock.set(10 * HOUR);
    let prefix = format!("{lease} {quota}");
    let builder = RedisLimiter::builder(&server.url(), quota)
        .timeout(TEST_TIMEOUT)
        .prefix(&prefix)
        .clock(clock.clone());
    let builder = if lease { builder.lease(0.5) } else { builder };
    (builder.connect().await.unwrap(), clock)
}

/// *Caught:* a pause in the stamp, which a rebase lifts; a full bucket at the end; a pause that a
/// shorter one ends; an end that is too early.
#[tokio::test]
async fn nothing_is_granted_before_the_end_whatever_the_clock_does() {
    let server = RedisServer::start();
    for quota in quotas() {
        for lease in [false, true] {
            let (limiter, clock) = connect(&server, quota, lease).await;
            let name = format!("{quota} lease {lease}");
            let before = limiter.try_acquire("key", 1).await;
            assert!(before.is_allowed());
            limiter.pause_for("key", MINUTE).await.unwrap();
            limiter.pause_for("key", MINUTE / 2).await.unwrap();
            let refused = limiter.try_acquire("key", 1).await;
            let refill = Duration::from_secs(if quota.is_interval() { 4 } else { 1 });
            let late = refused.retry_after().unwrap().checked_sub(MINUTE + refill);
            // The end has a margin.
            assert!(
                late.is_some_and(|late| late < Duration::from_millis(1)),
                "{name}: {refused}"
            );
            assert!(!limiter.refund("key", before).await.unwrap());
            // The clock steps back, and does not lift the pause.
            clock.set(9 * HOUR);
            assert!(limiter.try_acquire("key", 1).await.is_refused());
            clock.set(10 * HOUR + MINUTE + Duration::from_millis(1));
            let refused = limiter.try_acquire("key", 1).await;
            assert!(refused.is_refused(), "{name}: {refused}");
            clock.advance(Duration::from_secs(4));
            for _ in 0..4 {
                let allowed = limiter.try_acquire("key", 1).await;
                assert!(allowed.is_allowed(), "{name}: {allowed}");
            }
            assert!(limiter.try_acquire("key", 1).await.is_refused());
            assert_eq!(limiter.stats().rebased, 0, "{name}");
            // Other keys are not paused.
            assert!(limiter.try_acquire("other", 4).await.is_allowed());
        }
    }
}

/// *Caught:* a lease that survives the pause in its own process.
#[tokio::test]
async fn tokens_on_lease_are_given_up() {
    let server = RedisServer::start();
    let quota = Quota::per_hour(100);
    let (limiter, _clock) = connect(&server, quota, true).await;
    let sources = async || {
        let decision = limiter.try_acquire("key", 1).await;
        (decision.is_allowed(), decision.source())
    };
    // The lease grows with the demand.
    for _ in 0..10 {
        assert_eq!(sources().await, (true, DecisionSource::Lease));
    }
    limiter.pause_for("key", HOUR).await.unwrap();
    assert!(!sources().await.0);
    limiter.reset("key").await.unwrap();
    eventually("a reset ends the pause", async || sources().await.0).await;
}

/// *Caught:* a lease that is given up without a pause.
#[tokio::test]
async fn a_pause_until_the_past_loses_no_tokens() {
    let server = RedisServer::start();
    let (limiter, _clock) = connect(&server, Quota::per_hour(100), true).await;
    for n in 0..100 {
        if n == 10 {
            let now = tokio::time::Instant::now();
            limiter.pause_until("key", now).await.unwrap();
        }
        let decision = limiter.try_acquire("key", 1).await;
        assert!(decision.is_allowed(), "{n}: {decision}");
    }
    assert!(limiter.try_acquire("key", 1).await.is_refused());
}

/// *Caught:* a pause that does not reach other processes.
#[tokio::test]
async fn all_processes_and_their_waiters_are_paused() {
    let server = RedisServer::start();
    let connect = async || {
        let builder = RedisLimiter::builder(&server.url(), Quota::per_second(1000));
        builder.timeout(TEST_TIMEOUT).connect().await.unwrap()
    };
    let (one, other) = (connect().await, connect().await);
    one.pause_until("key", tokio::time::Instant::now() + HOUR)
        .await
        .unwrap();
    assert!(other.try_acquire("key", 1).await.is_refused());
    let waited = tokio::time::timeout(Duration::from_millis(100), other.acquire("key", 1)).await;
    assert!(waited.is_err(), "{waited:?}");
    let refused = soon(one.acquire_within("key", 1, MINUTE)).await;
    assert!(refused.is_err());
    // A rule fills its bucket, and ends the pause.
    other.set_rule("key", Quota::per_second(5)).await.unwrap();
    assert!(soon(other.acquire("key", 1)).await.is_ok());
}

/// *Caught:* a pause that the fallback does not know.
#[tokio::test]
async fn fallback_is_paused_too() {
    let mut server = RedisServer::start();
    let builder = RedisLimiter::builder(&server.url(), Quota::per_second(1000));
    let builder = builder.on_error(RedisFallback::Local { share: 0.5 });
    let limiter = builder.timeout(TEST_TIMEOUT).connect().await.unwrap();
    limiter.pause_for("key", HOUR).await.unwrap();
    server.kill();
    eventually("the fallback decides", async || {
        limiter.try_acquire("other", 1).await.source() == DecisionSource::Local
    })
    .await;
    let refused = limiter.try_acquire("key", 1).await;
    assert_eq!(
        (refused.is_refused(), refused.source()),
        (true, DecisionSource::Local)
    );
    let error = limiter.pause_for("other", HOUR).await.unwrap_err();
    assert!(matches!(error, RedisError::Unreachable(_)), "{error}");
    assert!(limiter.try_acquire("other", 1).await.is_refused());
}

#[cfg(feature = "tower")]
#[tokio::test]
async fn headers_of_a_response_pause_the_key() {
    let server = RedisServer::start();
    let limiter = RedisLimiter::connect(&server.url(), Quota::per_second(10))
        .await
        .unwrap();
    let mut headers = http::HeaderMap::new();
    let paused = limiter.pause_from_headers("key", &headers).await.unwrap();
    assert_eq!(paused, None);
    assert!(limiter.try_acquire("key", 1).await.is_allowed());
    headers.insert("retry-after", http::HeaderValue::from_static("60"));
    let paused = limiter.pause_from_headers("key", &headers).await.unwrap();
    assert_eq!(paused, Some(MINUTE));
    assert!(limiter.try_acquire("key", 1).await.is_refused());
}
