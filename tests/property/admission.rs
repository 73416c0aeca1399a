//! Absence of over-admission: in any time span of any history, a bucket admits at most its capacity
//! plus the refill of that span. Histories have takes, reservations, refunds in any order and after
//! any time, resets, stale and backward clocks, and threads. The check does not depend on the
//! implementation: it records the whole history and checks every time span of it.
//!
//! Mutations that these tests caught:
//!
//! - any history: a wrapping difference in `refill_to`; the stamp set to an earlier time; a refund
//!   of `min(cost, spent)`, or of `spent` after the charge minus the time since (which mints tokens
//!   when refunds overtake one another); a window that begins at its first use after an earlier
//!   window ended; an interval refund in a later window; no horizon; a reset that does not void the
//!   refunds of earlier decisions; `ready_at` rounded down where a tick refills several tokens.
//! - a queue of waiters: a refund from the middle that pulls the end of the queue back, greedy and
//!   interval; an interval refund including the units that the charge had skipped; a hole sold past
//!   its end, or twice.
//! - threads with separate clocks: a store in place of the CAS, a wrapping difference, a stamp that
//!   decreases.
//! - threads that reserve and leave: a store in place of the CAS, a hole sold past its end, or
//!   twice.

use std::{collections::BTreeMap, thread, time::Duration};

use crate::reference::{
    driver::{Driver, Event},
    integer, nanos, rate, strategies,
    ticks::HORIZON,
};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;
use proptest::prelude::*;
use tollgate::{Bucket, DecisionView, Quota};

/// Admitted charge that was not refunded.
#[derive(Clone, Debug)]
struct Admission {
    /// Index of the decision.
    number: usize,
    cost: u32,
    /// Time at which the tokens may be used.
    time: u64,
    /// End of the window in which the tokens are used, for interval quotas; `None` when it is past
    /// the horizon.
    window_end: Option<u64>,
}

/// Charges admitted since the last reset.
#[derive(Debug)]
struct History {
    quota: Quota,
    admissions: Vec<Admission>,
    /// Time of the bucket: that of the latest charge, or later.
    time: u64,
    resets: u64,
}

impl History {
    fn new(quota: Quota) -> History {
        History {
            quota,
            admissions: Vec::new(),
            time: 0,
            resets: 0,
        }
    }

    fn add(&mut self, number: usize, now: Duration, decision: &DecisionView) {
        if decision.is_refused() || decision.cost() == 0 {
            return;
        }
        let now = nanos(now);
        let ready = now.saturating_add(nanos(decision.wait()));
        let window_end = Some(decision.reset_after())
            .filter(|&end| end < Duration::MAX)
            .map(|end| now + nanos(end));
        self.time = self.time.max(now);
        // A clock behind that of an earlier charge is stale: the charge is made and used at the
        // later time.
        self.admissions.push(Admission {
            number,
            cost: decision.cost(),
            time: ready.max(self.time).min(HORIZON),
            window_end,
        });
    }

    fn refunded(&mut self, number: usize) {
        self.admissions.retain(|each| each.number != number);
    }

    /// Checks that any time span has at most the capacity plus the refill of the span and of one
    /// tick.
    fn check(&self) -> Result<(), String> {
        if self.quota.is_interval() {
            self.check_windows()
        } else {
            self.check_time_spans()
        }
    }

    fn check_time_spans(&self) -> Result<(), String> {
        let mut admissions: Vec<_> = self.admissions.iter().collect();
        admissions.sort_by_key(|each| each.time);
        let rate = rate(&self.quota);
        let limit =
            integer(self.quota.capacity()) + &rate * integer(self.quota.resolution().as_nanos());
        // Maximum, over the time spans that end now, of the tokens admitted minus the refill.
        let (mut most, mut before) = (BigRational::zero(), 0);
        for each in admissions {
            most = (most - &rate * integer(each.time - before)).max(BigRational::zero())
                + integer(each.cost);
            before = each.time;
            if most > limit {
                return Err(format!(
                    "a time span that ends at {}: expected at most {limit} tokens, got {most}: {self:?}",
                    each.time
                ));
            }
        }
        Ok(())
    }

