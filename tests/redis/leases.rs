//! Leases on a real server, with limiters that do not know of one another: never more than there
//! is, what is not spent comes back, and a flood of refused requests costs the server next to
//! nothing.

use std::time::{Duration, Instant};

use test_support::redis::{RedisServer, TEST_TIMEOUT, eventually};
use tollgate::{DecisionSource, Outcome, Quota, RedisError, RedisLimiter, RedisLimiterBuilder};

/// Refills too slowly to matter.
const QUOTA: Quota = Quota::per_day(1000);

fn builder(server: &RedisServer, quota: Quota) -> RedisLimiterBuilder {
    // A busy machine is not an ill server.
    RedisLimiter::builder(&server.url(), quota)
        .timeout(Duration::from_secs(10))
        .lease(0.1)
}

async fn limiter(server: &RedisServer) -> RedisLimiter {
    builder(server, QUOTA).connect().await.unwrap()
}

/// How many of so many requests for one token are allowed, asked by so many tasks at once.
async fn allowed(limiter: &RedisLimiter, key: &'static str, tasks: u32, asks: u32) -> u32 {
    let asking: Vec<_> = (0..tasks)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let mut allowed = 0;
                for _ in 0..asks {
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
    for each in asking {
        sum += each.await.unwrap();
    }
    sum
}

/// How often scripts were called.
fn calls(server: &RedisServer) -> u64 {
    let stats: String = server.command(&["INFO", "commandstats"]);
    let calls = |line: &str| {
        line.split(['=', ','])
            .nth(1)
            .and_then(|calls| calls.parse::<u64>().ok())
    };
    stats
        .lines()
        .filter(|line| line.starts_with("cmdstat_eval"))
        .filter_map(calls)
        .sum()
}

/// What the bucket in Redis holds, apart from what is on lease: as a limiter sees it that has
/// nothing itself.
async fn in_bucket(server: &RedisServer, key: &str) -> u32 {
    limiter(server).await.available(key).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_key_never_more_than_the_capacity_is_allowed_and_in_the_end_all_of_it() {
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
    // What one of them still holds is for itself; once it goes back, the others get it.
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
async fn of_many_keys_each_gets_exactly_its_capacity() {
    let server = RedisServer::start();
    let quota = Quota::per_day(20);
    let limiters = [
        builder(&server, quota).connect().await.unwrap(),
        builder(&server, quota).connect().await.unwrap(),
    ];
    let mut asking = Vec::new();
    for limiter in &limiters {
        for _ in 0..4 {
            let limiter = limiter.clone();
            asking.push(tokio::spawn(async move {
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
    for each in asking {
        let allowed = each.await.unwrap();
        sums.iter_mut()
            .zip(allowed)
            .for_each(|(sum, allowed)| *sum += allowed);
    }
    // 48 requests for 20 tokens, of which at most 2 are on lease with one who did not ask again.
    assert!(sums.iter().all(|&sum| (18..=20).contains(&sum)), "{sums:?}");
}

#[tokio::test]
async fn a_hot_key_needs_few_messages() {
    let server = RedisServer::start();
    let limiter = builder(&server, Quota::per_day(100_000))
        .connect()
        .await
        .unwrap();
    let before = calls(&server);
    for _ in 0..20_000 {
        assert!(limiter.try_acquire("hot", 1).await.is_allowed());
    }
    let asked = calls(&server) - before;
    assert!(asked < 200, "{asked} calls for 20,000 decisions");
    assert_eq!(limiter.stats().lease, 20_000);
}

#[tokio::test]
async fn a_decision_says_what_this_process_knows() {
    let server = RedisServer::start();
    let limiter = limiter(&server).await;
    for n in 1..=200 {
        let decision = limiter.try_acquire("alice", 1).await;
        assert_eq!(
            (decision.source(), decision.limit(), decision.cost()),
            (DecisionSource::Lease, 1000, 1)
        );
        // An answer may be under way: what it brings is not known yet.
        assert!(
            (900 - n..=1000 - n).contains(&decision.remaining()),
            "{n}: {decision}"
        );
    }
    // It may be in the bucket, here, or on the way.
    eventually("nothing is on the way", async || {
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
        "more than may be on lease"
    );
}

#[tokio::test]
async fn what_is_not_spent_comes_back_when_it_expires_and_when_the_limiter_goes() {
    let server = RedisServer::start();
    let one = limiter(&server).await;
    // Spend until there is something left on lease.
    let mut spent = 0;
    while one.try_acquire("alice", 1).await.is_allowed() && spent < 20 {
        spent += 1;
    }
    spent += 1;
    eventually("it has expired", async || {
        in_bucket(&server, "alice").await == 1000 - spent
    })
    .await;

    let clone = one.clone();
    for _ in 0..20 {
        assert!(one.try_acquire("alice", 1).await.is_allowed());
    }
    drop(one);
    drop(clone);
    eventually("it was dropped", async || {
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
        "closing waits until it is back"
    );
    assert_eq!(
        other.try_acquire("alice", 1).await.source(),
        DecisionSource::Redis,
        "and then nothing is leased"
    );
}

/// What a crash would lose.
#[tokio::test]
async fn no_more_than_the_fraction_is_out() {
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
async fn a_refused_flood_costs_ten_calls_a_second() {
    let server = RedisServer::start();
    let limiter = builder(&server, Quota::per_day(10))
        .connect()
        .await
        .unwrap();
    while limiter.try_acquire("alice", 1).await.is_allowed() {}
    for cost in [1, 5] {
        // Whoever is refused a second time is so at once.
        let refused = async || {
            assert!(limiter.try_acquire("alice", cost).await.is_refused());
            limiter
                .try_acquire_at_once("alice", cost)
                .is_some_and(|decision| decision.is_refused())
        };
        eventually("it is remembered", refused).await;
        let (before, began) = (calls(&server), Instant::now());
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
        let (asked, seconds) = (calls(&server) - before, began.elapsed().as_secs_f64());
        assert!(
            (asked as f64) <= 10.0 * seconds + 1.0,
            "{asked} calls for {refused} refusals in {seconds} s"
        );
        assert!(refused > 10 * asked, "{asked} calls for {refused} refusals");
    }
}

#[tokio::test]
async fn tokens_from_a_lease_are_put_back_while_nobody_was_told() {
    let server = RedisServer::start();
    let limiter = limiter(&server).await;
    // Until a token was taken while no message was due.
    let mut decision = limiter.try_acquire("alice", 1).await;
    while decision.remaining() > 950 || !limiter.refund("alice", decision).await {
        decision = limiter.try_acquire("alice", 1).await;
        assert!(decision.is_allowed());
    }
    let before = decision.remaining();
    assert_eq!(
        limiter.try_acquire("alice", 1).await.remaining(),
        before,
        "it was there again"
    );
    assert!(!limiter.refund("bob", decision).await, "another key");

    let decision = limiter.try_acquire("alice", 1).await;
    limiter.reset("alice").await.unwrap();
    assert!(
        !limiter.refund("alice", decision).await,
        "the bucket was reset"
    );
}

#[tokio::test]
async fn a_reset_lets_those_pass_who_were_refused_and_a_new_quota_holds_at_once() {
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
    assert!(limiter.refund("alice", decision).await);
    assert!(
        limiter.try_acquire("alice", 10).await.is_allowed(),
        "so does a refund"
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
        "a rule leaves others as they are"
    );
    limiter.remove_rule("vip").await.unwrap();
    assert_eq!(limiter.try_acquire("vip", 1).await.limit(), 40);
}

#[tokio::test]
async fn a_quota_too_small_to_be_leased_is_exact_and_other_modes_have_other_buckets() {
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
async fn a_fraction_above_one_or_below_is_refused() {
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
