//! Comparison of a bucket with a reference in exact rational arithmetic: every decision, refund and
//! reset, over random quotas, times (stale, backward, far away) and costs. A decision is compared
//! in outcome, remaining, retry_after, reset_after and wait.
//!
//! Mutations that these tests caught:
//!
//! - any quota: a wrapping difference in `refill_to`; the stamp set to an earlier time; the tick
//!   ratio rounded down; `nanos_at` rounded down; `ready_at` rounded down where a tick refills
//!   several tokens; `<` for `<=` at the capacity; a refusal of a deadline that is met exactly; the
//!   debt not checked; no horizon; a reset that does not void the refunds of earlier decisions; a
//!   wait for a caller whose clock is behind, though the tokens are available; the remainder of a
//!   refill dropped; a window that ends a tick late, or begins at its first use after an earlier
//!   window ended.
//! - a queue of waiters, and mostly any quota too: a refund of `min(cost, spent)`, or of `spent`
//!   after the charge minus the time since; a refund from the middle of a queue that pulls the end
//!   of the queue back, greedy and interval; an interval refund in a later window, or including the
//!   units that the charge had skipped; a hole sold past its end, twice, or after it was used.

use std::time::Duration;

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

/// A state that is consistent with all decisions so far: a reference bucket, and its charges.
#[derive(Clone)]
struct Candidate {
    reference: Reference,
    charges: Vec<Option<Charge>>,
}

/// Limit on the candidates that are followed. No observed case has needed more.
const MAX_CANDIDATES: usize = 1000;

impl Candidate {
    fn decide(
        &self,
        (now, cost, max_wait): (Duration, u32, Option<Duration>),
        fields: &DecisionFields,
    ) -> Result<Vec<Candidate>, DecisionFields> {
        let successors = self
            .reference
            .successors(now, cost, max_wait, fields)?
            .into_iter();
        Ok(successors
            .map(|(reference, charge)| {
                let charges = self.charges.iter().cloned().chain([charge]).collect();
                Candidate { reference, charges }
            })
            .collect())
    }
}

fn compare(quota: Quota, start: u64, calls: &[strategies::Call]) -> Result<(), TestCaseError> {
    let mut driver = Driver::new(quota, start);
    let mut candidates = vec![Candidate {
        reference: Reference::new(&quota),
        charges: Vec::new(),
    }];
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
                let (mut next, mut expected) = (Vec::new(), None);
                for candidate in &candidates {
                    match candidate.decide((now, cost, max_wait), &fields) {
                        Ok(successors) => next.extend(successors),
                        Err(other) => expected = expected.or(Some(other)),
                    }
                }
                if next.is_empty() {
                    return Err(failure(
                        &quota,
                        call,
                        &format!("expected {expected:?}, got {fields:?}"),
                    ));
                }
                next.truncate(MAX_CANDIDATES);
                candidates = next;
            }
            Event::Refunded { number, gave_back } => {
                candidates.retain_mut(|candidate| {
                    let charge = candidate.charges[number].clone();
                    gave_back == charge.is_some_and(|charge| candidate.reference.refund(&charge))
                });
                prop_assert!(!candidates.is_empty(), "{}: {:?} {:?}", quota, call, event);
            }
            Event::Reset { now } => candidates
                .iter_mut()
                .for_each(|candidate| candidate.reference.reset(now)),
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
