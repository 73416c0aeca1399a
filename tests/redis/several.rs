//! Several limits at once: one script on one server, one after another elsewhere.

use std::{sync::Arc, time::Duration};

use rustix::process::Signal;
use test_support::redis::{RedisServer, free_port};
use tollgate::{
    Bucket, DecisionSource, ManualClock, Quota, RedisLimiter, RedisLimiterBuilder, all_in_redis,
};

use crate::topologies::{cluster, leasing, monitored, url_of};

async fn connect(builder: RedisLimiterBuilder, prefix: &str) -> RedisLimiter {
    let builder = builder.prefix(prefix).timeout(Duration::from_secs(10));
    builder.connect().await.unwrap()
}

/// Limiters of these quotas, each with a prefix of its own.
pub(crate) async fn limiters<const N: usize>(url: &str, quotas: [Quota; N]) -> [RedisLimiter; N] {
    let mut limiters = Vec::new();
    for (number, quota) in quotas.into_iter().enumerate() {
        let builder = RedisLimiter::builder(url, quota);
        limiters.push(connect(builder, &format!("limit{number}")).await);
    }
    limiters.try_into().unwrap()
}

/// Like [`limiters`], with keys as hash tags.
async fn tagged<const N: usize>(url: &str, quotas: [Quota; N]) -> [RedisLimiter; N] {
    let mut limiters = Vec::new();
    for (number, quota) in quotas.into_iter().enumerate() {
        let builder = RedisLimiter::builder(url, quota).hash_tags();
        limiters.push(connect(builder, &format!("tagged{number}")).await);
    }
    limiters.try_into().unwrap()
}

/// Number of scripts that the servers of a cluster have run.
fn scripts(nodes: &[RedisServer; 3]) -> u64 {
    let calls = |node: &RedisServer| node.calls("evalsha") + node.calls("eval");
    nodes.iter().map(calls).sum()
}

#[tokio::test]
async fn all_or_nothing_in_one_call() {
    let server = RedisServer::start();
    let [burst, daily] = limiters(&server.url(), [Quota::per_day(5), Quota::per_day(8)]).await;
    let ask = async |cost| {
        all_in_redis(&[burst.ask("a", cost), daily.ask("a", cost)])
            .await
            .unwrap()
    };
    let allowed = ask(3).await;
    assert!(allowed.is_allowed());
    assert_eq!((allowed.tightest(), allowed.refused_by()), (0, None));
    let remaining: Vec<_> = allowed
        .parts()
        .map(|part| part.unwrap().remaining())
        .collect();
    assert_eq!(remaining, [2, 5]);
    let (scripts, writes) = (server.calls("evalsha"), server.calls("set"));
    let refused = ask(3).await;
    assert_eq!(server.calls("evalsha"), scripts + 1);
    assert_eq!(server.calls("set"), writes, "a refusal writes nothing");
    assert_eq!(
        (refused.is_refused(), refused.refused_by()),
        (true, Some(0))
    );
    assert_eq!(
        refused.retry_after(),
        refused.part(0).unwrap().retry_after()
    );
    let other = refused.part(1).unwrap();
    assert!(other.is_allowed() && other.remaining() == 5);
    assert_eq!(other.source(), DecisionSource::Redis);

    // Remembered: no call, and nothing is known of the other limit.
    let repeated = ask(4).await;
    assert_eq!(server.calls("evalsha"), scripts + 1);
    assert_eq!(repeated.refused_by(), Some(0));
    assert!(repeated.part(1).is_none());
    assert!(ask(2).await.is_allowed());
    assert_eq!(
        (burst.available("a").await, daily.available("a").await),
        (0, 3)
    );
    assert!(allowed.refund().await);
    assert_eq!(
        (burst.available("a").await, daily.available("a").await),
        (3, 6)
    );
    assert!(all_in_redis(&[]).await.is_err());
    assert!(all_in_redis(&[burst.ask("a", 0); 9]).await.is_err());
}

