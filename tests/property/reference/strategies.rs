//! Strategies for random quotas over the whole allowed range, and for random calls.

use std::time::Duration;

use proptest::prelude::*;
use tollgate::Quota;

/// 36525 days.
pub const CENTURY: u64 = 36_525 * 86_400 * 1_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// Numbers from `least` to `most`, with all numbers of digits equally likely.
pub fn log_uniform(least: u64, most: u64) -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(move |(number, shift)| (number >> shift).clamp(least, most))
}

pub fn quota() -> impl Strategy<Value = Quota> {
    prop_oneof![3 => greedy_quota(), 1 => interval_quota()]
}

pub fn capacity() -> impl Strategy<Value = u32> {
    prop_oneof![
        3 => 1..=12_u32,
        3 => log_uniform(1, u64::from(u32::MAX)).prop_map(|capacity| capacity as u32),
        1 => (1..=31_u32, -1..=1_i64).prop_map(|(power, offset)| ((1_i64 << power) + offset) as u32),
        1 => Just(u32::MAX),
    ]
}

/// Tokens, and the nanoseconds in which they are refilled.
pub fn refill() -> impl Strategy<Value = (u64, u64)> {
    let common_period =
        prop::sample::select(vec![SECOND, 60 * SECOND, 3600 * SECOND, 86_400 * SECOND]);
    let decimal = (
        1..=99_999_u64,
        prop::sample::select(vec![10, 100, 1000_u64]),
    );
    prop_oneof![
        3 => (1..=1000_u64, common_period),
        3 => (log_uniform(1, CENTURY), log_uniform(1, CENTURY)).prop_map(|(a, b)| (a.min(b), a.max(b))),
        1 => decimal.prop_map(|(tokens, parts)| (tokens, parts * SECOND)),
        1 => (1..=7_u64, 1..=7_u64).prop_map(|(tokens, seconds)| (tokens, seconds * SECOND)),
        1 => (0..=100_u64).prop_map(|offset| (1, CENTURY - offset)),
        1 => (0..=100_u64).prop_map(|offset| (SECOND - offset, SECOND)),
        1 => Just((1, 1)),
    ]
}

pub fn greedy_quota() -> impl Strategy<Value = Quota> {
    (capacity(), refill()).prop_map(|(capacity, (tokens, period))| {
        Quota::new(capacity, tokens, Duration::from_nanos(period)).unwrap()
    })
}

pub fn interval_quota() -> impl Strategy<Value = Quota> {
    let common_period =
        prop::sample::select(vec![SECOND, 60 * SECOND, 3600 * SECOND, 86_400 * SECOND]);
    (
        capacity(),
        prop_oneof![log_uniform(1000, CENTURY), common_period],
    )
        .prop_map(|(capacity, window)| {
            let window = window.max(u64::from(capacity));
            Quota::try_interval(capacity, Duration::from_nanos(window)).unwrap()
        })
}

/// Time of a call, relative to the previous call.
#[derive(Clone, Debug)]
pub enum When {
    Same,
    Later(u64),
    /// Later by the time that refills so many tokens (for interval quotas: by parts of the window),
    /// and an offset in nanoseconds.
    Tokens(u64, i64),
    /// Later by so many ticks, and an offset in nanoseconds.
    Ticks(u64, i64),
    /// Later by so many eighths of the time that refills the capacity, and an offset in
    /// nanoseconds.
    Eighths(u64, i64),
    /// At `retry_after` of the last decision, or at its `reset_after` if it was allowed, and an
    /// offset in nanoseconds.
    RetryOrReset(i64),
    /// Earlier: the clock steps back, and stays back.
    Backward(u64),
    /// Earlier, for this call only: its caller read the clock so long ago.
    Stale(u64),
    /// Near the horizon, by an offset in nanoseconds.
    NearHorizon(i64),
    /// The latest time that a `Duration` expresses.
    Latest,
}

#[derive(Clone, Debug)]
pub enum Cost {
    Exactly(u32),
    /// Eighths of the capacity.
    Eighths(u64),
    /// The available tokens, and an offset.
    Available(i64),
    /// The capacity, and an offset.
    Capacity(i64),
}

#[derive(Clone, Debug)]
pub enum MaxWait {
    Nanos(u64),
    /// The wait that is needed, and an offset in nanoseconds.
    Needed(i64),
    Forever,
}

#[derive(Clone, Debug)]
pub enum Operation {
    Take(Cost),
    Reserve(Cost, MaxWait),
    /// Refunds a recent charge: this many before the last one.
    RefundRecent(usize),
    /// Refunds any earlier decision.
    Refund(prop::sample::Index),
    Reset,
    Pause(Length),
    /// Tells the bucket that the clock has stepped back.
    Rebase,
}

/// Length of a pause.
#[derive(Clone, Debug)]
pub enum Length {
    Nanos(u64),
    /// The time that refills so many tokens, and an offset in nanoseconds.
    Tokens(u64, i64),
    /// Eighths of the time that refills the capacity, and an offset in nanoseconds.
    Eighths(u64, i64),
    Forever,
}

pub type Call = (When, Operation);

