//! Waiting for tokens of several limits: in order, for the limit that decides, with nothing held.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use test_support::redis::RedisServer;
use tollgate::{
    Outcome, Quota, RedisAsk, RedisCompoundDecision, RedisLimiter, all_in_redis_within_each,
};

use crate::{several::limiters, waiting::soon};

const HOUR: Duration = Duration::from_secs(3600);

/// A token an hour.
const SLOW: Quota = Quota::per_hour(1);

async fn acquire<'a>(asks: [RedisAsk<'a>; 2], waits: [Duration; 2]) -> RedisCompoundDecision<'a> {
    all_in_redis_within_each(&asks, &waits).await.unwrap()
}

fn asks<'a>([one, other]: &'a [RedisLimiter; 2]) -> [RedisAsk<'a>; 2] {
    [one.ask("key", 1), other.ask("key", 1)]
}

/// *Caught:* callers that wait beside one another.
#[tokio::test]
async fn a_large_cost_is_not_overtaken() {
    let server = RedisServer::start();
    let quotas = [Quota::per_second(8), Quota::per_day(99)];
    let [smooth, wide] = limiters(&server.url(), quotas).await;
    assert!(smooth.try_acquire("key", 8).await.is_allowed());
    let served = Mutex::new(Vec::new());
    let acquire = async |n, cost| {
        let asks = [smooth.ask("key", cost), wide.ask("key", cost)];
        assert!(acquire(asks, [HOUR; 2]).await.is_allowed());
        served.lock().unwrap().push(n);
    };
    waiting!(first = acquire(0, 8));
    soon(async { tokio::join!(first, join_all([1, 2, 3].map(|n| acquire(n, 1)))) }).await;
    assert_eq!(*served.lock().unwrap(), [0, 1, 2, 3]);
}

#[tokio::test]
async fn callers_wait_in_order_within_both_limits() {
    let server = RedisServer::start();
    let quotas = [20, 10].map(|rate| Quota::per_second(rate).with_capacity(1));
    let limiters = limiters(&server.url(), quotas).await;
    let (began, served) = (Instant::now(), Mutex::new(Vec::new()));
    let waiting = (0..8).map(|n| {
        let (limiters, served) = (&limiters, &served);
        async move {
            let decision = acquire(asks(limiters), [HOUR; 2]).await;
            assert!(decision.is_allowed(), "{decision}");
            served.lock().unwrap().push((n, began.elapsed()));
        }
    });
    soon(join_all(waiting)).await;
    for (before, (n, elapsed)) in served.into_inner().unwrap().into_iter().enumerate() {
        assert_eq!(n, before, "in the order of arrival");
        // One more for the resolution of time.
        let most = 1.0 + elapsed.as_secs_f64() * 10.0 + 1.0;
        assert!((before + 1) as f64 <= most, "{n} after {elapsed:?}");
    }
    assert_eq!(limiters[0].stats().fallback, 0);
}

/// *Caught:* tokens of the other limit that are taken before the wait.
#[tokio::test]
async fn a_caller_that_waits_holds_no_tokens_and_leaves_none_behind() {
    let server = RedisServer::start();
    let limiters = limiters(&server.url(), [SLOW, Quota::per_day(9)]).await;
    assert!(acquire(asks(&limiters), [HOUR; 2]).await.is_allowed());
    waiting!(first = acquire(asks(&limiters), [2 * HOUR; 2]));
    assert_eq!(limiters[1].available("key").await, 8);
    assert!(limiters[0].has_waiters("key") && !limiters[1].has_waiters("key"));
    drop(first);
    assert!(!limiters[0].has_waiters("key"));
    waiting!(second = acquire(asks(&limiters), [2 * HOUR; 2]));
    limiters[0].reset("key").await.unwrap();
    assert!(soon(second).await.is_allowed());
    assert_eq!(limiters[1].available("key").await, 7);
}

/// *Caught:* of several remembered refusals only one.
#[tokio::test]
async fn a_limit_without_a_wait_refuses_at_once() {
    let server = RedisServer::start();
    let limiters = limiters(&server.url(), [SLOW, SLOW]).await;
    for waits in [[2 * HOUR, Duration::ZERO], [Duration::ZERO, 2 * HOUR]] {
        for limiter in &limiters {
            limiter.reset("key").await.unwrap();
        }
        assert!(acquire(asks(&limiters), waits).await.is_allowed());
        let before = server.calls("evalsha");
        for _ in 0..3 {
            let refused = soon(acquire(asks(&limiters), waits)).await;
            assert!(refused.is_refused());
            assert!(refused.parts().all(|part| part.unwrap().is_refused()));
        }
        assert!(server.calls("evalsha") <= before + 2, "it is remembered");
    }
}

/// *Caught:* a caller that joins the line without a look at the other limits.
#[tokio::test]
async fn a_caller_behind_others_is_refused_by_a_limit_without_a_wait() {
    let server = RedisServer::start();
    let limiters = limiters(&server.url(), [SLOW, Quota::per_day(9)]).await;
    let waits = [9 * HOUR, Duration::ZERO];
    assert!(acquire(asks(&limiters), waits).await.is_allowed());
    waiting!(_first = acquire(asks(&limiters), waits));
    assert!(limiters[1].try_acquire("key", 8).await.is_allowed());
    // The refusal of the first one is not remembered any more.
    tokio::time::sleep(Duration::from_millis(150)).await;
    let refused = soon(acquire(asks(&limiters), waits)).await;
    assert_eq!(refused.part(1).unwrap().outcome(), Outcome::Refused);
}

/// *Caught:* an estimate that ignores the queue.
#[tokio::test]
async fn a_caller_behind_too_many_tokens_is_refused_at_once() {
    let server = RedisServer::start();
    let limiters = limiters(&server.url(), [SLOW, Quota::per_day(9)]).await;
    assert!(acquire(asks(&limiters), [HOUR; 2]).await.is_allowed());
    let wait = HOUR + HOUR / 2;
    waiting!(_first = acquire(asks(&limiters), [wait; 2]));
    let refused = soon(acquire(asks(&limiters), [wait; 2])).await;
    assert_eq!(refused.refused_by(), Some(0));
    let part = refused.part(0).unwrap();
    assert_eq!((part.outcome(), part.cost()), (Outcome::DeadlineTooSoon, 1));
    waiting!(_second = acquire(asks(&limiters), [3 * HOUR; 2]));
}
