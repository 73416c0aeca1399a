//! Limits on the tokens of a key that are out on lease.

use super::balance::MAX_TOKENS;
use crate::state::ScaledQuota;

/// Number of tokens that may be out on lease, and the lifetime of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Tokens that may be out on lease, over all processes.
    pub(crate) max_leased: u32,
    pub(crate) lifetime_micros: u64,
}

impl Limits {
    /// Returns the limits for a fraction of the capacity. `None` if the fraction is less than one
    /// token: then each request is decided on the server.
    pub(crate) fn for_fraction(
        terms: &ScaledQuota,
        fraction: f64,
        lifetime_micros: u64,
    ) -> Option<Limits> {
        // 0.29 × 100 is 28.999999999999996 in floating point, where 29 is expected.
        let max_leased = (fraction * f64::from(terms.capacity_tokens()) + 1e-6) as u32;
        (max_leased > 0).then_some(Limits {
            max_leased: max_leased.min(terms.capacity_tokens()).min(MAX_TOKENS),
            lifetime_micros,
        })
    }
}
