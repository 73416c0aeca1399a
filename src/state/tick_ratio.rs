//! Conversion from nanoseconds to ticks by one fixed-point multiplication.

/// Time stops here, 2³⁰ s = 34 years after the origin: buckets stop refilling, and nothing wraps.
/// Below 2⁶⁰ ns.
pub(crate) const HORIZON_NANOS: u64 = (1 << 30) * 1_000_000_000 - 1;

/// Binary places of the fraction.
const PLACES: u32 = 128;

/// A ratio of ticks to nanoseconds: a whole number, nearly always 0, and a fraction with 128 binary
/// places.
///
/// The fraction is rounded up, and for `n < 2⁶⁰` the product is too large by less than `2⁶⁰ / 2¹²⁸`
/// of a tick. The true value is a multiple of `1 / nanos`. The floor is therefore exact when `nanos
/// < 2⁶⁸`, which holds for every quota with one unit per tick, and never too small otherwise
/// (Granlund and Montgomery, Division by Invariant Integers using Multiplication, 1994).
#[derive(Clone, Copy, Debug)]
pub(super) struct TickRatio {
    high: u64,
    low: u64,
    whole: u64,
}

impl TickRatio {
    /// Returns the ratio `ticks / nanos`, which is below 16.
    pub(super) const fn new(ticks: u128, nanos: u128) -> TickRatio {
        let mut rest = ticks % nanos;
        let (mut fraction, mut place) = (0_u128, 0);
        // Long division; both operands are below 2⁹⁴, so nothing overflows.
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
            // The fraction is at least 2⁻⁹⁴ below 1, so this does not overflow.
            fraction += 1;
        }
        TickRatio {
            high: (fraction >> 64) as u64,
            low: fraction as u64,
            whole: (ticks / nanos) as u64,
        }
    }

    /// Returns the whole number and the fraction.
    pub(super) const fn parts(self) -> (u64, u128) {
        (self.whole, (self.high as u128) << 64 | self.low as u128)
    }

    /// Returns the number of whole ticks in `nanos` since the origin, capped at the horizon.
    ///
    /// By reference, like the functions below: a copy for the cold ones would be spilled to the
    /// stack in every decision.
    #[inline]
    pub(super) const fn ticks(&self, nanos: u64) -> u64 {
        if nanos > HORIZON_NANOS {
            self.ticks_at_horizon()
        } else {
            self.ticks_within(nanos)
        }
    }

    /// Out of line, so that a decision depends on a branch that is never taken instead of a
    /// minimum.
    #[cold]
    #[inline(never)]
    const fn ticks_at_horizon(&self) -> u64 {
        self.ticks_within(HORIZON_NANOS)
    }

    /// The floor is the upper half of a 128-bit product. A decision waits for this number, so there
    /// is no further shift.
    #[inline(always)]
    const fn ticks_within(&self, nanos: u64) -> u64 {
        let low = (nanos as u128 * self.low as u128) >> 64;
        let ticks = ((nanos as u128 * self.high as u128 + low) >> 64) as u64;
        if self.whole == 0 {
            ticks
        } else {
            self.add_whole(ticks, nanos)
        }
    }

    /// Out of line: the branch predictor skips it at no cost.
    #[cold]
    #[inline(never)]
    const fn add_whole(&self, ticks: u64, nanos: u64) -> u64 {
        ticks + nanos * self.whole
    }
}
