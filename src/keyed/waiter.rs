//! Waiting for tokens of a key.

use std::time::Duration;

use super::key_ref::KeyRef;
use crate::{
    clock::{Clock, Time},
    decision::Decision,
    wait::{KeyLine, Reservable},
};

impl<'a> Reservable for KeyRef<'a> {
    type Line = KeyLine<'a, u64>;

    fn clock(&self) -> &Clock {
        self.clock
    }

    #[inline]
    fn is_queue_empty(self) -> bool {
        self.lines.is_empty(&self.hash)
    }

    fn line(self) -> Option<KeyLine<'a, u64>> {
        self.lines.join(self.hash)
    }

    fn take(self, cost: u32) -> Decision {
        self.current.decide(self.hash, Time::Now(self.clock), cost)
    }

    fn take_unless_queued(self, cost: u32) -> Option<Decision> {
        (cost == 0 || self.is_queue_empty()).then(|| self.take(cost))
    }

    /// A decision of the slow path would be in memory, and so would be all decisions.
    #[inline(always)]
    fn take_on_fast_path(self, cost: u32) -> Option<Decision> {
        if cost > 0 && !self.is_queue_empty() {
            return None;
        }
        self.current.hit(self.hash, Time::Now(self.clock), cost)
    }

    fn reserve(self, cost: u32, max_wait: Duration) -> Decision {
        let now_nanos = self.clock.nanos();
        self.current.with(|generation| {
            generation
                .bucket(self.hash)
                .reserve(now_nanos, cost, max_wait)
        })
    }

    fn refund(self, decision: Decision) {
        self.current
            .with(|generation| generation.bucket(self.hash).refund(&decision));
    }

    fn is_reserved(self, decision: &Decision) -> bool {
        self.current
            .with(|generation| generation.bucket(self.hash).counts(decision))
    }
}
