//! No drift: over a simulated year of a million polls, regular and random, a bucket admits what the
//! rate says, to the token.
//!
//! Seen to fail when the code was broken on purpose: the refill's remainder dropped at each update
//! (every greedy test but those where a step brings whole tokens), and a window that ends a step
//! late.

use std::time::Duration;

use crate::reference::{grid::Grid, integer, nanos, rate};
use num_bigint::BigInt;
use tollgate::{Bucket, Quota};

const POLLS: u64 = 1_000_000;
const YEAR: u64 = 31_557_600 * 1_000_000_000;

/// What a poll takes.
#[derive(Clone, Copy)]
enum Take {
    All,
    One,
}

/// Steps of the same length, or random ones of that length on average, down to none at all.
fn steps(random: bool, length: u64) -> impl Iterator<Item = u64> {
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

/// Polls that leave less than a token in the bucket, and find it short of full, admit all that ever
/// was there: the capacity, and what came back until the last poll, rounded down to whole tokens
/// and steps.
fn admits_the_rate(quota: Quota, take: Take, length: u64, random: bool) {
    let bucket = Bucket::new(quota);
    let start = 12_345_678_901_234_567_u64;
    let (mut now, mut admitted) = (start, 0_u64);
    assert!(
        bucket
            .try_acquire_at(Duration::from_nanos(now), quota.capacity())
            .is_allowed()
    );
    for step in steps(random, length) {
        now += step;
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
            "{quota}: was full, and a full bucket loses what comes back"
        );
    }
    let grid = Grid::new(&quota);
    let came_back = |from: u64, until: u64| {
        (integer(grid.at(until) - grid.at(from)) * &grid.step)
            .floor()
            .to_integer()
    };
    assert_eq!(
        BigInt::from(admitted),
        came_back(start, now),
        "{quota}, {} ns a poll, random: {random}",
        length
    );

    // The same without a grid: not a token too few, and early by less than a step.
    let exact = rate(&quota) * integer(now - start);
    let step = rate(&quota) * integer(quota.resolution().as_nanos());
    assert!(
        integer(admitted) >= (&exact - late(&quota)).floor(),
        "{quota}"
    );
    assert!(integer(admitted) < exact + step, "{quota}");
}

/// What steps of several tokens may hold back.
fn late(quota: &Quota) -> num_rational::BigRational {
    let several = Grid::new(quota).step > integer(1);
    if several {
        rate(quota) * integer(quota.resolution().as_nanos())
    } else {
        integer(0)
    }
}

fn both(quota: &str, take: Take, length: u64) {
    for random in [false, true] {
        admits_the_rate(quota.parse().unwrap(), take, length, random);
    }
}

#[test]
fn one_every_three_seconds_for_a_year() {
    both("1/3s, capacity 1000", Take::All, YEAR / POLLS);
}

#[test]
fn one_an_hour_for_a_year() {
    both("1/hour, capacity 10", Take::One, YEAR / POLLS);
}

#[test]
fn odd_ratios_for_a_year() {
    both("1000003/day, capacity 100000", Take::All, YEAR / POLLS);
    both("123.456/s, capacity 100000", Take::All, YEAR / POLLS);
    both("7/11s, capacity 500, debt 0", Take::All, YEAR / POLLS);
}

#[test]
fn six_million_a_second_for_a_year() {
    both("6000000/s, capacity 4294967295", Take::All, YEAR / POLLS);
}

/// The largest bucket is full after four seconds, so a million polls last some twenty days.
#[test]
fn a_billion_a_second_in_large_bites() {
    both(
        "1000000000/s, capacity 4294967295",
        Take::All,
        1_700_000_000,
    );
}

/// Where the remainder is dropped at each update, this admits four tokens of six.
#[test]
fn six_tokens_in_ten_polls_of_a_hundred_microseconds() {
    both("6000/s, capacity 10000", Take::One, 100_000);
    both("600000000/s, capacity 4000000", Take::All, 100_000);
}

/// A window is never late, or the poll at its very end would miss it, and every window after would
/// be a poll later.
#[test]
fn windows_follow_one_another_without_delay() {
    for (capacity, debt, polls_per_window) in [(10, 0, 60), (1, 0, 7), (1000, u32::MAX >> 8, 4096)]
    {
        let poll = YEAR / POLLS;
        let window = Duration::from_nanos(poll * polls_per_window);
        let quota = Quota::try_interval(capacity, window)
            .and_then(|quota| quota.try_with_debt(debt))
            .unwrap();
        let bucket = Bucket::new(quota);
        let admitted: u64 = (0..POLLS)
            .map(|poll_number| {
                bucket.try_acquire_at(Duration::from_nanos(poll_number * poll), capacity)
            })
            .filter(|decision| decision.is_allowed())
            .count() as u64;
        assert!(
            nanos(quota.resolution()) < poll,
            "a poll tells windows apart"
        );
        assert_eq!(admitted, POLLS.div_ceil(polls_per_window), "{quota}");
    }
}
