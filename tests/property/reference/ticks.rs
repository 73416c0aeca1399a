//! Ticks: the unit in which a bucket counts time.

use std::time::Duration;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Pow};
use tollgate::Quota;

use super::{integer, nanos, rate, ratio};

/// The last nanosecond: time stops 2³⁰ s after the origin.
pub const HORIZON: u64 = (1 << 30) * 1_000_000_000 - 1;

/// Bits of the packed word, which holds tokens and ticks.
const WORD_BITS: u64 = 64;

/// Bits of each number in Redis, where tokens and ticks are not packed.
const UNPACKED_BITS: u64 = 52;

/// Ticks of a quota: their length, and the refill of one tick.
#[derive(Clone, Debug)]
pub struct TickScale {
    /// Ticks in a nanosecond.
    ticks_per_nano: BigRational,
    /// Refill of a tick: tokens for greedy quotas, a fraction of the window for interval quotas.
    pub refill_per_tick: BigRational,
}

impl TickScale {
    /// Creates the scale of a packed word. Greedy: a tick refills a token divided by a power of
    /// two, the largest for which twice the capacity in these units, and the ticks until the
    /// horizon, fit the word together: a bucket sells up to one capacity ahead of time. Interval: a window has the largest whole number of ticks
    /// that fits.
    pub fn new(quota: &Quota) -> TickScale {
        let tokens = bits(&BigInt::from(2 * u64::from(quota.capacity())));
        let fits = |exponent: i32, ticks: &BigInt| {
            tokens + u64::try_from(exponent).unwrap_or(0) + bits(ticks) <= WORD_BITS
        };
        TickScale::finest(quota, WORD_BITS - tokens, fits)
    }

    /// Creates the scale of a bucket in Redis, which has no waiters: tokens and ticks have
    /// [`UNPACKED_BITS`] each.
    pub fn unpacked(quota: &Quota) -> TickScale {
        let tokens = bits(&BigInt::from(quota.capacity()));
        let fits = |exponent: i32, ticks: &BigInt| {
            tokens + u64::try_from(exponent).unwrap_or(0) <= UNPACKED_BITS
                && bits(ticks) <= UNPACKED_BITS
        };
        TickScale::finest(quota, UNPACKED_BITS, fits)
    }

    /// Returns the finest scale: for interval quotas, with `tick_bits` for ticks; for greedy
    /// quotas, with the largest exponent for which the units of a token and the ticks until the
    /// horizon fit.
    fn finest(quota: &Quota, tick_bits: u64, fits: impl Fn(i32, &BigInt) -> bool) -> TickScale {
        if quota.is_interval() {
            let window = BigInt::from(nanos(quota.period()));
            let nanos_per_tick =
                BigInt::from(2).pow(bits(&BigInt::from(HORIZON)).saturating_sub(tick_bits));
            let ticks = (&window / nanos_per_tick).max(BigInt::one());
            return TickScale {
                ticks_per_nano: ratio(ticks.clone(), window),
                refill_per_tick: ratio(1, ticks),
            };
        }
        let ticks =
            |exponent: i32| (rate(quota) * power_of_two(exponent) * integer(HORIZON)).to_integer();
        let finest = (-64..=32)
            .rev()
            .find(|&exponent| fits(exponent, &ticks(exponent)))
            .expect("every quota fits a word");
        TickScale {
            ticks_per_nano: rate(quota) * power_of_two(finest),
            refill_per_tick: power_of_two(-finest),
        }
    }

    /// Returns the whole ticks from the origin to `nanos`.
    pub fn tick(&self, nanos: u64) -> BigInt {
        self.exact_tick(nanos).to_integer()
    }

    /// Returns the ticks from the origin to `nanos`, with their fraction.
    pub fn exact_tick(&self, nanos: u64) -> BigRational {
        integer(nanos.min(HORIZON)) * &self.ticks_per_nano
    }

    /// Returns the first nanosecond at which `ticks` have passed, or `None` past the horizon.
    pub fn nanos_at(&self, ticks: &BigInt) -> Option<u64> {
        let nanos = (integer(ticks.clone()) / &self.ticks_per_nano)
            .ceil()
            .to_integer();
        u64::try_from(nanos).ok().filter(|&nanos| nanos <= HORIZON)
    }

    /// Returns the time from `now` until `ticks` have passed, or `None` past the horizon.
    pub fn until(&self, ticks: &BigInt, now: u64) -> Option<Duration> {
        self.nanos_at(ticks)
            .map(|nanos| Duration::from_nanos(nanos.saturating_sub(now)))
    }

    /// Returns the ticks in which `amount` is refilled.
    pub fn ticks_to_refill(&self, amount: &BigRational) -> BigInt {
        (amount / &self.refill_per_tick).ceil().to_integer()
    }

    /// Returns the length of a tick, rounded up to nanoseconds.
    pub fn resolution(&self) -> BigInt {
        self.ticks_per_nano.recip().ceil().to_integer()
    }
}

fn power_of_two(exponent: i32) -> BigRational {
    integer(2).pow(exponent)
}

fn bits(number: &BigInt) -> u64 {
    number.bits()
}
