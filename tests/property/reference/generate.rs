//! Random quotas over the whole range that is allowed, and random calls.

use std::time::Duration;

use proptest::prelude::*;
use tollgate::Quota;

/// 36525 days.
pub const CENTURY: u64 = 36_525 * 86_400 * 1_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// From `least` to `most`, every number of digits as likely as any other.
pub fn any_size(least: u64, most: u64) -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(move |(number, shift)| (number >> shift).clamp(least, most))
}

pub fn quota() -> impl Strategy<Value = Quota> {
    prop_oneof![3 => greedy(), 1 => interval()]
}

pub fn capacity() -> impl Strategy<Value = u32> {
    prop_oneof![
        3 => 1..=12_u32,
        3 => any_size(1, u64::from(u32::MAX)).prop_map(|capacity| capacity as u32),
        1 => (1..=31_u32, -1..=1_i64).prop_map(|(power, off)| ((1_i64 << power) + off) as u32),
        1 => Just(u32::MAX),
    ]
}

/// Tokens and the nanoseconds in which they come back.
pub fn refill() -> impl Strategy<Value = (u64, u64)> {
    let every_day = prop::sample::select(vec![SECOND, 60 * SECOND, 3600 * SECOND, 86_400 * SECOND]);
    let decimal = (
        1..=99_999_u64,
        prop::sample::select(vec![10, 100, 1000_u64]),
    );
    prop_oneof![
        3 => (1..=1000_u64, every_day),
        3 => (any_size(1, CENTURY), any_size(1, CENTURY)).prop_map(|(a, b)| (a.min(b), a.max(b))),
        1 => decimal.prop_map(|(tokens, parts)| (tokens, parts * SECOND)),
        1 => (1..=7_u64, 1..=7_u64).prop_map(|(tokens, seconds)| (tokens, seconds * SECOND)),
        1 => (0..=100_u64).prop_map(|off| (1, CENTURY - off)),
        1 => (0..=100_u64).prop_map(|off| (SECOND - off, SECOND)),
        1 => Just((1, 1)),
    ]
}

pub fn greedy() -> impl Strategy<Value = Quota> {
    (capacity(), refill(), debt()).prop_map(|(capacity, (tokens, period), debt)| {
        let quota = Quota::new(capacity, tokens, Duration::from_nanos(period)).unwrap();
        with_debt(quota, debt)
    })
}

pub fn interval() -> impl Strategy<Value = Quota> {
    let every_day = prop::sample::select(vec![SECOND, 60 * SECOND, 3600 * SECOND, 86_400 * SECOND]);
    (
        capacity(),
        prop_oneof![any_size(1000, CENTURY), every_day],
        debt(),
    )
        .prop_map(|(capacity, window, debt)| {
            let window = window.max(u64::from(capacity));
            with_debt(
                Quota::try_interval(capacity, Duration::from_nanos(window)).unwrap(),
                debt,
            )
        })
}

fn debt() -> impl Strategy<Value = Option<u32>> {
    prop_oneof![2 => Just(None), 1 => Just(Some(0)), 3 => any_size(1, u64::from(u32::MAX)).prop_map(|debt| Some(debt as u32))]
}

/// With this debt, or where it leaves too little room for time, a smaller one.
fn with_debt(quota: Quota, debt: Option<u32>) -> Quota {
    let halves = std::iter::successors(debt, |&debt| (debt > 0).then_some(debt / 2));
    halves
        .map(|debt| quota.try_with_debt(debt))
        .find_map(Result::ok)
        .unwrap_or(quota)
}

/// When a call is made, seen from the one before.
#[derive(Clone, Debug)]
pub enum When {
    Same,
    Later(u64),
    /// So many tokens' time later (of an interval quota: parts of its window), and some
    /// nanoseconds.
    Tokens(u64, i64),
    /// So many times the grain of time later, and some nanoseconds.
    Grains(u64, i64),
    /// So many eighths of the time the capacity takes to come back, and some nanoseconds.
    Eighths(u64, i64),
    /// When the last answer said that there would be enough, or that the bucket would be full, and
    /// some nanoseconds.
    Promised(i64),
    /// The clock steps back, for good.
    Back(u64),
    /// This call alone is made by one who read the clock so long ago.
    Stale(u64),
    /// Before the horizon, or behind it.
    NearEnd(i64),
    EndOfTime,
}

#[derive(Clone, Debug)]
pub enum Cost {
    Exactly(u32),
    /// Eighths of the capacity.
    Eighths(u64),
    /// What is there, and some more or fewer.
    OfAvailable(i64),
    OfCapacity(i64),
}

#[derive(Clone, Debug)]
pub enum Patience {
    Nanos(u64),
    /// Exactly what it takes, or a nanosecond less or more.
    OfNeed(i64),
    Forever,
}

#[derive(Clone, Debug)]
pub enum Ask {
    Take(Cost),
    Reserve(Cost, Patience),
    /// Undo one of the calls before: so many before the last, or any.
    RefundRecent(usize),
    Refund(prop::sample::Index),
    Reset,
}

pub type Call = (When, Ask);

