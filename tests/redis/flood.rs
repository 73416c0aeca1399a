//! Floods: a refusal is remembered for a short time, the calls in flight are bounded, and time in
//! the process's own queue is no failure of Redis.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::Signal;
use test_support::redis::RedisServer;
use tollgate::{DecisionSource, ManualClock, Outcome, Quota, RedisLimiter};

/// Longer than the default: the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(10);

async fn limiter(server: &RedisServer, quota: Quota) -> RedisLimiter {
    let builder = RedisLimiter::builder(&server.url(), quota).timeout(TIMEOUT);
    builder.connect().await.unwrap()
}

/// Makes a limiter whose time only the test advances. It begins a day after the zero.
async fn with_clock(server: &RedisServer, quota: Quota) -> (RedisLimiter, ManualClock) {
    let clock = ManualClock::new();
    clock.set(Duration::from_secs(86_400));
    let builder = RedisLimiter::builder(&server.url(), quota).timeout(TIMEOUT);
    let limiter = builder.clock(clock.clone()).connect().await.unwrap();
    (limiter, clock)
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_key_costs_ten_calls_a_second() {
    let server = RedisServer::start();
    let limiter = limiter(&server, Quota::per_day(3)).await;
    assert!(limiter.try_acquire("flood", 3).await.is_allowed());
    let (before, began) = (server.calls("evalsha"), Instant::now());
    let flood: Vec<_> = (0..200)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let mut requests = 0_u64;
                while began.elapsed() < Duration::from_secs(2) {
                    let refused = limiter.try_acquire("flood", 1).await;
                    assert_eq!(refused.outcome(), Outcome::Refused);
                    assert_eq!(refused.source().without_redis(), None);
                    requests += 1;
                    tokio::task::yield_now().await;
                }
                requests
            })
        })
        .collect();
    let mut requests = 0;
    for task in flood {
        requests += task.await.unwrap();
    }
    let asked = server.calls("evalsha") - before;
    let most = began.elapsed().as_millis() as u64 / 100 + 1;
    assert!(
        asked <= most && requests > 10 * asked,
        "{asked} calls for {requests} requests, at most {most}"
    );
    assert_eq!(limiter.stats().failures, 0);
}

#[tokio::test]
async fn refusal_covers_its_cost_and_higher_ones_for_at_most_100_ms() {
    let server = RedisServer::start();
    let (limiter, clock) = with_clock(&server, Quota::per_day(10)).await;
    let (other, _) = with_clock(&server, Quota::per_day(10)).await;
    assert!(limiter.try_acquire("key", 8).await.is_allowed());
    let decide = async |cost| {
        let decision = limiter.try_acquire("key", cost).await;
        (decision.outcome(), decision.source(), decision.remaining())
    };
    let (refused, allowed) = (Outcome::Refused, Outcome::Allowed);
    assert_eq!(decide(5).await, (refused, DecisionSource::Redis, 2));
    assert_eq!(decide(5).await, (refused, DecisionSource::Lease, 2));
    assert_eq!(decide(6).await, (refused, DecisionSource::Lease, 2));
    assert_eq!(
        decide(11).await,
        (Outcome::CostAboveCapacity, DecisionSource::Lease, 2)
    );
    assert_eq!(decide(4).await, (refused, DecisionSource::Redis, 2));
    assert_eq!(decide(0).await, (allowed, DecisionSource::Redis, 2));
    assert_eq!(decide(1).await, (allowed, DecisionSource::Redis, 1));
    assert_eq!(
        limiter.try_acquire("other", 5).await.source(),
        DecisionSource::Redis
    );

    // Another process makes the bucket full.
    other.reset("key").await.unwrap();
    clock.advance(Duration::from_millis(99));
    assert_eq!(decide(4).await.0, refused);
    clock.advance(Duration::from_millis(1));
    assert_eq!(decide(4).await, (allowed, DecisionSource::Redis, 6));
}

#[tokio::test]
async fn refusal_ends_exactly_at_retry_after() {
    let server = RedisServer::start();
    for quota in [
        Quota::per_second(50).with_capacity(3),
        Quota::interval(3, Duration::from_millis(20)),
    ] {
        let (limiter, clock) = with_clock(&server, quota).await;
        limiter.replace_and_reset(quota).await.unwrap();
        assert!(limiter.try_acquire("key", 3).await.is_allowed());
        let first = limiter.try_acquire("key", 1).await;
        assert_eq!(first.retry_after(), Some(Duration::from_millis(20)));
        clock.advance(Duration::from_millis(19));
        let second = limiter.try_acquire("key", 1).await;
        assert_eq!(
            (second.source(), second.retry_after()),
            (DecisionSource::Lease, Some(Duration::from_millis(1))),
            "{quota}"
        );
        clock.advance(Duration::from_millis(1));
        assert!(limiter.try_acquire("key", 1).await.is_allowed(), "{quota}");
    }
}

