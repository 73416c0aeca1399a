//! Waiting: FIFO order, deadlines, and dropped futures.
//!
//! tokio's time is paused, and the limiters follow it: waits take no real time, and their length is
//! exact.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;
use tollgate::{Bucket, KeyedLimiter, ManualClock, Outcome, Quota, TokioClock};

use crate::virtual_time::{elapsed_is, limiter, poll_once};

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
    let limiter = limiter(Quota::per_minute(10));
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
    let limiter = limiter(Quota::per_second(10));
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

/// Creates three callers for two tokens a second, of which the last one calls when the second one is
/// next and has not run yet.
async fn assert_no_caller_passes_a_waiter<F: Future>(clock: &ManualClock, acquire: impl Fn() -> F) {
    let [mut first, mut second, mut third] = [(); 3].map(|()| Box::pin(acquire()));
    assert!(poll_once(first.as_mut()).await.is_none());
    assert!(poll_once(second.as_mut()).await.is_none());
    clock.advance(Duration::from_secs(1));
    assert!(poll_once(first.as_mut()).await.is_some());
    assert!(poll_once(third.as_mut()).await.is_none());
    assert!(poll_once(second.as_mut()).await.is_some());
    clock.advance(Duration::from_secs(1));
    assert!(poll_once(third.as_mut()).await.is_some());
}

