//! Shared behaviour tests, for the in-memory backend `KeyedLimiter`.

use std::ops::Deref;

use super::{Backend, behaviour_tests};
use tollgate::{Decision, KeyedLimiter, ManualClock, Quota};

/// A decision that dereferences to [`Decision`], as the trait requires.
#[derive(Clone, Copy)]
pub(crate) struct LocalDecision(Decision);

impl Deref for LocalDecision {
    type Target = Decision;

    fn deref(&self) -> &Decision {
        &self.0
    }
}

impl Backend for KeyedLimiter {
    type Decision = LocalDecision;

    async fn with_clock(quota: Quota, clock: ManualClock) -> KeyedLimiter {
        KeyedLimiter::builder(quota)
            .max_keys(1000)
            .clock(clock)
            .build()
            .unwrap()
    }

    async fn try_acquire(&self, key: &str, cost: u32) -> LocalDecision {
        LocalDecision(KeyedLimiter::try_acquire(self, key, cost))
    }

    async fn available(&self, key: &str) -> u32 {
        KeyedLimiter::available(self, key)
    }

    async fn refund(&self, key: &str, decision: LocalDecision) -> bool {
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

behaviour_tests!(KeyedLimiter);
