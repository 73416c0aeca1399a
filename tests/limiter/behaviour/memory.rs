//! The behaviour of a limiter of many keys, in memory.

use std::ops::Deref;

use super::{Backend, behaves};
use tollgate::{Decision, KeyedLimiter, ManualClock, Quota};

#[derive(Clone, Copy)]
pub(crate) struct Answer(Decision);

impl Deref for Answer {
    type Target = Decision;

    fn deref(&self) -> &Decision {
        &self.0
    }
}

impl Backend for KeyedLimiter {
    type Answer = Answer;

    async fn make(quota: Quota, clock: ManualClock) -> KeyedLimiter {
        KeyedLimiter::builder(quota)
            .max_keys(1000)
            .clock(clock)
            .build()
            .unwrap()
    }

    async fn try_acquire(&self, key: &str, cost: u32) -> Answer {
        Answer(KeyedLimiter::try_acquire(self, key, cost))
    }

    async fn available(&self, key: &str) -> u32 {
        KeyedLimiter::available(self, key)
    }

    async fn refund(&self, key: &str, decision: Answer) -> bool {
        KeyedLimiter::refund(self, key, *decision)
    }

    async fn reset(&self, key: &str) {
        KeyedLimiter::reset(self, key);
    }

    async fn replace(&self, quota: Quota) {
        KeyedLimiter::replace(self, quota);
    }

    async fn set_rule(&self, key: &str, quota: Quota) {
        KeyedLimiter::set_rule(self, key, quota);
    }

    async fn remove_rule(&self, key: &str) -> bool {
        KeyedLimiter::remove_rule(self, key)
    }

    fn quota(&self) -> Quota {
        KeyedLimiter::quota(self)
    }

    fn rule(&self, key: &str) -> Option<Quota> {
        KeyedLimiter::rule(self, key)
    }
}

behaves!(KeyedLimiter);
