//! Greedy reference bucket without ticks: the level is exact at every nanosecond.

use num_rational::BigRational;
use num_traits::Zero;
use tollgate::Quota;

use super::{integer, rate};

#[derive(Clone, Debug)]
pub struct Continuous {
    pub rate: BigRational,
    pub capacity: BigRational,
    /// Tokens taken and not yet refilled, as of `at`. This follows the decisions of the library, so
    /// it can exceed the capacity by the refill of one tick.
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

    /// Returns the tokens spent at `now`. A time before the last charge counts as the time of that
    /// charge.
    pub fn spent(&self, now: u64) -> BigRational {
        let refill = &self.rate * integer(now.saturating_sub(self.at));
        (&self.spent - refill).max(BigRational::zero())
    }

    /// Returns the later of `now` and the last charge.
    pub fn time(&self, now: u64) -> u64 {
        now.max(self.at)
    }

    pub fn charge(&mut self, now: u64, cost: u32) {
        self.spent = self.spent(now) + integer(cost);
        self.at = self.time(now);
    }
}
