//! The steps that a bucket counts time in.

use std::time::Duration;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Pow};
use tollgate::Quota;

use super::{integer, nanos, rate, ratio};

/// The last nanosecond: 2³⁰ s after the origin time stands still.
pub const HORIZON: u64 = (1 << 30) * 1_000_000_000 - 1;

/// The word: what it holds of tokens and of time.
const WORD: u64 = 64;

/// In Redis they are numbers of their own, of so many bits each.
const APART: u64 = 52;

#[derive(Clone, Debug)]
pub struct Grid {
    /// Steps in a nanosecond.
    per_nano: BigRational,
    /// What a step brings: tokens of a greedy quota, a fraction of the window of an interval quota.
    pub step: BigRational,
}

impl Grid {
    /// Greedy: a step brings a token over a power of two, the finest for which tokens up to
    /// capacity and debt, and steps up to the horizon, have room in the word together. Interval: a
    /// window has as many whole steps as leave that room.
    pub fn new(quota: &Quota) -> Grid {
        let tokens = bits(&BigInt::from(
            u64::from(quota.capacity()) + u64::from(quota.debt()),
        ));
        let fits = |finer: i32, steps: &BigInt| {
            tokens + u64::try_from(finer).unwrap_or(0) + bits(steps) <= WORD
        };
        Grid::finest(quota, WORD - tokens, fits)
    }

    /// The same for a bucket in Redis, where nobody waits: tokens and steps each have room of their
    /// own.
    pub fn apart(quota: &Quota) -> Grid {
        let tokens = bits(&BigInt::from(quota.capacity()));
        let fits = |finer: i32, steps: &BigInt| {
            tokens + u64::try_from(finer).unwrap_or(0) <= APART && bits(steps) <= APART
        };
        Grid::finest(quota, APART, fits)
    }

    /// With so many bits for the steps of windows, or as fine as tokens in such parts and so many
    /// steps fit.
    fn finest(quota: &Quota, time: u64, fits: impl Fn(i32, &BigInt) -> bool) -> Grid {
        if quota.is_interval() {
            let window = BigInt::from(nanos(quota.period()));
            let grain = BigInt::from(2).pow(bits(&BigInt::from(HORIZON)).saturating_sub(time));
            let steps = (&window / grain).max(BigInt::one());
            return Grid {
                per_nano: ratio(steps.clone(), window),
                step: ratio(1, steps),
            };
        }
        let steps =
            |finer: i32| (rate(quota) * power_of_two(finer) * integer(HORIZON)).to_integer();
        let finest = (-64..=32)
            .rev()
            .find(|&finer| fits(finer, &steps(finer)))
            .expect("a word has room for any quota");
        Grid {
            per_nano: rate(quota) * power_of_two(finest),
            step: power_of_two(-finest),
        }
    }

    /// Whole steps from the origin to `nanos`.
    pub fn at(&self, nanos: u64) -> BigInt {
        (integer(nanos.min(HORIZON)) * &self.per_nano).to_integer()
    }

    /// The first nanosecond at which `steps` have passed; `None`: never.
    pub fn nanos_at(&self, steps: &BigInt) -> Option<u64> {
        let nanos = (integer(steps.clone()) / &self.per_nano)
            .ceil()
            .to_integer();
        u64::try_from(nanos).ok().filter(|&nanos| nanos <= HORIZON)
    }

    /// From `now` until `steps` have passed; `None`: never.
    pub fn until(&self, steps: &BigInt, now: u64) -> Option<Duration> {
        self.nanos_at(steps)
            .map(|nanos| Duration::from_nanos(nanos.saturating_sub(now)))
    }

    /// The steps it takes to bring `amount`.
    pub fn to_bring(&self, amount: &BigRational) -> BigInt {
        (amount / &self.step).ceil().to_integer()
    }

    /// How long a step is, rounded up to nanoseconds.
    pub fn resolution(&self) -> BigInt {
        self.per_nano.recip().ceil().to_integer()
    }
}

fn power_of_two(exponent: i32) -> BigRational {
    integer(2).pow(exponent)
}

fn bits(number: &BigInt) -> u64 {
    number.bits()
}
