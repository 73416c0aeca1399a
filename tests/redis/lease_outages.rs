//! Leases while Redis is away, hangs or forgets: what was leased is spent, and then each process
//! decides by itself.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use test_support::redis::{RedisServer, TEST_TIMEOUT, eventually};
use tollgate::{DecisionSource, Outcome, Quota, RedisFallback, RedisLimiter, RedisLimiterBuilder};

fn builder(server: &RedisServer, quota: Quota) -> RedisLimiterBuilder {
    // A busy machine is not an ill server.
    RedisLimiter::builder(&server.url(), quota)
        .timeout(Duration::from_secs(10))
        .lease(0.1)
}

async fn source(limiter: &RedisLimiter) -> DecisionSource {
    limiter.try_acquire("key", 1).await.source()
}

/// What is on lease may still be spent, or else the process decides by itself; and nobody waits
/// more than once.
async fn goes_on_alone(limiter: &RedisLimiter) {
    eventually("what was on lease is spent or has expired", async || {
        source(limiter).await == DecisionSource::Local
    })
    .await;
    let (began, before) = (Instant::now(), limiter.stats());
    for _ in 0..1000 {
        assert_eq!(source(limiter).await, DecisionSource::Local);
    }
    // Waiting a thousand times would take 1000 s.
    assert!(began.elapsed() < TEST_TIMEOUT, "{:?}", began.elapsed());
    let after = limiter.stats();
    assert!(
        !after.up && after.failures == before.failures,
        "{before:?} {after:?}"
    );
    assert!(
        limiter.try_acquire_at_once("key", 1).is_some()
            && limiter.try_acquire_at_once("other", 0).is_some()
    );
}

fn impatient(server: &RedisServer) -> RedisLimiterBuilder {
    builder(server, Quota::per_day(1_000_000)).timeout(Duration::from_secs(1))
}

#[tokio::test]
async fn a_killed_server_is_done_without_until_it_is_back() {
    let mut server = RedisServer::start();
    let limiter = impatient(&server).connect().await.unwrap();
    for _ in 0..100 {
        assert_eq!(source(&limiter).await, DecisionSource::Lease);
    }
    server.kill();
    goes_on_alone(&limiter).await;
    server.restart();
    eventually("answers from leases again", async || {
        source(&limiter).await == DecisionSource::Lease
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_costs_every_waiting_request_one_timeout() {
    let server = RedisServer::start();
    let limiter = impatient(&server).connect().await.unwrap();
    server.signal(Signal::STOP);
    let began = Instant::now();
    let asking: Vec<_> = (0..100)
        .map(|n: u32| {
            let limiter = limiter.clone();
            tokio::spawn(
                async move { limiter.try_acquire(&(n % 10).to_string(), 1).await.source() },
            )
        })
        .collect();
    for answer in asking {
        assert_eq!(answer.await.unwrap(), DecisionSource::Local);
    }
    assert!(began.elapsed() < TEST_TIMEOUT / 3, "{:?}", began.elapsed());
    goes_on_alone(&limiter).await;
    server.signal(Signal::CONT);
    eventually("answers from leases again", async || {
        source(&limiter).await == DecisionSource::Lease
    })
    .await;
}

#[tokio::test]
async fn a_server_that_forgets_everything_is_asked_on() {
    let server = RedisServer::start();
    let limiter = builder(&server, Quota::per_day(1000))
        .connect()
        .await
        .unwrap();
    for round in 0..4 {
        for _ in 0..100 {
            assert_eq!(source(&limiter).await, DecisionSource::Lease);
        }
        server.command::<()>(if round % 2 == 0 {
            &["FLUSHALL"]
        } else {
            &["SCRIPT", "FLUSH"]
        });
    }
    assert_eq!((limiter.stats().failures, limiter.stats().fallback), (0, 0));
}

#[tokio::test]
async fn while_the_policy_is_closed_nothing_is_allowed_but_what_was_leased() {
    let mut server = RedisServer::start();
    let limiter = impatient(&server)
        .on_error(RedisFallback::Closed)
        .connect()
        .await
        .unwrap();
    assert_eq!(source(&limiter).await, DecisionSource::Lease);
    server.kill();
    eventually("what was on lease is spent or has expired", async || {
        source(&limiter).await == DecisionSource::Closed
    })
    .await;
    assert_eq!(
        limiter.try_acquire("key", 1).await.outcome(),
        Outcome::Unavailable
    );
}
