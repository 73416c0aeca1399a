//! Comparison of decisions on several limits with a reference bucket of each, in exact rational
//! arithmetic: allowed when all references allow, and else without an effect; every part in outcome,
//! remaining, retry_after and reset_after; and the refund of the whole.
//!
//! Mutations that these tests caught: no look, in either path; parts of one bucket that are not
//! noticed, or whose sum overflows; a view that is not refilled; the shortest time of the refusing
//! limits; a limit that can never allow the cost, ranked by its time; a refund that ends at the first
//! part, or that includes a merged part or one beyond the last.

use std::time::Duration;

use proptest::{prelude::*, sample::Index};
#[cfg(feature = "std")]
use tollgate::KeyedLimiter;
use tollgate::{Ask, Bucket, CompoundDecision, Outcome, Quota, all_of};

use crate::reference::{Charge, DecisionFields, Reference, nanos, strategies, ticks::HORIZON};

#[derive(Clone, Debug)]
enum Step {
    /// Later by the time that refills so many tokens of a limit, and an offset in nanoseconds.
    Later(Index, u64, i64),
    /// At `retry_after` of the last refusal, and an offset in nanoseconds.
    Retry(i64),
    /// Parts by the number of their limit, with a cost in eighths of the capacity, and one token.
    Ask(Vec<(Index, u32)>),
    /// Refund of the decision with this index.
    Refund(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let part = (any::<Index>(), prop_oneof![3 => 0..=3_u32, 1 => 0..=9_u32]);
    prop_oneof![
        2 => (any::<Index>(), 0..=3_u64, -1..=1_i64).prop_map(|(limit, count, offset)| Step::Later(limit, count, offset)),
        2 => (-1..=1_i64).prop_map(Step::Retry),
        5 => prop::collection::vec(part, 1..=4).prop_map(Step::Ask),
        1 => any::<Index>().prop_map(Step::Refund),
    ]
}

/// A limit under test: a bucket, or a key of a limiter.
enum Limit {
    Bucket(Bucket),
    #[cfg(feature = "std")]
    Keyed(KeyedLimiter<str>),
}

impl Limit {
    fn new(quota: Quota, is_keyed: bool) -> Limit {
        match is_keyed {
            #[cfg(feature = "std")]
            true => Limit::Keyed(KeyedLimiter::new(quota, 10)),
            _ => Limit::Bucket(Bucket::new(quota)),
        }
    }

    fn ask(&self, cost: u32) -> Ask<'_> {
        match self {
            Limit::Bucket(bucket) => bucket.ask(cost),
            #[cfg(feature = "std")]
            Limit::Keyed(limiter) => limiter.ask("key", cost),
        }
    }
}

/// Costs of a call by limit: those of one limit are summed.
fn costs(parts: &[(Index, u32)], quotas: &[(Quota, bool)]) -> Vec<(usize, u64)> {
    let part = |(limit, eighths): &(Index, u32)| {
        let limit = limit.index(quotas.len());
        let capacity = u64::from(quotas[limit].0.capacity());
        (
            limit,
            (capacity * u64::from(*eighths) / 8 + u64::from(*eighths > 0)).min(u64::from(u32::MAX)),
        )
    };
    parts.iter().map(part).collect()
}