    /// Checks that every window has at most the capacity, and that windows do not overlap.
    fn check_windows(&self) -> Result<(), String> {
        let mut windows: BTreeMap<u64, u64> = BTreeMap::new();
        for each in &self.admissions {
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
        // Tokens are used within their window. (A reset moves the next change to the next tick.)
        let delay = self.resets * nanos(self.quota.resolution());
        let inside = |each: &Admission| {
            each.window_end
                .is_none_or(|end| each.time < end && each.time + length + delay >= end)
        };
        match self.admissions.iter().find(|each| !inside(each)) {
            Some(each) => Err(format!("{each:?} is used outside of its window: {self:?}")),
            None => Ok(()),
        }
    }
}

fn check_history(
    quota: Quota,
    start: u64,
    calls: &[strategies::Call],
) -> Result<(), TestCaseError> {
    let (mut driver, mut history) = (Driver::new(quota, start), History::new(quota));
    let mut number = 0;
    for call in calls {
        match driver.call(call) {
            None => continue,
            Some(Event::Decided { now, decision, .. }) => {
                history.add(number, now, &decision);
                number += 1;
            }
            Some(Event::Refunded {
                number,
                gave_back: true,
            }) => history.refunded(number),
            Some(Event::Refunded {
                gave_back: false, ..
            }) => {}
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

/// Returns the tokens that threads admit in total. Each thread has its own clock, which repeats its
/// times.
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

/// Returns the history of threads that reserve at the same time, some of which refund the
/// reservation.
fn reserve_in_threads(bucket: &Bucket, costs: &[Vec<(u32, bool)>], now: Duration) -> History {
    let mut history = History::new(bucket.quota());
    thread::scope(|scope| {
        let queue = |costs: &[(u32, bool)]| {
            let reserve = |&(cost, leaves): &(u32, bool)| {
                let decision = bucket.reserve_at(now, cost, Duration::MAX);
                let view = decision.view();
                (view, leaves && bucket.refund(decision).unwrap())
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

/// Number of times that a thread repeats its times.
const ROUNDS: usize = 50;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_time_span_admits_too_many_tokens(
        quota in strategies::quota(), start in strategies::start(), calls in strategies::calls(60),
    ) {
        check_history(quota, start, &calls)?;
    }

    #[test]
    fn no_time_span_with_a_queue_admits_too_many_tokens(
        quota in strategies::queueing_quota(), start in strategies::start(), calls in strategies::queueing_calls(60),
    ) {
        check_history(quota, start, &calls)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: ProptestConfig::default().cases / 5, ..ProptestConfig::default()
    })]

    #[test]
    fn threads_with_separate_clocks_do_not_admit_too_many_tokens(
        capacity in 1..=20_000_u32,
        interval in any::<bool>(),
        times in prop::collection::vec(prop::collection::vec(0..=40_u64, 50..100), 2..=4),
        cost in 1..=3_u32,
    ) {
        let minute = Duration::from_secs(60);
        let quota = if interval { Quota::interval(capacity, minute) } else { Quota::per_minute(capacity) };
        // An eighth of the time in which the capacity is refilled.
        let eighth = nanos(minute) / 8;
        let times: Vec<Vec<u64>> = times.iter().map(|times| times.iter().map(|time| time * eighth / 16).collect()).collect();
        let last = times.iter().flatten().max().copied().unwrap_or_default();

        let admitted = admitted_by_threads(&Bucket::new(quota), &times, cost);
        let refill = if interval {
            // A window opens with a request, so at most one more window than fits the time.
            BigInt::from(last / nanos(minute)) * capacity
        } else {
            (rate(&quota) * integer(u128::from(last) + quota.resolution().as_nanos())).to_integer()
        };
        prop_assert!(BigInt::from(admitted) <= refill + capacity, "{} admitted {}", quota, admitted);
    }

    #[test]
    fn threads_that_reserve_and_leave_do_not_admit_too_many_tokens(
        capacity in 1..=6_u32,
        costs in prop::collection::vec(prop::collection::vec((1..=6_u32, any::<bool>()), 100..200), 2..=4),
    ) {
        let quota = Quota::per_second(1).with_capacity(capacity).with_debt(10_000);
        let history = reserve_in_threads(&Bucket::new(quota), &costs, Duration::from_secs(1000));
        history.check().map_err(TestCaseError::fail)?;
    }
}
