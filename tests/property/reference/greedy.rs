//! A bucket whose tokens drip back evenly: a level, which time raises and charges lower.

use std::time::Duration;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, Zero};
use tollgate::{Outcome, Quota};

use super::{Answer, Next, grid::Grid, integer};

#[derive(Clone, Debug)]
pub struct Greedy {
    grid: Grid,
    capacity: BigRational,
    debt: BigRational,
    /// Tokens there, as of `at`; below zero when some were sold ahead of time.
    level: BigRational,
    /// The step of the last change. Time does not go back before it.
    at: BigInt,
    /// Charges from before a reset are not given back.
    resets: Option<u32>,
    /// Places in the queue whose owners have left.
    holes: Vec<(BigRational, BigRational)>,
}

#[derive(Clone, Debug)]
pub struct Charge {
    cost: BigRational,
    /// What had come back since the origin when the charge was used, or will be.
    used: BigRational,
    /// Up to where on that axis this charge sold tokens.
    end: BigRational,
    resets: Option<u32>,
}

impl Greedy {
    pub fn new(quota: &Quota, grid: Grid) -> Greedy {
        let (capacity, debt) = (integer(quota.capacity()), integer(quota.debt()));
        Greedy {
            grid,
            level: capacity.clone(),
            capacity,
            debt,
            at: BigInt::zero(),
            resets: Some(0),
            holes: Vec::new(),
        }
    }

    /// What may happen: a sale at the end of what is sold, or in a hole where one fits.
    pub fn decide(&self, now: u64, cost: u32, patience: Option<u64>) -> Vec<Next<Greedy, Charge>> {
        let settled = self.settled(now);
        let cost = integer(cost);
        let mut next = vec![settled.sell(&settled.sold(), now, &cost, patience)];
        if patience.is_some() && cost.is_positive() {
            // The earliest first, as the library takes them: two may give the same answer, and
            // leave different holes.
            let mut holes: Vec<_> = settled.holes.iter().enumerate().collect();
            holes.sort_by_key(|(_, hole)| *hole);
            let sold = holes
                .into_iter()
                .filter_map(|(number, hole)| settled.sell_hole(number, hole, now, &cost, patience));
            next.extend(sold);
        }
        next
    }

    fn settled(&self, now: u64) -> Greedy {
        let at = self.grid.at(now).max(self.at.clone());
        let level = (&self.level + self.refilled(&(&at - &self.at))).min(self.capacity.clone());
        // A hole is for sale until the library sees it used, which is at its first change after
        // that.
        let holes = self
            .holes
            .iter()
            .filter(|hole| self.lies_ahead(&hole.1))
            .cloned()
            .collect();
        Greedy {
            at,
            level,
            holes,
            ..self.clone()
        }
    }

    /// Sells what follows `start` on the axis of what has come back since the origin.
    fn sell(
        &self,
        start: &BigRational,
        now: u64,
        cost: &BigRational,
        patience: Option<u64>,
    ) -> Next<Greedy, Charge> {
        let end = start + cost;
        let missing = (&end - self.refilled(&self.at) - &self.capacity).max(BigRational::zero());
        // The step at which as much is there as was asked for.
        let ready = &self.at + self.grid.to_bring(&missing);
        let outcome = match patience {
            _ if cost.is_zero() => Outcome::Allowed,
            _ if *cost > self.capacity => Outcome::CostAboveCapacity,
            _ if missing.is_zero() => Outcome::Allowed,
            None => Outcome::Refused,
            Some(_) if missing > self.debt => Outcome::DebtExhausted,
            Some(patience) => match self.grid.nanos_at(&ready) {
                Some(time) if u128::from(time) <= u128::from(now) + u128::from(patience) => {
                    Outcome::Allowed
                }
                _ => Outcome::DeadlineTooSoon,
            },
        };
        let takes = outcome == Outcome::Allowed && !cost.is_zero();
        let mut after = self.clone();
        if takes && end > self.sold() {
            after.level -= cost;
        }
        let answer = Answer {
            outcome,
            remaining: u32::try_from(after.level.floor().to_integer()).unwrap_or(0),
            retry_after: match outcome {
                Outcome::Allowed | Outcome::CostAboveCapacity => None,
                _ => self.grid.until(&ready, now),
            },
            reset_after: match &self.capacity - &after.level {
                missing if missing.is_zero() => Duration::ZERO,
                missing => self
                    .grid
                    .until(&(&self.at + self.grid.to_bring(&missing)), now)
                    .unwrap_or(Duration::MAX),
            },
            wait: self
                .grid
                .until(&ready, now)
                .filter(|_| takes && missing.is_positive())
                .unwrap_or_default(),
        };
        let used = self.refilled(&self.at) + missing;
        let charge = Charge {
            cost: cost.clone(),
            used,
            end,
            resets: self.resets,
        };
        Next {
            answer,
            charge: takes.then_some((after, charge)),
        }
    }

    fn sell_hole(
        &self,
        number: usize,
        (start, end): &(BigRational, BigRational),
        now: u64,
        cost: &BigRational,
        patience: Option<u64>,
    ) -> Option<Next<Greedy, Charge>> {
        let start = start.max(&self.refilled(&self.at)).clone();
        let mut next = if &start + cost <= *end {
            self.sell(&start, now, cost, patience)
        } else {
            return None;
        };
        let (after, _) = next.charge.as_mut()?;
        after.holes[number].0 = start + cost;
        Some(next)
    }

    /// The end of what is sold, on the axis of what has come back since the origin: a capacity is
    /// sold ahead of it at most to those who do not wait.
    fn sold(&self) -> BigRational {
        self.refilled(&self.at) + &self.capacity - &self.level
    }

    fn lies_ahead(&self, end: &BigRational) -> bool {
        *end > self.refilled(&self.at) + &self.capacity
    }

    /// While somebody waits, the last one sold gives back all, and others leave a hole where they
    /// were. Else a charge gives back its cost less what came back between its use and the last
    /// change.
    pub fn refund(&mut self, charge: &Charge) -> bool {
        if self.resets.is_none() || charge.resets != self.resets {
            return false;
        }
        let now = self.refilled(&self.at);
        let back = if self.level.is_negative() {
            if charge.end == self.sold() {
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
        let leaves = self.lies_ahead(&charge.end);
        if leaves {
            self.holes
                .push((&charge.end - &charge.cost, charge.end.clone()));
        }
        leaves
    }

    /// Full, and a step after any change before.
    pub fn reset(&mut self, now: u64) {
        let last = self.grid.at(u64::MAX);
        let ended = self.at == last;
        self.at = self.grid.at(now).max((&self.at + 1_u32).min(last));
        self.level = self.capacity.clone();
        // After a reset at the last step, no stamp tells decisions from before, and none counts.
        self.resets = self.resets.filter(|_| !ended).map(|resets| resets + 1);
        self.holes.clear();
    }

    fn refilled(&self, steps: &BigInt) -> BigRational {
        integer(steps.clone()) * &self.grid.step
    }
}
