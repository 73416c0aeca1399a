//! Reference bucket of a greedy quota: time raises a level, charges lower it.

use std::time::Duration;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, Zero};
use tollgate::{Outcome, Quota};

use super::{ChargedAt, DecisionFields, Refundable, integer, ticks::TickScale};

#[derive(Clone, Debug)]
pub struct Greedy {
    scale: TickScale,
    capacity: BigRational,
    /// Available tokens as of `at`; negative when tokens were sold ahead of time.
    level: BigRational,
    /// Tick of the last change. No later decision is made at an earlier tick, except after a
    /// rebase.
    at: BigInt,
    /// End of the latest pause.
    paused_until: BigInt,
    refundable: Refundable,
}

#[derive(Clone, Debug)]
pub struct Charge {
    cost: BigRational,
    /// Refill since the origin at the time at which the charge is used.
    used: BigRational,
    /// End of the sold interval on the axis of refilled tokens.
    end: BigRational,
    charged_at: ChargedAt,
}

impl Charge {
    /// See [`super::Charge::stamp`].
    pub(super) fn stamp(&self) -> &BigInt {
        &self.charged_at.tick
    }
}

impl Greedy {
    pub fn new(quota: &Quota, scale: TickScale) -> Greedy {
        let capacity = integer(quota.capacity());
        Greedy {
            scale,
            level: capacity.clone(),
            capacity,
            at: BigInt::zero(),
            paused_until: BigInt::zero(),
            refundable: Refundable::new(),
        }
    }

    /// Returns the decision, and if it takes tokens, the bucket after it and the charge.
    pub fn decide(
        &self,
        now: u64,
        cost: u32,
        max_wait: Option<u64>,
    ) -> (DecisionFields, Option<(Greedy, Charge)>) {
        let mut after = self.refilled_to(self.scale.tick(now));
        let cost = integer(cost);
        let end = after.sold_end() + &cost;
        let missing = (&cost - &after.level).max(BigRational::zero());
        // The tick at which the cost is available.
        let ready = &after.at + self.scale.ticks_to_refill(&missing);
        let outcome = match max_wait {
            _ if cost.is_zero() => Outcome::Allowed,
            _ if cost > self.capacity => Outcome::CostAboveCapacity,
            _ if missing.is_zero() => Outcome::Allowed,
            None => Outcome::Refused,
            // A bucket sells at most one capacity ahead of time.
            Some(_) if missing > self.capacity => Outcome::Refused,
            Some(max_wait) => match self.scale.nanos_at(&ready) {
                Some(time) if u128::from(time) <= u128::from(now) + u128::from(max_wait) => {
                    Outcome::Allowed
                }
                _ => Outcome::DeadlineTooSoon,
            },
        };
        let takes = outcome == Outcome::Allowed && !cost.is_zero();
        if takes {
            after.level -= &cost;
        }
        let fields = DecisionFields {
            outcome,
            remaining: u32::try_from(after.level.floor().to_integer()).unwrap_or(0),
            retry_after: match outcome {
                Outcome::Allowed | Outcome::CostAboveCapacity => None,
                _ => self.scale.until(&ready, now),
            },
            reset_after: match &self.capacity - &after.level {
                missing if missing.is_zero() => Duration::ZERO,
                missing => self
                    .scale
                    .until(&(&after.at + self.scale.ticks_to_refill(&missing)), now)
                    .unwrap_or(Duration::MAX),
            },
            wait: self
                .scale
                .until(&ready, now)
                .filter(|_| takes && missing.is_positive())
                .unwrap_or_default(),
        };
        let charge = Charge {
            cost,
            used: self.refill(&after.at) + missing,
            end,
            charged_at: self.refundable.mark(&after.at),
        };
        (fields, takes.then_some((after, charge)))
    }

    /// Returns the bucket at tick `now`, or as of its last change when that is later.
    fn refilled_to(&self, now: BigInt) -> Greedy {
        let at = now.max(self.at.clone());
        let level = (&self.level + self.refill(&(&at - &self.at))).min(self.capacity.clone());
        Greedy {
            at,
            level,
            ..self.clone()
        }
    }

    /// Returns the end of the sold range on the axis of tokens refilled since the origin. Charges
    /// without a wait end at most one capacity ahead of the refill.
    fn sold_end(&self) -> BigRational {
        self.refill(&self.at) + &self.capacity - &self.level
    }

    /// Refunds a charge. While there are waiters, the last charge sold gives back all of its cost,
    /// and any other charge gives nothing back. Otherwise a charge gives back its cost minus the
    /// refill between its use and the last change.
    pub fn refund(&mut self, charge: &Charge) -> bool {
        if !self.refundable.includes(&charge.charged_at) {
            return false;
        }
        let now = self.refill(&self.at);
        let back = if self.level.is_negative() {
            if charge.end == self.sold_end() {
                let mut back = charge.cost.clone();
                if self.at == self.paused_until && charge.charged_at.tick < self.at {
                    // The pause began after the charge: one unit stays sold until its end.
                    let unit = self.scale.refill_per_tick.clone().min(integer(1));
                    back = back.min(-&self.level - unit);
                }
                back
            } else {
                BigRational::zero()
            }
        } else {
            (&charge.cost - (now - &charge.used)).min(charge.cost.clone())
        };
        let gives_back = back.is_positive();
        if gives_back {
            self.level = (&self.level + back).min(self.capacity.clone());
        }
        gives_back
    }

    /// Fills the bucket, at a tick later than any earlier change.
    pub fn reset(&mut self, now: u64) {
        let last = self.scale.tick(u64::MAX);
        self.refundable.void_earlier();
        // At the last tick there is no newer stamp, so no decision is refundable any more.
        if self.at == last {
            self.refundable.void_all();
        }
        self.at = self.scale.tick(now).max((&self.at + 1_u32).min(last));
        self.level = self.capacity.clone();
    }

    /// Empties the bucket as of `until`. Reservations that last longer stay sold.
    pub fn pause(&mut self, now: u64, until: u64) {
        let (now, until) = (self.scale.tick(now), self.scale.tick(until));
        if until <= now || until <= self.at {
            return;
        }
        self.paused_until = until.clone();
        *self = self.refilled_to(until);
        if !self.level.is_negative() {
            self.level = BigRational::zero();
            self.refundable.void_earlier();
        }
    }

    /// Moves the bucket back to `now`. What was spent stays spent.
    pub fn rebase(&mut self, now: u64) {
        let now = self.scale.tick(now);
        if now < self.at {
            self.refundable.void_until_after(&self.at);
            self.at = now;
        }
    }

    fn refill(&self, ticks: &BigInt) -> BigRational {
        integer(ticks.clone()) * &self.scale.refill_per_tick
    }
}
