//! Leases while Redis is down, hangs or loses data: leased tokens are spent, and then each process
//! decides on its own.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use test_support::redis::{RedisServer, TEST_TIMEOUT, eventually};
use tollgate::{DecisionSource, Outcome, Quota, RedisFallback, RedisLimiter, RedisLimiterBuilder};

fn builder(server: &RedisServer, quota: Quota) -> RedisLimiterBuilder {
    // Long: a busy machine is no outage.
    RedisLimiter::builder(&server.url(), quota)
        .timeout(Duration::from_secs(10))
        .lease(0.1)
}

async fn source(limiter: &RedisLimiter) -> DecisionSource {
    limiter.try_acquire("key", 1).await.source()
}

/// Asserts that after the leased tokens the fallback decides, and that no request waits again.
async fn falls_back(limiter: &RedisLimiter) {
    eventually("leased tokens are spent or have expired", async || {
        source(limiter).await == DecisionSource::Local
    })
    .await;
    let (began, before) = (Instant::now(), limiter.stats());
    for _ in 0..1000 {
        assert_eq!(source(limiter).await, DecisionSource::Local);
    }
    // A thousand timeouts would take 1000 s.
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

fn short_timeout(server: &RedisServer) -> RedisLimiterBuilder {
    builder(server, Quota::per_day(1_000_000)).timeout(Duration::from_secs(1))
}

#[tokio::test]
async fn killed_server_is_an_outage_until_it_restarts() {
    let mut server = RedisServer::start();
    let limiter = short_timeout(&server).connect().await.unwrap();
    for _ in 0..100 {
        assert_eq!(source(&limiter).await, DecisionSource::Lease);
    }
    server.kill();
    falls_back(&limiter).await;
    server.restart();
    eventually("leases are used again", async || {
        source(&limiter).await == DecisionSource::Lease
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_server_costs_each_waiting_request_one_timeout() {
    let server = RedisServer::start();
    let limiter = short_timeout(&server).connect().await.unwrap();
    server.signal(Signal::STOP);
    let began = Instant::now();
    let requests: Vec<_> = (0..100)
        .map(|n: u32| {
            let limiter = limiter.clone();
            tokio::spawn(
                async move { limiter.try_acquire(&(n % 10).to_string(), 1).await.source() },
            )
        })
        .collect();
    for source in requests {
        assert_eq!(source.await.unwrap(), DecisionSource::Local);
    }
    assert!(began.elapsed() < TEST_TIMEOUT / 3, "{:?}", began.elapsed());
    falls_back(&limiter).await;
    server.signal(Signal::CONT);
    eventually("leases are used again", async || {
        source(&limiter).await == DecisionSource::Lease
    })
    .await;
}

#[tokio::test]
async fn server_that_loses_its_data_causes_no_outage() {
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
async fn closed_fallback_allows_only_leased_tokens() {
    let mut server = RedisServer::start();
    let limiter = short_timeout(&server)
        .on_error(RedisFallback::Closed)
        .connect()
        .await
        .unwrap();
    assert_eq!(source(&limiter).await, DecisionSource::Lease);
    server.kill();
    eventually("leased tokens are spent or have expired", async || {
        source(&limiter).await == DecisionSource::Closed
    })
    .await;
    assert_eq!(
        limiter.try_acquire("key", 1).await.outcome(),
        Outcome::Unavailable
    );
}
