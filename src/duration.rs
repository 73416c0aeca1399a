//! Conversion of durations to nanoseconds in 64 bits.

use core::time::Duration;

/// Returns `duration` in nanoseconds, saturating at `u64::MAX`, some five centuries. The horizon of
/// a bucket's time and the longest period of a quota are both nearer.
#[inline]
pub(crate) const fn saturating_nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 {
        u64::MAX
    } else {
        nanos as u64
    }
}
