//! Conversion of server time to ticks.

use crate::state::Layout;

/// Returns the tick at a server time in microseconds.
pub(crate) fn tick_at_micros(layout: &Layout, micros: u64) -> u64 {
    layout.tick(micros.saturating_mul(1000))
}
