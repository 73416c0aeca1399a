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

impl Charge {
    /// Returns the tick of the bucket that was charged: that of the charge, or with an interval
    /// quota, that at which the open window began.
    pub fn stamp(&self) -> &BigInt {
        match self {
            Charge::Greedy(charge) => charge.stamp(),
            Charge::Interval(charge) => charge.stamp(),
        }
    }
}

/// Charges that a reference bucket may still refund.
#[derive(Clone, Debug)]
pub struct Refundable {
    /// Number of resets, pauses and rebases: each voids the refunds of earlier charges. `None`
    /// after a reset at the last tick, when no charge is refundable.
    era: Option<u32>,
    /// The latest tick from which the bucket was moved back: charges up to it are not refundable.
    moved_from: Option<BigInt>,
}

/// Proof of the time of a charge.
#[derive(Clone, Debug)]
pub struct ChargedAt {
    era: Option<u32>,
    tick: BigInt,
}

impl Refundable {
    fn new() -> Refundable {
        Refundable {
            era: Some(0),
            moved_from: None,
        }
    }

    /// Marks a charge of a bucket that is at `tick`.
    fn mark(&self, tick: &BigInt) -> ChargedAt {
        ChargedAt {
            era: self.era,
            tick: tick.clone(),
        }
    }

    fn includes(&self, charged: &ChargedAt) -> bool {
        self.era.is_some()
            && self.era == charged.era
            && self.moved_from.as_ref() < Some(&charged.tick)
    }

    fn void_earlier(&mut self) {
        self.era = self.era.map(|era| era + 1);
    }

    fn void_all(&mut self) {
        self.era = None;
    }

    /// Voids earlier charges, and those made before a bucket that is moved back reaches `tick`
    /// again.
    fn void_until_after(&mut self, tick: &BigInt) {
        self.void_earlier();
        self.moved_from = self.moved_from.take().max(Some(tick.clone()));
    }
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
        let (expected, charge) = self.decide(nanos(now), cost, max_wait.map(nanos));
        if expected != *fields {
            return Err(expected);
        }
        Ok(charge.map(|(after, charge)| {
            *self = after;
            charge
        }))
    }

    /// Returns the decision, and if it takes tokens, the bucket after it and the charge.
    pub fn decide(
        &self,
        now: u64,
        cost: u32,
        max_wait: Option<u64>,
    ) -> (DecisionFields, Option<(Reference, Charge)>) {
        match self {
            Reference::Greedy(bucket) => {
                let (fields, charge) = bucket.decide(now, cost, max_wait);
                let charge = charge
                    .map(|(after, charge)| (Reference::Greedy(after), Charge::Greedy(charge)));
                (fields, charge)
            }
            Reference::Interval(bucket) => {
                let (fields, charge) = bucket.decide(now, cost, max_wait);
                let charge = charge
                    .map(|(after, charge)| (Reference::Interval(after), Charge::Interval(charge)));
                (fields, charge)
            }
        }
    }

    pub fn is_full(&self, now: Duration) -> bool {
        let (fields, _) = self.decide(nanos(now), 0, None);
        fields.reset_after.is_zero()
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

    pub fn pause(&mut self, now: Duration, time: Duration) {
        let (now, until) = (nanos(now), nanos(now.saturating_add(time)));
        match self {
            Reference::Greedy(bucket) => bucket.pause(now, until),
            Reference::Interval(bucket) => bucket.pause(now, until),
        }
    }

    pub fn rebase(&mut self, now: Duration) {
        match self {
            Reference::Greedy(bucket) => bucket.rebase(nanos(now)),
            Reference::Interval(bucket) => bucket.rebase(nanos(now)),
        }
    }
}
