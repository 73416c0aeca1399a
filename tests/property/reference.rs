//! Token buckets in exact rational arithmetic, and random calls to compare them with the real ones.
//!
//! Written from the definition of a token bucket (a level, which time raises and charges lower) and
//! from the documented promises, on big numbers: nothing here is rounded, packed or bounded but
//! where the documentation says so.
//!
//! - [`grid`]: the steps that time is counted in, derived from the rule that the documentation
//!   gives.
//! - [`greedy`], [`interval`]: the two kinds on that grid, which the library must equal decision
//!   for decision.
//! - [`continuous`]: no grid at all. The library may be ahead of it by less than
//!   [`Quota::resolution`], and never behind.
//! - [`generate`], [`play`]: random quotas and calls.
pub mod continuous;
pub mod generate;
pub mod greedy;
pub mod grid;
pub mod interval;
pub mod play;

use std::time::Duration;

use num_bigint::BigInt;
use num_rational::BigRational;
use tollgate::{Decision, Outcome, Quota};

use self::{greedy::Greedy, grid::Grid, interval::Interval};

pub fn integer(number: impl Into<BigInt>) -> BigRational {
    BigRational::from_integer(number.into())
}

pub fn ratio(numerator: impl Into<BigInt>, denominator: impl Into<BigInt>) -> BigRational {
    BigRational::new(numerator.into(), denominator.into())
}

/// Nanoseconds since the origin; the library counts five centuries of them.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Tokens a nanosecond.
pub fn rate(quota: &Quota) -> BigRational {
    ratio(quota.tokens(), nanos(quota.period()))
}

/// What a decision shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub outcome: Outcome,
    pub remaining: u32,
    pub retry_after: Option<Duration>,
    pub reset_after: Duration,
    pub wait: Duration,
}

impl Answer {
    pub fn of(decision: &Decision) -> Answer {
        Answer {
            outcome: decision.outcome(),
            remaining: decision.remaining(),
            retry_after: decision.retry_after(),
            reset_after: decision.reset_after(),
            wait: decision.wait(),
        }
    }
}

/// What a charge is remembered by, so that it can be undone.
#[derive(Clone, Debug)]
pub enum Charge {
    Greedy(greedy::Charge),
    Interval(interval::Charge),
}

/// An answer that may be given, and where something is taken, what becomes of the bucket and what
/// the charge is.
#[derive(Clone, Debug)]
pub struct Next<B, C> {
    pub answer: Answer,
    pub charge: Option<(B, C)>,
}

/// Those that give this answer; of none, what was expected in the first place.
fn matching<B, C>(
    mut possible: Vec<Next<B, C>>,
    answer: &Answer,
) -> Result<Vec<Option<(B, C)>>, Answer> {
    if possible.iter().all(|next| next.answer != *answer) {
        return Err(possible.swap_remove(0).answer);
    }
    Ok(possible
        .into_iter()
        .filter(|next| next.answer == *answer)
        .map(|next| next.charge)
        .collect())
}

/// The reference for a bucket of either kind.
#[derive(Clone, Debug)]
pub enum Reference {
    Greedy(Greedy),
    Interval(Interval),
}

impl Reference {
    pub fn new(quota: &Quota) -> Reference {
        Reference::on(quota, Grid::new(quota))
    }

    /// For a bucket in Redis.
    pub fn apart(quota: &Quota) -> Reference {
        Reference::on(quota, Grid::apart(quota))
    }

    fn on(quota: &Quota, grid: Grid) -> Reference {
        match quota.is_interval() {
            true => Reference::Interval(Interval::new(quota, grid)),
            false => Reference::Greedy(Greedy::new(quota, grid)),
        }
    }

    /// Follows the bucket, if `answer` is one that the reference can give: the charge, or else the
    /// answer that was expected. Without patience it was a take, with patience a reservation that
    /// waits so long at most.
    pub fn follow(
        &mut self,
        now: Duration,
        cost: u32,
        patience: Option<Duration>,
        answer: &Answer,
    ) -> Result<Option<Charge>, Answer> {
        let (after, charge) = self.futures(now, cost, patience, answer)?.swap_remove(0);
        *self = after;
        Ok(charge)
    }

    /// All that may have become of it when it gave this answer: which of two holes was sold, an
    /// answer need not tell.
    pub fn futures(
        &self,
        now: Duration,
        cost: u32,
        patience: Option<Duration>,
        answer: &Answer,
    ) -> Result<Vec<(Reference, Option<Charge>)>, Answer> {
        let (now, patience) = (nanos(now), patience.map(nanos));
        let same = || (self.clone(), None);
        Ok(match self {
            Reference::Greedy(bucket) => matching(bucket.decide(now, cost, patience), answer)?
                .into_iter()
                .map(|sale| {
                    sale.map_or_else(same, |(after, charge)| {
                        (Reference::Greedy(after), Some(Charge::Greedy(charge)))
                    })
                })
                .collect(),
            Reference::Interval(bucket) => matching(bucket.decide(now, cost, patience), answer)?
                .into_iter()
                .map(|sale| {
                    sale.map_or_else(same, |(after, charge)| {
                        (Reference::Interval(after), Some(Charge::Interval(charge)))
                    })
                })
                .collect(),
        })
    }

    pub fn is_full(&self, now: Duration) -> bool {
        let reset_after = match self {
            Reference::Greedy(bucket) => bucket.decide(nanos(now), 0, None)[0].answer.reset_after,
            Reference::Interval(bucket) => bucket.decide(nanos(now), 0, None)[0].answer.reset_after,
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
