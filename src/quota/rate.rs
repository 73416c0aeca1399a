//! From a rate as people type it, a decimal number, to an exact ratio, and back.

use super::{MAX_PERIOD_NANOS, Quota, SECOND};

/// Of a float, without the first, which is always 1.
const MANTISSA_BITS: u32 = 52;

/// Quotas are equal when they allow the same: `60/minute, capacity 5` is `1/second, capacity 5`.
impl PartialEq for Quota {
    fn eq(&self, other: &Quota) -> bool {
        let cross = |a: &Quota, b: &Quota| u128::from(a.tokens) * u128::from(b.period_nanos);
        self.capacity == other.capacity
            && self.kind == other.kind
            && self.debt() == other.debt()
            && cross(self, other) == cross(other, self)
    }
}

impl Eq for Quota {}

/// Tokens and nanoseconds: the simplest ratio that reads back as `rate`, with a period of whole
/// seconds if there is one.
pub(super) fn simplest_ratio(rate: f64) -> Option<(u64, u64)> {
    let (tokens, seconds) = exact_ratio(rate)?;
    let (p, q) = convergent((tokens, seconds), MAX_PERIOD_NANOS / SECOND, |p, q| {
        nearest(p, q) == rate
    });
    let (p, q) = if nearest(p, q) == rate {
        (p, q * u128::from(SECOND))
    } else {
        let nanos = seconds.checked_mul(u128::from(SECOND))?;
        convergent((tokens, nanos), MAX_PERIOD_NANOS, |p, q| {
            nearest(p * u128::from(SECOND), q) == rate
        })
    };
    Some((u64::try_from(p).ok()?, u64::try_from(q).ok()?))
}

/// The first convergent of the continued fraction of a ratio that is good enough, or the last whose
/// denominator is not above `most` (Knuth, The Art of Computer Programming 2, 4.5.3).
fn convergent(
    (numerator, denominator): (u128, u128),
    most: u64,
    good: impl Fn(u128, u128) -> bool,
) -> (u128, u128) {
    let (mut numerator, mut denominator) = (numerator, denominator);
    let (mut p0, mut q0, mut p, mut q) = (0_u128, 1_u128, 1_u128, 0_u128);
    while denominator != 0 {
        let (whole, rest) = (numerator / denominator, numerator % denominator);
        let (p1, q1) = (
            whole.saturating_mul(p).saturating_add(p0),
            whole.saturating_mul(q).saturating_add(q0),
        );
        if q1 > u128::from(most) {
            break;
        }
        (p0, q0, p, q) = (p, q, p1, q1);
        if good(p, q) {
            break;
        }
        (numerator, denominator) = (denominator, rest);
    }
    (p, q)
}

/// `rate` as mantissa and power of two, for 2⁻³³ < rate <= 10⁹: both sides are below 2⁸⁷.
fn exact_ratio(rate: f64) -> Option<(u128, u128)> {
    let bits = rate.to_bits();
    let mantissa = u128::from(bits & ((1 << MANTISSA_BITS) - 1) | 1 << MANTISSA_BITS);
    let exponent = (bits >> MANTISSA_BITS) as i32 - 1023 - MANTISSA_BITS as i32;
    match u32::try_from(-exponent) {
        Ok(down) if down < 87 => Some(reduced(mantissa, 1 << down)),
        Ok(_) => None,
        Err(_) => Some((mantissa << exponent, 1)),
    }
}

/// The number nearest to a ratio of integers, the lower one below 2⁶⁴.
///
/// Rounded once: the quotient has more bits than a float holds, and what it leaves over counts as
/// one more behind them.
pub(super) fn nearest(numerator: u128, denominator: u128) -> f64 {
    let shift = numerator.leading_zeros().min(127);
    let shifted = numerator << shift;
    let quotient = (shifted / denominator) | u128::from(!shifted.is_multiple_of(denominator));
    // Two to the power of -shift.
    quotient as f64 * f64::from_bits(u64::from(1023 - shift) << MANTISSA_BITS)
}

/// The same ratio in lowest terms.
pub(super) fn reduced(numerator: u128, denominator: u128) -> (u128, u128) {
    let (mut a, mut b) = (numerator, denominator);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (numerator / a, denominator / a)
}
