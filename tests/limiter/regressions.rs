//! Regressions: bugs that the property tests found, each with its minimal history.

use std::time::Duration;

use tollgate::{Bucket, Quota};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A refund in the next window also gave back the tokens that the charge had skipped in the window
/// before: 13 of 10 were admitted.
#[test]
fn tokens_skipped_in_the_window_before_are_not_refunded() {
    let bucket = Bucket::new(Quota::interval(10, seconds(10)));
    assert!(bucket.try_acquire_at(seconds(0), 7).is_allowed());
    let skips_three = bucket.reserve_at(seconds(0), 5, seconds(100));
    assert_eq!(skips_three.wait(), seconds(10));
    assert_eq!(
        bucket.reserve_at(seconds(0), 4, seconds(100)).wait(),
        seconds(10)
    );
    assert!(bucket.try_acquire_at(seconds(11), 1).is_allowed());
    assert!(bucket.refund(skips_three).unwrap());
    assert_eq!(
        bucket.available_at(seconds(11)),
        5,
        "4 and 1 are used in this window"
    );
}

/// With 120 binary places, a period of more than 2⁶⁰ ns refilled a token one nanosecond before
/// `retry_after`.
#[test]
fn a_period_of_a_century_is_exact_to_the_nanosecond() {
    let century = seconds(36_525 * 86_400);
    let cases = [
        (10, 3, 417_378_021_870_017_052, 732_954_021_870_017_051),
        (
            100,
            11,
            1_012_611_213_749_456_403,
            1_044_168_813_749_456_402,
        ),
    ];
    for (tokens, less, taken_at, just_before) in cases {
        let quota = Quota::new(1, tokens, century - Duration::from_nanos(less)).unwrap();
        let (bucket, taken_at) = (Bucket::new(quota), Duration::from_nanos(taken_at));
        assert!(bucket.try_acquire_at(taken_at, 1).is_allowed());
        let due = taken_at + bucket.try_acquire_at(taken_at, 1).retry_after().unwrap();
        assert_eq!(due, Duration::from_nanos(just_before + 1));
        assert!(
            bucket
                .try_acquire_at(Duration::from_nanos(just_before), 1)
                .is_refused(),
            "{quota}"
        );
        assert!(bucket.try_acquire_at(due, 1).is_allowed(), "{quota}");
    }
}

/// A thread whose clock was behind got a wait for tokens that were available, longer than its
/// `max_wait`.
#[test]
fn a_clock_that_is_behind_does_not_wait_for_available_tokens() {
    let bucket = Bucket::new(Quota::per_second(10));
    assert!(bucket.try_acquire_at(seconds(10), 1).is_allowed());
    let stale = bucket.reserve_at(seconds(5), 1, Duration::ZERO);
    assert!(stale.is_allowed());
    assert_eq!(stale.wait(), Duration::ZERO);
}

/// A reset advances the stamp by a step, and `reset_after` of the full bucket was one step.
#[test]
fn a_bucket_is_full_at_once_after_a_reset() {
    let bucket = Bucket::new(Quota::per_second(10));
    assert!(bucket.try_acquire_at(seconds(10), 1).is_allowed());
    bucket.reset_at(seconds(10));
    let state = bucket.try_acquire_at(seconds(10), 0);
    assert_eq!(
        (state.remaining(), state.reset_after()),
        (10, Duration::ZERO)
    );
}

/// At the last step there is no newer stamp, and a refund of a decision from before the reset
/// yielded a second capacity.
#[test]
fn a_reset_at_the_end_of_time_voids_refunds_too() {
    let bucket = Bucket::new(Quota::per_second(10));
    let before = bucket.try_acquire_at(Duration::MAX, 10);
    bucket.reset_at(Duration::MAX);
    assert!(bucket.try_acquire_at(Duration::MAX, 10).is_allowed());
    assert!(!bucket.refund(before).unwrap());
    assert_eq!(
        bucket.try_acquire_at(Duration::MAX, 1).retry_after(),
        None,
        "no retry at the end of time"
    );
}

/// A quota may have more tokens than 18 digits express; its printed text did not parse back.
#[test]
fn a_quota_of_nineteen_digits_parses_back() {
    let quota = Quota::new(1, 2_000_000_000_000_000_000, seconds(36_525 * 86_400)).unwrap();
    assert_eq!(quota.to_string(), "2000000000000000000/36525d, capacity 1");
    assert_eq!(quota.to_string().parse(), Ok(quota));
}
