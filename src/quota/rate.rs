//! From a rate as people type it, a decimal number, to an exact ratio.

use super::{Kind, MAX_PERIOD_NANOS, Quota, QuotaError, SECOND};

impl Quota {
    /// `tokens_per_second` as a number, dripping back evenly, with room for `capacity` at once.
    ///
    /// A floating-point number stands for the simplest ratio that reads back as the same number: `0.1` is one token in ten
    /// seconds, exactly, and `1.0 / 3.0` is one in three. Where that takes a period of more than a century (slow rates with
    /// some fifteen digits), it is the nearest of those ratios that does not.
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
        let (tokens, seconds) = simplest_ratio(tokens_per_second).ok_or(refused)?;
        let period_nanos = seconds.checked_mul(SECOND).ok_or(refused)?;
        match Quota::validated(capacity, tokens, period_nanos, Kind::Greedy) {
            Err(QuotaError::ZeroTokens | QuotaError::Period(_) | QuotaError::TooFast { .. }) => Err(refused),
            other => other,
        }
    }
}

/// The first convergent of the continued fraction of `rate` that reads back as `rate`, or the last whose denominator fits a
/// century of seconds. `None` when not even `1 / century` is that small.
fn simplest_ratio(rate: f64) -> Option<(u64, u64)> {
    let (mut numerator, mut denominator) = exact_ratio(rate)?;
    // Convergents p/q by the usual recurrence (Knuth, The Art of Computer Programming 2, 4.5.3).
    let (mut p0, mut q0, mut p, mut q) = (0_u128, 1_u128, 1_u128, 0_u128);
    while denominator != 0 {
        let (whole, rest) = (numerator / denominator, numerator % denominator);
        let (p1, q1) = (whole * p + p0, whole * q + q0);
        if q1 > u128::from(MAX_PERIOD_NANOS / SECOND) {
            break;
        }
        (p0, q0, p, q) = (p, q, p1, q1);
        if p as f64 / q as f64 == rate {
            break;
        }
        (numerator, denominator) = (denominator, rest);
    }
    if p == 0 { None } else { Some((u64::try_from(p).ok()?, u64::try_from(q).ok()?)) }
}

/// `rate` as mantissa and power of two, for 2⁻⁶⁴ < rate <= 10⁹, where both sides fit 128 bits.
fn exact_ratio(rate: f64) -> Option<(u128, u128)> {
    const MANTISSA_BITS: u32 = 52;
    let bits = rate.to_bits();
    let mantissa = u128::from(bits & ((1 << MANTISSA_BITS) - 1) | 1 << MANTISSA_BITS);
    let exponent = (bits >> MANTISSA_BITS) as i32 - 1023 - MANTISSA_BITS as i32;
    match u32::try_from(-exponent) {
        Ok(down) if down < 117 => Some(reduced(mantissa, 1 << down)),
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
