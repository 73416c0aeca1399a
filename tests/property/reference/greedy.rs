//! Reference bucket of a greedy quota: time raises a level, charges lower it.

use std::time::Duration;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, Zero};
use tollgate::{Outcome, Quota};

use super::{DecisionFields, PossibleDecision, integer, ticks::TickScale};

#[derive(Clone, Debug)]
pub struct Greedy {
    scale: TickScale,
    capacity: BigRational,
    debt: BigRational,
    /// Available tokens as of `at`; negative when tokens were sold ahead of time.
    level: BigRational,
    /// Tick of the last change. No later decision is made at an earlier tick.
    at: BigInt,
    /// Number of resets: a reset voids the refunds of earlier charges. `None` after a reset at the
    /// last tick, when no charge is refundable.
    resets: Option<u32>,
    /// Intervals of the queue whose waiters have left.
    holes: Vec<(BigRational, BigRational)>,
}

#[derive(Clone, Debug)]
pub struct Charge {
    cost: BigRational,
    /// Refill since the origin at the time at which the charge is used.
    used: BigRational,
    /// End of the sold interval on the axis of refilled tokens.
    end: BigRational,
    resets: Option<u32>,
}

impl Greedy {
    pub fn new(quota: &Quota, scale: TickScale) -> Greedy {
        let (capacity, debt) = (integer(quota.capacity()), integer(quota.debt()));
        Greedy {
            scale,
            level: capacity.clone(),
            capacity,
            debt,
            at: BigInt::zero(),
            resets: Some(0),
            holes: Vec::new(),
        }
    }

    /// Returns the possible decisions: a sale at the end of the queue, or in a hole that fits.
    pub fn decide(
        &self,
        now: u64,
        cost: u32,
        max_wait: Option<u64>,
    ) -> Vec<PossibleDecision<Greedy, Charge>> {
        let refilled = self.refilled_to(now);
        let cost = integer(cost);
        let mut next = vec![refilled.sell(&refilled.sold_end(), now, &cost, max_wait)];
        if max_wait.is_some() && cost.is_positive() {
            // The earliest hole first, as in the library: two sales may have equal fields and leave
            // different holes.
            let mut holes: Vec<_> = refilled.holes.iter().enumerate().collect();
            holes.sort_by_key(|(_, hole)| *hole);
            let sold = holes.into_iter().filter_map(|(number, hole)| {
                refilled.sell_hole(number, hole, now, &cost, max_wait)
            });
            next.extend(sold);
        }
        next
    }

    fn refilled_to(&self, now: u64) -> Greedy {
        let at = self.scale.tick(now).max(self.at.clone());
        let level = (&self.level + self.refill(&(&at - &self.at))).min(self.capacity.clone());
        // A hole is for sale until the first change after its time of use: only then does the
        // library detect that it is used.
        let holes = self
            .holes
            .iter()
            .filter(|hole| self.is_ahead(&hole.1))
            .cloned()
            .collect();
        Greedy {
            at,
            level,
            holes,
            ..self.clone()
        }
    }

    /// Sells the interval that begins at `start`, on the axis of tokens refilled since the origin.
    fn sell(
        &self,
        start: &BigRational,
        now: u64,
        cost: &BigRational,
        max_wait: Option<u64>,
    ) -> PossibleDecision<Greedy, Charge> {
        let end = start + cost;
        let missing = (&end - self.refill(&self.at) - &self.capacity).max(BigRational::zero());
        // The tick at which the cost is available.
        let ready = &self.at + self.scale.ticks_to_refill(&missing);
        let outcome = match max_wait {
            _ if cost.is_zero() => Outcome::Allowed,
            _ if *cost > self.capacity => Outcome::CostAboveCapacity,
            _ if missing.is_zero() => Outcome::Allowed,
            None => Outcome::Refused,
            Some(_) if missing > self.debt => Outcome::DebtExhausted,
            Some(max_wait) => match self.scale.nanos_at(&ready) {
                Some(time) if u128::from(time) <= u128::from(now) + u128::from(max_wait) => {
                    Outcome::Allowed
                }
                _ => Outcome::DeadlineTooSoon,
            },
        };
        let takes = outcome == Outcome::Allowed && !cost.is_zero();
        let mut after = self.clone();
        if takes && end > self.sold_end() {
            after.level -= cost;
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
                    .until(&(&self.at + self.scale.ticks_to_refill(&missing)), now)
                    .unwrap_or(Duration::MAX),
            },
            wait: self
                .scale
                .until(&ready, now)
                .filter(|_| takes && missing.is_positive())
                .unwrap_or_default(),
        };
        let used = self.refill(&self.at) + missing;
        let charge = Charge {
            cost: cost.clone(),
            used,
            end,
            resets: self.resets,
        };
        PossibleDecision {
            fields,
            charge: takes.then_some((after, charge)),
        }
    }

    fn sell_hole(
        &self,
        number: usize,
        (start, end): &(BigRational, BigRational),
        now: u64,
        cost: &BigRational,
        max_wait: Option<u64>,
    ) -> Option<PossibleDecision<Greedy, Charge>> {
        let start = start.max(&self.refill(&self.at)).clone();
        let mut next = if &start + cost <= *end {
            self.sell(&start, now, cost, max_wait)
        } else {
            return None;
        };
        let (after, _) = next.charge.as_mut()?;
        after.holes[number].0 = start + cost;
        Some(next)
    }

    /// Returns the end of the sold range on the axis of tokens refilled since the origin. Charges
    /// without a wait end at most one capacity ahead of the refill.
    fn sold_end(&self) -> BigRational {
        self.refill(&self.at) + &self.capacity - &self.level
    }

    /// Returns true when an interval with this end is not yet in use.
    fn is_ahead(&self, end: &BigRational) -> bool {
        *end > self.refill(&self.at) + &self.capacity
    }

    /// Refunds a charge. While there are waiters, the last charge sold gives back all of its cost,
    /// and any other charge leaves a hole. Otherwise a charge gives back its cost minus the refill
    /// between its use and the last change.
    pub fn refund(&mut self, charge: &Charge) -> bool {
        if self.resets.is_none() || charge.resets != self.resets {
            return false;
        }
        let now = self.refill(&self.at);
        let back = if self.level.is_negative() {
            if charge.end == self.sold_end() {
                charge.cost.clone()
            } else {
                BigRational::zero()
            }
        } else {
            (&charge.cost - (now - &charge.used)).min(charge.cost.clone())
        };
        if back.is_positive() {
            self.level = (&self.level + back).min(self.capacity.clone());
            return true;
        }
        let leaves_hole = self.is_ahead(&charge.end);
        if leaves_hole {
            self.holes
                .push((&charge.end - &charge.cost, charge.end.clone()));
        }
        leaves_hole
    }

    /// Fills the bucket, at a tick later than any earlier change.
    pub fn reset(&mut self, now: u64) {
        let last = self.scale.tick(u64::MAX);
        let at_last_tick = self.at == last;
        self.at = self.scale.tick(now).max((&self.at + 1_u32).min(last));
        self.level = self.capacity.clone();
        // At the last tick there is no newer stamp, so no decision is refundable any more.
        self.resets = self
            .resets
            .filter(|_| !at_last_tick)
            .map(|resets| resets + 1);
        self.holes.clear();
    }

    fn refill(&self, ticks: &BigInt) -> BigRational {
        integer(ticks.clone()) * &self.scale.refill_per_tick
    }
}
