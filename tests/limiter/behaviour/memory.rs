//! Shared behaviour tests, for the in-memory backend `KeyedLimiter`.

use super::{Backend, behaviour_tests};
use tollgate::{Decision, KeyedLimiter, ManualClock, Quota, RefundError};

impl Backend for KeyedLimiter<str> {
    async fn with_clock(quota: Quota, clock: ManualClock) -> KeyedLimiter<str> {
        KeyedLimiter::builder(quota)
            .max_keys(1000)
            .clock(clock)
            .build()
            .unwrap()
    }

    async fn try_acquire(&self, key: &str, cost: u32) -> Decision {
        KeyedLimiter::try_acquire(self, key, cost)
    }

    async fn available(&self, key: &str) -> u32 {
        KeyedLimiter::available(self, key)
    }

    async fn refund(&self, key: &str, decision: Decision) -> Result<bool, RefundError> {
        KeyedLimiter::refund(self, key, decision)
    }

    async fn reset(&self, key: &str) {
        KeyedLimiter::reset(self, key);
    }

    async fn replace(&self, quota: Quota) {
        KeyedLimiter::replace(self, quota);
    }

    async fn replace_and_reset(&self, quota: Quota) {
        KeyedLimiter::replace_and_reset(self, quota);
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

behaviour_tests!(KeyedLimiter<str>);
