//! Buckets in Redis on the server's clock: 20 bytes each, deleted when full.

use std::{collections::HashSet, time::Duration};

use test_support::redis::{RedisServer, eventually};
use tollgate::{DecisionSource, Quota, RedisLimiter};

async fn limiter(server: &RedisServer, quota: Quota) -> RedisLimiter {
    RedisLimiter::builder(&server.url(), quota)
        .timeout(Duration::from_secs(10))
        .connect()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_look_decides_as_a_charge_would_and_takes_nothing() {
    let server = RedisServer::start();
    for quota in [
        Quota::per_day(100),
        Quota::interval(100, Duration::from_secs(86_400)),
    ] {
        let limiter = limiter(&server, quota).await;
        limiter.replace_and_reset(quota).await.unwrap();
        assert!(limiter.look("alice", 100).await.is_allowed());
        assert!(limiter.try_acquire("alice", 60).await.is_allowed());
        for cost in [0, 1, 40, 41, 100, 101] {
            let look = limiter.look("alice", cost).await;
            let decision = limiter.try_acquire("alice", cost).await;
            assert_eq!(
                (look.outcome(), look.cost()),
                (decision.outcome(), cost),
                "{quota}: {cost}"
            );
            assert_eq!(
                look.retry_after().map(|time| time.as_secs() / 10),
                decision.retry_after().map(|time| time.as_secs() / 10)
            );
            limiter.refund("alice", decision).await.unwrap();
            assert_eq!(limiter.available("alice").await, 40);
        }
    }
}

#[tokio::test]
async fn bucket_is_twenty_bytes_and_expires_when_full() {
    let server = RedisServer::start();
    for quota in [
        Quota::per_day(100),
        Quota::interval(100, Duration::from_secs(86_400)),
    ] {
        let limiter = limiter(&server, quota).await;
        limiter.replace_and_reset(quota).await.unwrap();
        let known: HashSet<_> = server.buckets().into_iter().collect();
        assert!(limiter.try_acquire("alice", 50).await.is_allowed());
        let new: Vec<_> = server
            .buckets()
            .into_iter()
            .filter(|key| !known.contains(key))
            .collect();
        let [bucket] = new.as_slice() else {
            panic!("{new:?}")
        };
        assert!(
            bucket.starts_with("tollgate:") && bucket.ends_with(":alice"),
            "{bucket}"
        );
        assert_eq!(server.command::<u64>(&["STRLEN", bucket]), 20);
        let full = if quota.is_interval() {
            86_400_000
        } else {
            43_200_000
        };
        let left: i64 = server.command(&["PTTL", bucket]);
        // Expires when it is full. The lower bound allows for a minute of refill since the call.
        assert!(
            (full - 60_000..=full + 100).contains(&left),
            "{quota}: {left}"
        );
    }
}

#[tokio::test]
async fn full_bucket_is_deleted_and_refunds_nothing() {
    let server = RedisServer::start();
    for quota in [
        Quota::per_second(20),
        Quota::interval(20, Duration::from_secs(1)),
    ] {
        let limiter = limiter(&server, quota).await;
        let decision = limiter.try_acquire("alice", 20).await;
        assert_eq!(
            (decision.source(), decision.remaining()),
            (DecisionSource::Redis, 0)
        );
        eventually("the bucket is deleted", || async {
            server.buckets().is_empty()
        })
        .await;
        assert_eq!(
            limiter.try_acquire("alice", 20).await.remaining(),
            0,
            "the new bucket was full"
        );
        assert!(!limiter.refund("alice", decision).await.unwrap());
        eventually("the bucket is deleted", || async {
            server.buckets().is_empty()
        })
        .await;
    }
}

#[tokio::test]
async fn request_after_retry_after_is_allowed() {
    let server = RedisServer::start();
    for quota in [
        Quota::per_second(4).with_capacity(2),
        Quota::interval(2, Duration::from_millis(250)),
    ] {
        let limiter = limiter(&server, quota).await;
        limiter.replace_and_reset(quota).await.unwrap();
        for _ in 0..3 {
            // If the machine stalls, the bucket refills, and a request is allowed.
            let mut decision = limiter.try_acquire("alice", 2).await;
            while decision.is_allowed() {
                decision = limiter.try_acquire("alice", 2).await;
            }
            let wait = decision.retry_after().unwrap();
            assert!(
                wait > Duration::ZERO && wait <= Duration::from_millis(500),
                "{decision}"
            );
            tokio::time::sleep(wait).await;
            assert!(
                limiter.try_acquire("alice", 2).await.is_allowed(),
                "{decision}"
            );
        }
    }
}

#[tokio::test]
async fn refusals_and_zero_costs_write_nothing() {
    let server = RedisServer::start();
    let limiter = limiter(&server, Quota::per_day(5)).await;
    assert_eq!(limiter.available("unknown").await, 5);
    assert!(limiter.try_acquire("unknown", 6).await.is_refused());
    assert!(server.buckets().is_empty());
    // The check of the permissions writes as well.
    let before = server.calls("set");
    assert!(limiter.try_acquire("alice", 5).await.is_allowed());
    assert_eq!(server.calls("set"), before + 1);
    for cost in [1, 5, 6, 0] {
        assert_eq!(
            limiter.try_acquire("alice", cost).await.is_allowed(),
            cost == 0
        );
    }
    assert_eq!(server.calls("set"), before + 1);
}

#[tokio::test]
async fn long_keys_and_braces_are_hashed_alike_by_all_processes() {
    let server = RedisServer::start();
    let (one, other) = (
        limiter(&server, Quota::per_day(1)).await,
        limiter(&server, Quota::per_day(1)).await,
    );
    let long = "k".repeat(15_000);
    let same_beginning = format!("{long}2");
    let keys = [&long, &same_beginning, "{slot}a", "{slot}b", "a}b"];
    for key in keys {
        assert!(one.try_acquire(key, 1).await.is_allowed(), "{key:.20}");
        assert!(other.try_acquire(key, 1).await.is_refused(), "{key:.20}");
    }
    let buckets = server.buckets();
    assert_eq!(buckets.len(), keys.len());
    for bucket in buckets {
        assert!(bucket.len() <= 100, "{} bytes", bucket.len());
        assert!(!bucket.contains(['{', '}']), "{bucket}");
    }
    // A rule names the key itself.
    one.set_rule(&long, Quota::per_day(3)).await.unwrap();
    assert_eq!(one.available(&long).await, 3);
    assert_eq!(one.rules(), [(long.into_bytes(), Quota::per_day(3))]);
}

#[tokio::test]
async fn keys_are_any_bytes() {
    let server = RedisServer::start();
    let limiter = limiter(&server, Quota::per_day(1)).await;
    let keys: [&[u8]; 6] = [b"", b"\0", b"\xff\xfe", b"{a}b", b"a:b", b"line\r\nbreak"];
    for key in keys {
        assert!(limiter.try_acquire(key, 1).await.is_allowed(), "{key:?}");
        assert!(limiter.try_acquire(key, 1).await.is_refused(), "{key:?}");
        limiter.set_rule(key, Quota::per_day(3)).await.unwrap();
        assert_eq!(
            (limiter.rule(key), limiter.available(key).await),
            (Some(Quota::per_day(3)), 3),
            "{key:?}"
        );
    }
    assert!(
        limiter
            .try_acquire(&String::from("text"), 1)
            .await
            .is_allowed()
    );
    assert!(limiter.try_acquire(&[1_u8, 2, 3], 1).await.is_allowed());
}

/// Separate limiters, which Redis cannot distinguish from separate processes.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_get_exactly_the_capacity() {
    let server = RedisServer::start();
    let mut requests = Vec::new();
    for _ in 0..3 {
        let limiter = limiter(&server, Quota::per_day(1000)).await;
        for _ in 0..8 {
            let limiter = limiter.clone();
            requests.push(tokio::spawn(async move {
                let mut allowed = 0;
                for n in 0..600_u32 {
                    let decision = limiter.try_acquire(&(n % 4).to_string(), 1).await;
                    // A refusal may be remembered.
                    let source = decision.source();
                    assert!(
                        source == DecisionSource::Redis
                            || decision.is_refused() && source == DecisionSource::Lease,
                        "{source:?}"
                    );
                    allowed += u32::from(decision.is_allowed());
                }
                allowed
            }));
        }
    }
    let mut allowed = 0;
    for task in requests {
        allowed += task.await.unwrap();
    }
    assert_eq!(allowed, 4 * 1000);
}
