//! Absence of drift: over a simulated year with a million polls, at regular and random intervals, a
//! bucket admits exactly the number of tokens that the rate gives.
//!
//! Mutations that these tests caught: the remainder of a refill dropped at each update (by every
//! greedy test except those in which a tick refills whole tokens), and a window that ends a tick
//! late.

use std::time::Duration;

use crate::reference::{integer, nanos, rate, ticks::TickScale};
use num_bigint::BigInt;
use tollgate::{Bucket, Quota};

const POLLS: u64 = 1_000_000;
const YEAR: u64 = 31_557_600 * 1_000_000_000;

/// Tokens that a poll takes.
#[derive(Clone, Copy)]
enum Take {
    All,
    One,
}

/// Returns the pauses between polls: all of this length, or random from zero to twice this length.
fn pauses(random: bool, length: u64) -> impl Iterator<Item = u64> {
    let mut seed = 0_u64;
    let mut next_random = move || {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    (0..POLLS).map(move |_| {
        if random {
            next_random() % (2 * length + 1)
        } else {
            length
        }
    })
}

/// Checks that polls admit the capacity plus the refill until the last poll, rounded down to whole
/// tokens and ticks. Each poll must leave less than one token in the bucket, and must not find it
/// full.
fn check_admitted_by_polls(quota: Quota, take: Take, length: u64, random: bool) {
    let bucket = Bucket::new(quota);
    let start = 12_345_678_901_234_567_u64;
    let (mut now, mut admitted) = (start, 0_u64);
    assert!(
        bucket
            .try_acquire_at(Duration::from_nanos(now), quota.capacity())
            .is_allowed()
    );
    for pause in pauses(random, length) {
        now += pause;
        let time = Duration::from_nanos(now);
        let cost = match take {
            Take::All => bucket.available_at(time),
            Take::One => 1,
        };
        let decision = bucket.try_acquire_at(time, cost);
        if decision.is_allowed() {
            admitted += u64::from(cost);
        }
        let before = u64::from(decision.remaining())
            + if decision.is_allowed() {
                u64::from(cost)
            } else {
                0
            };
        assert!(
            before < u64::from(quota.capacity()),
            "{quota}: a full bucket loses its refill"
        );
    }
    let scale = TickScale::new(&quota);
    let refill = |from: u64, until: u64| {
        (integer(scale.tick(until) - scale.tick(from)) * &scale.refill_per_tick)
            .floor()
            .to_integer()
    };
    assert_eq!(
        BigInt::from(admitted),
        refill(start, now),
        "{quota}, {} ns a poll, random: {random}",
        length
    );

    // The same without ticks: no token is missing, and none is early by a tick or more.
    let exact = rate(&quota) * integer(now - start);
    let tick_refill = rate(&quota) * integer(quota.resolution().as_nanos());
    assert!(
        integer(admitted) >= (&exact - delayed(&quota)).floor(),
        "{quota}"
    );
    assert!(integer(admitted) < exact + tick_refill, "{quota}");
}

/// Returns the tokens that may be late: those of one tick, if a tick refills several tokens.
fn delayed(quota: &Quota) -> num_rational::BigRational {
    let several = TickScale::new(quota).refill_per_tick > integer(1);
    if several {
        rate(quota) * integer(quota.resolution().as_nanos())
    } else {
        integer(0)
    }
}

fn check_regular_and_random_polls(quota: &str, take: Take, length: u64) {
    for random in [false, true] {
        check_admitted_by_polls(quota.parse().unwrap(), take, length, random);
    }
}

#[test]
fn a_token_every_three_seconds_does_not_drift_in_a_year() {
    check_regular_and_random_polls("1/3s, capacity 1000", Take::All, YEAR / POLLS);
}

#[test]
fn a_token_an_hour_does_not_drift_in_a_year() {
    check_regular_and_random_polls("1/hour, capacity 10", Take::One, YEAR / POLLS);
}

#[test]
fn rates_with_odd_ratios_do_not_drift_in_a_year() {
    check_regular_and_random_polls("1000003/day, capacity 100000", Take::All, YEAR / POLLS);
    check_regular_and_random_polls("123.456/s, capacity 100000", Take::All, YEAR / POLLS);
    check_regular_and_random_polls("7/11s, capacity 500", Take::All, YEAR / POLLS);
}

#[test]
fn six_million_tokens_a_second_do_not_drift_in_a_year() {
    check_regular_and_random_polls("6000000/s, capacity 4294967295", Take::All, YEAR / POLLS);
}

/// The largest bucket refills in four seconds, so a million polls cover some twenty days.
#[test]
fn a_billion_tokens_a_second_do_not_drift() {
    check_regular_and_random_polls(
        "1000000000/s, capacity 4294967295",
        Take::All,
        1_700_000_000,
    );
}

/// If the remainder were dropped at each update, this would admit four tokens of six.
#[test]
fn polls_faster_than_the_refill_do_not_drift() {
    check_regular_and_random_polls("6000/s, capacity 10000", Take::One, 100_000);
    check_regular_and_random_polls("600000000/s, capacity 4000000", Take::All, 100_000);
}

/// A window is never late: otherwise the poll at its very end would miss the new window, and every
/// later window would open one poll later.
#[test]
fn consecutive_windows_do_not_drift() {
    for (capacity, polls_per_window) in [(10, 60), (1, 7), (1000, 4096)] {
        let poll = YEAR / POLLS;
        let window = Duration::from_nanos(poll * polls_per_window);
        let quota = Quota::try_interval(capacity, window).unwrap();
        let bucket = Bucket::new(quota);
        let admitted: u64 = (0..POLLS)
            .map(|poll_number| {
                bucket.try_acquire_at(Duration::from_nanos(poll_number * poll), capacity)
            })
            .filter(|decision| decision.is_allowed())
            .count() as u64;
        assert!(
            nanos(quota.resolution()) < poll,
            "the poll interval is longer than a tick"
        );
        assert_eq!(admitted, POLLS.div_ceil(polls_per_window), "{quota}");
    }
}
