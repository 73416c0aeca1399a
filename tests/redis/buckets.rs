//! What a bucket is in Redis, by the server's own clock: 20 bytes that are gone when it is full.

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

/// How often a bucket was written.
fn writes(server: &RedisServer) -> u64 {
    let stats: String = server.command(&["INFO", "commandstats"]);
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_set:calls="));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_bucket_is_twenty_bytes_until_it_is_full() {
    let server = RedisServer::start();
    for quota in [
        Quota::per_day(100),
        Quota::interval(100, Duration::from_secs(86_400)),
    ] {
        let limiter = limiter(&server, quota).await;
        limiter.replace(quota).await.unwrap();
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
        // By the time it is full, at the latest a minute later.
        assert!(
            (full - 60_000..=full + 100).contains(&left),
            "{quota}: {left}"
        );
    }
}

#[tokio::test]
async fn a_full_bucket_is_gone_and_gives_nothing_back() {
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
        eventually("the bucket is gone", || async {
            server.buckets().is_empty()
        })
        .await;
        assert_eq!(
            limiter.try_acquire("alice", 20).await.remaining(),
            0,
            "and full"
        );
        assert!(!limiter.refund("alice", decision).await);
        eventually("the bucket is gone", || async {
            server.buckets().is_empty()
        })
        .await;
    }
}

#[tokio::test]
async fn who_waits_as_long_as_told_is_allowed() {
    let server = RedisServer::start();
    for quota in [
        Quota::per_second(4).with_capacity(2),
        Quota::interval(2, Duration::from_millis(250)),
    ] {
        let limiter = limiter(&server, quota).await;
        limiter.replace(quota).await.unwrap();
        for _ in 0..3 {
            // On a machine that stands still for a while, it may take more than once to get there.
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
async fn refusals_and_looks_write_nothing() {
    let server = RedisServer::start();
    let limiter = limiter(&server, Quota::per_day(5)).await;
    assert_eq!(limiter.available("nobody").await, 5);
    assert!(limiter.try_acquire("nobody", 6).await.is_refused());
    assert!(server.buckets().is_empty());
    assert!(limiter.try_acquire("alice", 5).await.is_allowed());
    assert_eq!(writes(&server), 1);
    for cost in [1, 5, 6, 0] {
        assert_eq!(
            limiter.try_acquire("alice", cost).await.is_allowed(),
            cost == 0
        );
    }
    assert_eq!(writes(&server), 1);
}

#[tokio::test]
async fn any_bytes_are_a_key() {
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

/// Several processes, as far as Redis can tell.
#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_get_exactly_what_there_is() {
    let server = RedisServer::start();
    let mut asking = Vec::new();
    for _ in 0..3 {
        let limiter = limiter(&server, Quota::per_day(1000)).await;
        for _ in 0..8 {
            let limiter = limiter.clone();
            asking.push(tokio::spawn(async move {
                let mut allowed = 0;
                for n in 0..600_u32 {
                    let decision = limiter.try_acquire(&(n % 4).to_string(), 1).await;
                    assert_eq!(decision.source(), DecisionSource::Redis);
                    allowed += u32::from(decision.is_allowed());
                }
                allowed
            }));
        }
    }
    let mut allowed = 0;
    for each in asking {
        allowed += each.await.unwrap();
    }
    assert_eq!(allowed, 4 * 1000);
}
