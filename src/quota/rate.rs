//! Conversion between decimal rates and exact ratios.

use super::{MAX_PERIOD_NANOS, SECOND};

/// Mantissa bits of an `f64`, without the leading bit, which is always 1.
const MANTISSA_BITS: u32 = 52;

/// Returns the simplest ratio of tokens to nanoseconds that converts back to `rate`, with a period
/// of whole seconds if there is one.
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

/// Returns the first convergent of a ratio's continued fraction that `is_close_enough`, or the last
/// one whose denominator is at most `most` (Knuth, The Art of Computer Programming 2, 4.5.3).
fn convergent(
    (numerator, denominator): (u128, u128),
    most: u64,
    is_close_enough: impl Fn(u128, u128) -> bool,
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
        if is_close_enough(p, q) {
            break;
        }
        (numerator, denominator) = (denominator, rest);
    }
    (p, q)
}

/// Returns `rate` as a ratio with a power of two, for 2⁻³³ < rate <= 10⁹: both terms are below 2⁸⁷.
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

/// Returns the `f64` nearest to a ratio of integers; the denominator is below 2⁶⁴.
///
/// Rounds once: the quotient has more bits than a float holds, and a non-zero remainder is kept as
/// a sticky bit.
pub(super) fn nearest(numerator: u128, denominator: u128) -> f64 {
    let shift = numerator.leading_zeros().min(127);
    let shifted = numerator << shift;
    let quotient = (shifted / denominator) | u128::from(!shifted.is_multiple_of(denominator));
    // 2 to the power of -shift.
    quotient as f64 * f64::from_bits(u64::from(1023 - shift) << MANTISSA_BITS)
}

/// Returns the ratio in lowest terms.
pub(super) fn reduced(numerator: u128, denominator: u128) -> (u128, u128) {
    let (mut a, mut b) = (numerator, denominator);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (numerator / a, denominator / a)
}
