//! A bucket whose tokens all come back at once: windows, one behind the other, each with its uses.

use std::{collections::VecDeque, time::Duration};

use num_bigint::BigInt;
use num_traits::Zero;
use tollgate::{Outcome, Quota};

use super::{Answer, Next, grid::Grid};

#[derive(Clone, Debug)]
pub struct Interval {
    grid: Grid,
    /// Steps in a window.
    window: BigInt,
    capacity: u64,
    debt: u64,
    /// When the first of `windows` began; with none open, the last change.
    at: BigInt,
    /// What is used, or given up, of the window that is open and of those sold ahead of time.
    windows: VecDeque<u64>,
    resets: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct Charge {
    cost: u64,
    /// What was given up of the window before, since the cost did not fit its rest.
    skipped: u64,
    /// When the window in which it is used begins.
    window: BigInt,
    /// What was used of that window, this charge included.
    end: u64,
    resets: Option<u32>,
}

impl Interval {
    pub fn new(quota: &Quota, grid: Grid) -> Interval {
        let (window, capacity, debt) = (
            grid.step.recip().to_integer(),
            quota.capacity().into(),
            quota.debt().into(),
        );
        Interval {
            grid,
            window,
            capacity,
            debt,
            at: BigInt::zero(),
            windows: VecDeque::new(),
            resets: Some(0),
        }
    }

    pub fn decide(
        &self,
        now: u64,
        cost: u32,
        patience: Option<u64>,
    ) -> Vec<Next<Interval, Charge>> {
        let before = self.settled(now);
        let cost = u64::from(cost);
        let after = before.clone().with(cost);
        let ahead = after.windows.len().saturating_sub(1);
        let ready = after.begin_of(ahead);
        let outcome = match patience {
            _ if cost == 0 => Outcome::Allowed,
            _ if cost > self.capacity => Outcome::CostAboveCapacity,
            _ if ahead == 0 => Outcome::Allowed,
            None => Outcome::Refused,
            Some(_) if after.sold() > self.capacity + self.debt => Outcome::DebtExhausted,
            Some(patience) => match self.grid.nanos_at(&ready) {
                Some(time) if u128::from(time) <= u128::from(now) + u128::from(patience) => {
                    Outcome::Allowed
                }
                _ => Outcome::DeadlineTooSoon,
            },
        };
        let takes = outcome == Outcome::Allowed && cost > 0;
        let left = if takes { &after } else { &before };
        let answer = Answer {
            outcome,
            remaining: u32::try_from(self.capacity.saturating_sub(left.sold())).unwrap(),
            retry_after: match outcome {
                Outcome::Allowed | Outcome::CostAboveCapacity => None,
                _ => self.grid.until(&ready, now),
            },
            reset_after: match left.windows.len() {
                0 => Duration::ZERO,
                open => self
                    .grid
                    .until(&left.begin_of(open), now)
                    .unwrap_or(Duration::MAX),
            },
            wait: self
                .grid
                .until(&ready, now)
                .filter(|_| takes && ahead > 0)
                .unwrap_or_default(),
        };
        if !takes {
            return vec![Next {
                answer,
                charge: None,
            }];
        }
        let skipped = after.sold() - before.sold() - cost;
        let end = *after.windows.back().expect("something was taken");
        let charge = Charge {
            cost,
            skipped,
            window: ready,
            end,
            resets: self.resets,
        };
        vec![Next {
            answer,
            charge: Some((after, charge)),
        }]
    }

    /// While somebody waits, the last one sold gives back all. Else a charge gives back what it
    /// used of the open window.
    pub fn refund(&mut self, charge: &Charge) -> bool {
        if self.resets.is_none() || charge.resets != self.resets || self.windows.is_empty() {
            return false;
        }
        let last = self.windows.len() - 1;
        if charge.window != self.begin_of(last) || (last > 0 && self.windows[last] != charge.end) {
            return false;
        }
        self.windows[last] = self.windows[last].saturating_sub(charge.cost);
        if last > 0 {
            self.windows[last - 1] -= charge.skipped;
        }
        while self.windows.back() == Some(&0) {
            self.windows.pop_back();
        }
        true
    }

    pub fn reset(&mut self, now: u64) {
        let last = self.grid.at(u64::MAX);
        let ended = self.at == last;
        self.at = self.grid.at(now).max((&self.at + 1_u32).min(last));
        self.windows.clear();
        // After a reset at the last step, no stamp tells decisions from before, and none counts.
        self.resets = self.resets.filter(|_| !ended).map(|resets| resets + 1);
    }

    /// The windows that are over have passed; with none left, the next begins now.
    fn settled(&self, now: u64) -> Interval {
        let (mut settled, now) = (self.clone(), self.grid.at(now));
        while !settled.windows.is_empty() && &settled.at + &self.window <= now {
            settled.windows.pop_front();
            settled.at += &self.window;
        }
        if settled.windows.is_empty() {
            settled.at = now.max(self.at.clone());
        }
        settled
    }

    /// With `cost` in the last window, or as a whole in a new one.
    fn with(mut self, cost: u64) -> Interval {
        match self.windows.back_mut() {
            Some(used) if *used + cost <= self.capacity => *used += cost,
            Some(used) => {
                *used = self.capacity;
                self.windows.push_back(cost);
            }
            None if cost > 0 => self.windows.push_back(cost),
            None => {}
        }
        self
    }

    fn begin_of(&self, window: usize) -> BigInt {
        &self.at + &self.window * window
    }

    fn sold(&self) -> u64 {
        self.windows.iter().sum()
    }
}
