//! Availability of Redis: the circuit breaker in an atomic, decision counters, and the outage log
//! line.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

use super::{breaker::Breaker, error::RedisError, sharded_counter::ShardedCounter};

/// Counters of a [`RedisLimiter`](super::RedisLimiter), over all its clones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStats {
    /// Whether requests are sent to Redis. If not, [`RedisFallback`](super::RedisFallback) decides
    /// until a probe succeeds.
    pub up: bool,
    /// Decisions made by Redis.
    pub redis: u64,
    /// Decisions made from leased tokens or from a remembered refusal.
    pub lease: u64,
    /// Decisions made by the fallback.
    pub fallback: u64,
    /// Requests to Redis that failed or timed out.
    pub failures: u64,
    /// Outages: transitions from available to unavailable.
    pub outages: u64,
}

/// Circuit breaker and counters, shared by all clones of a limiter.
pub(super) struct Health {
    breaker: AtomicU64,
    redis: ShardedCounter,
    lease: ShardedCounter,
    fallback: ShardedCounter,
    failures: AtomicU64,
    /// Redis key of the bucket whose request failed. The probe has to succeed there: in a cluster,
    /// other keys may be available.
    failed_bucket: Mutex<Vec<u8>>,
    /// Wakes the probe task when the breaker opens.
    opened: Notify,
}

impl Health {
    pub(super) fn new() -> Health {
        Health {
            breaker: AtomicU64::new(Breaker::OPEN.0),
            redis: ShardedCounter::default(),
            lease: ShardedCounter::default(),
            fallback: ShardedCounter::default(),
            failures: AtomicU64::new(0),
            failed_bucket: Mutex::default(),
            opened: Notify::new(),
        }
    }

    /// Admits a request to Redis; the result is passed to [`Health::record_failure`]. `None`: the
    /// breaker is open.
    #[inline]
    pub(super) fn admit(&self) -> Option<Breaker> {
        Some(self.breaker()).filter(|breaker| !breaker.is_open())
    }

    pub(super) fn is_up(&self) -> bool {
        !self.breaker().is_open()
    }

    /// Waits until the breaker opens.
    pub(super) async fn opened(&self) {
        self.opened.notified().await;
    }

    pub(super) fn count_redis(&self) {
        self.redis.increment();
    }

    #[inline]
    pub(super) fn count_lease(&self) {
        self.lease.increment();
    }

    #[inline]
    pub(super) fn count_fallback(&self) {
        self.fallback.increment();
    }

    /// Records a failed request and opens the breaker. `bucket` is the Redis key of its bucket, if
    /// it had one.
    pub(super) fn record_failure(
        &self,
        observed: Breaker,
        bucket: Option<&[u8]>,
        error: &RedisError,
    ) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if let Some(open) = self.breaker().on_failure(observed)
            && self.transition(observed, open)
        {
            *self
                .failed_bucket
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = bucket.unwrap_or_default().to_vec();
            tracing::warn!(%error, "Redis unavailable; fallback decides");
            self.opened.notify_one();
        }
    }

    /// Closes the breaker after a successful probe.
    pub(super) fn record_recovery(&self) {
        let open = self.breaker();
        if let Some(closed) = open.on_recovery() {
            self.transition(open, closed);
        }
    }

    /// Redis key of the bucket that failed last; empty if there is none.
    pub(super) fn failed_bucket(&self) -> Vec<u8> {
        self.failed_bucket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn stats(&self) -> RedisStats {
        let breaker = self.breaker();
        RedisStats {
            up: !breaker.is_open(),
            redis: self.redis.sum(),
            lease: self.lease.sum(),
            fallback: self.fallback.sum(),
            failures: self.failures.load(Ordering::Relaxed),
            // The initial open state is no outage.
            outages: breaker.openings() - 1,
        }
    }

    #[inline]
    fn breaker(&self) -> Breaker {
        // Relaxed: this word publishes nothing. Connections and settings have their own
        // synchronisation.
        Breaker(self.breaker.load(Ordering::Relaxed))
    }

    /// Returns `false` if another thread changed the breaker first.
    fn transition(&self, from: Breaker, to: Breaker) -> bool {
        self.breaker
            .compare_exchange(from.0, to.0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}
