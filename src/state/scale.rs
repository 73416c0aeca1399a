//! From nanoseconds to ticks, by one multiplication.

/// Time stands still here, 2³⁰ s = 34 years after the origin: buckets stop refilling, and nothing
/// wraps. Below 2⁶⁰ ns.
pub(crate) const HORIZON_NANOS: u64 = (1 << 30) * 1_000_000_000 - 1;

/// Binary places of the fraction.
const PLACES: u32 = 128;

/// A ratio of ticks to nanoseconds: a whole number, nearly always 0, and a fraction with 128 binary
/// places.
///
/// The fraction is rounded up, and for `n < 2⁶⁰` the product is too large by less than `2⁶⁰ / 2¹²⁸`
/// of a tick. The true value is a multiple of `1 / nanos`; so the floor is exact when `nanos <
/// 2⁶⁸`, as of every quota with a unit a tick, and never behind otherwise (Granlund and Montgomery,
/// Division by Invariant Integers using Multiplication, 1994).
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    high: u64,
    low: u64,
    whole: u64,
}

impl Scale {
    /// `ticks / nanos`, which is below 16.
    pub(super) const fn new(ticks: u128, nanos: u128) -> Scale {
        let mut rest = ticks % nanos;
        let (mut fraction, mut place) = (0_u128, 0);
        // Long division; both sides are below 2⁹⁴, so nothing overflows.
        while place < PLACES {
            rest <<= 1;
            fraction <<= 1;
            if rest >= nanos {
                rest -= nanos;
                fraction |= 1;
            }
            place += 1;
        }
        if rest > 0 {
            // It is 2⁻⁹⁴ away from 1 at least.
            fraction += 1;
        }
        Scale {
            high: (fraction >> 64) as u64,
            low: fraction as u64,
            whole: (ticks / nanos) as u64,
        }
    }

    /// The whole number, and the fraction.
    pub(super) const fn parts(self) -> (u64, u128) {
        (self.whole, (self.high as u128) << 64 | self.low as u128)
    }

    /// Whole ticks in `nanos` since the origin; behind the horizon, as at the horizon.
    #[inline]
    pub(super) const fn ticks(self, nanos: u64) -> u64 {
        if nanos > HORIZON_NANOS {
            self.behind_the_horizon()
        } else {
            self.ticks_within(nanos)
        }
    }

    /// Apart, so that a decision waits for a branch that is never taken, and not for a minimum.
    #[cold]
    #[inline(never)]
    const fn behind_the_horizon(self) -> u64 {
        self.ticks_within(HORIZON_NANOS)
    }

    /// The floor is the upper half of a product of 128 bits: a decision waits for this number, so
    /// it is not shifted any more.
    #[inline(always)]
    const fn ticks_within(self, nanos: u64) -> u64 {
        let low = (nanos as u128 * self.low as u128) >> 64;
        let ticks = ((nanos as u128 * self.high as u128 + low) >> 64) as u64;
        if self.whole == 0 {
            ticks
        } else {
            self.with_whole(ticks, nanos)
        }
    }

    /// Apart, since the guess that it is not needed costs nothing.
    #[cold]
    #[inline(never)]
    const fn with_whole(self, ticks: u64, nanos: u64) -> u64 {
        ticks + nanos * self.whole
    }
}