fn compare(quotas: &[(Quota, bool)], steps: &[Step]) -> Result<(), TestCaseError> {
    let limits: Vec<_> = quotas
        .iter()
        .map(|&(quota, is_keyed)| Limit::new(quota, is_keyed))
        .collect();
    let mut references: Vec<_> = quotas
        .iter()
        .map(|(quota, _)| Reference::new(quota))
        .collect();
    let (mut now, mut retry) = (1_000_000_000_000_u64, None);
    let mut made: Vec<(CompoundDecision<'_, 8>, Vec<(usize, Charge)>)> = Vec::new();
    for step in steps {
        match step {
            Step::Later(limit, count, offset) => {
                let quota = quotas[limit.index(quotas.len())].0;
                let time = u128::from(nanos(quota.period())) * u128::from(*count)
                    / u128::from(quota.tokens());
                let later = now.saturating_add(u64::try_from(time).unwrap_or(0));
                // Tables tolerate earlier times, but order them by the latest of all keys.
                now = later.saturating_add_signed(*offset).clamp(now, HORIZON / 2);
            }
            Step::Retry(offset) => {
                if let Some(retry) = retry {
                    now = u64::saturating_add_signed(retry, *offset).clamp(now, HORIZON / 2);
                }
            }
            Step::Ask(parts) => {
                let costs = costs(parts, quotas);
                let asks: Vec<_> = costs
                    .iter()
                    .map(|&(limit, cost)| limits[limit].ask(cost as u32))
                    .collect();
                let decision = all_of(&asks)
                    .unwrap()
                    .try_acquire_at(Duration::from_nanos(now));
                let charges = follow(&mut references, &costs, now, &decision)?;
                retry = decision
                    .retry_after()
                    .map(|time| now.saturating_add(nanos(time)));
                made.push((decision, charges));
            }
            Step::Refund(index) if !made.is_empty() => {
                let (decision, charges) = made.swap_remove(index.index(made.len()));
                // Each of them, whether or not one before has given back.
                let expected = charges
                    .iter()
                    .filter(|(limit, charge)| references[*limit].refund(charge))
                    .count()
                    > 0;
                prop_assert_eq!(decision.refund(), expected);
            }
            Step::Refund(_) => {}
        }
    }
    Ok(())
}

/// Checks a decision, and applies it to the references. Returns its charges.
fn follow(
    references: &mut [Reference],
    costs: &[(usize, u64)],
    now: u64,
    decision: &CompoundDecision<'_, 8>,
) -> Result<Vec<(usize, Charge)>, TestCaseError> {
    let sum = |limit: usize| {
        costs
            .iter()
            .filter(|part| part.0 == limit)
            .map(|part| part.1)
            .sum::<u64>()
    };
    let mut limits: Vec<_> = costs.iter().map(|part| part.0).collect();
    limits.sort_unstable();
    limits.dedup();
    let decide = |limit: usize| {
        u32::try_from(sum(limit))
            .ok()
            .map(|cost| references[limit].decide(now, cost, None))
    };
    let outcome = |limit: usize| {
        decide(limit).map_or(Outcome::CostAboveCapacity, |(fields, _)| fields.outcome)
    };
    let is_allowed = limits
        .iter()
        .all(|&limit| outcome(limit) == Outcome::Allowed);
    prop_assert_eq!(decision.is_allowed(), is_allowed);
    for (part, &(limit, _)) in decision.parts().zip(costs) {
        let view = DecisionFields::of(&part);
        let expected = match (decide(limit), is_allowed) {
            (Some((fields, _)), true) => fields,
            (Some((fields, _)), false) if fields.outcome != Outcome::Allowed => fields,
            // Nothing is taken: the state that was found.
            _ => DecisionFields {
                outcome: outcome(limit),
                ..references[limit].decide(now, 0, None).0
            },
        };
        prop_assert_eq!(view, expected);
    }
    let retries = limits
        .iter()
        .filter_map(|&limit| Some((outcome(limit), decide(limit)?.0.retry_after)));
    let refusals: Vec<_> = retries
        .filter(|(outcome, _)| *outcome != Outcome::Allowed)
        .collect();
    let is_possible = limits
        .iter()
        .all(|&limit| outcome(limit) != Outcome::CostAboveCapacity);
    let longest = refusals.iter().filter_map(|(_, retry)| *retry).max();
    let can_retry = is_possible && refusals.iter().all(|(_, retry)| retry.is_some());
    prop_assert_eq!(decision.retry_after(), longest.filter(|_| can_retry));
    let mut charges = Vec::new();
    if is_allowed {
        for limit in limits {
            if let Some((_, Some((after, charge)))) = decide(limit) {
                charges.push((limit, charge, after));
            }
        }
    }
    Ok(charges
        .into_iter()
        .map(|(limit, charge, after)| {
            references[limit] = after;
            (limit, charge)
        })
        .collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn several_limits_decide_like_their_references(
        quotas in prop::collection::vec((strategies::quota(), any::<bool>()), 1..=3),
        steps in prop::collection::vec(step(), 1..=60),
    ) {
        compare(&quotas, &steps)?;
    }
}
