//! Margin between the limiter's clock and the clock of a waiter.

use std::time::Duration;

/// Inverse of the fraction by which waits are extended, since the waiter's clock is not the
/// limiter's: 2⁻¹⁴, some 61 parts per million. The two clocks were seen 2 parts per million apart,
/// and 16 in a noisy first second.
const CLOCK_MARGIN: u32 = 1 << 14;

/// Extends a wait by the margin, for a waiter with another clock.
pub(crate) fn with_margin(wait: Duration) -> Duration {
    wait.saturating_add(wait / CLOCK_MARGIN)
}

/// Returns the longest wait that ends within `time`, margin included.
pub(crate) fn without_margin(time: Duration) -> Duration {
    time - time / CLOCK_MARGIN
}
