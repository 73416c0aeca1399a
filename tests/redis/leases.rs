//! Leases on a real server, with independent limiters: the limit is never exceeded, unspent tokens
//! are returned, and a flood of refused requests costs the server next to nothing.

use std::time::{Duration, Instant};

use test_support::redis::{RedisServer, TEST_TIMEOUT, eventually};
use tollgate::{DecisionSource, Outcome, Quota, RedisError, RedisLimiter, RedisLimiterBuilder};

/// Refills too slowly to matter.
const QUOTA: Quota = Quota::per_day(1000);

fn builder(server: &RedisServer, quota: Quota) -> RedisLimiterBuilder {
    // Long: a busy machine is no outage.
    RedisLimiter::builder(&server.url(), quota)
        .timeout(Duration::from_secs(10))
        .lease(0.1)
}

async fn limiter(server: &RedisServer) -> RedisLimiter {
    builder(server, QUOTA).connect().await.unwrap()
}

/// Sends requests for one token from concurrent tasks. Returns the number of allowed requests.
async fn allowed(limiter: &RedisLimiter, key: &'static str, tasks: u32, requests: u32) -> u32 {
    let handles: Vec<_> = (0..tasks)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let mut allowed = 0;
                for _ in 0..requests {
                    let decision = limiter.try_acquire(key, 1).await;
                    assert!(
                        matches!(
                            decision.source(),
                            DecisionSource::Redis | DecisionSource::Lease
                        ),
                        "{decision:?}"
                    );
                    allowed += u32::from(decision.is_allowed());
                }
                allowed
            })
        })
        .collect();
    let mut sum = 0;
    for handle in handles {
        sum += handle.await.unwrap();
    }
    sum
}

/// Tokens in the bucket in Redis, without those on lease: the view of a limiter that holds none.
async fn in_bucket(server: &RedisServer, key: &str) -> u32 {
    limiter(server).await.available(key).await
}