#[tokio::test]
async fn own_refund_reset_and_rule_end_a_refusal() {
    let server = RedisServer::start();
    let (limiter, _clock) = with_clock(&server, Quota::per_day(5)).await;
    let five = limiter.try_acquire("key", 5).await;
    let source = async || limiter.try_acquire("key", 1).await.source();
    assert_eq!(source().await, DecisionSource::Redis);
    assert_eq!(source().await, DecisionSource::Lease);

    assert!(limiter.refund("key", five).await.unwrap());
    assert!(limiter.try_acquire("key", 5).await.is_allowed());
    assert_eq!(source().await, DecisionSource::Redis);
    assert_eq!(source().await, DecisionSource::Lease);

    limiter.reset("key").await.unwrap();
    assert!(limiter.try_acquire("key", 5).await.is_allowed());
    assert_eq!(source().await, DecisionSource::Redis);

    limiter.set_rule("key", Quota::per_day(7)).await.unwrap();
    assert!(limiter.try_acquire("key", 7).await.is_allowed());
    assert_eq!(source().await, DecisionSource::Redis);
    assert_eq!(source().await, DecisionSource::Lease);

    assert!(limiter.remove_rule("key").await.unwrap());
    limiter.replace(Quota::per_day(9)).await.unwrap();
    assert!(limiter.try_acquire("key", 9).await.is_allowed());
}

/// The server hangs while the calls are made, and then runs those that were sent.
#[tokio::test]
async fn calls_in_flight_of_one_key_are_bounded() {
    let server = RedisServer::start();
    let limiter = limiter(&server, Quota::per_day(1_000_000)).await;
    assert!(limiter.try_acquire("key", 1).await.is_allowed());
    let before = server.calls("evalsha");
    server.signal(Signal::STOP);
    let flood = join_all((0..5000).map(|_| limiter.try_acquire("key", 1)));
    let cut = tokio::time::timeout(Duration::from_millis(300), flood).await;
    assert!(cut.is_err());
    server.signal(Signal::CONT);
    // Behind all that was sent before.
    assert_eq!(
        limiter.try_acquire("other", 1).await.source(),
        DecisionSource::Redis
    );
    let sent = server.calls("evalsha") - before - 1;
    assert!(sent <= 64, "{sent} calls in flight");
}

/// A cancelled caller freed its permits while its call was in flight, so clients that gave up early
/// sent one call after another to a slow server.
#[tokio::test]
async fn calls_of_cancelled_callers_count_until_their_end() {
    let server = RedisServer::start();
    let limiter = limiter(&server, Quota::per_day(1_000_000)).await;
    for key in ["key", "other"] {
        assert!(limiter.try_acquire(key, 1).await.is_allowed());
    }
    for (keys, most) in [(1, 64), (1000, 256)] {
        let before = server.calls("evalsha");
        server.signal(Signal::STOP);
        for number in 0..1000 {
            let key = format!("key {}", number % keys);
            let call = limiter.try_acquire(&key, 1);
            let cut = tokio::time::timeout(Duration::from_millis(1), call).await;
            assert!(cut.is_err(), "{cut:?}");
        }
        server.signal(Signal::CONT);
        // Behind all that was sent before.
        let last = limiter.try_acquire("other", 1).await;
        assert_eq!(last.source(), DecisionSource::Redis);
        let sent = server.calls("evalsha") - before - 1;
        assert!((1..=most).contains(&sent), "{sent} calls of {keys} keys");
    }
    assert_eq!(limiter.stats().outages, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn burst_that_takes_longer_than_the_timeout_is_decided_by_redis() {
    let server = RedisServer::start();
    let builder = RedisLimiter::builder(&server.url(), Quota::per_day(1_000_000));
    let builder = builder.timeout(Duration::from_millis(250));
    let limiter = builder.connect().await.unwrap();
    let began = Instant::now();
    let burst: Vec<_> = (0..20_000)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move { limiter.try_acquire("key", 1).await.source() })
        })
        .collect();
    for decided in burst {
        assert_eq!(decided.await.unwrap(), DecisionSource::Redis);
    }
    let stats = limiter.stats();
    assert_eq!(
        (stats.redis, stats.fallback, stats.outages),
        (20_000, 0, 0),
        "after {:?}: {stats:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_late_reply_is_no_outage() {
    let server = RedisServer::start();
    let builder = RedisLimiter::builder(&server.url(), Quota::per_day(100));
    let builder = builder.timeout(Duration::from_secs(2));
    let limiter = builder.connect().await.unwrap();
    assert!(limiter.try_acquire("key", 1).await.is_allowed());
    server.signal(Signal::STOP);
    let late = limiter.try_acquire("key", 1).await;
    server.signal(Signal::CONT);
    assert_eq!(late.source(), DecisionSource::Local);
    let next = limiter.try_acquire("key", 1).await;
    assert_eq!(next.source(), DecisionSource::Redis);
    let stats = limiter.stats();
    assert!(stats.up && stats.outages == 0, "{stats:?}");
    assert!(stats.failures >= 1, "{stats:?}");
}
