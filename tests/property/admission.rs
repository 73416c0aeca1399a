//! A bucket never admits more than its capacity and what comes back, in any time of any history:
//! takes, reservations, refunds in any order and long after, resets, stale and backward clocks, and
//! threads. The check knows nothing of how the bucket works: it keeps the whole history and looks
//! at every window of it.
//!
//! Seen to fail when the code was broken on purpose:
//!
//! - any history: a wrapping difference in `settle`; the stamp set to a time before it; a refund of
//!   `min(cost, spent)`, or of what was spent after the charge less the time since (which mints
//!   when refunds overtake one another); a window that begins at its first use after an earlier one
//!   ended; an interval refund in a later window; no horizon; a reset that leaves earlier decisions
//!   their refund; `ready` rounded down where a step brings several tokens.
//! - a crowded queue: a refund from the middle that pulls the end back, greedy and interval; an
//!   interval refund with what the charge had skipped; a hole sold past its end, or twice.
//! - threads with clocks of their own: a store in place of the swap, a wrapping difference, a stamp
//!   that moves back.
//! - threads that queue and leave: a store in place of the swap, a hole sold past its end, or
//!   twice.

use std::{collections::BTreeMap, thread, time::Duration};

use crate::reference::{
    generate,
    grid::HORIZON,
    integer, nanos,
    play::{Event, Player},
    rate,
};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;
use proptest::prelude::*;
use tollgate::{Bucket, Decision, Quota};

/// A charge that was not given back.
#[derive(Clone, Debug)]
struct Use {
    /// The decision's number.
    number: usize,
    cost: u32,
    /// When the tokens may be used.
    time: u64,
    /// Of an interval quota: when the window ends in which they are used; `None`: behind the
    /// horizon.
    window_end: Option<u64>,
}

/// What was admitted since the last reset.
#[derive(Debug)]
struct History {
    quota: Quota,
    uses: Vec<Use>,
    /// The time that the bucket goes by: of the last charge, or later.
    time: u64,
    resets: u64,
}

impl History {
    fn new(quota: Quota) -> History {
        History {
            quota,
            uses: Vec::new(),
            time: 0,
            resets: 0,
        }
    }

    fn add(&mut self, number: usize, now: Duration, decision: &Decision) {
        if decision.is_refused() || decision.cost() == 0 {
            return;
        }
        let now = nanos(now);
        let ready = now.saturating_add(nanos(decision.wait()));
        let window_end = Some(decision.reset_after())
            .filter(|&end| end < Duration::MAX)
            .map(|end| now + nanos(end));
        self.time = self.time.max(now);
        // A clock behind that of an earlier charge is a stale one; the charge is made, and used, at
        // the later time.
        self.uses.push(Use {
            number,
            cost: decision.cost(),
            time: ready.max(self.time).min(HORIZON),
            window_end,
        });
    }

    fn refunded(&mut self, number: usize) {
        self.uses.retain(|each| each.number != number);
    }

    /// In any time, at most the capacity and what comes back in that time and in one step.
    fn check(&self) -> Result<(), String> {
        if self.quota.is_interval() {
            self.check_windows()
        } else {
            self.check_any_time()
        }
    }

    fn check_any_time(&self) -> Result<(), String> {
        let mut uses: Vec<_> = self.uses.iter().collect();
        uses.sort_by_key(|each| each.time);
        let rate = rate(&self.quota);
        let limit =
            integer(self.quota.capacity()) + &rate * integer(self.quota.resolution().as_nanos());
        // The most that any window which ends now has admitted beyond what came back in it.
        let (mut most, mut before) = (BigRational::zero(), 0);
        for each in uses {
            most = (most - &rate * integer(each.time - before)).max(BigRational::zero())
                + integer(each.cost);
            before = each.time;
            if most > limit {
                return Err(format!(
                    "{most} in a window that ends at {}, and {limit} at most: {self:?}",
                    each.time
                ));
            }
        }
        Ok(())
    }

    /// In every window at most the capacity; and windows in which something is used do not overlap.
    fn check_windows(&self) -> Result<(), String> {
        let mut windows: BTreeMap<u64, u64> = BTreeMap::new();
        for each in &self.uses {
            *windows
                .entry(each.window_end.unwrap_or(u64::MAX))
                .or_default() += u64::from(each.cost);
        }
        let length = nanos(self.quota.period());
        let mut before = 0;
        for (&end, &used) in &windows {
            if used > u64::from(self.quota.capacity()) {
                return Err(format!("{used} in the window that ends at {end}: {self:?}"));
            }
            if before > 0 && end < u64::MAX && end - before < length {
                return Err(format!(
                    "windows that end at {before} and {end} overlap: {self:?}"
                ));
            }
            before = end;
        }
        // Nothing is used outside of its window. (A reset moves the next change to the next step.)
        let delay = self.resets * nanos(self.quota.resolution());
        let inside = |each: &Use| {
            each.window_end
                .is_none_or(|end| each.time < end && each.time + length + delay >= end)
        };
        match self.uses.iter().find(|each| !inside(each)) {
            Some(each) => Err(format!("{each:?} is used outside of its window: {self:?}")),
            None => Ok(()),
        }
    }
}

