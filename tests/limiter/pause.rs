//! Pauses: nothing is granted before the end, and nothing is lost by them.

use std::time::Duration;

use tokio::time::Instant;
use tollgate::{Bucket, KeyedLimiter, ManualClock, Quota, TokioClock};

use crate::virtual_time::{elapsed_is, limiter, poll_once};

#[tokio::test(start_paused = true)]
async fn nothing_is_granted_before_the_end_of_a_pause() {
    let bucket = Bucket::with_clock(Quota::per_second(10), TokioClock::new());
    let start = Instant::now();
    bucket.acquire(10).await.unwrap();
    let mut head = Box::pin(bucket.acquire(1));
    assert!(poll_once(head.as_mut()).await.is_none());
    bucket.pause_until(start + Duration::from_secs(60));
    assert_eq!(
        bucket.try_acquire(1).retry_after(),
        Some(Duration::from_millis(60_100)),
        "the head's reservation is void"
    );
    head.await.unwrap();
    assert!(
        elapsed_is(start, Duration::from_millis(60_100)),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_refund_during_a_pause_grants_nothing() {
    let bucket = Bucket::new(Quota::per_second(10));
    let at = Duration::from_millis;
    let decision = bucket.try_acquire_at(at(0), 10);
    bucket.pause_at(at(0), at(500));
    assert!(!bucket.refund(decision).unwrap());
    assert_eq!(bucket.available_at(at(499)), 0);
    assert_eq!(
        bucket.available_at(at(700)),
        2,
        "refills from the end of the pause"
    );
}

#[test]
fn a_pause_shorter_than_the_present_one_changes_nothing() {
    let bucket = Bucket::new(Quota::per_second(10));
    let at = Duration::from_millis;
    bucket.pause_at(at(0), at(500));
    bucket.pause_at(at(0), at(100));
    assert_eq!(bucket.available_at(at(499)), 0);
    assert_eq!(bucket.available_at(at(600)), 1);
}

/// A reservation that lasts longer than a pause stays sold. What it gives back is granted after the
/// pause.
///
/// *Caught:* a refund that forgets the pause.
#[test]
fn a_reservation_given_back_during_a_pause_grants_nothing_before_its_end() {
    let bucket = Bucket::new(Quota::per_second(10));
    let at = Duration::from_millis;
    let spent = bucket.try_acquire_at(at(0), 10);
    let reserved = bucket.reserve_at(at(0), 10, Duration::MAX);
    assert_eq!(reserved.wait(), at(1000));
    bucket.pause_at(at(0), at(800));
    assert!(bucket.refund(reserved).unwrap());
    assert!(!bucket.refund(spent).unwrap());
    assert_eq!(bucket.available_at(at(799)), 0);
    assert_eq!(bucket.available_at(at(1001)), 2);
}

/// Without a pause, a reservation that is the last one again gives back all of its cost.
///
/// *Caught:* a refund that takes any later stamp for a pause.
#[test]
fn reservations_given_back_in_reverse_order_lose_nothing() {
    let bucket = Bucket::new(Quota::per_second(10));
    let at = Duration::from_millis;
    assert!(bucket.try_acquire_at(at(0), 10).is_allowed());
    let first = bucket.reserve_at(at(0), 6, Duration::MAX);
    let second = bucket.reserve_at(at(300), 2, Duration::MAX);
    assert!(bucket.refund(second).unwrap());
    assert!(bucket.refund(first).unwrap());
    assert_eq!(bucket.available_at(at(300)), 3);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_leaves_during_a_short_pause_loses_nothing_and_grants_nothing() {
    let bucket = Bucket::with_clock(Quota::per_second(10), TokioClock::new());
    let start = Instant::now();
    bucket.acquire(10).await.unwrap();
    let mut head = Box::pin(bucket.acquire(10));
    assert!(poll_once(head.as_mut()).await.is_none());
    bucket.pause_for(Duration::from_millis(500));
    assert!(poll_once(head.as_mut()).await.is_none());
    drop(head);
    assert_eq!(bucket.available(), 0);
    bucket.acquire(1).await.unwrap();
    let waited = start.elapsed();
    assert!(
        (Duration::from_millis(600)..Duration::from_millis(602)).contains(&waited),
        "{waited:?}"
    );
}

/// A window begins with its first request, so a pause ends a window.
#[test]
fn a_pause_of_an_interval_quota_ends_with_a_full_window() {
    let bucket = Bucket::new(Quota::interval(10, Duration::from_secs(60)));
    let at = Duration::from_secs;
    assert!(bucket.try_acquire_at(at(0), 3).is_allowed());
    bucket.pause_at(at(0), at(90));
    assert_eq!(bucket.available_at(at(89)), 0);
    assert_eq!(bucket.available_at(at(90)), 10);
}

#[tokio::test(start_paused = true)]
async fn a_paused_key_grants_nothing_and_others_go_on() {
    let limiter = limiter(Quota::per_second(10));
    let start = Instant::now();
    limiter.acquire("a", 10).await.unwrap();
    let mut head = Box::pin(limiter.acquire("a", 1));
    assert!(poll_once(head.as_mut()).await.is_none());
    limiter
        .pause_until("a", start + Duration::from_secs(60))
        .unwrap();
    assert_eq!(
        limiter.try_acquire("a", 1).retry_after(),
        Some(Duration::from_millis(60_100))
    );
    assert_eq!(limiter.available("a"), 0);
    assert!(limiter.try_acquire("b", 10).is_allowed());
    assert_eq!(limiter.rule("a"), None, "a pause is no rule");
    head.await.unwrap();
    assert!(
        elapsed_is(start, Duration::from_millis(60_100)),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_pause_outlasts_changes_of_quota_and_rules() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::builder(Quota::per_second(10)).clock(clock.clone());
    let limiter: KeyedLimiter<str> = builder.build().unwrap();
    let seconds = Duration::from_secs;
    limiter.pause_for("a", seconds(60)).unwrap();
    let is_paused = || limiter.try_acquire("a", 1).is_refused();
    limiter.replace(Quota::per_second(20));
    assert!(is_paused());
    limiter.set_rule("a", Quota::per_second(5));
    assert!(is_paused());
    limiter.replace(Quota::per_second(30));
    assert!(is_paused());
    assert!(limiter.remove_rule("a"));
    assert!(is_paused());
    assert!(!limiter.remove_rule("a"), "a pause is no rule");
    clock.advance(seconds(59));
    assert!(is_paused());
    clock.advance(seconds(2));
    assert_eq!(limiter.available("a"), 30);
    limiter.set_rule("b", Quota::per_second(1));
    assert_eq!(
        limiter.available("a"),
        30,
        "without the bucket of the pause"
    );
    assert!(limiter.try_acquire("a", 30).is_allowed() && limiter.try_acquire("a", 1).is_refused());
}

#[cfg(feature = "tower")]
#[test]
fn a_key_is_paused_as_a_response_asks() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::builder(Quota::per_second(10)).clock(clock.clone());
    let limiter: KeyedLimiter<str> = builder.build().unwrap();
    let mut headers = http::HeaderMap::new();
    assert_eq!(limiter.pause_from_headers("a", &headers), Ok(None));
    assert!(limiter.try_acquire("a", 1).is_allowed());
    headers.insert("retry-after", "30".parse().unwrap());
    let pause = Duration::from_secs(30);
    assert_eq!(limiter.pause_from_headers("a", &headers), Ok(Some(pause)));
    clock.advance(pause - Duration::from_millis(1));
    assert!(limiter.try_acquire("a", 1).is_refused());
    assert!(limiter.try_acquire("b", 1).is_allowed());
    clock.advance(Duration::from_millis(101));
    assert!(limiter.try_acquire("a", 1).is_allowed());
}

#[test]
fn pauses_are_bounded_and_those_that_are_over_make_room() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::builder(Quota::per_second(10)).clock(clock.clone());
    let limiter: KeyedLimiter<u32> = builder.build().unwrap();
    let second = Duration::from_secs(1);
    for key in 0..4096 {
        limiter.pause_for(&key, second).unwrap();
    }
    let error = limiter.pause_for(&4096, second).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pause: expected at most 4096 paused keys, got one more"
    );
    limiter.pause_for(&0, 2 * second).unwrap();
    clock.advance(2 * second);
    limiter.pause_for(&4096, second).unwrap();
    assert!(limiter.try_acquire(&4096, 1).is_refused());
}
