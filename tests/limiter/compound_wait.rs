//! Waiting for several limits, in virtual time.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, advance, timeout};
use tollgate::{Bucket, KeyedLimiter, Outcome, Quota, TokioClock, all};

use crate::virtual_time::{elapsed_is, poll_once};

fn bucket(quota: Quota) -> Bucket {
    Bucket::with_clock(quota, TokioClock::new())
}

fn keyed(quota: Quota) -> KeyedLimiter<str> {
    let builder = KeyedLimiter::builder(quota).clock(TokioClock::new());
    builder.build().unwrap()
}

/// Checks grants of one token each: none beyond the capacity and the refill.
fn check_greedy(grants: &[Duration], capacity: u32, per_second: u32) {
    for (n, begin) in grants.iter().enumerate() {
        for (count, end) in (1..).zip(&grants[n..]) {
            // A timer of tokio is late by up to a millisecond, and so by the refill of two at both ends.
            let span = (*end - *begin).as_secs_f64() + 0.002;
            let most = f64::from(capacity) + span * f64::from(per_second);
            assert!(
                f64::from(count) <= most,
                "{count} from {begin:?} to {end:?}"
            );
        }
    }
}

/// 400 callers wait for 10/s and for 100 a minute at once. Each waiting for the later of two
/// reservations would admit some 90 above the capacity of 10.
///
/// *Caught:* tokens that are kept during the wait for the other limit.
#[tokio::test(start_paused = true)]
async fn callers_stay_within_both_limits_and_use_all_of_their_tokens() {
    let greedy = Arc::new(bucket(Quota::per_second(10)));
    let minute = Arc::new(keyed(Quota::interval(100, Duration::from_secs(60))));
    let start = Instant::now();
    let callers: Vec<_> = (0..400)
        .map(|_| {
            let (greedy, minute) = (Arc::clone(&greedy), Arc::clone(&minute));
            tokio::spawn(async move {
                let limits = all([greedy.ask(1), minute.ask("all", 1)]);
                assert!(limits.acquire().await.unwrap().is_allowed());
                start.elapsed()
            })
        })
        .collect();
    let mut grants = Vec::new();
    for caller in callers {
        grants.push(caller.await.unwrap());
    }
    grants.sort_unstable();
    check_greedy(&grants, 10, 10);
    for window in 0..4 {
        let begin = Duration::from_secs(window * 60);
        let in_window = |time: &&Duration| (begin..begin + Duration::from_secs(60)).contains(*time);
        assert_eq!(grants.iter().filter(in_window).count(), 100, "{window}");
    }
    // 100 at the begin of the fourth window take 9 s.
    let last = *grants.last().unwrap();
    assert!(last < Duration::from_secs(191), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_for_the_limits_one_after_the_other() {
    let [fast, slow] = [2, 1].map(|rate| bucket(Quota::per_second(rate).with_capacity(1)));
    let start = Instant::now();
    let request = || all([fast.ask(1), slow.ask(1)]).acquire();
    assert!(request().await.unwrap().is_allowed());
    let second = request().await.unwrap();
    assert!(elapsed_is(start, Duration::from_secs(1)));
    let costs: Vec<_> = second.parts().map(|part| part.cost()).collect();
    assert_eq!(costs, [1, 1]);
    assert!(second.refund());
    assert_eq!((fast.available(), slow.available()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_takes_nothing() {
    let (fast, slow) = (
        bucket(Quota::per_second(10)),
        keyed(Quota::per_second(1).with_capacity(1)),
    );
    let request = || all([slow.ask("a", 1), fast.ask(5)]).acquire();
    assert!(request().await.unwrap().is_allowed());
    for _ in 0..20 {
        let patience = Duration::from_millis(40);
        let _ = timeout(patience, request()).await;
    }
    // Of 800 ms nothing was taken.
    assert_eq!(fast.available(), 10);
    let start = Instant::now();
    assert!(request().await.unwrap().is_allowed());
    assert!(elapsed_is(start, Duration::from_millis(200)));
}

/// *Caught:* a caller that takes at once though others are queued.
#[tokio::test(start_paused = true)]
async fn a_caller_does_not_overtake_those_that_wait() {
    let one = bucket(Quota::per_second(1).with_capacity(1));
    let other = bucket(Quota::per_second(100));
    assert!(one.try_acquire(1).is_allowed());
    let [mut first, mut second] = [(); 2].map(|()| Box::pin(one.acquire(1)));
    let mut last = Box::pin(all([other.ask(1), one.ask(1)]).acquire());
    assert!(poll_once(first.as_mut()).await.is_none());
    assert!(poll_once(second.as_mut()).await.is_none());
    advance(Duration::from_millis(1001)).await;
    assert!(poll_once(first.as_mut()).await.is_some());
    advance(Duration::from_millis(1001)).await;
    // A token is available, and the second caller has not reserved it yet.
    assert!(poll_once(last.as_mut()).await.is_none());
    assert!(poll_once(second.as_mut()).await.is_some());
    assert!(last.await.unwrap().is_allowed());
}

/// *Caught:* a wait for the cost of one part; a part that is charged twice; a decision that does not
/// refund.
#[tokio::test(start_paused = true)]
async fn parts_on_one_bucket_wait_for_their_sum() {
    let one = bucket(Quota::per_second(1).with_capacity(4));
    let other = bucket(Quota::per_second(100));
    assert!(one.try_acquire(3).is_allowed());
    let start = Instant::now();
    let decision = all([one.ask(2), other.ask(1), one.ask(2)]).acquire().await;
    assert!(elapsed_is(start, Duration::from_secs(3)));
    let costs: Vec<_> = decision
        .as_ref()
        .unwrap()
        .parts()
        .map(|part| part.cost())
        .collect();
    assert_eq!(costs, [4, 1, 4]);
    assert!(decision.unwrap().refund());
    assert_eq!((one.available(), other.available()), (4, 100));
}

#[tokio::test(start_paused = true)]
async fn a_cost_that_can_never_be_paid_is_refused_at_once() {
    let small = bucket(Quota::per_second(1).with_capacity(2));
    let large = keyed(Quota::per_second(1).with_capacity(9));
    assert!(large.try_acquire("a", 9).is_allowed());
    let refused = all([large.ask("a", 3), small.ask(3)]).acquire().await;
    assert_eq!(refused.unwrap_err().outcome(), Outcome::CostAboveCapacity);
    assert_eq!(small.available(), 2);
    // Also when the capacity becomes smaller during the wait.
    let mut waiting = Box::pin(all([large.ask("a", 3), small.ask(1)]).acquire());
    assert!(poll_once(waiting.as_mut()).await.is_none());
    large.replace(Quota::per_second(1).with_capacity(2));
    let refused = waiting.await.unwrap_err();
    assert_eq!(
        (refused.outcome(), small.available()),
        (Outcome::CostAboveCapacity, 2)
    );
}

/// *Caught:* a wait for a limit without one; a wait beyond that of a limit.
#[tokio::test(start_paused = true)]
async fn each_limit_has_a_longest_wait() {
    let smooth = bucket(Quota::per_second(1).with_capacity(1));
    let strict = keyed(Quota::per_second(1).with_capacity(3));
    let millis = Duration::from_millis;
    let request = |waits: [u64; 2]| {
        let (smooth, strict) = (&smooth, &strict);
        async move {
            let asks = all([smooth.ask(1), strict.ask("a", 1)]);
            asks.acquire_within_each(&waits.map(millis)).await
        }
    };
    let start = Instant::now();
    assert!(request([0, 0]).await.unwrap().is_allowed());
    assert!(request([1000, 0]).await.unwrap().is_allowed());
    assert!(elapsed_is(start, millis(1000)));
    // Too late by a little: refused at once, and nothing is taken.
    let refused = request([999, 0]).await.unwrap_err();
    assert_eq!(refused.outcome(), Outcome::DeadlineTooSoon);
    assert_eq!(refused.retry_after(), Some(millis(1000)));
    assert!(elapsed_is(start, millis(1000)));
    assert_eq!(strict.available("a"), 2);
    // The other limit refuses, and has no wait.
    assert!(strict.try_acquire("a", 2).is_allowed());
    advance(millis(500)).await;
    assert!(request([1000, 499]).await.is_err());
    assert!(request([499, 1000]).await.is_err());
    assert!(elapsed_is(start, millis(1500)));
    assert!(request([500, 500]).await.unwrap().is_allowed());
    assert!(elapsed_is(start, millis(2000)));
}

/// *Caught:* the wait for one limit does not count for the next.
#[tokio::test(start_paused = true)]
async fn a_wait_begins_with_the_call() {
    let first = bucket(Quota::per_second(1).with_capacity(1));
    let then = bucket(Quota::per_second(1).with_capacity(1));
    let millis = Duration::from_millis;
    assert!(first.try_acquire(1).is_allowed());
    let start = Instant::now();
    let asks = all([first.ask(1), then.ask(1)]);
    let mut waiting = Box::pin(asks.acquire_within(millis(1800)));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    // The other limit is empty until 1.9 s when the first has its token.
    advance(millis(900)).await;
    assert!(then.try_acquire(1).is_allowed());
    assert_eq!(
        waiting.await.unwrap_err().outcome(),
        Outcome::DeadlineTooSoon
    );
    assert!(elapsed_is(start, millis(1000)));
    assert_eq!(first.available(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_too_long_refuses_at_once() {
    let slow = bucket(Quota::per_second(1).with_capacity(1));
    let other = bucket(Quota::per_second(100));
    assert!(slow.try_acquire(1).is_allowed());
    let mut queued: Vec<_> = (0..3).map(|_| Box::pin(slow.acquire(1))).collect();
    for waiting in &mut queued {
        assert!(poll_once(waiting.as_mut()).await.is_none());
    }
    let start = Instant::now();
    let within =
        |seconds| all([other.ask(1), slow.ask(1)]).acquire_within(Duration::from_secs(seconds));
    assert_eq!(
        within(3).await.unwrap_err().outcome(),
        Outcome::DeadlineTooSoon
    );
    assert!(elapsed_is(start, Duration::ZERO));
    let mut last = Box::pin(within(4));
    assert!(poll_once(last.as_mut()).await.is_none());
    for waiting in queued {
        assert!(waiting.await.is_ok());
    }
    assert!(last.await.unwrap().is_allowed());
}
