//! Waiting: FIFO order, deadlines, and dropped futures.
//!
//! tokio's time is paused, so sleeps take no real time and their length is exact. The clock of the
//! buckets hardly advances meanwhile, so a test makes all its reservations at about the same time.

use std::{future::Future, pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::time::Instant;
use tollgate::{Bucket, KeyedLimiter, ManualClock, Outcome, Quota};

/// Returns true when the elapsed time is `expected`, or longer by the tolerance of a wait: the
/// clock margin of 61 parts in a million, a tick, and tokio's millisecond.
fn elapsed_is(start: Instant, expected: Duration) -> bool {
    let elapsed = start.elapsed();
    elapsed >= expected && elapsed <= expected + expected / 10_000 + Duration::from_millis(3)
}

async fn poll_once<T>(future: impl Future<Output = T> + Unpin) -> Option<T> {
    let mut future = future;
    std::future::poll_fn(
        |context| match std::pin::Pin::new(&mut future).poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Poll::Ready(None),
        },
    )
    .await
}

/// Creates a limiter whose clock stands still, so that waits are exact.
fn limiter(quota: Quota) -> (KeyedLimiter<str>, ManualClock) {
    let clock = ManualClock::new();
    (
        KeyedLimiter::builder(quota)
            .clock(clock.clone())
            .build()
            .unwrap(),
        clock,
    )
}