pub fn when() -> impl Strategy<Value = When> {
    let offset = || -1..=1_i64;
    prop_oneof![
        30 => Just(When::Same),
        10 => log_uniform(1, SECOND).prop_map(When::Later),
        30 => (log_uniform(1, 1 << 20), offset()).prop_map(|(tokens, offset)| When::Tokens(tokens, offset)),
        15 => (log_uniform(1, 1 << 20), offset()).prop_map(|(ticks, offset)| When::Ticks(ticks, offset)),
        15 => (1..=20_u64, offset()).prop_map(|(eighths, offset)| When::Eighths(eighths, offset)),
        20 => offset().prop_map(When::RetryOrReset),
        5 => log_uniform(1, 1 << 60).prop_map(When::Backward),
        10 => log_uniform(1, 1 << 60).prop_map(When::Stale),
        3 => log_uniform(1, 1 << 59).prop_map(When::Later),
        1 => (-2..=2_i64).prop_map(When::NearHorizon),
        1 => Just(When::Latest),
    ]
}

pub fn cost() -> impl Strategy<Value = Cost> {
    prop_oneof![
        1 => Just(Cost::Exactly(0)),
        3 => Just(Cost::Exactly(1)),
        1 => log_uniform(1, u64::from(u32::MAX)).prop_map(|cost| Cost::Exactly(cost as u32)),
        4 => (0..=8_u64).prop_map(Cost::Eighths),
        4 => (-1..=1_i64).prop_map(Cost::Available),
        1 => (-1..=1_i64).prop_map(Cost::Capacity),
        1 => Just(Cost::Exactly(u32::MAX)),
    ]
}

pub fn reserve() -> impl Strategy<Value = Operation> {
    let max_wait = prop_oneof![
        1 => Just(MaxWait::Nanos(0)),
        2 => log_uniform(1, u64::MAX).prop_map(MaxWait::Nanos),
        3 => (-1..=1_i64).prop_map(MaxWait::Needed),
        5 => Just(MaxWait::Forever),
    ];
    (cost(), max_wait).prop_map(|(cost, max_wait)| Operation::Reserve(cost, max_wait))
}

fn length() -> impl Strategy<Value = Length> {
    let offset = || -1..=1_i64;
    prop_oneof![
        2 => log_uniform(0, 1 << 59).prop_map(Length::Nanos),
        4 => (1..=8_u64, offset()).prop_map(|(tokens, offset)| Length::Tokens(tokens, offset)),
        8 => (1..=20_u64, offset()).prop_map(|(eighths, offset)| Length::Eighths(eighths, offset)),
        1 => Just(Length::Forever),
    ]
}

/// Takes and reservations only.
pub fn charges(count: usize) -> impl Strategy<Value = Vec<Call>> {
    let operation = prop_oneof![2 => cost().prop_map(Operation::Take), 1 => reserve()];
    prop::collection::vec((when(), operation), 1..=count)
}

/// Calls of every kind.
pub fn calls(count: usize) -> impl Strategy<Value = Vec<Call>> {
    let operation = prop_oneof![
        8 => cost().prop_map(Operation::Take),
        6 => reserve(),
        3 => (0..3_usize).prop_map(Operation::RefundRecent),
        4 => any::<prop::sample::Index>().prop_map(Operation::Refund),
        1 => Just(Operation::Reset),
        1 => length().prop_map(Operation::Pause),
        1 => Just(Operation::Rebase),
    ];
    prop::collection::vec((when(), operation), 1..=count)
}

/// Time of the first call.
pub fn start() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 3 => log_uniform(0, 1 << 59)]
}

/// Quotas with few tokens, so that waiters queue.
pub fn queueing_quota() -> impl Strategy<Value = Quota> {
    let interval = (1..=12_u32, short_period()).prop_map(|(capacity, window)| {
        Quota::try_interval(capacity, Duration::from_nanos(window)).unwrap()
    });
    prop_oneof![2 => queueing_greedy_quota(), 1 => interval]
}

pub fn queueing_greedy_quota() -> impl Strategy<Value = Quota> {
    (1..=12_u32, 1..=9_u64, short_period()).prop_map(|(capacity, tokens, period)| {
        Quota::new(capacity, tokens, Duration::from_nanos(period)).unwrap()
    })
}

fn short_period() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![1000, 1_000_003, SECOND, 36 * SECOND + 7])
}

/// Calls of many waiters that reserve and leave.
pub fn queueing_calls(count: usize) -> impl Strategy<Value = Vec<Call>> {
    let offset = || -1..=1_i64;
    let when = prop_oneof![
        12 => Just(When::Same),
        4 => (1..=8_u64, offset()).prop_map(|(tokens, offset)| When::Tokens(tokens, offset)),
        2 => (1..=8_u64, offset()).prop_map(|(eighths, offset)| When::Eighths(eighths, offset)),
        1 => (1..=8_u64, offset()).prop_map(|(ticks, offset)| When::Ticks(ticks, offset)),
        2 => offset().prop_map(When::RetryOrReset),
        1 => log_uniform(1, 10 * SECOND).prop_map(When::Stale),
        1 => log_uniform(1, 10 * SECOND).prop_map(When::Backward),
    ];
    let cost =
        || prop_oneof![2 => Just(Cost::Exactly(1)), 3 => (1..=8_u64).prop_map(Cost::Eighths)];
    let operation = prop_oneof![
        3 => cost().prop_map(Operation::Take),
        8 => cost().prop_map(|cost| Operation::Reserve(cost, MaxWait::Forever)),
        2 => (cost(), log_uniform(0, 100 * SECOND)).prop_map(|(cost, time)| Operation::Reserve(cost, MaxWait::Nanos(time))),
        6 => (0..6_usize).prop_map(Operation::RefundRecent),
        1 => any::<prop::sample::Index>().prop_map(Operation::Refund),
        2 => length().prop_map(Operation::Pause),
        1 => Just(Operation::Rebase),
    ];
    prop::collection::vec((when, operation), 1..=count)
}