pub fn when() -> impl Strategy<Value = When> {
    let off = || -1..=1_i64;
    prop_oneof![
        30 => Just(When::Same),
        10 => any_size(1, SECOND).prop_map(When::Later),
        30 => (any_size(1, 1 << 20), off()).prop_map(|(tokens, off)| When::Tokens(tokens, off)),
        15 => (any_size(1, 1 << 20), off()).prop_map(|(grains, off)| When::Grains(grains, off)),
        15 => (1..=20_u64, off()).prop_map(|(eighths, off)| When::Eighths(eighths, off)),
        20 => off().prop_map(When::Promised),
        5 => any_size(1, 1 << 60).prop_map(When::Back),
        10 => any_size(1, 1 << 60).prop_map(When::Stale),
        3 => any_size(1, 1 << 59).prop_map(When::Later),
        1 => (-2..=2_i64).prop_map(When::NearEnd),
        1 => Just(When::EndOfTime),
    ]
}

pub fn cost() -> impl Strategy<Value = Cost> {
    prop_oneof![
        1 => Just(Cost::Exactly(0)),
        3 => Just(Cost::Exactly(1)),
        1 => any_size(1, u64::from(u32::MAX)).prop_map(|cost| Cost::Exactly(cost as u32)),
        4 => (0..=8_u64).prop_map(Cost::Eighths),
        4 => (-1..=1_i64).prop_map(Cost::OfAvailable),
        1 => (-1..=1_i64).prop_map(Cost::OfCapacity),
        1 => Just(Cost::Exactly(u32::MAX)),
    ]
}

pub fn reserve() -> impl Strategy<Value = Ask> {
    let patience = prop_oneof![
        1 => Just(Patience::Nanos(0)),
        2 => any_size(1, u64::MAX).prop_map(Patience::Nanos),
        3 => (-1..=1_i64).prop_map(Patience::OfNeed),
        5 => Just(Patience::Forever),
    ];
    (cost(), patience).prop_map(|(cost, patience)| Ask::Reserve(cost, patience))
}

/// Takes and reservations only.
pub fn charges(count: usize) -> impl Strategy<Value = Vec<Call>> {
    let ask = prop_oneof![2 => cost().prop_map(Ask::Take), 1 => reserve()];
    prop::collection::vec((when(), ask), 1..=count)
}

/// Everything that can be asked of a bucket.
pub fn calls(count: usize) -> impl Strategy<Value = Vec<Call>> {
    let ask = prop_oneof![
        8 => cost().prop_map(Ask::Take),
        6 => reserve(),
        3 => (0..3_usize).prop_map(Ask::RefundRecent),
        4 => any::<prop::sample::Index>().prop_map(Ask::Refund),
        1 => Just(Ask::Reset),
    ];
    prop::collection::vec((when(), ask), 1..=count)
}

/// When the first call is made.
pub fn start() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 3 => any_size(0, 1 << 59)]
}

/// Few tokens, and room for a queue.
pub fn crowded() -> impl Strategy<Value = Quota> {
    let interval = (
        1..=12_u32,
        short_period(),
        prop_oneof![1 => 0..=20_u32, 3 => 20..=100_u32],
    )
        .prop_map(|(capacity, window, debt)| {
            with_debt(
                Quota::try_interval(capacity, Duration::from_nanos(window)).unwrap(),
                Some(debt),
            )
        });
    prop_oneof![2 => crowded_greedy(), 1 => interval]
}

pub fn crowded_greedy() -> impl Strategy<Value = Quota> {
    (
        1..=12_u32,
        1..=9_u64,
        short_period(),
        prop_oneof![1 => 0..=20_u32, 3 => 20..=100_u32],
    )
        .prop_map(|(capacity, tokens, period, debt)| {
            with_debt(
                Quota::new(capacity, tokens, Duration::from_nanos(period)).unwrap(),
                Some(debt),
            )
        })
}

fn short_period() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![1000, 1_000_003, SECOND, 36 * SECOND + 7])
}

/// Many who wait and leave.
pub fn queueing(count: usize) -> impl Strategy<Value = Vec<Call>> {
    let off = || -1..=1_i64;
    let when = prop_oneof![
        12 => Just(When::Same),
        4 => (1..=8_u64, off()).prop_map(|(tokens, off)| When::Tokens(tokens, off)),
        2 => (1..=8_u64, off()).prop_map(|(eighths, off)| When::Eighths(eighths, off)),
        1 => (1..=8_u64, off()).prop_map(|(grains, off)| When::Grains(grains, off)),
        2 => off().prop_map(When::Promised),
        1 => any_size(1, 10 * SECOND).prop_map(When::Stale),
    ];
    let cost =
        || prop_oneof![2 => Just(Cost::Exactly(1)), 3 => (1..=8_u64).prop_map(Cost::Eighths)];
    let ask = prop_oneof![
        3 => cost().prop_map(Ask::Take),
        8 => cost().prop_map(|cost| Ask::Reserve(cost, Patience::Forever)),
        2 => (cost(), any_size(0, 100 * SECOND)).prop_map(|(cost, time)| Ask::Reserve(cost, Patience::Nanos(time))),
        6 => (0..6_usize).prop_map(Ask::RefundRecent),
        1 => any::<prop::sample::Index>().prop_map(Ask::Refund),
    ];
    prop::collection::vec((when, ask), 1..=count)
}
