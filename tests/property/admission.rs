//! Absence of over-admission: in any time span of any history, a bucket admits at most its capacity
//! plus the refill of that span. Histories have takes, reservations, refunds in any order and after
//! any time, resets, pauses, rebases, stale and backward clocks, and threads. The check does not depend on the
//! implementation: it records the whole history and checks every time span of it.
//!
//! Mutations that these tests caught:
//!
//! - any history: a wrapping difference in `refill_to`; the stamp set to an earlier time; a refund
//!   of `min(cost, spent)`, or of `spent` after the charge minus the time since (which mints tokens
//!   when refunds overtake one another); a window that begins at its first use after an earlier
//!   window ended; an interval refund in a later window; no horizon; a reset that does not void the
//!   refunds of earlier decisions; `ready_at` rounded down where a tick refills several tokens; a
//!   rebase that forgets what was spent; reservations ahead of time not bounded.
//! - a queue of waiters: a refund from the middle that pulls the end of the queue back, greedy and
//!   interval; an interval refund including the units that the charge had skipped; a pause that does
//!   not void refunds, forgets reservations, or begins a window before a sold one has ended.
//! - threads with separate clocks: a store in place of the CAS, a wrapping difference, a stamp that
//!   decreases.
//! - threads that reserve and leave: a store in place of the CAS.

use std::{collections::BTreeMap, fmt::Display, thread, time::Duration};

use crate::reference::{
    driver::{Driver, Event},
    integer, nanos, rate, strategies,
    ticks::TickScale,
};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;
use proptest::prelude::*;
use tollgate::{Bucket, DecisionView, Quota};

/// Admitted charge that was not refunded. Times are ticks, with their fraction.
#[derive(Clone, Debug)]
struct Admission {
    /// Index of the decision.
    number: usize,
    cost: u32,
    /// Time at which the tokens may be used.
    time: BigRational,
    /// End of the window in which the tokens are used, for interval quotas; `None` when it is past
    /// the horizon.
    window_end: Option<BigInt>,
}

/// Charges admitted since the last reset.
#[derive(Debug)]
struct History {
    quota: Quota,
    scale: TickScale,
    admissions: Vec<Admission>,
    /// Time of the bucket: that of the latest charge, or later.
    time: BigRational,
    /// Time before which a pause lets nothing pass.
    paused_until: u64,
}

impl History {
    fn new(quota: Quota) -> History {
        History {
            quota,
            scale: TickScale::new(&quota),
            admissions: Vec::new(),
            time: BigRational::zero(),
            paused_until: 0,
        }
    }

    /// Adds a decision.
    ///
    /// # Errors
    /// When it lets tokens pass during a pause.
    fn add(&mut self, number: usize, now: Duration, decision: &DecisionView) -> Result<(), String> {
        if decision.is_refused() || decision.cost() == 0 {
            return Ok(());
        }
        let now = nanos(now);
        let ready = now.saturating_add(nanos(decision.wait()));
        let window_end = Some(decision.reset_after())
            .filter(|&end| end < Duration::MAX)
            .map(|end| self.scale.tick(now + nanos(end)));
        self.time = self.scale.exact_tick(now).max(self.time.clone());
        // A clock behind that of an earlier charge is stale: the charge is made and used at the
        // later time.
        let time = self.scale.exact_tick(ready).max(self.time.clone());
        if time.floor() < integer(self.scale.tick(self.paused_until)) {
            return Err(format!("{decision:?} is ready during a pause: {self:?}"));
        }
        self.admissions.push(Admission {
            number,
            cost: decision.cost(),
            time,
            window_end,
        });
        Ok(())
    }

    fn refunded(&mut self, number: usize) {
        let paused_until = integer(self.scale.tick(self.paused_until));
        let refunded = |each: &Admission| each.number == number && each.time >= paused_until;
        // In a pause that is shorter than the reservations, an interval quota grants what is given
        // back.
        if self.quota.is_interval() && self.admissions.iter().any(refunded) {
            self.paused_until = 0;
        }
        self.admissions.retain(|each| each.number != number);
    }

    /// Applies a reset that has moved the bucket to tick `stamp`.
    fn reset(&mut self, stamp: u64) {
        self.admissions.clear();
        self.time = integer(stamp).max(self.time.clone());
        self.paused_until = 0;
    }

    /// Applies a pause that has moved the bucket to tick `stamp`.
    fn paused(&mut self, now: Duration, time: Duration, stamp: u64) {
        let until = nanos(now.saturating_add(time));
        let tick = self.scale.tick(until);
        // A pause may be shorter than a tick, and to a clock that is behind the bucket's time it
        // may be over before it begins.
        if tick > self.scale.tick(nanos(now)) && integer(tick) > self.time {
            self.paused_until = self.paused_until.max(until);
        }
        self.time = integer(stamp).max(self.time.clone());
    }

