//! From a rate as people type it, a decimal number, to an exact ratio.

use super::{Kind, MAX_PERIOD_NANOS, Quota, QuotaError, SECOND};

impl Quota {
    /// `tokens_per_second` as a number, dripping back evenly, with room for `capacity` at once.
    ///
    /// A floating-point number stands for the simplest ratio that reads back as the same number: `0.1` is one token in ten
    /// seconds, exactly, and `1.0 / 3.0` is one in three.
    ///
    /// # Errors
    /// When the capacity is zero, or the rate is not a number from one token a century to 10⁹ a second.
    ///
    /// ```
    /// use tollgate::Quota;
    /// assert_eq!(Quota::from_rate(10, 0.5)?, "1/2s, capacity 10".parse()?);
    /// assert!(Quota::from_rate(10, f64::NAN).is_err());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn from_rate(capacity: u32, tokens_per_second: f64) -> Result<Quota, QuotaError> {
        let refused = QuotaError::Rate(tokens_per_second);
        if !(tokens_per_second > 0.0 && tokens_per_second <= 1e9) {
            return Err(refused);
        }
        let (tokens, period_nanos) = simplest_ratio(tokens_per_second).ok_or(refused)?;
        match Quota::validated(capacity, tokens, period_nanos, Kind::Greedy) {
            Err(QuotaError::ZeroTokens | QuotaError::Period(_) | QuotaError::TooFast { .. }) => Err(refused),
            other => other,
        }
    }
}

/// Tokens and nanoseconds: the simplest ratio that reads back as `rate`, with a period of whole seconds if there is one.
fn simplest_ratio(rate: f64) -> Option<(u64, u64)> {
    let (tokens, seconds) = exact_ratio(rate)?;
    let (p, q) = convergent((tokens, seconds), MAX_PERIOD_NANOS / SECOND, |p, q| p / q == rate);
    let (p, q) = if p as f64 / q as f64 == rate {
        (p, q * u128::from(SECOND))
    } else {
        let nanos = seconds.checked_mul(u128::from(SECOND))?;
        convergent((tokens, nanos), MAX_PERIOD_NANOS, |p, q| p * SECOND as f64 / q == rate)
    };
    Some((u64::try_from(p).ok()?, u64::try_from(q).ok()?))
}

/// The first convergent of the continued fraction of a ratio that is good enough, or the last whose denominator is not above
/// `most` (Knuth, The Art of Computer Programming 2, 4.5.3).
fn convergent((numerator, denominator): (u128, u128), most: u64, good: impl Fn(f64, f64) -> bool) -> (u128, u128) {
    let (mut numerator, mut denominator) = (numerator, denominator);
    let (mut p0, mut q0, mut p, mut q) = (0_u128, 1_u128, 1_u128, 0_u128);
    while denominator != 0 {
        let (whole, rest) = (numerator / denominator, numerator % denominator);
        let (p1, q1) = (whole.saturating_mul(p).saturating_add(p0), whole.saturating_mul(q).saturating_add(q0));
        if q1 > u128::from(most) {
            break;
        }
        (p0, q0, p, q) = (p, q, p1, q1);
        if good(p as f64, q as f64) {
            break;
        }
        (numerator, denominator) = (denominator, rest);
    }
    (p, q)
}

/// `rate` as mantissa and power of two, for 2⁻³³ < rate <= 10⁹: both sides are below 2⁸⁷.
fn exact_ratio(rate: f64) -> Option<(u128, u128)> {
    const MANTISSA_BITS: u32 = 52;
    let bits = rate.to_bits();
    let mantissa = u128::from(bits & ((1 << MANTISSA_BITS) - 1) | 1 << MANTISSA_BITS);
    let exponent = (bits >> MANTISSA_BITS) as i32 - 1023 - MANTISSA_BITS as i32;
    match u32::try_from(-exponent) {
        Ok(down) if down < 87 => Some(reduced(mantissa, 1 << down)),
        Ok(_) => None,
        Err(_) => Some((mantissa << exponent, 1)),
    }
}

/// The same ratio in lowest terms.
pub(super) fn reduced(numerator: u128, denominator: u128) -> (u128, u128) {
    let (mut a, mut b) = (numerator, denominator);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (numerator / a, denominator / a)
}
