//! What `Quota::resolution` promises, against a bucket without any grain of time: a token is early
//! by less than a step and never late, and where a step brings several tokens, late by less than a
//! step. So nothing here knows what a step is, but for its length.
//!
//! Seen to fail when the code was broken on purpose: a wrapping difference in `settle`; the stamp
//! set to a time before it; the multiplier rounded down; `nanos_at` rounded down; `ready` rounded
//! down where a step brings several tokens; a deadline that is met exactly refused; the debt not
//! checked; a wait told to a clock that is behind; the refill's remainder dropped. For windows: the
//! multiplier and `nanos_at` rounded down; a window that ends a step late.

use std::time::Duration;

use crate::reference::{
    continuous::Continuous,
    generate,
    grid::HORIZON,
    integer, nanos,
    play::{Event, Player},
};
use num_rational::BigRational;
use num_traits::Zero;
use proptest::prelude::*;
use tollgate::{Bucket, Decision, Outcome, Quota};

/// The bucket without a grain, and how far the real one may be from it.
struct Contract {
    bucket: Continuous,
    debt: BigRational,
    /// A step, in nanoseconds and in tokens.
    step: BigRational,
    step_tokens: BigRational,
    /// How late a token may be: a step where steps bring several, else not at all.
    late: BigRational,
}

impl Contract {
    fn new(quota: &Quota) -> Contract {
        let bucket = Continuous::new(quota);
        let debt = integer(quota.debt());
        let step = integer(quota.resolution().as_nanos());
        let per_second = (&bucket.capacity + &debt) * &bucket.rate * integer(1_000_000_000);
        let late = if per_second > integer(1_u64 << 33) {
            step.clone()
        } else {
            BigRational::zero()
        };
        Contract {
            step_tokens: &step * &bucket.rate,
            bucket,
            debt,
            step,
            late,
        }
    }

    /// Says what is wrong with a decision, and charges the bucket if it charged.
    fn check(
        &mut self,
        now: Duration,
        patience: Option<Duration>,
        decision: &Decision,
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
        // When there is as much as was asked for.
        let due = integer(time) + &ahead / &rate;
        let takes = decision.is_allowed() && decision.cost() > 0;
        match decision.outcome() {
            Outcome::Allowed if !takes => {}
            Outcome::Allowed if decision.wait().is_zero() => {
                ensure(ahead < self.step_tokens, "allowed a step early, or more")?;
            }
            Outcome::Allowed => {
                ensure(
                    patience.is_some_and(|patience| decision.wait() <= patience),
                    "waits longer than asked",
                )?;
                ensure(
                    ahead <= &self.debt + &self.step_tokens,
                    "more than the debt is sold",
                )?;
                self.at_due(now, Some(decision.wait()), &due, "ready")?;
            }
            Outcome::Refused | Outcome::DebtExhausted | Outcome::DeadlineTooSoon => {
                self.at_due(now, decision.retry_after(), &due, "retry_after")?;
                ensure(
                    &ahead + &late_tokens > BigRational::zero(),
                    "refused what was there",
                )?;
                let too_much = decision.outcome() != Outcome::DebtExhausted
                    || &ahead + &late_tokens > self.debt;
                ensure(too_much, "refused within the debt")?;
                if decision.outcome() == Outcome::DeadlineTooSoon {
                    let deadline = integer(now) + integer(patience.unwrap_or_default().as_nanos());
                    ensure(
                        (&due + &self.late).ceil() > deadline.min(integer(HORIZON)),
                        "refused within the deadline",
                    )?;
                }
            }
            Outcome::CostAboveCapacity => {
                ensure(integer(decision.cost()) > capacity, "fits the capacity")?
            }
            other => return Err(format!("{other:?} from a bucket")),
        }

        let left = &capacity - if takes { &wanted } else { &spent };
        let remaining = integer(decision.remaining());
        ensure(&remaining + &late_tokens >= left.floor(), "too few remain")?;
        ensure(
            remaining.is_zero() || remaining < &left + &self.step_tokens,
            "too many remain",
        )?;
        let full = integer(time) + (&capacity - &left) / &rate;
        let reset_after = Some(decision.reset_after()).filter(|&time| time < Duration::MAX);
        self.at_due(now, reset_after, &full, "reset_after")?;
        if takes {
            self.bucket.charge(time, decision.cost());
        }
        Ok(())
    }

    /// Whether `after` names the time at which something is due; `None` stands for never.
    fn at_due(
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
        // A clock behind that of the last charge is taken for that.
        let named = integer(
            self.bucket
                .time(now.saturating_add(nanos(after)).min(HORIZON)),
        );
        ensure(
            &named + &self.step > *due,
            &format!("{what}: a step early, or more"),
        )?;
        ensure(named <= latest, &format!("{what}: late"))
    }
}

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn keeps_the_contract(
    quota: Quota,
    start: u64,
    calls: &[generate::Call],
) -> Result<(), TestCaseError> {
    let (mut player, mut contract) = (Player::new(quota, start), Contract::new(&quota));
    for call in calls {
        if let Some(Event::Decided {
            now,
            patience,
            decision,
            ..
        }) = player.play(call)
        {
            contract.check(now, patience, &decision).map_err(|why| {
                TestCaseError::fail(format!("{quota}: {call:?} at {now:?}: {why}: {decision:?}"))
            })?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_late_and_never_a_step_early(
        quota in generate::greedy(), start in generate::start(), calls in generate::charges(60),
    ) {
        keeps_the_contract(quota, start, &calls)?;
    }

    #[test]
    fn never_late_and_never_a_step_early_in_a_queue(
        quota in generate::crowded_greedy(), start in generate::start(), calls in generate::charges(60),
    ) {
        keeps_the_contract(quota, start, &calls)?;
    }

    /// A window opens with the first request; it ends early by less than a step, and is never late.
    #[test]
    fn a_window_lasts_as_long_as_it_should(quota in generate::interval(), start in generate::start()) {
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