fn never_too_much(quota: Quota, start: u64, calls: &[generate::Call]) -> Result<(), TestCaseError> {
    let (mut player, mut history) = (Player::new(quota, start), History::new(quota));
    let mut number = 0;
    for call in calls {
        match player.play(call) {
            None => continue,
            Some(Event::Decided { now, decision, .. }) => {
                history.add(number, now, &decision);
                number += 1;
            }
            Some(Event::Refunded { number, gave: true }) => history.refunded(number),
            Some(Event::Refunded { gave: false, .. }) => {}
            Some(Event::Reset { now }) => {
                let (time, resets) = (history.time.max(nanos(now)), history.resets + 1);
                history = History {
                    time,
                    resets,
                    ..History::new(quota)
                };
            }
        }
        history
            .check()
            .map_err(|why| TestCaseError::fail(format!("{quota}: {call:?}: {why}")))?;
    }
    Ok(())
}

/// What threads admit together, each on a clock of its own, over and over.
fn admitted_by_threads(bucket: &Bucket, times: &[Vec<u64>], cost: u32) -> u64 {
    thread::scope(|scope| {
        let take = |times: &[u64]| {
            let admitted = |&&time: &&u64| {
                bucket
                    .try_acquire_at(Duration::from_nanos(time), cost)
                    .is_allowed()
            };
            times
                .iter()
                .cycle()
                .take(ROUNDS * times.len())
                .filter(admitted)
                .count() as u64
                * u64::from(cost)
        };
        let threads: Vec<_> = times
            .iter()
            .map(|times| scope.spawn(move || take(times)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    })
}

/// Threads that reserve and leave, all at one time; what was not given back, as a history.
fn queued_by_threads(bucket: &Bucket, costs: &[Vec<(u32, bool)>], now: Duration) -> History {
    let mut history = History::new(bucket.quota());
    thread::scope(|scope| {
        let queue = |costs: &[(u32, bool)]| {
            let reserve = |&(cost, leaves): &(u32, bool)| {
                let decision = bucket.reserve_at(now, cost, Duration::MAX);
                (decision, leaves && bucket.refund(decision))
            };
            costs
                .iter()
                .map(reserve)
                .filter(|(_, left)| !left)
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = costs
            .iter()
            .map(|costs| scope.spawn(move || queue(costs)))
            .collect();
        for (decision, _) in threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
        {
            history.add(0, now, &decision);
        }
    });
    history
}

/// How often threads go through their times.
const ROUNDS: usize = 50;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_window_of_any_history_admits_too_much(
        quota in generate::quota(), start in generate::start(), calls in generate::calls(60),
    ) {
        never_too_much(quota, start, &calls)?;
    }

    #[test]
    fn no_window_of_a_crowded_queue_admits_too_much(
        quota in generate::crowded(), start in generate::start(), calls in generate::queueing(60),
    ) {
        never_too_much(quota, start, &calls)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: ProptestConfig::default().cases / 5, ..ProptestConfig::default()
    })]

    #[test]
    fn threads_with_clocks_of_their_own_admit_no_more(
        capacity in 1..=20_000_u32,
        interval in any::<bool>(),
        times in prop::collection::vec(prop::collection::vec(0..=40_u64, 50..100), 2..=4),
        cost in 1..=3_u32,
    ) {
        let minute = Duration::from_secs(60);
        let quota = if interval { Quota::interval(capacity, minute) } else { Quota::per_minute(capacity) };
        // Eighths of the time the capacity takes to come back.
        let eighth = nanos(minute) / 8;
        let times: Vec<Vec<u64>> = times.iter().map(|times| times.iter().map(|time| time * eighth / 16).collect()).collect();
        let last = times.iter().flatten().max().copied().unwrap_or_default();

        let admitted = admitted_by_threads(&Bucket::new(quota), &times, cost);
        let came_back = if interval {
            // A window opens with a request, so at most one more than fit in.
            BigInt::from(last / nanos(minute)) * capacity
        } else {
            (rate(&quota) * integer(u128::from(last) + quota.resolution().as_nanos())).to_integer()
        };
        prop_assert!(BigInt::from(admitted) <= came_back + capacity, "{} admitted {}", quota, admitted);
    }

    #[test]
    fn threads_that_queue_and_leave_admit_no_more(
        capacity in 1..=6_u32,
        costs in prop::collection::vec(prop::collection::vec((1..=6_u32, any::<bool>()), 100..200), 2..=4),
    ) {
        let quota = Quota::per_second(1).with_capacity(capacity).with_debt(10_000);
        let history = queued_by_threads(&Bucket::new(quota), &costs, Duration::from_secs(1000));
        history.check().map_err(TestCaseError::fail)?;
    }
}
