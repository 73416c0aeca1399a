//! Reference token buckets in exact rational arithmetic, and random calls to compare them with the
//! library.
//!
//! The references follow the definition of a token bucket (time raises a level, charges lower it)
//! and the documented guarantees. They use big numbers: nothing is rounded, packed or bounded,
//! except where the documentation says so.
//!
//! - [`ticks`]: the ticks that time is counted in, derived from the documented rule.
//! - [`greedy`], [`interval`]: the two kinds of quota, in ticks. The library must make equal
//!   decisions.
//! - [`continuous`]: a greedy bucket without ticks. The library may be ahead of it by less than
//!   [`Quota::resolution`], and never behind.
//! - [`strategies`], [`driver`]: random quotas and calls.
pub mod continuous;
pub mod driver;
pub mod greedy;
pub mod interval;
pub mod strategies;
pub mod ticks;

use std::time::Duration;

use num_bigint::BigInt;
use num_rational::BigRational;
use tollgate::{DecisionView, Outcome, Quota};

use self::{greedy::Greedy, interval::Interval, ticks::TickScale};

pub fn integer(number: impl Into<BigInt>) -> BigRational {
    BigRational::from_integer(number.into())
}

pub fn ratio(numerator: impl Into<BigInt>, denominator: impl Into<BigInt>) -> BigRational {
    BigRational::new(numerator.into(), denominator.into())
}

/// Returns `time` in nanoseconds, saturating at `u64::MAX` (five centuries), like the library.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the rate in tokens a nanosecond.
pub fn rate(quota: &Quota) -> BigRational {
    ratio(quota.tokens(), nanos(quota.period()))
}

/// Public fields of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionFields {
    pub outcome: Outcome,
    pub remaining: u32,
    pub retry_after: Option<Duration>,
    pub reset_after: Duration,
    pub wait: Duration,
}

impl DecisionFields {
    pub fn of(decision: &DecisionView) -> DecisionFields {
        DecisionFields {
            outcome: decision.outcome(),
            remaining: decision.remaining(),
            retry_after: decision.retry_after(),
            reset_after: decision.reset_after(),
            wait: decision.wait(),
        }
    }
}

/// Charge of a reference bucket, for its refund.
#[derive(Clone, Debug)]
pub enum Charge {
    Greedy(greedy::Charge),
    Interval(interval::Charge),
}

/// A decision that the reference permits. If it takes tokens, `charge` holds the bucket after it,
/// and the charge.
#[derive(Clone, Debug)]
pub struct PossibleDecision<B, C> {
    pub fields: DecisionFields,
    pub charge: Option<(B, C)>,
}

/// Returns the charges of the possible decisions with these fields.
///
/// # Errors
/// When there is none: returns the fields of the first possible decision.
fn matching<B, C>(
    mut possible: Vec<PossibleDecision<B, C>>,
    fields: &DecisionFields,
) -> Result<Vec<Option<(B, C)>>, DecisionFields> {
    if possible.iter().all(|next| next.fields != *fields) {
        return Err(possible.swap_remove(0).fields);
    }
    Ok(possible
        .into_iter()
        .filter(|next| next.fields == *fields)
        .map(|next| next.charge)
        .collect())
}

/// Reference bucket of either kind of quota.
#[derive(Clone, Debug)]
pub enum Reference {
    Greedy(Greedy),
    Interval(Interval),
}

impl Reference {
    pub fn new(quota: &Quota) -> Reference {
        Reference::with_scale(quota, TickScale::new(quota))
    }

    /// Creates the reference for a bucket in Redis, whose state is not packed.
    pub fn unpacked(quota: &Quota) -> Reference {
        Reference::with_scale(quota, TickScale::unpacked(quota))
    }

    fn with_scale(quota: &Quota, scale: TickScale) -> Reference {
        match quota.is_interval() {
            true => Reference::Interval(Interval::new(quota, scale)),
            false => Reference::Greedy(Greedy::new(quota, scale)),
        }
    }

    /// Applies the observed decision and returns its charge. The decision is that of a take, or
    /// with `max_wait` that of a reservation.
    ///
    /// # Errors
    /// When the reference does not permit the decision: returns the expected fields.
    pub fn follow(
        &mut self,
        now: Duration,
        cost: u32,
        max_wait: Option<Duration>,
        fields: &DecisionFields,
    ) -> Result<Option<Charge>, DecisionFields> {
        let (after, charge) = self.successors(now, cost, max_wait, fields)?.swap_remove(0);
        *self = after;
        Ok(charge)
    }

    /// Returns all states that the observed decision may leave, with its charge. There can be
    /// several: the fields of a decision do not identify the hole that was sold.
    ///
    /// # Errors
    /// When the reference does not permit the decision: returns the expected fields.
    pub fn successors(
        &self,
        now: Duration,
        cost: u32,
        max_wait: Option<Duration>,
        fields: &DecisionFields,
    ) -> Result<Vec<(Reference, Option<Charge>)>, DecisionFields> {
        let (now, max_wait) = (nanos(now), max_wait.map(nanos));
        let same = || (self.clone(), None);
        Ok(match self {
            Reference::Greedy(bucket) => matching(bucket.decide(now, cost, max_wait), fields)?
                .into_iter()
                .map(|charge| {
                    charge.map_or_else(same, |(after, charge)| {
                        (Reference::Greedy(after), Some(Charge::Greedy(charge)))
                    })
                })
                .collect(),
            Reference::Interval(bucket) => matching(bucket.decide(now, cost, max_wait), fields)?
                .into_iter()
                .map(|charge| {
                    charge.map_or_else(same, |(after, charge)| {
                        (Reference::Interval(after), Some(Charge::Interval(charge)))
                    })
                })
                .collect(),
        })
    }

    pub fn is_full(&self, now: Duration) -> bool {
        let reset_after = match self {
            Reference::Greedy(bucket) => bucket.decide(nanos(now), 0, None)[0].fields.reset_after,
            Reference::Interval(bucket) => bucket.decide(nanos(now), 0, None)[0].fields.reset_after,
        };
        reset_after.is_zero()
    }

    pub fn refund(&mut self, charge: &Charge) -> bool {
        match (self, charge) {
            (Reference::Greedy(bucket), Charge::Greedy(charge)) => bucket.refund(charge),
            (Reference::Interval(bucket), Charge::Interval(charge)) => bucket.refund(charge),
            _ => false,
        }
    }

    pub fn reset(&mut self, now: Duration) {
        match self {
            Reference::Greedy(bucket) => bucket.reset(nanos(now)),
            Reference::Interval(bucket) => bucket.reset(nanos(now)),
        }
    }
}
