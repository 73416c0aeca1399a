//! Guarantees of `Quota::resolution`, against a reference without ticks: a token is early by less
//! than a tick and never late, or late by less than a tick if a tick refills several tokens. These
//! tests depend on the length of a tick only.
//!
//! Mutations that these tests caught: a wrapping difference in `refill_to`; the stamp set to an
//! earlier time; the tick ratio rounded down; `nanos_at` rounded down; `ready_at` rounded down
//! where a tick refills several tokens; a refusal of a deadline that is met exactly; a wait for a caller whose clock is behind, though the tokens are available; the
//! remainder of a refill dropped. For windows: the tick ratio and `nanos_at` rounded down; a window
//! that ends a tick late.

use std::time::Duration;

use crate::reference::{
    continuous::Continuous,
    driver::{Driver, Event},
    integer, nanos, strategies,
    ticks::HORIZON,
};
use num_rational::BigRational;
use num_traits::Zero;
use proptest::prelude::*;
use tollgate::{Bucket, DecisionView, Outcome, Quota};

/// Reference bucket without ticks, and the tolerances of the library.
struct Tolerance {
    bucket: Continuous,
    /// A tick, in nanoseconds.
    tick: BigRational,
    /// Refill of a tick, in tokens.
    refill_per_tick: BigRational,
    /// Maximum lateness of a token, in nanoseconds: a tick if ticks refill several tokens,
    /// otherwise zero.
    late: BigRational,
}

impl Tolerance {
    fn new(quota: &Quota) -> Tolerance {
        let bucket = Continuous::new(quota);
        let tick = integer(quota.resolution().as_nanos());
        // A bucket sells up to one capacity ahead of time.
        let most = &bucket.capacity * integer(2);
        let per_second = most * &bucket.rate * integer(1_000_000_000);
        let late = if per_second > integer(1_u64 << 33) {
            tick.clone()
        } else {
            BigRational::zero()
        };
        Tolerance {
            refill_per_tick: &tick * &bucket.rate,
            bucket,
            tick,
            late,
        }
    }

    /// Checks a decision, and applies its charge to the reference.
    ///
    /// # Errors
    /// When the decision is outside the tolerance: returns the reason.
    fn check(
        &mut self,
        now: Duration,
        max_wait: Option<Duration>,
        decision: &DecisionView,
    ) -> Result<(), String> {
        let now = nanos(now);
        let (time, late_tokens) = (
            self.bucket.time(now.min(HORIZON)),
            &self.late * &self.bucket.rate,
        );
        let spent = self.bucket.spent(time);
        let wanted = &spent + integer(decision.cost());
        let (capacity, rate) = (self.bucket.capacity.clone(), self.bucket.rate.clone());
        let ahead = &wanted - &capacity;
        // Time at which the cost is available.
        let due = integer(time) + &ahead / &rate;
        let takes = decision.is_allowed() && decision.cost() > 0;
        match decision.outcome() {
            Outcome::Allowed if !takes => {}
            Outcome::Allowed if decision.wait().is_zero() => {
                ensure(
                    ahead < self.refill_per_tick,
                    "allowed early by a tick or more",
                )?;
            }
            Outcome::Allowed => {
                ensure(
                    max_wait.is_some_and(|max_wait| decision.wait() <= max_wait),
                    "waits longer than max_wait",
                )?;
                ensure(
                    ahead <= &capacity + &self.refill_per_tick,
                    "sold more than one capacity ahead of time",
                )?;
                self.check_time(now, Some(decision.wait()), &due, "ready")?;
            }
            Outcome::Refused | Outcome::DeadlineTooSoon => {
                self.check_time(now, decision.retry_after(), &due, "retry_after")?;
                ensure(
                    &ahead + &late_tokens > BigRational::zero(),
                    "refused available tokens",
                )?;
                let too_far = decision.outcome() == Outcome::DeadlineTooSoon
                    || max_wait.is_none()
                    || &ahead + &late_tokens > capacity;
                ensure(too_far, "refused a cost within one capacity of waiting")?;
                if decision.outcome() == Outcome::DeadlineTooSoon {
                    let deadline = integer(now) + integer(max_wait.unwrap_or_default().as_nanos());
                    ensure(
                        (&due + &self.late).ceil() > deadline.min(integer(HORIZON)),
                        "refused a deadline that can be met",
                    )?;
                }
            }
            Outcome::CostAboveCapacity => ensure(
                integer(decision.cost()) > capacity,
                "refused a cost within the capacity",
            )?,
            other => return Err(format!("{other:?} from a bucket")),
        }

        let left = &capacity - if takes { &wanted } else { &spent };
        let remaining = integer(decision.remaining());
        ensure(
            &remaining + &late_tokens >= left.floor(),
            "remaining: too low",
        )?;
        ensure(
            remaining.is_zero() || remaining < &left + &self.refill_per_tick,
            "remaining: too high",
        )?;
        let full = integer(time) + (&capacity - &left) / &rate;
        let reset_after = Some(decision.reset_after()).filter(|&time| time < Duration::MAX);
        self.check_time(now, reset_after, &full, "reset_after")?;
        if takes {
            self.bucket.charge(time, decision.cost());
        }
        Ok(())
    }

