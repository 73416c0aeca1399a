//! From nanoseconds to ticks, by one multiplication.

/// Time stands still here, 2³⁰ s = 34 years after the origin: buckets stop refilling, and nothing wraps. Below 2⁶⁰ ns.
pub(crate) const HORIZON_NANOS: u64 = (1 << 30) * 1_000_000_000 - 1;

const SHIFT: u32 = 124;

/// A ratio of ticks to nanoseconds as a fixed-point number with 124 binary places.
///
/// The multiplier is rounded up, and for `n < 2⁶⁰` the product is too large by less than `2⁶⁰ / 2¹²⁴` of a tick. The true
/// value is a multiple of `1 / nanos`; so the floor is exact when `nanos < 2⁶⁴`, as of every quota with a unit a tick, and
/// never behind otherwise
/// (Granlund and Montgomery, Division by Invariant Integers using Multiplication, 1994).
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    high: u64,
    low: u64,
}

impl Scale {
    /// `ticks / nanos`, which is below 16.
    pub(super) const fn new(ticks: u128, nanos: u128) -> Scale {
        let (mut quotient, mut rest) = (ticks / nanos, ticks % nanos);
        let mut place = 0;
        // Long division; both sides are below 2⁹⁴, so nothing overflows.
        while place < SHIFT {
            rest <<= 1;
            quotient <<= 1;
            if rest >= nanos {
                rest -= nanos;
                quotient |= 1;
            }
            place += 1;
        }
        if rest > 0 {
            quotient += 1;
        }
        Scale { high: (quotient >> 64) as u64, low: quotient as u64 }
    }

    /// Whole ticks in `nanos` since the origin; behind the horizon, as at the horizon.
    #[inline]
    pub(super) const fn ticks(self, nanos: u64) -> u64 {
        if nanos > HORIZON_NANOS { self.behind_the_horizon() } else { self.ticks_within(nanos) }
    }

    /// Apart, so that a decision waits for a branch that is never taken, and not for a minimum.
    #[cold]
    #[inline(never)]
    const fn behind_the_horizon(self) -> u64 {
        self.ticks_within(HORIZON_NANOS)
    }

    /// The product is taken 4 places further left, so that its whole part is the upper half of 128 bits: a decision waits for
    /// this number, and an addition with carry is faster than a shift across two words.
    #[inline]
    const fn ticks_within(self, nanos: u64) -> u64 {
        let nanos = (nanos << (128 - SHIFT)) as u128;
        let low = (nanos * self.low as u128) >> 64;
        ((nanos * self.high as u128 + low) >> 64) as u64
    }
}
