//! Waiting for tokens of a key.

use std::time::Duration;

use super::current::CurrentGeneration;
use crate::{clock::Clock, decision::Decision, wait::Reservable};

/// Waiter for tokens of a key. It holds the key's hash: the key need not live as long as the wait.
#[derive(Clone, Copy)]
pub(super) struct KeyWaiter<'a> {
    pub(super) current: &'a CurrentGeneration,
    pub(super) clock: &'a Clock,
    pub(super) hash: u64,
}

impl Reservable for KeyWaiter<'_> {
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