    /// Checks that `after` is within the tolerance of the time `due`; `None` stands for never.
    fn check_time(
        &self,
        now: u64,
        after: Option<Duration>,
        due: &BigRational,
        what: &str,
    ) -> Result<(), String> {
        let latest = (due + &self.late).ceil();
        let Some(after) = after else {
            return ensure(latest > integer(HORIZON), &format!("{what}: never"));
        };
        // A clock behind the last charge counts as the time of that charge.
        let actual = integer(
            self.bucket
                .time(now.saturating_add(nanos(after)).min(HORIZON)),
        );
        ensure(
            &actual + &self.tick > *due,
            &format!("{what}: early by a tick or more"),
        )?;
        ensure(actual <= latest, &format!("{what}: late"))
    }
}

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn check_tolerance(
    quota: Quota,
    start: u64,
    calls: &[strategies::Call],
) -> Result<(), TestCaseError> {
    let (mut driver, mut tolerance) = (Driver::new(quota, start), Tolerance::new(&quota));
    for call in calls {
        if let Some(Event::Decided {
            now,
            max_wait,
            decision,
            ..
        }) = driver.call(call)
        {
            tolerance.check(now, max_wait, &decision).map_err(|why| {
                TestCaseError::fail(format!("{quota}: {call:?} at {now:?}: {why}: {decision:?}"))
            })?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tokens_are_never_late_and_less_than_a_tick_early(
        quota in strategies::greedy_quota(), start in strategies::start(), calls in strategies::charges(60),
    ) {
        check_tolerance(quota, start, &calls)?;
    }

    #[test]
    fn tokens_in_a_queue_are_never_late_and_less_than_a_tick_early(
        quota in strategies::queueing_greedy_quota(), start in strategies::start(), calls in strategies::charges(60),
    ) {
        check_tolerance(quota, start, &calls)?;
    }

    /// A window opens with the first request. It ends early by less than a tick, and never late.
    #[test]
    fn a_window_ends_less_than_a_tick_early(quota in strategies::interval_quota(), start in strategies::start()) {
        let (bucket, start, length) = (Bucket::new(quota), Duration::from_nanos(start), quota.period());
        let end = bucket.try_acquire_at(start, 1).reset_after();
        if end < Duration::MAX {
            prop_assert!(end <= length && end + quota.resolution() > length, "{}: {:?}", quota, end);
            let just_before = start + end - Duration::from_nanos(1);
            prop_assert_eq!(bucket.available_at(just_before), quota.capacity() - 1);
            prop_assert_eq!(bucket.available_at(start + end), quota.capacity());
        }
    }
}
