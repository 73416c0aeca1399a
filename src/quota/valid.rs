//! What a quota may be.

use core::time::Duration;

use super::{Kind, MAX_PERIOD_NANOS, MICROSECOND, Quota, QuotaError};

impl Quota {
    /// For constants.
    pub(super) const fn literal(
        capacity: u32,
        tokens: u64,
        period_nanos: u64,
        kind: Kind,
    ) -> Quota {
        match Quota::validated(capacity, tokens, period_nanos, kind) {
            Ok(quota) => quota,
            Err(error) => error.panic(),
        }
    }

    pub(crate) const fn validated(
        capacity: u32,
        tokens: u64,
        period_nanos: u64,
        kind: Kind,
    ) -> Result<Quota, QuotaError> {
        if capacity == 0 {
            return Err(QuotaError::ZeroCapacity);
        }
        if tokens == 0 {
            return Err(QuotaError::ZeroTokens);
        }
        if matches!(kind, Kind::Interval) && period_nanos < MICROSECOND {
            return Err(QuotaError::Window(Duration::from_nanos(period_nanos)));
        }
        if period_nanos == 0 || period_nanos > MAX_PERIOD_NANOS {
            return Err(QuotaError::Period(Duration::from_nanos(period_nanos)));
        }
        // 10⁹ tokens a second are one a nanosecond.
        if tokens > period_nanos {
            return Err(QuotaError::TooFast {
                tokens,
                period: Duration::from_nanos(period_nanos),
            });
        }
        Ok(Quota {
            capacity,
            debt: None,
            tokens,
            period_nanos,
            kind,
        })
    }
}

/// A duration too long for 64 bits of nanoseconds is too long for a quota as well, and is refused
/// as such.
pub(super) const fn saturating_nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 {
        u64::MAX
    } else {
        nanos as u64
    }
}