/// *Caught:* a caller that takes at once though others are queued.
#[tokio::test]
async fn a_caller_does_not_pass_a_waiter_that_has_not_run_yet() {
    let (clock, quota) = (ManualClock::new(), Quota::per_second(2));
    let bucket = Bucket::with_clock(quota, clock.clone());
    assert!(bucket.try_acquire(2).is_allowed());
    assert_no_caller_passes_a_waiter(&clock, || bucket.acquire(1)).await;

    let builder = KeyedLimiter::builder(quota).clock(clock.clone());
    let limiter: KeyedLimiter<str> = builder.build().unwrap();
    assert!(limiter.try_acquire("a", 2).is_allowed());
    assert_no_caller_passes_a_waiter(&clock, || limiter.acquire("a", 1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_waiter_waits_for_the_end_of_the_window() {
    let limiter = limiter(Quota::interval(10, Duration::from_secs(60)));
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
    assert_eq!(bucket.available(), 10, "the refusal took nothing");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_too_soon_is_refused_immediately_and_takes_nothing() {
    let limiter = limiter(Quota::per_second(10));
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
    let limiter = limiter(Quota::per_second(10));
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
    let limiter = limiter(Quota::per_second(10));
    drop(limiter.acquire("a", 10));
    assert_eq!(limiter.available("a"), 10);
}

#[tokio::test]
#[should_panic = "polled after completion"]
async fn a_future_that_is_ready_is_not_polled_again() {
    let bucket = Bucket::new(Quota::per_second(10));
    let mut acquiring = Box::pin(bucket.acquire(1));
    assert!(poll_once(acquiring.as_mut()).await.is_some());
    poll_once(acquiring.as_mut()).await;
}

#[tokio::test(start_paused = true)]
async fn a_waiter_queues_again_after_a_reset() {
    let limiter = limiter(Quota::per_second(10));
    limiter.acquire("a", 10).await.unwrap();
    let mut waiting = Box::pin(limiter.acquire("a", 10));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    limiter.reset("a");
    assert!(limiter.try_acquire("a", 10).is_allowed(), "full again");
    let start = Instant::now();
    waiting.await.unwrap();
    assert!(
        elapsed_is(start, Duration::from_secs(1)),
        "expected 10 at once after the reset, and no more: {:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiter_queues_again_under_a_replaced_quota() {
    let limiter = limiter(Quota::per_hour(10));
    limiter.acquire("a", 10).await.unwrap();
    let mut waiting = Box::pin(limiter.acquire("a", 1));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    limiter.replace(Quota::per_hour(2));
    waiting.await.unwrap();
    assert_eq!(limiter.available("a"), 1, "taken from the new bucket");
}

#[tokio::test(start_paused = true)]
async fn ten_acquires_at_two_a_second_take_four_and_a_half_seconds() {
    let bucket = Bucket::with_clock(Quota::per_second(2).with_capacity(1), TokioClock::new());
    let start = Instant::now();
    for _ in 0..10 {
        bucket.acquire(1).await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::from_millis(4500));
}

/// Thousands of callers wait at once: there is no ceiling.
#[tokio::test(start_paused = true)]
async fn any_number_of_callers_can_wait() {
    let bucket = Arc::new(Bucket::with_clock(
        Quota::per_second(1000),
        TokioClock::new(),
    ));
    let start = Instant::now();
    let waiters: Vec<_> = (0..3000)
        .map(|_| tokio::spawn(Arc::clone(&bucket).acquire_owned(1)))
        .collect();
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
    assert!(
        elapsed_is(start, Duration::from_secs(2)),
        "{:?}",
        start.elapsed()
    );
}

/// The estimate counts what is queued ahead: 20 tokens before this one take 2 s.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_the_queue_makes_impossible_is_refused_immediately() {
    let limiter = limiter(Quota::per_second(10));
    limiter.acquire("a", 10).await.unwrap();
    let mut ahead = [10, 10].map(|cost| Box::pin(limiter.acquire("a", cost)));
    for waiter in &mut ahead {
        assert!(poll_once(waiter.as_mut()).await.is_none());
    }
    let start = Instant::now();
    let refused = limiter
        .acquire_within("a", 1, Duration::from_millis(2099))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.outcome(), start.elapsed()),
        (Outcome::DeadlineTooSoon, Duration::ZERO)
    );
    let mut last = Box::pin(limiter.acquire_within("a", 1, Duration::from_millis(2103)));
    assert!(poll_once(last.as_mut()).await.is_none());
    for waiter in ahead {
        waiter.await.unwrap();
    }
    last.await.unwrap();
    assert!(
        elapsed_is(start, Duration::from_millis(2100)),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_refused_at_its_deadline() {
    let limiter = limiter(Quota::per_second(10));
    limiter.acquire("a", 10).await.unwrap();
    let mut head = Box::pin(limiter.acquire("a", 1));
    assert!(poll_once(head.as_mut()).await.is_none());
    // The head is not polled, so the line waits for it.
    let start = Instant::now();
    let refused = limiter
        .acquire_by("a", 1, start + Duration::from_millis(300))
        .await
        .unwrap_err();
    assert_eq!(refused.outcome(), Outcome::DeadlineTooSoon);
    assert!(
        elapsed_is(start, Duration::from_millis(300)),
        "{:?}",
        start.elapsed()
    );
    head.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn all_of_an_amount_is_taken_with_no_other_waiter_in_between() {
    let bucket = Bucket::with_clock(Quota::per_second(10), TokioClock::new());
    let start = Instant::now();
    let mut all = Box::pin(bucket.acquire_all(35));
    assert!(poll_once(all.as_mut()).await.is_none());
    let mut other = Box::pin(bucket.acquire(1));
    assert!(poll_once(other.as_mut()).await.is_none());
    all.await;
    assert!(
        elapsed_is(start, Duration::from_millis(2500)),
        "{:?}",
        start.elapsed()
    );
    other.await.unwrap();
    assert!(
        elapsed_is(start, Duration::from_millis(2600)),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn pieces_already_taken_stay_spent() {
    let bucket = Bucket::with_clock(Quota::per_second(10), TokioClock::new());
    let start = Instant::now();
    let whole = tokio::time::timeout(Duration::from_millis(1500), bucket.acquire_all(1000)).await;
    assert!(whole.is_err());
    bucket.acquire(10).await.unwrap();
    assert!(
        elapsed_is(start, Duration::from_millis(2000)),
        "{:?}",
        start.elapsed()
    );
}

/// Each thread gets a token at its time, in the order of arrival.
#[test]
fn threads_wait_in_one_line() {
    let clock = ManualClock::new();
    let bucket = Bucket::with_clock(Quota::per_second(1), clock.clone());
    assert!(bucket.try_acquire(1).is_allowed());
    let (served, order) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let bucket = &bucket;
        for n in 0..3 {
            let (served, before) = (served.clone(), format!("{bucket:?}"));
            scope.spawn(move || {
                bucket.acquire_blocking(1).unwrap();
                served.send(n).unwrap();
            });
            while format!("{bucket:?}") == before {
                std::thread::yield_now();
            }
        }
        for n in 0..3 {
            clock.advance(Duration::from_millis(999));
            assert!(order.recv_timeout(Duration::from_millis(20)).is_err());
            clock.advance(Duration::from_millis(1));
            assert_eq!(order.recv().unwrap(), n);
        }
    });
}

#[test]
fn a_thread_waits_in_real_time() {
    let bucket = Bucket::new(Quota::per_second(50).with_capacity(1));
    let start = std::time::Instant::now();
    for _ in 0..4 {
        bucket.acquire_blocking(1).unwrap();
    }
    assert!(
        start.elapsed() > Duration::from_micros(59_900),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn advancing_a_manual_clock_wakes_waiters() {
    let clock = ManualClock::new();
    let bucket = Arc::new(Bucket::with_clock(Quota::per_second(1), clock.clone()));
    bucket.acquire(1).await.unwrap();
    let waiter = tokio::spawn(Arc::clone(&bucket).acquire_owned(1));
    tokio::task::yield_now().await;
    clock.advance(Duration::from_millis(999));
    tokio::task::yield_now().await;
    assert!(!waiter.is_finished());
    clock.advance(Duration::from_millis(1));
    waiter.await.unwrap().unwrap();
}

/// Callers of `try_acquire` pass a waiter only between two heads. Each of a series of waiters of the
/// largest cost is late by at most the refill of its own cost.
///
/// *Caught:* a head that retries instead of reserving.
#[tokio::test(start_paused = true)]
async fn a_stream_of_small_costs_does_not_starve_the_largest() {
    const LARGEST: u32 = 16;
    let quota = Quota::per_second(1_000).with_capacity(LARGEST);
    let bucket = Arc::new(Bucket::with_clock(quota, TokioClock::new()));
    let greedy = Arc::clone(&bucket);
    let stream = tokio::spawn(async move {
        loop {
            while greedy.try_acquire(1).is_allowed() {}
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    tokio::task::yield_now().await;
    let most = Duration::from_millis(2 * u64::from(LARGEST) + 2);
    for round in 0..50 {
        let served = tokio::time::timeout(most, bucket.acquire(LARGEST)).await;
        assert!(
            served.is_ok_and(|decision| decision.is_ok()),
            "round {round}"
        );
    }
    stream.abort();
}

/// The wait after the charge is random, and lets the next waiter be served.
///
/// *Caught:* a wait that keeps the permit; one without an end; a charge that is not refunded.
#[tokio::test(start_paused = true)]
async fn jitter_delays_a_waiter_after_its_charge() {
    let bucket = Bucket::with_clock(Quota::per_second(1).with_capacity(2), TokioClock::new());
    let (start, hour) = (Instant::now(), Duration::from_secs(3600));
    let mut waits = Vec::new();
    for _ in 0..20 {
        let before = Instant::now();
        let decision = bucket.acquire_with_jitter(1, hour).await.unwrap();
        waits.push(before.elapsed());
        assert_eq!(decision.cost(), 1);
    }
    assert!(
        waits
            .iter()
            .all(|&wait| wait < hour + Duration::from_millis(2))
    );
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 15, "{waits:?}");

    assert_eq!(bucket.available(), 2);
    let mut delayed = Box::pin(bucket.acquire_with_jitter(2, hour));
    assert!(poll_once(delayed.as_mut()).await.is_none());
    assert_eq!(bucket.available(), 0, "charged before the wait");
    let now = start.elapsed();
    drop(delayed);
    assert_eq!(bucket.available(), 2, "refunded");
    let mut delayed = Box::pin(bucket.acquire_with_jitter(2, hour));
    assert!(poll_once(delayed.as_mut()).await.is_none());
    bucket.acquire(1).await.unwrap();
    assert!(
        start.elapsed() - now < Duration::from_millis(1_002),
        "not held up"
    );
    let refused = bucket.acquire_with_jitter(3, hour).await.unwrap_err();
    assert_eq!(refused.outcome(), Outcome::CostAboveCapacity);
}

#[test]
fn a_rebase_keeps_what_was_spent() {
    let bucket = Bucket::new(Quota::per_second(10));
    let (now, hour) = (Duration::from_secs(5), Duration::from_secs(3600));
    let decision = bucket.try_acquire_at(hour, 8);
    assert_eq!(bucket.available_at(now), 2);
    bucket.rebase_at(now);
    assert_eq!(bucket.available_at(now), 2);
    assert!(
        !bucket.refund(decision).unwrap(),
        "its interval equals later ones"
    );
    assert_eq!(bucket.available_at(now + Duration::from_millis(300)), 5);
    bucket.rebase_at(hour);
    assert_eq!(
        bucket.available_at(now + Duration::from_millis(300)),
        5,
        "time is not moved forward"
    );
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

#[tokio::test(start_paused = true)]
async fn waiters_follow_a_rule_and_keep_their_order() {
    let limiter = limiter(Quota::per_hour(1));
    limiter.acquire("a", 1).await.unwrap();
    let start = Instant::now();
    let mut waiters = [1, 1].map(|cost| Box::pin(limiter.acquire("a", cost)));
    for waiter in &mut waiters {
        assert!(poll_once(waiter.as_mut()).await.is_none());
    }
    limiter.set_rule("a", Quota::per_second(10).with_capacity(1));
    for (waiter, expected) in waiters.into_iter().zip([0, 100]) {
        waiter.await.unwrap();
        assert!(
            elapsed_is(start, Duration::from_millis(expected)),
            "{:?}",
            start.elapsed()
        );
    }
}

/// "An error only when it can never be had", also after a change.
#[tokio::test(start_paused = true)]
async fn a_waiter_whose_cost_a_change_makes_impossible_is_refused() {
    let limiter = limiter(Quota::per_hour(10));
    limiter.acquire("a", 10).await.unwrap();
    let mut waiter = Box::pin(limiter.acquire("a", 10));
    assert!(poll_once(waiter.as_mut()).await.is_none());
    limiter.replace(Quota::per_hour(9));
    let refused = waiter.await.unwrap_err();
    assert_eq!(refused.outcome(), Outcome::CostAboveCapacity);
}

#[tokio::test(start_paused = true)]
async fn callers_wait_on_as_many_keys_as_the_limiter_has_room_for() {
    let builder = KeyedLimiter::builder(Quota::per_hour(1)).max_keys(2);
    let limiter: KeyedLimiter<u64> = builder.clock(TokioClock::new()).build().unwrap();
    let mut waiters = Vec::new();
    for key in [1, 2, 2] {
        let _ = limiter.try_acquire(&key, 1);
        let mut waiter = Box::pin(limiter.acquire(&key, 1));
        assert!(poll_once(waiter.as_mut()).await.is_none());
        waiters.push(waiter);
    }
    assert!(limiter.acquire(&3, 1).await.is_ok(), "needs no queue");
    let refused = limiter.acquire(&3, 1).await.unwrap_err();
    assert_eq!(refused.outcome(), Outcome::QueueFull);
    assert_eq!(
        refused.to_string(),
        "refused: cost 1, 0 of 1 left, queue full, retry after 3600s"
    );
    drop(waiters.remove(0));
    assert!(poll_once(Box::pin(limiter.acquire(&3, 1))).await.is_none());
}

/// Future that is dropped when a number of its polls were pending.
struct DroppedAfter<F> {
    inner: Option<Pin<Box<F>>>,
    polls: u32,
}

impl<F: Future> Future for DroppedAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            self.inner = None;
        }
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(output) = inner.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        self.polls -= 1;
        if self.polls == 0 {
            self.inner = None;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

/// Lets callers of these costs wait, one of which is dropped after a number of polls. Returns the
/// milliseconds after which each of them was served.
async fn served_beside_a_dropped_waiter(
    costs: &[u32],
    dropped: usize,
    polls: u32,
) -> Vec<Option<u128>> {
    let bucket = Bucket::with_clock(Quota::per_second(10).with_capacity(4), TokioClock::new());
    assert!(bucket.try_acquire(4).is_allowed());
    let began = Instant::now();
    let waiters = costs.iter().enumerate().map(|(n, &cost)| {
        let bucket = &bucket;
        let acquiring = async move {
            // Each verb has await points of its own.
            match n % 3 {
                0 => drop(bucket.acquire(cost).await.unwrap()),
                1 => drop(
                    bucket
                        .acquire_within(cost, Duration::from_secs(60))
                        .await
                        .unwrap(),
                ),
                _ => drop(
                    bucket
                        .acquire_with_jitter(cost, Duration::ZERO)
                        .await
                        .unwrap(),
                ),
            }
            began.elapsed().as_millis()
        };
        DroppedAfter {
            inner: Some(Box::pin(acquiring)),
            polls: if n == dropped { polls } else { u32::MAX },
        }
    });
    futures_util::future::join_all(waiters).await
}

/// A waiter may be dropped at any of its polls: the others are served as if it had never waited.
///
/// *Caught:* a reservation that a dropped head keeps.
#[tokio::test(start_paused = true)]
async fn a_waiter_dropped_at_any_poll_loses_nothing() {
    let tenths = |costs: &[u32]| -> Vec<u128> {
        let sums = costs.iter().scan(0, |sum, cost| {
            *sum += u128::from(*cost);
            Some(*sum * 100)
        });
        sums.collect()
    };
    let is_close = |served: &[u128], expected: &[u128]| {
        // A timer of tokio may be a millisecond late.
        let mut pairs = served.iter().zip(expected);
        served.len() == expected.len() && pairs.all(|(a, b)| a.abs_diff(*b) <= 2)
    };
    let mut at_head = 0;
    for costs in [[1, 1, 1, 1], [4, 1, 2, 3], [2, 4, 4, 1], [1, 3, 1, 4]] {
        for dropped in 0..4 {
            for polls in 0..12 {
                let mut served = served_beside_a_dropped_waiter(&costs, dropped, polls).await;
                let mut expected = costs.to_vec();
                if served[dropped].is_none() {
                    served.remove(dropped);
                    expected.remove(dropped);
                    // All waiters are polled whenever one is served, so it was at the head.
                    at_head += u32::from(polls > dropped as u32);
                }
                let served: Vec<u128> = served.into_iter().map(Option::unwrap).collect();
                assert!(
                    is_close(&served, &tenths(&expected)),
                    "{costs:?} without {dropped} after {polls} polls: {served:?}"
                );
            }
        }
    }
    assert!(at_head > 0, "no waiter was dropped at the head");
}
