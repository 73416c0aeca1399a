//! Settings that all lease holders of one quota share.

use super::limits::Limits;
use crate::state::Layout;

/// Settings of the leases of one quota.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) layout: Layout,
    pub(crate) limits: Limits,
    /// Time after which a message without a reply counts as lost, in nanoseconds.
    pub(crate) timeout_nanos: u64,
}

impl Settings {
    /// Returns how long after the request was sent its tokens may be spent, in nanoseconds. The
    /// margin of a sixteenth covers clocks that run faster or slower than the server's.
    pub(super) fn spendable_nanos(&self) -> u64 {
        let lifetime = self.lifetime_nanos();
        lifetime - lifetime / 16
    }

    pub(super) fn lifetime_nanos(&self) -> u64 {
        self.limits.lifetime_micros.saturating_mul(1000)
    }

    /// Returns for how many nanoseconds each request is decided on the server after no lease was
    /// granted of tokens that the bucket has.
    pub(super) fn exact_nanos(&self) -> u64 {
        self.lifetime_nanos() / 4
    }
}
