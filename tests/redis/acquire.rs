//! Waiting for tokens in Redis: FIFO within a process, never above the quota, and never for a cost
//! that cannot be granted.

use std::{
    future::Future,
    pin::pin,
    sync::Mutex,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use test_support::redis::{RedisServer, TEST_TIMEOUT, eventually};
use tollgate::{DecisionSource, Outcome, Quota, RedisFallback, RedisLimiter};

use crate::waiting::soon;

/// Refills too slowly for a test to see one token.
const SLOW: Quota = Quota::per_hour(1);

async fn limiter(server: &RedisServer, quota: Quota) -> RedisLimiter {
    // Longer than the default: the machine may be busy.
    RedisLimiter::builder(&server.url(), quota)
        .timeout(TEST_TIMEOUT)
        .connect()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_waiters_are_served_within_the_quota() {
    let server = RedisServer::start();
    let quota = Quota::per_second(50).with_capacity(5);
    let (one, other) = (limiter(&server, quota).await, limiter(&server, quota).await);
    let began = Instant::now();
    let served = Mutex::new(Vec::new());
    let waiting = (0..40).map(|n| {
        let (limiter, served) = (if n % 2 == 0 { &one } else { &other }, &served);
        async move {
            let decision = limiter.acquire("key", 2).await.unwrap();
            assert_eq!(
                (decision.is_allowed(), decision.source()),
                (true, DecisionSource::Redis)
            );
            served.lock().unwrap().push(began.elapsed());
        }
    });
    soon(join_all(waiting)).await;
    for (before, elapsed) in served.into_inner().unwrap().into_iter().enumerate() {
        // One more for the resolution of time.
        let most = 5.0 + elapsed.as_secs_f64() * 50.0 + 1.0;
        assert!(
            2.0 * (before + 1) as f64 <= most,
            "{} served twice after {elapsed:?}",
            before + 1
        );
    }
}

#[tokio::test]
async fn waiters_of_one_process_are_served_in_fifo_order() {
    let server = RedisServer::start();
    let limiter = limiter(&server, Quota::per_second(4)).await;
    assert!(limiter.try_acquire("key", 4).await.is_allowed());
    let served = Mutex::new(Vec::new());
    let acquire = async |n, cost| {
        limiter.acquire("key", cost).await.unwrap();
        served.lock().unwrap().push(n);
    };
    // The large cost is ahead of the small ones.
    waiting!(first = acquire(0, 4));
    soon(async { tokio::join!(first, join_all([1, 2, 3].map(|n| acquire(n, 1)))) }).await;
    assert_eq!(*served.lock().unwrap(), [0, 1, 2, 3]);
}

#[tokio::test]
async fn other_keys_zero_costs_and_impossible_costs_do_not_wait() {
    let server = RedisServer::start();
    let limiter = limiter(&server, SLOW).await;
    assert!(limiter.acquire("key", 1).await.is_ok());
    waiting!(_first = limiter.acquire("key", 1));
    assert!(soon(limiter.acquire("other", 1)).await.is_ok());
    assert_eq!(
        soon(limiter.acquire("key", 0)).await.unwrap().remaining(),
        0
    );
    let refused = soon(limiter.acquire("key", 2)).await.unwrap_err();
    assert_eq!(
        (refused.outcome(), refused.retry_after()),
        (Outcome::CostAboveCapacity, None)
    );
}

/// *Caught:* an estimate that ignores the queue.
#[tokio::test]
async fn deadline_that_cannot_be_met_is_refused_at_once() {
    let server = RedisServer::start();
    let limiter = limiter(&server, SLOW).await;
    let long = TEST_TIMEOUT * 10;
    let by = |time| limiter.acquire_by("key", 1, tokio::time::Instant::now() + time);
    assert!(by(long).await.is_ok());
    // The token is an hour away.
    let refused = soon(by(long)).await.unwrap_err();
    assert_eq!(refused.outcome(), Outcome::DeadlineTooSoon);
    assert!(
        refused
            .retry_after()
            .is_some_and(|wait| wait > Duration::from_secs(3000)),
        "{refused:?}"
    );
    // Behind a head without a deadline: only the head sends requests to Redis.
    waiting!(_first = limiter.acquire("key", 1));
    let before = server.calls("evalsha");
    // Enough for the next token, but that one is the head's.
    let within = || limiter.acquire_within("key", 1, Duration::from_secs(5400));
    for refused in soon(join_all((0..1000).map(|_| within()))).await {
        let refused = refused.unwrap_err();
        assert_eq!(
            (refused.outcome(), refused.decision().cost()),
            (Outcome::DeadlineTooSoon, 1)
        );
    }
    let asked = server.calls("evalsha") - before;
    assert!(asked < 500, "{asked} calls");
}

/// *Caught:* a wait for the permit that has no deadline.
#[tokio::test]
async fn deadline_ends_the_wait_for_the_permit() {
    let mut server = RedisServer::start();
    let builder = RedisLimiter::builder(&server.url(), SLOW)
        .timeout(TEST_TIMEOUT)
        .on_error(RedisFallback::Closed);
    let limiter = builder.connect().await.unwrap();
    outage(&mut server, &limiter).await;
    // Without a state of the bucket there is no estimate.
    waiting!(_first = limiter.acquire("key", 1));
    let refused = soon(limiter.acquire_within("key", 1, Duration::from_millis(50))).await;
    assert_eq!(refused.unwrap_err().outcome(), Outcome::Unavailable);
}

/// *Caught:* a waiter that gets in between two pieces.
#[tokio::test]
async fn any_amount_is_taken_in_pieces() {
    let server = RedisServer::start();
    let quota = Quota::per_second(50).with_capacity(10);
    let limiter = limiter(&server, quota).await;
    let began = Instant::now();
    waiting!(all = limiter.acquire_all("key", 35));
    let served = Mutex::new(Vec::new());
    let (all, one) = soon(async {
        tokio::join!(
            async {
                all.await.unwrap();
                served.lock().unwrap().push("all");
                began.elapsed()
            },
            async {
                limiter.acquire("key", 1).await.unwrap();
                served.lock().unwrap().push("one");
                began.elapsed()
            }
        )
    })
    .await;
    assert_eq!(*served.lock().unwrap(), ["all", "one"]);
    for (taken, elapsed) in [(35.0, all), (36.0, one)] {
        // One more for the resolution of time.
        assert!(taken <= 10.0 + elapsed.as_secs_f64() * 50.0 + 1.0);
    }
}

/// *Caught:* a thread that takes without joining the line.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_and_threads_wait_in_one_line() {
    let server = RedisServer::start();
    let limiter = limiter(&server, Quota::per_second(4)).await;
    assert!(limiter.try_acquire("key", 4).await.is_allowed());
    let served = std::sync::Arc::new(Mutex::new(Vec::new()));
    waiting!(
        first = async {
            limiter.acquire("key", 4).await.unwrap();
            served.lock().unwrap().push("first");
        }
    );
    let (behind, log) = (limiter.clone(), served.clone());
    let thread = tokio::task::spawn_blocking(move || {
        behind.acquire_blocking("key", 1).unwrap();
        log.lock().unwrap().push("thread");
    });
    let (owned, log) = (limiter.acquire_owned("key", 1), served.clone());
    let task = tokio::spawn(async move {
        owned.await.unwrap();
        log.lock().unwrap().push("task");
    });
    soon(first).await;
    soon(async { tokio::try_join!(thread, task).unwrap() }).await;
    let served = served.lock().unwrap();
    assert_eq!((served.len(), served[0]), (3, "first"));
}

/// *Caught:* a charge that is not refunded.
#[tokio::test]
async fn waiter_that_leaves_during_its_jitter_gives_its_tokens_back() {
    let server = RedisServer::start();
    let limiter = limiter(&server, SLOW).await;
    soon(limiter.acquire_with_jitter("key", 1, Duration::ZERO))
        .await
        .unwrap();
    limiter.reset("key").await.unwrap();
    {
        // Some delay below 50 ms is possible, but less likely than one in a billion.
        waiting!(_jitter = limiter.acquire_with_jitter("key", 1, Duration::MAX));
    }
    eventually("the token is back", async || {
        limiter.available("key").await == 1
    })
    .await;
}

/// *Caught:* a set of lines without a bound.
#[tokio::test]
async fn callers_wait_on_a_bounded_number_of_keys() {
    let server = RedisServer::start();
    let builder = RedisLimiter::builder(&server.url(), SLOW).max_keys(1);
    let limiter = builder.timeout(TEST_TIMEOUT).connect().await.unwrap();
    for key in ["one", "other"] {
        assert!(limiter.try_acquire(key, 1).await.is_allowed());
    }
    {
        waiting!(_one = limiter.acquire("one", 1));
        for refused in [
            soon(limiter.acquire("other", 1)).await.map(drop),
            soon(limiter.acquire_all("other", 1)).await,
        ] {
            assert_eq!(refused.unwrap_err().outcome(), Outcome::QueueFull);
        }
    }
    waiting!(_other = limiter.acquire("other", 1));
}

/// A head that is not notified polls once a second: too rarely for so many rounds.
///
/// *Caught:* a reset or a change of the settings that does not notify the head.
#[tokio::test]
async fn waiter_follows_changes_by_its_process_at_once() {
    let server = RedisServer::start();
    let limiter = limiter(&server, SLOW).await;
    assert!(limiter.try_acquire("key", 1).await.is_allowed());
    let rounds = async {
        for _ in 0..100 {
            let (served, reset) = tokio::join!(limiter.acquire("key", 1), async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                limiter.reset("key").await
            });
            served.unwrap();
            reset.unwrap();
        }
        for capacity in 2..100 {
            let (served, changed) = tokio::join!(limiter.acquire("key", 1), async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                limiter.set_rule("key", Quota::per_hour(capacity)).await
            });
            served.unwrap();
            changed.unwrap();
            let taken = limiter.try_acquire("key", capacity - 1).await;
            assert!(taken.is_allowed());
        }
    };
    soon(rounds).await;
}