    /// Moves the history back by the ticks by which a rebase has moved the bucket: both go on at
    /// the same distance, so that a rebase alone adds no tokens.
    fn rebased(&mut self, ticks: u64) {
        self.time -= integer(ticks);
        for each in &mut self.admissions {
            each.time -= integer(ticks);
            each.window_end = each.window_end.take().map(|end| end - ticks);
        }
        // An admission past the horizon has an unknown end.
        if ticks > 0 {
            self.admissions
                .retain(|each| !self.quota.is_interval() || each.window_end.is_some());
            // A rebase ends a pause.
            self.paused_until = 0;
        }
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
        admissions.sort_by(|one, other| one.time.cmp(&other.time));
        let refill = &self.scale.refill_per_tick;
        let limit = integer(self.quota.capacity()) + refill;
        // Maximum, over the time spans that end now, of the tokens admitted minus the refill.
        let mut most = BigRational::zero();
        let mut before = None;
        for each in admissions {
            let elapsed = &each.time - before.unwrap_or(&each.time);
            most = (most - refill * elapsed).max(BigRational::zero()) + integer(each.cost);
            before = Some(&each.time);
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
        let mut windows: BTreeMap<&BigInt, u64> = BTreeMap::new();
        for each in &self.admissions {
            if let Some(end) = &each.window_end {
                *windows.entry(end).or_default() += u64::from(each.cost);
            }
        }
        let past_horizon = self
            .admissions
            .iter()
            .filter(|each| each.window_end.is_none());
        let after_the_last = past_horizon.map(|each| u64::from(each.cost)).sum();
        let length = self.scale.refill_per_tick.recip().to_integer();
        let mut before: Option<&BigInt> = None;
        for (end, used) in windows {
            self.check_window(used, end)?;
            if before.is_some_and(|before| end - before < length) {
                return Err(format!(
                    "windows that end at {before:?} and {end} overlap: {self:?}"
                ));
            }
            before = Some(end);
        }
        self.check_window(after_the_last, &"the horizon")?;
        // Tokens are used within their window.
        let inside = |each: &Admission| {
            each.window_end.as_ref().is_none_or(|end| {
                each.time < integer(end.clone())
                    && &each.time + integer(&length + 1) > integer(end.clone())
            })
        };
        match self.admissions.iter().find(|each| !inside(each)) {
            Some(each) => Err(format!("{each:?} is used outside of its window: {self:?}")),
            None => Ok(()),
        }
    }

    fn check_window(&self, used: u64, end: &dyn Display) -> Result<(), String> {
        if used > u64::from(self.quota.capacity()) {
            return Err(format!("{used} in the window that ends at {end}: {self:?}"));
        }
        Ok(())
    }
}

/// Returns the tick of the bucket's last change, which it prints.
fn stamp(bucket: &Bucket) -> u64 {
    let text = format!("{bucket:?}");
    let (_, from) = text.split_once("stamp: ").unwrap();
    let digits = from.split(|letter: char| !letter.is_ascii_digit()).next();
    digits.unwrap().parse().unwrap()
}

fn check_history(
    quota: Quota,
    start: u64,
    calls: &[strategies::Call],
) -> Result<(), TestCaseError> {
    let (mut driver, mut history) = (Driver::new(quota, start), History::new(quota));
    let mut number = 0;
    for call in calls {
        let before = stamp(&driver.bucket);
        let failure = |why| TestCaseError::fail(format!("{quota}: {call:?}: {why}"));
        match driver.call(call) {
            None => continue,
            Some(Event::Decided { now, decision, .. }) => {
                history.add(number, now, &decision).map_err(failure)?;
                number += 1;
            }
            Some(Event::Refunded {
                number,
                gave_back: true,
            }) => history.refunded(number),
            Some(Event::Refunded {
                gave_back: false, ..
            }) => {}
            Some(Event::Reset { .. }) => history.reset(stamp(&driver.bucket)),
            Some(Event::Paused { now, time }) => {
                history.paused(now, time, stamp(&driver.bucket));
            }
            Some(Event::Rebased { .. }) => history.rebased(before - stamp(&driver.bucket)),
        }
        history.check().map_err(failure)?;
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
fn reserve_in_threads(
    bucket: &Bucket,
    costs: &[Vec<(u32, bool)>],
    now: Duration,
) -> Result<History, String> {
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
            history.add(0, now, &decision)?;
        }
        Ok(history)
    })
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
        let quota = Quota::per_second(1).with_capacity(capacity);
        let history = reserve_in_threads(&Bucket::new(quota), &costs, Duration::from_secs(1000));
        history.and_then(|history| history.check()).map_err(TestCaseError::fail)?;
    }
}
