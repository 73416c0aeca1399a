//! Every decision, refund and reset of a bucket equals that of a reference in exact rational
//! arithmetic, over random quotas, times (stale, backward, far away) and costs: outcome, remaining,
//! retry_after, reset_after and wait.
//!
//! Seen to fail when the code was broken on purpose:
//!
//! - any quota: a wrapping difference in `settle`; the stamp set to a time before it; the
//!   multiplier rounded down; `nanos_at` rounded down; `ready` rounded down where a step brings
//!   several tokens; `<` for `<=` at the capacity; a deadline that is met exactly refused; the debt
//!   not checked; no horizon; a reset that leaves earlier decisions their refund; a wait told to a
//!   clock that is behind; the refill's remainder dropped; a window that ends a step late, or
//!   begins at its first use after an earlier one ended.
//! - a crowded queue, and mostly any quota too: a refund of `min(cost, spent)`, or of what was
//!   spent after the charge less the time since; a refund from the middle of a queue that pulls its
//!   end back, greedy and interval; an interval refund in a later window, or with what the charge
//!   had skipped; a hole sold past its end, twice, or after it was used.

use std::time::Duration;

use crate::reference::{
    Answer, Charge, Reference, generate,
    grid::Grid,
    play::{Event, Player},
};
use num_bigint::BigInt;
use proptest::prelude::*;
use tollgate::Quota;

fn wrong(quota: &Quota, call: &generate::Call, what: &str) -> TestCaseError {
    TestCaseError::fail(format!("{quota}: {call:?}: {what}"))
}

/// What may have happened, as far as the answers tell: the reference, and its charges.
#[derive(Clone)]
struct World {
    reference: Reference,
    charges: Vec<Option<Charge>>,
}

/// No case was seen to need more.
const MOST_WORLDS: usize = 1000;

impl World {
    fn decide(
        &self,
        (now, cost, patience): (Duration, u32, Option<Duration>),
        answer: &Answer,
    ) -> Result<Vec<World>, Answer> {
        let futures = self
            .reference
            .futures(now, cost, patience, answer)?
            .into_iter();
        Ok(futures
            .map(|(reference, charge)| {
                let charges = self.charges.iter().cloned().chain([charge]).collect();
                World { reference, charges }
            })
            .collect())
    }
}

fn compare(quota: Quota, start: u64, calls: &[generate::Call]) -> Result<(), TestCaseError> {
    let mut player = Player::new(quota, start);
    let mut worlds = vec![World {
        reference: Reference::new(&quota),
        charges: Vec::new(),
    }];
    for call in calls {
        let Some(event) = player.play(call) else {
            continue;
        };
        match event {
            Event::Decided {
                now,
                cost,
                patience,
                decision,
            } => {
                let answer = Answer::of(&decision);
                prop_assert_eq!(
                    (decision.cost(), decision.limit()),
                    (cost, quota.capacity())
                );
                let (mut next, mut expected) = (Vec::new(), None);
                for world in &worlds {
                    match world.decide((now, cost, patience), &answer) {
                        Ok(futures) => next.extend(futures),
                        Err(other) => expected = expected.or(Some(other)),
                    }
                }
                if next.is_empty() {
                    return Err(wrong(
                        &quota,
                        call,
                        &format!("{answer:?}, not {expected:?}"),
                    ));
                }
                next.truncate(MOST_WORLDS);
                worlds = next;
            }
            Event::Refunded { number, gave } => {
                worlds.retain_mut(|world| {
                    let charge = world.charges[number].clone();
                    gave == charge.is_some_and(|charge| world.reference.refund(&charge))
                });
                prop_assert!(!worlds.is_empty(), "{}: {:?} {:?}", quota, call, event);
            }
            Event::Reset { now } => worlds
                .iter_mut()
                .for_each(|world| world.reference.reset(now)),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_bucket_decides_as_the_reference(quota in generate::quota(), start in generate::start(), calls in generate::calls(60)) {
        compare(quota, start, &calls)?;
    }

    #[test]
    fn a_crowded_queue_decides_as_the_reference(
        quota in generate::crowded(), start in generate::start(), calls in generate::queueing(60),
    ) {
        compare(quota, start, &calls)?;
    }

    #[test]
    fn the_grain_of_time_is_what_resolution_says(quota in generate::quota()) {
        let resolution = BigInt::from(quota.resolution().as_nanos());
        prop_assert_eq!(resolution, Grid::new(&quota).resolution(), "{}", quota);
    }
}