#[tokio::test]
async fn costs_on_one_bucket_add_up() {
    let server = RedisServer::start();
    let [limiter] = limiters(&server.url(), [Quota::per_day(5)]).await;
    let twice = async |cost| {
        let asks = [limiter.ask("a", cost), limiter.ask("a", cost)];
        all_in_redis(&asks).await.unwrap()
    };
    assert!(twice(3).await.is_refused());
    assert!(limiter.try_acquire("a", 1).await.is_allowed());
    let allowed = twice(2).await;
    assert!(allowed.is_allowed());
    assert_eq!(limiter.available("a").await, 0);
    assert!(allowed.refund().await);
    assert_eq!(limiter.available("a").await, 4, "all tokens, once");
    let most = [limiter.ask("a", u32::MAX), limiter.ask("a", u32::MAX)];
    assert!(all_in_redis(&most).await.unwrap().retry_after().is_none());
}

/// *Caught:* a look that takes tokens; a look that does not refuse; a refund of those that a look
/// needs; a look that is the tightest part of an allowed request.
#[tokio::test]
async fn a_look_refuses_and_takes_nothing() {
    let server = RedisServer::start();
    let nodes = cluster().await;
    for url in [server.url(), url_of(&nodes)] {
        let quotas = [Quota::per_day(9), Quota::per_day(2)];
        let [taken, seen] = limiters(&url, quotas).await;
        let ask = async |least| {
            let asks = [
                taken.ask("key", 2),
                seen.ask("key", least).only_look(),
                // More than is taken, of the same bucket.
                taken.ask("key", 4).only_look(),
            ];
            all_in_redis(&asks).await.unwrap()
        };
        let available = async || (taken.available("key").await, seen.available("key").await);
        let allowed = ask(2).await;
        assert!(allowed.is_allowed());
        assert_eq!(allowed.tightest(), 0);
        assert_eq!(available().await, (7, 2));
        assert!(allowed.refund().await);
        assert_eq!(available().await, (9, 2));
        assert!(seen.try_acquire("key", 1).await.is_allowed());
        let refused = ask(2).await;
        assert_eq!(refused.refused_by(), Some(1));
        assert!(refused.retry_after().is_some());
        assert!(!refused.refund().await);
        assert_eq!(available().await, (9, 1));
        for left in [7, 5] {
            assert!(ask(1).await.is_allowed());
            assert_eq!(available().await, (left, 1));
        }
        assert!(ask(1).await.refund().await);
        assert_eq!(available().await, (5, 1));
        assert!(ask(1).await.is_allowed());
        assert!(ask(1).await.is_refused(), "three of four");
        assert_eq!(available().await, (3, 1));
        let looks = [seen.ask("key", 1).only_look(); 9];
        assert!(all_in_redis(&looks).await.is_err());
        assert!(all_in_redis(&looks[..8]).await.unwrap().is_allowed());
    }
}

#[tokio::test]
async fn decides_as_buckets_in_memory_do() {
    let server = RedisServer::start();
    let clock = ManualClock::new();
    clock.advance(Duration::from_secs(1000));
    let quotas = [
        Quota::per_second(10),
        Quota::per_minute(60).with_capacity(20),
        Quota::interval(15, Duration::from_secs(2)),
    ];
    let mut limiters = Vec::new();
    for (number, quota) in quotas.into_iter().enumerate() {
        let builder = RedisLimiter::builder(&server.url(), quota).clock(clock.clone());
        limiters.push(connect(builder, &format!("limit{number}")).await);
    }
    let buckets = quotas.map(Bucket::new);
    // Of a linear congruential generator.
    let mut seed = 7_u64;
    let mut draw = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let (mut now, mut refused) = (Duration::from_secs(1000), 0);
    for step in 0..300 {
        // Past the memory of a refusal, and a multiple of all ticks.
        let pause = Duration::from_millis(125 * (1 + draw(4)));
        clock.advance(pause);
        now += pause;
        let costs = [(); 3].map(|()| draw(6) as u32);
        let asks: Vec<_> = limiters
            .iter()
            .zip(costs)
            .map(|(limiter, cost)| limiter.ask("key", cost))
            .collect();
        let ours = all_in_redis(&asks).await.unwrap();
        let [a, b, c] = buckets.each_ref();
        let memory =
            tollgate::all([a.ask(costs[0]), b.ask(costs[1]), c.ask(costs[2])]).try_acquire_at(now);
        let of_redis: Vec<_> = ours
            .parts()
            .map(|part| part.unwrap())
            .map(|part| (part.outcome(), part.remaining()))
            .collect();
        let of_memory: Vec<_> = memory
            .parts()
            .map(|part| (part.outcome(), part.remaining()))
            .collect();
        assert_eq!(of_redis, of_memory, "step {step}: {costs:?}");
        assert_eq!(ours.refused_by(), memory.refused_by(), "step {step}");
        refused += u32::from(ours.is_refused());
    }
    assert!((50..250).contains(&refused), "{refused}");
}

