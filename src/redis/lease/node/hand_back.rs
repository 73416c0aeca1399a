//! What is not spent goes back: when it expires, and when the process ends.

use super::Node;
use crate::redis::lease::{Ask, Balance, Settings};

/// How often a message that hands something back is sent again when no answer comes. After that,
/// what it hands back is lost.
const MOST_TRIES: u32 = 3;

impl Node {
    /// What has expired unspent goes back.
    pub(super) fn collect(&mut self, balance: &Balance, now: u64) {
        let left = balance.left();
        if left.tokens > 0 && now >= left.expiry {
            let unspent = balance.close();
            self.turn += 1;
            self.demand.expired(unspent, self.lot);
            self.back += unspent;
        }
    }

    /// Time has passed: see [`Node::next`].
    pub(crate) fn tick(&mut self, settings: &Settings, balance: &Balance, now: u64) -> Option<Ask> {
        self.lose_overdue(settings, now);
        if self.flight.is_some() || self.closed {
            return None;
        }
        self.collect(balance, now);
        if (self.back == 0 && !self.unsure) || now < self.retry_at {
            return None;
        }
        if self.tries >= MOST_TRIES {
            (self.back, self.unsure) = (0, false);
            return None;
        }
        self.tries += 1;
        self.retry_at = now.saturating_add(settings.timeout << self.tries);
        Some(self.send(settings, balance, now, 0, 0))
    }

    /// When [`Node::tick`] has something to do next; `None` while nothing is held, handed back or
    /// under way.
    pub(crate) fn next(&self, settings: &Settings, balance: &Balance) -> Option<u64> {
        if let Some(flight) = self.flight {
            return Some(flight.sent.saturating_add(settings.timeout));
        }
        let left = balance.left();
        let expiry = (left.tokens > 0).then_some(left.expiry);
        let retry = (self.back > 0 || self.unsure).then_some(self.retry_at);
        expiry.into_iter().chain(retry).min()
    }

    /// The process ends, or the quota: what is left goes back, and from now on tokens are taken one
    /// by one.
    pub(crate) fn close(
        &mut self,
        settings: &Settings,
        balance: &Balance,
        now: u64,
    ) -> Option<Ask> {
        self.closed = true;
        self.turn += 1;
        self.back += balance.close();
        let under_way = self.flight.is_some_and(|flight| !flight.exact);
        (self.back > 0 || self.unsure || under_way).then(|| self.send(settings, balance, now, 0, 0))
    }
}
