//! What a process knows of leases in general.

use super::Limits;
use crate::state::Layout;

/// What all keys of a quota share.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Who asks, where that is not a [`Key`](super::key::Key), which has a number of its own: in
    /// the simulation.
    pub(crate) node: u64,
    pub(crate) layout: Layout,
    pub(crate) limits: Limits,
    /// Nanoseconds after which an answer is not waited for any more.
    pub(crate) timeout: u64,
}

impl Settings {
    /// How long after the request was sent its tokens may be spent. The margin of a sixteenth is
    /// for clocks that run faster or slower than the server's.
    pub(super) fn spendable(&self) -> u64 {
        let lifetime = self.lifetime();
        lifetime - lifetime / 16
    }

    pub(super) fn lifetime(&self) -> u64 {
        self.limits.lifetime.saturating_mul(1000)
    }
}