/// Sends 120 requests from callers that name two limits in either order. Returns how many are allowed.
async fn crossing(pairs: [[RedisLimiter; 2]; 2]) -> usize {
    let pairs = Arc::new(pairs);
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let pairs = Arc::clone(&pairs);
            tokio::spawn(async move {
                let [a, b] = &pairs[task % 2];
                let mut allowed = 0;
                for _ in 0..15 {
                    let mut asks = [a.ask("key", 1), b.ask("key", 1)];
                    if task % 4 >= 2 {
                        asks.reverse();
                    }
                    allowed += usize::from(all_in_redis(&asks).await.unwrap().is_allowed());
                }
                allowed
            })
        })
        .collect();
    let mut allowed = 0;
    for task in tasks {
        allowed += task.await.unwrap();
    }
    allowed
}

const TIGHT: [Quota; 2] = [Quota::per_day(50), Quota::per_day(40)];

#[tokio::test]
async fn crossing_callers_get_exactly_the_smaller_limit_of_one_server() {
    let server = RedisServer::start();
    let pairs = [
        limiters(&server.url(), TIGHT).await,
        limiters(&server.url(), TIGHT).await,
    ];
    let [[a, b], _] = pairs.clone();
    assert_eq!(crossing(pairs).await, 40);
    assert_eq!(
        (a.available("key").await, b.available("key").await),
        (10, 0)
    );
    assert_eq!(a.stats().fallback, 0);
}

#[tokio::test]
async fn crossing_callers_get_exactly_the_smaller_limit_of_a_cluster() {
    let nodes = cluster().await;
    let url = url_of(&nodes);
    let pairs = [limiters(&url, TIGHT).await, limiters(&url, TIGHT).await];
    let [[a, b], _] = pairs.clone();
    // A request may be refused for a token that another one gives back.
    let allowed = crossing(pairs).await;
    assert!((35..=40).contains(&allowed), "{allowed}");
    let allowed = u32::try_from(allowed).unwrap();
    // What is given back lacks the refill since: less than a token.
    for (limiter, capacity) in [(a, 50), (b, 40)] {
        let lost = capacity - allowed - limiter.available("key").await;
        assert!(lost <= 1, "{lost}");
    }
}

/// *Caught:* names without hash tags; a call for each limit.
#[tokio::test]
async fn crossing_callers_on_one_slot_get_exactly_the_smaller_limit_of_a_cluster() {
    let nodes = cluster().await;
    let url = url_of(&nodes);
    let pairs = [tagged(&url, TIGHT).await, tagged(&url, TIGHT).await];
    let [[a, b], _] = pairs.clone();
    // The servers learn the scripts.
    for calls in [None, Some(1)] {
        let before = scripts(&nodes);
        let asks = [a.ask("key", 1), b.ask("key", 1)];
        let allowed = all_in_redis(&asks).await.unwrap();
        assert!(allowed.is_allowed());
        let made = scripts(&nodes) - before;
        assert!(calls.is_none_or(|calls| calls == made), "{made} calls");
        assert!(allowed.refund().await);
    }
    assert_eq!(crossing(pairs).await, 40);
    assert_eq!(
        (a.available("key").await, b.available("key").await),
        (10, 0)
    );
    assert_eq!(a.stats().failures + b.stats().failures, 0);
}

