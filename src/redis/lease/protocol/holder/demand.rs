//! Size of the next lease: doubled while leases are spent fast, halved while they are not needed.

use crate::redis::lease::protocol::settings::Settings;

/// Estimate of a key's demand.
#[derive(Clone, Debug, Default)]
pub(super) struct Demand {
    /// Lease size as a power of two.
    doublings: u32,
    granted_at: Option<u64>,
    /// Tokens that callers are waiting for.
    waiting: u32,
}

impl Demand {
    /// Updates the estimate and returns the number of tokens to request.
    pub(super) fn next_want(&mut self, settings: &Settings, now: u64) -> u32 {
        let lifetime = settings.lifetime_nanos();
        match self
            .granted_at
            .map(|granted_at| now.saturating_sub(granted_at))
        {
            Some(since) if since < lifetime / 2 => self.doublings = (self.doublings + 1).min(24),
            Some(since) if since >= lifetime => self.halve(),
            _ => {}
        }
        (1 << self.doublings)
            .max(self.waiting)
            .min(settings.limits.max_leased)
    }

    /// Records that `unspent` tokens of a lease of `lease_size` have expired.
    pub(super) fn on_expired(&mut self, unspent: u32, lease_size: u32) {
        if unspent > lease_size / 2 {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.doublings = self.doublings.saturating_sub(1);
    }

    pub(super) fn on_granted(&mut self, now: u64) {
        self.granted_at = Some(now);
    }

    /// Adds a caller that waits for `cost` tokens.
    pub(super) fn add_waiting(&mut self, cost: u32) {
        self.waiting = self.waiting.saturating_add(cost);
    }

    /// Removes all waiting callers: the message they waited for is answered or lost.
    pub(super) fn clear_waiting(&mut self) {
        self.waiting = 0;
    }
}