#[tokio::test]
async fn remaining_tokens_belong_to_the_head_of_the_queue() {
    let server = RedisServer::start();
    let limiter = limiter(&server, Quota::per_hour(5)).await;
    assert!(limiter.acquire("key", 3).await.is_ok());
    waiting!(_first = limiter.acquire("key", 5));
    let deadline = tokio::time::Instant::now() + Duration::from_millis(50);
    let refused = soon(limiter.acquire_by("key", 1, deadline))
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "refused: cost 1, 2 of 5 left, deadline too soon"
    );
}

#[tokio::test]
async fn cancelled_waiter_leaves_the_queue() {
    let server = RedisServer::start();
    let limiter = limiter(&server, SLOW).await;
    assert!(limiter.try_acquire("key", 1).await.is_allowed());
    let mut second = pin!(limiter.acquire("key", 1));
    {
        waiting!(_first = limiter.acquire("key", 1));
        assert!(
            second
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
    }
    limiter.reset("key").await.unwrap();
    assert!(
        soon(second).await.unwrap().is_allowed(),
        "the cancelled waiter took nothing and blocks no other"
    );
}

#[tokio::test]
async fn waiter_notices_a_reset_and_a_new_quota() {
    let server = RedisServer::start();
    let (one, other) = (limiter(&server, SLOW).await, limiter(&server, SLOW).await);
    assert!(one.acquire("key", 1).await.is_ok());
    {
        waiting!(reset = one.acquire("key", 1));
        other.reset("key").await.unwrap();
        assert!(soon(reset).await.is_ok());
    }
    waiting!(replaced = one.acquire("key", 1));
    other.replace(Quota::per_hour(2)).await.unwrap();
    assert_eq!(soon(replaced).await.unwrap().limit(), 2);
}

#[tokio::test]
async fn waiters_are_served_in_lease_mode() {
    let server = RedisServer::start();
    let quota = Quota::per_second(50).with_capacity(10);
    let limiter = RedisLimiter::builder(&server.url(), quota)
        .timeout(TEST_TIMEOUT)
        .lease(0.5)
        .connect()
        .await
        .unwrap();
    let began = Instant::now();
    let served = soon(join_all((0..40).map(|_| limiter.acquire("key", 1)))).await;
    assert!(served.iter().all(Result::is_ok));
    let elapsed = began.elapsed();
    assert!(
        40.0 <= 10.0 + elapsed.as_secs_f64() * 50.0 + 1.0,
        "{elapsed:?}"
    );
}

/// Kills the server, and waits until the fallback decides.
async fn outage(server: &mut RedisServer, limiter: &RedisLimiter) {
    server.kill();
    eventually("the fallback decides", async || {
        limiter
            .try_acquire("other", 0)
            .await
            .source()
            .without_redis()
            .is_some()
    })
    .await;
}

#[tokio::test]
async fn closed_fallback_waits_until_redis_is_available() {
    let mut server = RedisServer::start();
    let builder = RedisLimiter::builder(&server.url(), SLOW)
        .timeout(TEST_TIMEOUT)
        .on_error(RedisFallback::Closed);
    let limiter = builder.connect().await.unwrap();
    outage(&mut server, &limiter).await;
    waiting!(first = limiter.acquire("key", 1));
    let refused = limiter
        .acquire_by("other", 1, tokio::time::Instant::now())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.outcome(), refused.retry_after()),
        (Outcome::Unavailable, None)
    );
    server.restart();
    assert_eq!(soon(first).await.unwrap().source(), DecisionSource::Redis);
}