/// *Caught:* tokens of an earlier slot that are not given back; a refusal that is remembered, and
/// asked for after tokens of another slot were taken.
#[tokio::test]
async fn slots_are_asked_one_after_another() {
    let nodes = cluster().await;
    let quotas = [Quota::per_day(9), Quota::per_day(8), Quota::per_day(1)];
    let [wide, narrow, other] = tagged(&url_of(&nodes), quotas).await;
    let (mut given_back, keys) = (0, ["a", "b", "c", "d"]);
    for key in keys {
        let ask = async || {
            let asks = [
                wide.ask("same", 1),
                other.ask(key, 1),
                narrow.ask("same", 1),
            ];
            all_in_redis(&asks).await.unwrap()
        };
        let available = async || (wide.available("same").await, narrow.available("same").await);
        let start = available().await;
        let before = scripts(&nodes);
        let allowed = ask().await;
        assert!(allowed.is_allowed() && allowed.part(2).is_some());
        // Another one loads the scripts of a server.
        assert!((2..=4).contains(&(scripts(&nodes) - before)), "two slots");
        assert_eq!(available().await, (start.0 - 1, start.1 - 1));
        let before = scripts(&nodes);
        let refused = ask().await;
        assert_eq!(refused.refused_by(), Some(1));
        assert!(refused.part(0).is_none() && refused.part(2).is_none());
        // The slot of the other key may be the later one.
        given_back += usize::from(scripts(&nodes) - before > 2);
        assert_eq!(available().await, (start.0 - 1, start.1 - 1));
        let before = scripts(&nodes);
        assert!(ask().await.is_refused());
        assert_eq!(scripts(&nodes), before, "remembered");
        assert!(allowed.refund().await);
        assert_eq!(available().await, start);
    }
    assert!(given_back > 0, "tokens were given back");
}

#[tokio::test]
async fn crossing_callers_get_exactly_the_smaller_limit_behind_sentinel() {
    let (primary, _replica, _sentinel, url) = monitored().await;
    let pairs = [limiters(&url, TIGHT).await, limiters(&url, TIGHT).await];
    let before = primary.calls("evalsha");
    assert_eq!(crossing(pairs).await, 40);
    assert!(
        primary.calls("evalsha") - before <= 120,
        "one call for both limits"
    );
}

#[tokio::test]
async fn leases_are_all_or_nothing_too() {
    let server = RedisServer::start();
    let wide = leasing(&server.url(), Quota::per_day(1000)).await;
    let [narrow] = limiters(&server.url(), [Quota::per_day(3)]).await;
    let mut allowed = 0;
    for _ in 0..10 {
        let asks = [wide.ask("key", 1), narrow.ask("key", 1)];
        allowed += u32::from(all_in_redis(&asks).await.unwrap().is_allowed());
    }
    assert_eq!(allowed, 3);
    wide.close().await;
    // A token whose lease has ended meanwhile stays spent.
    assert!((990..=997).contains(&wide.available("key").await));
}

#[tokio::test]
async fn without_redis_the_fallbacks_decide_together() {
    let url = format!("redis://127.0.0.1:{}/", free_port());
    let [a, b] = limiters(&url, [Quota::per_day(5), Quota::per_day(2)]).await;
    let mut allowed = 0;
    for _ in 0..6 {
        let decision = all_in_redis(&[a.ask("key", 1), b.ask("key", 1)])
            .await
            .unwrap();
        allowed += u32::from(decision.is_allowed());
    }
    assert_eq!(allowed, 2);
    assert_eq!(a.available("key").await, 3, "refused requests took nothing");
    // In either order of the asks, the same limit is first.
    assert!(a.try_acquire("key", 3).await.is_allowed());
    let mut asks = [a.ask("key", 1), b.ask("key", 1)];
    assert_eq!(all_in_redis(&asks).await.unwrap().refused_by(), Some(0));
    asks.reverse();
    assert_eq!(all_in_redis(&asks).await.unwrap().refused_by(), Some(1));
}

/// *Caught:* another call to a server that does not reply, for each limit.
#[tokio::test]
async fn a_script_without_a_reply_is_one_failure() {
    let server = RedisServer::start();
    let mut limiters = Vec::new();
    for prefix in ["a", "b"] {
        let builder = RedisLimiter::builder(&server.url(), Quota::per_day(5));
        let builder = builder.prefix(prefix).timeout(Duration::from_millis(500));
        limiters.push(builder.connect().await.unwrap());
    }
    let [a, b] = [&limiters[0], &limiters[1]];
    server.signal(Signal::STOP);
    let decision = all_in_redis(&[a.ask("key", 1), b.ask("key", 2)])
        .await
        .unwrap();
    let sources: Vec<_> = decision
        .parts()
        .map(|part| part.unwrap().source())
        .collect();
    assert_eq!(sources, [DecisionSource::Local; 2]);
    assert_eq!(a.stats().failures + b.stats().failures, 1);
    server.signal(Signal::CONT);
}
