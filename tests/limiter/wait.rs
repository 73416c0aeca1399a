//! Waiting: order of arrival, deadlines, and futures that are dropped.
//!
//! tokio's time is paused, so sleeps take no time and show exactly how long they were; the buckets'
//! clock hardly moves meanwhile, so every test makes its reservations at one moment.

use std::{future::Future, pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::time::Instant;
use tollgate::{Bucket, KeyedLimiter, ManualClock, Outcome, Quota};

/// What a wait may be longer than its quota says: 61 parts in a million for the clocks, a tick, and
/// tokio's millisecond.
fn lasted(start: Instant, expected: Duration) -> bool {
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

/// A clock that stands still, so that waits are exact.
fn limiter(quota: Quota) -> (KeyedLimiter, ManualClock) {
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
async fn tokens_that_are_there_are_not_waited_for() {
    let bucket = Bucket::new(Quota::per_hour(10));
    let start = Instant::now();
    assert!(bucket.acquire(10).await.is_ok());
    assert!(bucket.acquire(0).await.is_ok(), "nothing is always there");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn one_sleep_lasts_until_the_tokens_are_there() {
    let (limiter, _) = limiter(Quota::per_minute(10));
    let start = Instant::now();
    limiter.acquire("a", 10).await.unwrap();
    limiter.acquire("a", 5).await.unwrap();
    assert!(
        lasted(start, Duration::from_secs(30)),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn order_of_arrival_is_order_of_service_and_heavy_requests_are_not_starved() {
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
        let (who, when) = order.recv().await.unwrap();
        assert_eq!(who, n);
        let expected = Duration::from_millis(expected);
        assert!(
            when >= expected && when < expected + Duration::from_millis(4),
            "{who} after {when:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_interval_is_waited_for_as_a_whole() {
    let (limiter, _) = limiter(Quota::interval(10, Duration::from_secs(60)));
    let start = Instant::now();
    limiter.acquire("a", 6).await.unwrap();
    limiter.acquire("a", 6).await.unwrap();
    assert!(
        lasted(start, Duration::from_secs(60)),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_had_is_an_error_at_once() {
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
async fn a_deadline_that_cannot_be_met_is_refused_at_once_with_nothing_taken() {
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
        lasted(start, Duration::from_millis(500)),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_dropped_while_it_waits_gives_its_tokens_back() {
    let (limiter, _) = limiter(Quota::per_second(10));
    limiter.acquire("a", 10).await.unwrap();
    {
        let mut waiting = pin!(limiter.acquire("a", 10));
        assert!(poll_once(waiting.as_mut()).await.is_none());
    }
    let start = Instant::now();
    limiter.acquire("a", 1).await.unwrap();
    assert!(
        lasted(start, Duration::from_millis(100)),
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

/// Capacity 10, empty: A and B reserve 10 each, A leaves, C reserves 10. B and C must not both be
/// ready at 2 s: C gets the very place that A had, and D the end of the queue.
#[tokio::test(start_paused = true)]
async fn the_place_of_one_who_leaves_the_middle_of_the_queue_goes_to_a_newcomer() {
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
        lasted(start, Duration::from_secs(1)),
        "C after {:?}",
        start.elapsed()
    );
    b.await.unwrap();
    assert!(
        lasted(start, Duration::from_secs(2)),
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
fn a_place_in_the_queue_is_sold_once_and_piece_by_piece() {
    let bucket = Bucket::new(Quota::per_second(10));
    let at = |seconds| Duration::from_secs(seconds);
    let reserve = |cost| bucket.reserve_at(at(0), cost, Duration::MAX);
    assert!(bucket.try_acquire_at(at(0), 10).is_allowed());
    let (a, b) = (reserve(10), reserve(10));
    assert_eq!((a.wait(), b.wait()), (at(1), at(2)));
    assert!(bucket.refund(a), "not lost, though not there now");
    assert_eq!(bucket.available_at(at(0)), 0);
    assert!(
        bucket
            .reserve_at(at(0), 4, Duration::from_millis(399))
            .is_refused(),
        "somebody impatient takes nothing"
    );
    let placed = reserve(4);
    assert_eq!(
        (placed.wait(), placed.remaining(), placed.reset_after()),
        (Duration::from_millis(400), 0, at(3))
    );
    assert_eq!(
        reserve(8).wait(),
        Duration::from_millis(2800),
        "too much for what is left of the hole"
    );
    assert_eq!(reserve(6).wait(), at(1));
    assert_eq!(
        reserve(1).wait(),
        Duration::from_millis(2900),
        "the hole is filled"
    );
}

#[test]
fn a_reset_makes_a_hole_void() {
    let bucket = Bucket::new(Quota::per_second(10));
    let reserve = || bucket.reserve_at(Duration::ZERO, 10, Duration::MAX);
    let [_, a, _b] = [reserve(), reserve(), reserve()];
    assert!(bucket.refund(a));
    bucket.reset_at(Duration::ZERO);
    let second = Duration::from_secs(1);
    // A tick later than without the reset, whose stamp is newer than any before.
    let waits = [reserve(), reserve(), reserve()].map(|decision| decision.wait().as_millis());
    assert_eq!(waits, [0, second.as_millis(), 2 * second.as_millis()]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_while_the_bucket_is_reset_queues_again() {
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
        "10 at once after the reset, and no more: {:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_while_the_quota_is_replaced_queues_again_under_the_new_one() {
    let (limiter, _) = limiter(Quota::per_hour(10));
    limiter.acquire("a", 10).await.unwrap();
    let mut waiting = Box::pin(limiter.acquire("a", 1));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    limiter.replace(Quota::per_hour(2));
    waiting.await.unwrap();
    assert_eq!(limiter.available("a"), 1, "taken from the new bucket");
}

#[tokio::test]
async fn real_waits_take_as_long_as_the_tokens_do() {
    let bucket = Bucket::new(Quota::per_second(50).with_capacity(1));
    let start = std::time::Instant::now();
    for _ in 0..6 {
        bucket.acquire(1).await.unwrap();
    }
    // One at once and five in 20 ms each, but for the resolution, and a clock that is some parts in
    // a million off.
    assert!(
        start.elapsed() > Duration::from_micros(99_900),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn waits_can_be_spawned() {
    static BUCKET: Bucket = Bucket::new(Quota::per_second(10));
    tokio::spawn(BUCKET.acquire(1)).await.unwrap().unwrap();
    let limiter: &'static KeyedLimiter =
        Box::leak(Box::new(KeyedLimiter::new(Quota::per_second(10), 10)));
    tokio::spawn(limiter.acquire("a", 1))
        .await
        .unwrap()
        .unwrap();
}
