//! Waiting for tokens in Redis: in turn within a process, never more than there are, and never for what cannot come.

#[path = "support/redis.rs"]
mod server;

use std::{
    future::Future,
    pin::pin,
    sync::Mutex,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use server::{PATIENCE, RedisServer, eventually};
use tokio::time::timeout;
use tollgate::{OnError, Outcome, Quota, RedisLimiter, SharedDecision, Source};

/// So few that a test does not see one come back.
const SLOW: Quota = Quota::per_hour(1);

async fn limiter(server: &RedisServer, quota: Quota) -> RedisLimiter {
    // Longer than the usual one, since the machine may be busy.
    RedisLimiter::builder(&server.url(), quota).timeout(PATIENCE).connect().await.unwrap()
}

/// What comes of this, which must not take long.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes too long")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_get_what_they_wait_for_and_never_more_than_there_is() {
    let server = RedisServer::start();
    let quota = Quota::per_second(50).capacity(5);
    let (one, other) = (limiter(&server, quota).await, limiter(&server, quota).await);
    let began = Instant::now();
    let served = Mutex::new(Vec::new());
    let waiting = (0..40).map(|n| {
        let (limiter, served) = (if n % 2 == 0 { &one } else { &other }, &served);
        async move {
            let decision = limiter.acquire("key", 2).await.unwrap();
            assert_eq!((decision.is_allowed(), decision.source()), (true, Source::Redis));
            served.lock().unwrap().push(began.elapsed());
        }
    });
    soon(join_all(waiting)).await;
    for (before, elapsed) in served.into_inner().unwrap().into_iter().enumerate() {
        // And one for the grain of time.
        let most = 5.0 + elapsed.as_secs_f64() * 50.0 + 1.0;
        assert!(2.0 * (before + 1) as f64 <= most, "{} served twice after {elapsed:?}", before + 1);
    }
}

#[tokio::test]
async fn in_one_process_in_turn() {
    let server = RedisServer::start();
    let limiter = limiter(&server, Quota::per_second(20).capacity(4)).await;
    assert!(limiter.try_acquire("key", 4).await.is_allowed());
    let served = Mutex::new(Vec::new());
    // The heavy one is before the light ones.
    let waiting = [4, 1, 1, 1].into_iter().enumerate().map(|(n, cost)| {
        let (limiter, served) = (&limiter, &served);
        async move {
            limiter.acquire("key", cost).await.unwrap();
            served.lock().unwrap().push(n);
        }
    });
    // They are begun in this order.
    soon(join_all(waiting)).await;
    assert_eq!(served.into_inner().unwrap(), [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_key_does_not_wait_for_another() {
    let server = RedisServer::start();
    let limiter = limiter(&server, SLOW).await;
    limiter.acquire("alice", 1).await.unwrap();
    let mut waiting = pin!(limiter.acquire("alice", 1));
    assert!(timeout(Duration::from_millis(50), &mut waiting).await.is_err(), "an hour is not over");
    assert!(soon(limiter.acquire("bob", 1)).await.is_ok());
}

#[tokio::test]
async fn what_can_never_pass_is_told_so_even_while_others_wait() {
    let server = RedisServer::start();
    let limiter = limiter(&server, SLOW).await;
    limiter.acquire("key", 1).await.unwrap();
    let mut waiting = pin!(limiter.acquire("key", 1));
    assert!(timeout(Duration::from_millis(50), &mut waiting).await.is_err());
    let refused = soon(limiter.acquire("key", 2)).await.unwrap_err();
    assert_eq!((refused.outcome(), refused.retry_after()), (Outcome::CostAboveCapacity, None));
}

#[tokio::test]
async fn who_has_no_time_is_refused_at_once_or_when_it_is_over() {
    let server = RedisServer::start();
    let limiter = limiter(&server, SLOW).await;
    let by = |time| limiter.acquire_by("key", 1, tokio::time::Instant::now() + time);
    assert!(by(PATIENCE * 10).await.is_ok());
    // The token is an hour away.
    let refused = soon(by(PATIENCE * 10)).await.unwrap_err();
    assert_eq!(refused.outcome(), Outcome::DeadlineTooSoon);
    assert!(refused.retry_after().is_some_and(|wait| wait > Duration::from_secs(3000)), "{refused:?}");
    // Behind one who has all the time there is.
    let mut waiting = pin!(limiter.acquire("key", 1));
    assert!(timeout(Duration::from_millis(50), &mut waiting).await.is_err());
    let refused = soon(by(Duration::from_millis(50))).await.unwrap_err();
    assert_eq!((refused.outcome(), refused.decision().cost()), (Outcome::DeadlineTooSoon, 1));
}

#[tokio::test]
async fn who_leaves_takes_nothing_and_makes_way() {
    let server = RedisServer::start();
    let limiter = limiter(&server, Quota::per_second(2).capacity(1)).await;
    assert!(limiter.try_acquire("key", 1).await.is_allowed());
    let mut second = pin!(limiter.acquire("key", 1));
    {
        let first = pin!(limiter.acquire("key", 1));
        assert!(timeout(Duration::from_millis(20), first).await.is_err());
        // It is in line, and asks nobody.
        assert!(second.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let decision: SharedDecision = soon(second).await.unwrap();
    assert_eq!(decision.remaining(), 0);
    assert!(limiter.refund("key", decision).await, "it is the last one that was served");
}

#[tokio::test]
async fn closed_waits_until_redis_can_be_asked() {
    let mut server = RedisServer::start();
    let limiter = RedisLimiter::builder(&server.url(), SLOW).on_error(OnError::Closed).connect().await.unwrap();
    server.kill();
    eventually("it is not asked", async || limiter.try_acquire("other", 0).await.source() == Source::Closed).await;
    let mut waiting = pin!(limiter.acquire("key", 1));
    assert!(timeout(Duration::from_millis(50), &mut waiting).await.is_err());
    let refused = limiter.acquire_by("other", 1, tokio::time::Instant::now()).await.unwrap_err();
    assert_eq!(refused.outcome(), Outcome::DeadlineTooSoon);
    server.restart();
    assert_eq!(soon(waiting).await.unwrap().source(), Source::Redis);
}