/// Number of script calls.
fn scripts(server: &RedisServer) -> u64 {
    server.calls("evalsha") + server.calls("eval")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_allowed_exactly_its_capacity_over_all_limiters() {
    let server = RedisServer::start();
    let (one, other, third) = (
        limiter(&server).await,
        limiter(&server).await,
        limiter(&server).await,
    );
    let (a, b, c) = tokio::join!(
        allowed(&one, "hot", 8, 100),
        allowed(&other, "hot", 8, 100),
        allowed(&third, "hot", 8, 100)
    );
    let sum = a + b + c;
    assert!(sum <= 1000, "{a} + {b} + {c}");
    // Tokens on lease serve their holder only; once returned, they serve any limiter.
    one.close().await;
    other.close().await;
    third.close().await;
    let rest = allowed(&limiter(&server).await, "hot", 1, 1000 - sum + 10).await;
    assert_eq!(sum + rest, 1000);
    let stats = one.stats();
    assert!(
        stats.lease > 0 && stats.fallback == 0 && stats.failures == 0,
        "{stats:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_allowed_their_capacity_each() {
    let server = RedisServer::start();
    let quota = Quota::per_day(20);
    let limiters = [
        builder(&server, quota).connect().await.unwrap(),
        builder(&server, quota).connect().await.unwrap(),
    ];
    let mut handles = Vec::new();
    for limiter in &limiters {
        for _ in 0..4 {
            let limiter = limiter.clone();
            handles.push(tokio::spawn(async move {
                let mut allowed = vec![0; 50];
                for n in 0..50 * 6 {
                    let key = n % 50;
                    let decision = limiter.try_acquire(&key.to_string(), 1).await;
                    allowed[key] += u32::from(decision.is_allowed());
                }
                allowed
            }));
        }
    }
    let mut sums = vec![0; 50];
    for handle in handles {
        let allowed = handle.await.unwrap();
        sums.iter_mut()
            .zip(allowed)
            .for_each(|(sum, allowed)| *sum += allowed);
    }
    // 48 requests for 20 tokens. At most 2 tokens remain on lease with a limiter that sent no more
    // requests.
    assert!(sums.iter().all(|&sum| (18..=20).contains(&sum)), "{sums:?}");
}

#[tokio::test]
async fn hot_key_needs_few_messages() {
    let server = RedisServer::start();
    let limiter = builder(&server, Quota::per_day(100_000))
        .connect()
        .await
        .unwrap();
    let before = scripts(&server);
    for _ in 0..20_000 {
        assert!(limiter.try_acquire("hot", 1).await.is_allowed());
    }
    let sent = scripts(&server) - before;
    assert!(sent < 200, "{sent} calls for 20,000 decisions");
    assert_eq!(limiter.stats().lease, 20_000);
}

#[tokio::test]
async fn decision_shows_the_state_known_to_the_process() {
    let server = RedisServer::start();
    let limiter = limiter(&server).await;
    for n in 1..=200 {
        let decision = limiter.try_acquire("alice", 1).await;
        assert_eq!(
            (decision.source(), decision.limit(), decision.cost()),
            (DecisionSource::Lease, 1000, 1)
        );
        // A reply may be in flight: its tokens are not known yet.
        assert!(
            (900 - n..=1000 - n).contains(&decision.remaining()),
            "{n}: {decision}"
        );
    }
    // Tokens may be in the bucket, on lease here, or in flight.
    eventually("no message is in flight", async || {
        limiter.available("alice").await == 800
    })
    .await;
    let above = limiter.try_acquire("alice", 1001).await;
    assert_eq!(
        (above.outcome(), above.source()),
        (Outcome::CostAboveCapacity, DecisionSource::Lease)
    );
    let large = limiter.try_acquire("alice", 101).await;
    assert_eq!(
        (large.source(), large.is_allowed()),
        (DecisionSource::Redis, true),
        "above the lease fraction"
    );
}

#[tokio::test]
async fn unspent_tokens_return_on_expiry_drop_and_close() {
    let server = RedisServer::start();
    let one = limiter(&server).await;
    // Spends until tokens are left on lease.
    let mut spent = 0;
    while one.try_acquire("alice", 1).await.is_allowed() && spent < 20 {
        spent += 1;
    }
    spent += 1;
    eventually("the lease has expired", async || {
        in_bucket(&server, "alice").await == 1000 - spent
    })
    .await;

    let clone = one.clone();
    for _ in 0..20 {
        assert!(one.try_acquire("alice", 1).await.is_allowed());
    }
    drop(one);
    drop(clone);
    eventually("the limiter was dropped", async || {
        in_bucket(&server, "alice").await == 1000 - spent - 20
    })
    .await;

    let other = limiter(&server).await;
    for _ in 0..20 {
        assert!(other.try_acquire("alice", 1).await.is_allowed());
    }
    other.close().await;
    assert_eq!(
        in_bucket(&server, "alice").await,
        1000 - spent - 40,
        "close waits until the tokens are returned"
    );
    assert_eq!(
        other.try_acquire("alice", 1).await.source(),
        DecisionSource::Redis,
        "a closed limiter leases nothing"
    );
}

/// A crash would lose these tokens.
#[tokio::test]
async fn tokens_on_lease_stay_within_the_fraction() {
    let server = RedisServer::start();
    let before = limiter(&server).await;
    let spent = 300;
    for _ in 0..spent {
        assert!(before.try_acquire("alice", 1).await.is_allowed());
    }
    let rest = in_bucket(&server, "alice").await;
    assert!(
        (1000 - spent - 100..=1000 - spent).contains(&rest),
        "{rest}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_refusals_costs_ten_calls_per_second() {
    let server = RedisServer::start();
    let limiter = builder(&server, Quota::per_day(10))
        .connect()
        .await
        .unwrap();
    while limiter.try_acquire("alice", 1).await.is_allowed() {}
    for cost in [1, 5] {
        // The second refusal is remembered, and needs no wait.
        let refused = async || {
            assert!(limiter.try_acquire("alice", cost).await.is_refused());
            limiter
                .try_acquire_at_once("alice", cost)
                .is_some_and(|decision| decision.is_refused())
        };
        eventually("the refusal is remembered", refused).await;
        let (before, began) = (scripts(&server), Instant::now());
        let mut refused = 0_u64;
        while began.elapsed() < Duration::from_secs(2) {
            let decision = limiter.try_acquire("alice", cost).await;
            assert_eq!(
                (decision.outcome(), decision.cost()),
                (Outcome::Refused, cost)
            );
            let wait = decision.retry_after().unwrap();
            assert!(
                wait > Duration::from_secs(3600) && wait < Duration::from_secs(86_400),
                "{wait:?}"
            );
            refused += 1;
        }
        let (sent, seconds) = (scripts(&server) - before, began.elapsed().as_secs_f64());
        assert!(
            (sent as f64) <= 10.0 * seconds + 1.0,
            "{sent} calls for {refused} refusals in {seconds} s"
        );
        assert!(refused > 10 * sent, "{sent} calls for {refused} refusals");
    }
}

#[tokio::test]
async fn refund_of_a_lease_decision_works_until_the_next_message() {
    let server = RedisServer::start();
    let limiter = limiter(&server).await;
    // Until a token was taken while no message was in flight.
    let before = loop {
        let decision = limiter.try_acquire("alice", 1).await;
        assert!(decision.is_allowed());
        let remaining = decision.remaining();
        if remaining <= 950 && limiter.refund("alice", decision).await.unwrap() {
            break remaining;
        }
    };
    let decision = limiter.try_acquire("alice", 1).await;
    assert_eq!(decision.remaining(), before, "the token was put back");
    assert!(
        limiter.refund("bob", decision).await.is_err(),
        "another key"
    );

    let decision = limiter.try_acquire("alice", 1).await;
    limiter.reset("alice").await.unwrap();
    assert!(
        !limiter.refund("alice", decision).await.unwrap(),
        "the bucket was reset"
    );
}

#[tokio::test]
async fn reset_and_refund_clear_remembered_refusals_and_new_quotas_apply_at_once() {
    let server = RedisServer::start();
    let limiter = builder(&server, Quota::per_day(10))
        .connect()
        .await
        .unwrap();
    while limiter.try_acquire("alice", 1).await.is_allowed() {}
    assert!(limiter.try_acquire("alice", 1).await.is_refused());
    limiter.reset("alice").await.unwrap();
    let decision = limiter.try_acquire("alice", 10).await;
    assert!(decision.is_allowed());
    assert!(limiter.try_acquire("alice", 1).await.is_refused());
    assert!(limiter.refund("alice", decision).await.unwrap());
    assert!(
        limiter.try_acquire("alice", 10).await.is_allowed(),
        "a refund clears the refusal"
    );
    limiter.replace(Quota::per_day(40)).await.unwrap();
    let decision = limiter.try_acquire("alice", 1).await;
    assert_eq!((decision.limit(), decision.is_allowed()), (40, true));
    limiter.set_rule("vip", Quota::per_day(50)).await.unwrap();
    let vip = limiter.try_acquire("vip", 1).await;
    assert_eq!((vip.limit(), vip.source()), (50, DecisionSource::Lease));
    assert_eq!(
        limiter.available("alice").await,
        39,
        "a rule changes no other key"
    );
    limiter.remove_rule("vip").await.unwrap();
    assert_eq!(limiter.try_acquire("vip", 1).await.limit(), 40);
}

#[tokio::test]
async fn small_quota_is_exact_and_modes_have_separate_buckets() {
    let server = RedisServer::start();
    let limiter = builder(&server, Quota::per_day(9)).connect().await.unwrap();
    for left in (0..9).rev() {
        let decision = limiter.try_acquire("alice", 1).await;
        assert_eq!(
            (decision.source(), decision.remaining()),
            (DecisionSource::Redis, left)
        );
    }
    let exact = RedisLimiter::builder(&server.url(), Quota::per_day(9))
        .timeout(TEST_TIMEOUT)
        .connect()
        .await
        .unwrap();
    assert_eq!(exact.available("alice").await, 9);
    let names = server.buckets();
    assert!(
        names
            .iter()
            .all(|name| name.starts_with("tollgate:l") && name.ends_with(":alice")),
        "{names:?}"
    );
}

#[tokio::test]
async fn fraction_out_of_range_is_an_error() {
    let server = RedisServer::start();
    for fraction in [0.0, -1.0, 1.5, f64::NAN] {
        let limiter = RedisLimiter::builder(&server.url(), QUOTA)
            .lease(fraction)
            .connect()
            .await;
        assert!(
            matches!(limiter, Err(RedisError::Fraction(_))),
            "{fraction}"
        );
    }
}
