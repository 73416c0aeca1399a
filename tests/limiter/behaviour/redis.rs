//! Shared behaviour tests, for `RedisLimiter` in exact mode and with leases.

use std::time::Duration;

use super::Backend;
use test_support::redis::RedisServer;
use tollgate::{Decision, DecisionSource, ManualClock, Quota, RedisLimiter, RefundError};

/// A limiter with its own Redis server.
struct SharedBackend<const LEASES: bool> {
    limiter: RedisLimiter,
    _server: RedisServer,
}

impl<const LEASES: bool> Backend for SharedBackend<LEASES> {
    async fn with_clock(quota: Quota, clock: ManualClock) -> Self {
        let server = RedisServer::start();
        // A long timeout: on a busy machine, slow replies must not count as an unavailable server.
        let builder = RedisLimiter::builder(&server.url(), quota)
            .timeout(Duration::from_secs(10))
            // The shared tests step further than the default tolerance.
            .clock_tolerance(Duration::from_secs(1000))
            .clock(clock);
        let builder = if LEASES { builder.lease(0.1) } else { builder };
        SharedBackend {
            limiter: builder.connect().await.unwrap(),
            _server: server,
        }
    }

    async fn try_acquire(&self, key: &str, cost: u32) -> Decision {
        let decision = self.limiter.try_acquire(key, cost).await;
        let source = decision.source();
        assert!(
            source == DecisionSource::Redis
                // A refusal may be remembered.
                || (LEASES || decision.is_refused()) && source == DecisionSource::Lease,
            "{source:?}"
        );
        decision
    }

    async fn available(&self, key: &str) -> u32 {
        self.limiter.available(key).await
    }

    async fn refund(&self, key: &str, decision: Decision) -> Result<bool, RefundError> {
        self.limiter.refund(key, decision).await
    }

    async fn reset(&self, key: &str) {
        self.limiter.reset(key).await.unwrap();
    }

    async fn replace(&self, quota: Quota) {
        self.limiter.replace(quota).await.unwrap();
    }

    async fn replace_and_reset(&self, quota: Quota) {
        self.limiter.replace_and_reset(quota).await.unwrap();
    }

    async fn set_rule(&self, key: &str, quota: Quota) {
        self.limiter.set_rule(key, quota).await.unwrap();
    }

    async fn remove_rule(&self, key: &str) -> bool {
        self.limiter.remove_rule(key).await.unwrap()
    }

    fn quota(&self) -> Quota {
        self.limiter.quota()
    }

    fn rule(&self, key: &str) -> Option<Quota> {
        self.limiter.rule(key)
    }
}

mod exact {
    use super::{super::behaviour_tests, SharedBackend};

    behaviour_tests!(SharedBackend<false>);
}

mod with_leases {
    use super::{super::behaviour_tests, SharedBackend};

    behaviour_tests!(SharedBackend<true>);
}