#[tokio::test]
async fn open_fallback_admits_waiters() {
    let mut server = RedisServer::start();
    let builder = RedisLimiter::builder(&server.url(), SLOW)
        .timeout(TEST_TIMEOUT)
        .on_error(RedisFallback::Open);
    let limiter = builder.connect().await.unwrap();
    assert!(limiter.acquire("key", 1).await.is_ok());
    waiting!(first = limiter.acquire("key", 1));
    outage(&mut server, &limiter).await;
    assert_eq!(soon(first).await.unwrap().source(), DecisionSource::Open);
}

#[tokio::test]
async fn cost_above_the_local_share_waits_until_redis_is_available() {
    let mut server = RedisServer::start();
    let quota = Quota::per_hour(8);
    let builder = RedisLimiter::builder(&server.url(), quota)
        .timeout(TEST_TIMEOUT)
        .on_error(RedisFallback::Local { share: 0.25 });
    let limiter = builder.connect().await.unwrap();
    outage(&mut server, &limiter).await;
    assert_eq!(
        soon(limiter.acquire("key", 2)).await.unwrap().source(),
        DecisionSource::Local
    );
    waiting!(four = limiter.acquire("key", 4));
    server.restart();
    assert_eq!(soon(four).await.unwrap().source(), DecisionSource::Redis);
    let refused = soon(limiter.acquire("key", 9)).await.unwrap_err();
    assert_eq!(refused.outcome(), Outcome::CostAboveCapacity);
}
