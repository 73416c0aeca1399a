//! Conversion of durations to nanoseconds in 64 bits.

use core::time::Duration;

/// Returns `duration` in nanoseconds, saturating at `u64::MAX`, some five centuries. The horizon of
/// a bucket's time and the longest period of a quota are both nearer.
#[inline]
pub(crate) const fn saturating_nanos(duration: Duration) -> u64 {
    // Two checked operations are cheaper than `as_nanos`, which computes 128 bits.
    match duration.as_secs().checked_mul(1_000_000_000) {
        Some(nanos) => nanos.saturating_add(duration.subsec_nanos() as u64),
        None => u64::MAX,
    }
}
