//! Comparison of a bucket with a reference in exact rational arithmetic: every decision, refund,
//! reset, pause and rebase, over random quotas, times (stale, backward, far away) and costs. A
//! decision is compared in outcome, remaining, retry_after, reset_after and wait.
//!
//! Mutations that these tests caught:
//!
//! - any quota: a wrapping difference in `refill_to`; the stamp set to an earlier time; the tick
//!   ratio rounded down; `nanos_at` rounded down; `ready_at` rounded down where a tick refills
//!   several tokens; `<` for `<=` at the capacity; a refusal of a deadline that is met exactly;
//!   reservations ahead of time not bounded; no horizon; a reset, a pause or a rebase that does not
//!   void the refunds of earlier decisions; a wait for a caller whose clock is behind, though the
//!   tokens are available; the remainder of a refill dropped; a window that ends a tick late, or
//!   begins at its first use after an earlier window ended; a pause that forgets reservations, or
//!   begins a window before a sold one has ended; a rebase that forgets what was spent.
//! - a queue of waiters, and mostly any quota too: a refund of `min(cost, spent)`, or of `spent`
//!   after the charge minus the time since; a refund from the middle of a queue that pulls the end
//!   of the queue back, greedy and interval; an interval refund in a later window, or including the
//!   units that the charge had skipped.

use crate::reference::{
    Charge, DecisionFields, Reference,
    driver::{Driver, Event},
    strategies,
    ticks::TickScale,
};
use num_bigint::BigInt;
use proptest::prelude::*;
use tollgate::Quota;

fn failure(quota: &Quota, call: &strategies::Call, what: &str) -> TestCaseError {
    TestCaseError::fail(format!("{quota}: {call:?}: {what}"))
}

fn compare(quota: Quota, start: u64, calls: &[strategies::Call]) -> Result<(), TestCaseError> {
    let mut driver = Driver::new(quota, start);
    let mut reference = Reference::new(&quota);
    let mut charges: Vec<Option<Charge>> = Vec::new();
    for call in calls {
        let Some(event) = driver.call(call) else {
            continue;
        };
        match event {
            Event::Decided {
                now,
                cost,
                max_wait,
                decision,
            } => {
                let fields = DecisionFields::of(&decision);
                prop_assert_eq!(
                    (decision.cost(), decision.limit()),
                    (cost, quota.capacity())
                );
                let charge = reference.follow(now, cost, max_wait, &fields);
                charges.push(charge.map_err(|expected| {
                    failure(
                        &quota,
                        call,
                        &format!("expected {expected:?}, got {fields:?}"),
                    )
                })?);
            }
            Event::Refunded { number, gave_back } => {
                let charge = charges[number].as_ref();
                let expected = charge.is_some_and(|charge| reference.refund(charge));
                prop_assert_eq!(gave_back, expected, "{}: {:?} {:?}", quota, call, event);
            }
            Event::Reset { now } => reference.reset(now),
            Event::Paused { now, time } => reference.pause(now, time),
            Event::Rebased { now } => reference.rebase(now),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_bucket_decides_like_the_reference(quota in strategies::quota(), start in strategies::start(), calls in strategies::calls(60)) {
        compare(quota, start, &calls)?;
    }

    #[test]
    fn a_bucket_with_a_queue_decides_like_the_reference(
        quota in strategies::queueing_quota(), start in strategies::start(), calls in strategies::queueing_calls(60),
    ) {
        compare(quota, start, &calls)?;
    }

    #[test]
    fn resolution_is_the_length_of_a_tick(quota in strategies::quota()) {
        let resolution = BigInt::from(quota.resolution().as_nanos());
        prop_assert_eq!(resolution, TickScale::new(&quota).resolution(), "{}", quota);
    }
}
