//! How many tokens to ask for: twice as many when the last ones went fast, half as many when they
//! were not needed.

use crate::redis::lease::Settings;

#[derive(Clone, Debug, Default)]
pub(super) struct Demand {
    /// As a power of two.
    doublings: u32,
    granted_at: Option<u64>,
    /// Tokens that are waited for.
    waiting: u32,
}

impl Demand {
    pub(super) fn want(&mut self, settings: &Settings, now: u64) -> u32 {
        let lifetime = settings.lifetime();
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
            .min(settings.limits.most)
    }

    /// `unspent` tokens of a lease of `lot` have expired.
    pub(super) fn expired(&mut self, unspent: u32, lot: u32) {
        if unspent > lot / 2 {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.doublings = self.doublings.saturating_sub(1);
    }

    pub(super) fn granted(&mut self, now: u64) {
        self.granted_at = Some(now);
    }

    /// Somebody has to wait for so many.
    pub(super) fn waits(&mut self, cost: u32) {
        self.waiting = self.waiting.saturating_add(cost);
    }

    /// Nobody waits any more.
    pub(super) fn landed(&mut self) {
        self.waiting = 0;
    }
}
