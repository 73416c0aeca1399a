//! A greedy bucket without any grid: the level is exact at every nanosecond.

use num_rational::BigRational;
use num_traits::Zero;
use tollgate::Quota;

use super::{integer, rate};

#[derive(Clone, Debug)]
pub struct Continuous {
    pub rate: BigRational,
    pub capacity: BigRational,
    /// Tokens taken and not yet back, as of `at`. The history is the library's own, so this may
    /// pass the capacity by what comes back in one step.
    spent: BigRational,
    /// The time of the last charge.
    at: u64,
}

impl Continuous {
    pub fn new(quota: &Quota) -> Continuous {
        Continuous {
            rate: rate(quota),
            capacity: integer(quota.capacity()),
            spent: BigRational::zero(),
            at: 0,
        }
    }

    /// What is spent at `now`; a time before the last charge counts as the time of that charge.
    pub fn spent(&self, now: u64) -> BigRational {
        let back = &self.rate * integer(now.saturating_sub(self.at));
        (&self.spent - back).max(BigRational::zero())
    }

    /// The time that `now` counts as.
    pub fn time(&self, now: u64) -> u64 {
        now.max(self.at)
    }

    pub fn charge(&mut self, now: u64, cost: u32) {
        self.spent = self.spent(now) + integer(cost);
        self.at = self.time(now);
    }
}
