//! Shared settings: changes by one process reach all others.

use std::time::Duration;

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
async fn changes_reach_other_processes() {
    let server = RedisServer::start();
    let (one, two) = (
        limiter(&server, Quota::per_day(10)).await,
        limiter(&server, Quota::per_day(10)).await,
    );
    assert!(one.try_acquire("a", 10).await.is_allowed());
    assert!(
        two.try_acquire("a", 1).await.is_refused(),
        "one bucket for both"
    );

    one.replace(Quota::per_day(20)).await.unwrap();
    eventually("the quota", async || two.quota() == Quota::per_day(20)).await;
    assert_eq!(two.available("a").await, 20);

    two.set_rule("vip", Quota::per_day(50)).await.unwrap();
    eventually("the rule", async || {
        one.rule("vip") == Some(Quota::per_day(50))
    })
    .await;
    assert!(one.try_acquire("vip", 30).await.is_allowed());
    assert_eq!(two.available("vip").await, 20);

    assert!(one.remove_rule("vip").await.unwrap());
    eventually("no rule", async || two.rule("vip").is_none()).await;
    assert!(!two.remove_rule("vip").await.unwrap());
    assert_eq!(two.available("vip").await, 20);
}

#[tokio::test]
async fn missed_message_is_noticed_by_the_poll() {
    let server = RedisServer::start();
    let (one, two) = (
        limiter(&server, Quota::per_day(10)).await,
        limiter(&server, Quota::per_day(10)).await,
    );
    for capacity in 1..=3 {
        server.command::<()>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        one.replace(Quota::per_day(capacity)).await.unwrap();
        eventually("the quota", async || {
            two.quota() == Quota::per_day(capacity)
        })
        .await;
    }
}

#[tokio::test]
async fn last_start_quota_applies_until_replace() {
    let server = RedisServer::start();
    let one = limiter(&server, Quota::per_day(10)).await;
    let two = limiter(&server, Quota::per_day(20)).await;
    assert_eq!(two.quota(), Quota::per_day(20));
    eventually("the newest start", async || {
        one.quota() == Quota::per_day(20)
    })
    .await;
    assert!(one.try_acquire("a", 15).await.is_allowed());
    let same = limiter(&server, Quota::per_day(20)).await;
    assert_eq!(
        same.available("a").await,
        5,
        "the same quota changes nothing"
    );

    one.replace(Quota::per_day(30)).await.unwrap();
    let three = limiter(&server, Quota::per_day(40)).await;
    assert_eq!(three.quota(), Quota::per_day(30));
}

#[tokio::test]
async fn concurrent_changes_are_all_made() {
    let server = RedisServer::start();
    let (one, two) = (
        limiter(&server, Quota::per_day(10)).await,
        limiter(&server, Quota::per_day(10)).await,
    );
    for key in 0..20 {
        let (key, other) = (format!("a{key}"), format!("b{key}"));
        let (a, b) = tokio::join!(
            one.set_rule(&key, Quota::per_day(3)),
            two.set_rule(&other, Quota::per_day(4))
        );
        assert_eq!((a, b), (Ok(()), Ok(())));
    }
    let all = async || {
        (0..20).all(|key| {
            one.rule(&format!("b{key}")).is_some() && two.rule(&format!("a{key}")).is_some()
        })
    };
    eventually("all rules", all).await;
}

#[tokio::test]
async fn prefixes_share_nothing() {
    let server = RedisServer::start();
    let one = limiter(&server, Quota::per_day(10)).await;
    let other = RedisLimiter::builder(&server.url(), Quota::per_day(20))
        .prefix("other")
        .timeout(Duration::from_secs(10));
    let other = other.connect().await.unwrap();
    assert!(one.try_acquire("a", 10).await.is_allowed());
    one.replace(Quota::per_day(5)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        (other.quota(), other.available("a").await),
        (Quota::per_day(20), 20)
    );
}

#[tokio::test]
async fn connections_close_with_the_last_limiter() {
    let server = RedisServer::start();
    let limiter = limiter(&server, Quota::per_day(10)).await;
    let connected = || {
        server
            .command::<String>(&["CLIENT", "LIST"])
            .lines()
            .count()
    };
    eventually(
        "two connections, a subscription, and the connection of this test",
        async || connected() == 4,
    )
    .await;
    drop(limiter);
    eventually("only the connection of this test", async || {
        connected() == 1
    })
    .await;
}

/// The permissions in the documentation of `RedisLimiter`.
#[tokio::test]
async fn documented_permissions_suffice() {
    let server = RedisServer::start();
    let rights = "on >password ~tollgate:* &tollgate:* +eval +evalsha +time +type +get +set +setrange +del +persist \
                  +hget +hset +hdel +hgetall +publish +subscribe";
    let words = ["ACL", "SETUSER", "limiter"]
        .into_iter()
        .chain(rights.split_whitespace());
    server.command::<()>(&words.collect::<Vec<_>>());
    let url = format!("redis://limiter:password@127.0.0.1:{}/", server.port);
    let limiter = RedisLimiter::builder(&url, Quota::per_day(10))
        .timeout(Duration::from_secs(10))
        .connect()
        .await
        .unwrap();
    let subscribed = || async {
        server
            .command::<String>(&["CLIENT", "LIST", "TYPE", "pubsub"])
            .contains("user=limiter")
    };
    eventually("the limiter is subscribed", subscribed).await;

    let decision = limiter.try_acquire("a", 4).await;
    assert!(limiter.refund("a", decision).await.unwrap());
    limiter.reset("a").await.unwrap();
    limiter.set_rule("a", Quota::per_day(3)).await.unwrap();
    assert!(limiter.remove_rule("a").await.unwrap());
    limiter.replace(Quota::per_day(5)).await.unwrap();
    assert_eq!(
        (limiter.available("a").await, limiter.stats().failures),
        (5, 0)
    );

    // The limiter recovers after its connections were killed.
    server.command::<()>(&["CLIENT", "KILL", "USER", "limiter"]);
    eventually("Redis decides", async || {
        limiter.try_acquire("a", 0).await.source() == DecisionSource::Redis
    })
    .await;
    server.command::<()>(&["FLUSHALL"]);
    let restored = || async { server.command::<bool>(&["EXISTS", "tollgate:settings"]) };
    eventually("the settings are restored", restored).await;
    assert_eq!(limiter.quota(), Quota::per_day(5));
}