#[tokio::test(start_paused = true)]
async fn available_tokens_are_taken_without_a_wait() {
    let bucket = Bucket::new(Quota::per_hour(10));
    let start = Instant::now();
    assert!(bucket.acquire(10).await.is_ok());
    assert!(
        bucket.acquire(0).await.is_ok(),
        "a cost of 0 is always allowed"
    );
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn one_sleep_lasts_until_the_tokens_are_available() {
    let (limiter, _) = limiter(Quota::per_minute(10));
    let start = Instant::now();
    limiter.acquire("a", 10).await.unwrap();
    limiter.acquire("a", 5).await.unwrap();
    assert!(
        elapsed_is(start, Duration::from_secs(30)),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_fifo_order_whatever_their_cost() {
    let (limiter, _) = limiter(Quota::per_second(10));
    let limiter = Arc::new(limiter);
    limiter.acquire("a", 10).await.unwrap();
    let start = Instant::now();
    let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
    for (n, cost) in [10, 1, 1, 10, 1].into_iter().enumerate() {
        let (limiter, served) = (Arc::clone(&limiter), served.clone());
        tokio::spawn(async move {
            limiter.acquire("a", cost).await.unwrap();
            served.send((n, start.elapsed())).unwrap();
        });
        tokio::task::yield_now().await;
    }
    drop(served);
    for (n, expected) in [1000, 1100, 1200, 2200, 2300].into_iter().enumerate() {
        let (served, when) = order.recv().await.unwrap();
        assert_eq!(served, n);
        let expected = Duration::from_millis(expected);
        assert!(
            when >= expected && when < expected + Duration::from_millis(4),
            "{served} after {when:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_waits_for_the_end_of_the_window() {
    let (limiter, _) = limiter(Quota::interval(10, Duration::from_secs(60)));
    let start = Instant::now();
    limiter.acquire("a", 6).await.unwrap();
    limiter.acquire("a", 6).await.unwrap();
    assert!(
        elapsed_is(start, Duration::from_secs(60)),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_impossible_acquire_is_refused_immediately() {
    let bucket = Bucket::new(Quota::per_second(10));
    assert_eq!(
        bucket.acquire(11).await.unwrap_err().outcome(),
        Outcome::CostAboveCapacity
    );
    let bucket = Bucket::new(Quota::per_hour(10).with_debt(5));
    bucket.acquire(10).await.unwrap();
    assert_eq!(
        bucket.acquire(6).await.unwrap_err().outcome(),
        Outcome::DebtExhausted
    );
    assert_eq!(
        bucket.reserve(5, Duration::MAX).outcome(),
        Outcome::Allowed,
        "the refusal took nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_too_soon_is_refused_immediately_and_takes_nothing() {
    let (limiter, _) = limiter(Quota::per_second(10));
    limiter.acquire("a", 10).await.unwrap();
    let start = Instant::now();
    let refused = limiter
        .acquire_by("a", 5, start + Duration::from_millis(499))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.outcome(), start.elapsed()),
        (Outcome::DeadlineTooSoon, Duration::ZERO)
    );
    limiter
        .acquire_by("a", 5, start + Duration::from_millis(501))
        .await
        .unwrap();
    assert!(
        elapsed_is(start, Duration::from_millis(500)),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_future_dropped_during_its_wait_refunds_its_tokens() {
    let (limiter, _) = limiter(Quota::per_second(10));
    limiter.acquire("a", 10).await.unwrap();
    {
        let mut waiting = pin!(limiter.acquire("a", 10));
        assert!(poll_once(waiting.as_mut()).await.is_none());
    }
    let start = Instant::now();
    limiter.acquire("a", 1).await.unwrap();
    assert!(
        elapsed_is(start, Duration::from_millis(100)),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_never_polled_takes_nothing() {
    let (limiter, _) = limiter(Quota::per_second(10));
    drop(limiter.acquire("a", 10));
    assert_eq!(limiter.available("a"), 10);
}

/// With capacity 10 and an empty bucket, A and B reserve 10 each, A leaves, and C reserves 10. B
/// and C must not both be ready at 2 s: C gets the interval that A left, and D the end of the
/// queue.
#[tokio::test(start_paused = true)]
async fn a_new_waiter_gets_the_interval_that_an_earlier_waiter_left() {
    let (limiter, _) = limiter(Quota::per_second(10));
    limiter.acquire("a", 10).await.unwrap();
    let start = Instant::now();
    let mut waiters: Vec<_> = (0..2).map(|_| Box::pin(limiter.acquire("a", 10))).collect();
    for waiter in &mut waiters {
        assert!(poll_once(waiter.as_mut()).await.is_none());
    }
    let b = waiters.pop().unwrap();
    drop(waiters);
    limiter.acquire("a", 10).await.unwrap();
    assert!(
        elapsed_is(start, Duration::from_secs(1)),
        "C after {:?}",
        start.elapsed()
    );
    b.await.unwrap();
    assert!(
        elapsed_is(start, Duration::from_secs(2)),
        "B after {:?}",
        start.elapsed()
    );
    assert_eq!(
        limiter.reserve("a", 10, Duration::MAX).wait(),
        Duration::from_secs(3),
        "D"
    );
}

#[test]
fn a_hole_is_sold_once_and_in_parts() {
    let bucket = Bucket::new(Quota::per_second(10));
    let at = |seconds| Duration::from_secs(seconds);
    let reserve = |cost| bucket.reserve_at(at(0), cost, Duration::MAX);
    assert!(bucket.try_acquire_at(at(0), 10).is_allowed());
    let (a, b) = (reserve(10), reserve(10));
    assert_eq!((a.wait(), b.wait()), (at(1), at(2)));
    assert!(
        bucket.refund(a).unwrap(),
        "the hole can be sold, though no tokens are available now"
    );
    assert_eq!(bucket.available_at(at(0)), 0);
    assert!(
        bucket
            .reserve_at(at(0), 4, Duration::from_millis(399))
            .is_refused(),
        "a reservation that cannot wait takes nothing"
    );
    let filler = reserve(4);
    assert_eq!(
        (filler.wait(), filler.remaining(), filler.reset_after()),
        (Duration::from_millis(400), 0, at(3))
    );
    assert_eq!(
        reserve(8).wait(),
        Duration::from_millis(2800),
        "the rest of the hole is too small"
    );
    assert_eq!(reserve(6).wait(), at(1));
    assert_eq!(
        reserve(1).wait(),
        Duration::from_millis(2900),
        "the hole is filled"
    );
}

#[test]
fn a_reset_voids_holes() {
    let bucket = Bucket::new(Quota::per_second(10));
    let reserve = || bucket.reserve_at(Duration::ZERO, 10, Duration::MAX);
    let [_, a, _b] = [reserve(), reserve(), reserve()];
    assert!(bucket.refund(a).unwrap());
    bucket.reset_at(Duration::ZERO);
    let second = Duration::from_secs(1);
    // A tick later than without the reset: the reset makes the stamp newer than any before.
    let waits = [reserve(), reserve(), reserve()].map(|decision| decision.wait().as_millis());
    assert_eq!(waits, [0, second.as_millis(), 2 * second.as_millis()]);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_queues_again_after_a_reset() {
    let (limiter, clock) = limiter(Quota::per_second(10));
    limiter.acquire("a", 10).await.unwrap();
    let mut waiting = Box::pin(limiter.acquire("a", 10));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    limiter.reset("a");
    assert!(limiter.try_acquire("a", 10).is_allowed(), "full again");
    let start = Instant::now();
    clock.advance(Duration::from_millis(1));
    waiting.await.unwrap();
    assert!(
        start.elapsed() > Duration::from_millis(1900),
        "expected 10 at once after the reset, and no more: {:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiter_queues_again_under_a_replaced_quota() {
    let (limiter, _) = limiter(Quota::per_hour(10));
    limiter.acquire("a", 10).await.unwrap();
    let mut waiting = Box::pin(limiter.acquire("a", 1));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    limiter.replace(Quota::per_hour(2));
    waiting.await.unwrap();
    assert_eq!(limiter.available("a"), 1, "taken from the new bucket");
}

#[tokio::test]
async fn waits_in_real_time_last_until_the_refill() {
    let bucket = Bucket::new(Quota::per_second(50).with_capacity(1));
    let start = std::time::Instant::now();
    for _ in 0..6 {
        bucket.acquire(1).await.unwrap();
    }
    // One at once, and five after 20 ms each. The tolerance covers the resolution, and a clock that
    // deviates by some parts in a million.
    assert!(
        start.elapsed() > Duration::from_micros(99_900),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn acquire_futures_can_be_spawned() {
    static BUCKET: Bucket = Bucket::new(Quota::per_second(10));
    tokio::spawn(BUCKET.acquire(1)).await.unwrap().unwrap();
    let limiter: &'static KeyedLimiter<str> =
        Box::leak(Box::new(KeyedLimiter::new(Quota::per_second(10), 10)));
    tokio::spawn(limiter.acquire("a", 1))
        .await
        .unwrap()
        .unwrap();
}
