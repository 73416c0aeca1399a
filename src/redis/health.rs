//! Availability of Redis: the circuit breaker in an atomic, decision counters, and the outage log
//! line.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
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
    /// Buckets that were further in the future than the
    /// [tolerance](super::RedisLimiterBuilder::clock_tolerance), because the server's clock had
    /// stepped back, and were rebased.
    pub rebased: u64,
}

/// Circuit breaker and counters, shared by all clones of a limiter.
pub(super) struct Health {
    breaker: AtomicU64,
    redis: ShardedCounter,
    lease: ShardedCounter,
    fallback: ShardedCounter,
    failures: AtomicU64,
    rebased: AtomicU64,
    /// Redis key of the bucket whose request failed. The probe has to succeed there: in a cluster,
    /// other keys may be available.
    failed_bucket: Mutex<Vec<u8>>,
    /// First timeout that is not checked yet.
    suspicion: Mutex<Option<Suspicion>>,
    /// Wakes the probe task when the breaker opens, or after a timeout.
    troubled: Notify,
}

/// Timeout of a request: an outage, unless Redis replies to a check.
#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    pub(super) observed: Breaker,
    /// Redis key of the bucket of the request, if it had one.
    pub(super) bucket: Option<Vec<u8>>,
}

impl Health {
    pub(super) fn new() -> Health {
        Health {
            breaker: AtomicU64::new(Breaker::OPEN.0),
            redis: ShardedCounter::default(),
            lease: ShardedCounter::default(),
            fallback: ShardedCounter::default(),
            failures: AtomicU64::new(0),
            rebased: AtomicU64::new(0),
            failed_bucket: Mutex::default(),
            suspicion: Mutex::default(),
            troubled: Notify::new(),
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

    /// Waits until the breaker opens, or a request times out.
    pub(super) async fn troubled(&self) {
        self.troubled.notified().await;
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

    pub(super) fn count_rebased(&self) {
        self.rebased.fetch_add(1, Ordering::Relaxed);
    }

    /// Records a failed request. `bucket` is the Redis key of its bucket, if it had one. An error
    /// opens the breaker. A timeout is checked first: one late reply is no outage.
    pub(super) fn record_failure(
        &self,
        observed: Breaker,
        bucket: Option<&[u8]>,
        error: &RedisError,
    ) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if !matches!(error, RedisError::Timeout(_)) {
            self.open(observed, bucket, error);
        } else if self.breaker() == observed {
            let mut suspicion = self.suspicion();
            if suspicion.is_none() {
                let bucket = bucket.map(<[u8]>::to_vec);
                *suspicion = Some(Suspicion { observed, bucket });
                self.troubled.notify_one();
            }
        }
    }

    /// Returns the timeout to check.
    pub(super) fn suspected(&self) -> Option<Suspicion> {
        self.suspicion().clone()
    }

    /// Records the result of a check: Redis replied, or the breaker opens.
    pub(super) fn record_check(&self, suspicion: &Suspicion, result: Result<(), RedisError>) {
        if let Err(error) = result {
            self.open(suspicion.observed, suspicion.bucket.as_deref(), &error);
        }
        *self.suspicion() = None;
    }

    fn suspicion(&self) -> MutexGuard<'_, Option<Suspicion>> {
        self.suspicion
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, observed: Breaker, bucket: Option<&[u8]>, error: &RedisError) {
        if let Some(open) = self.breaker().on_failure(observed)
            && self.transition(observed, open)
        {
            *self
                .failed_bucket
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = bucket.unwrap_or_default().to_vec();
            tracing::warn!(%error, "Redis unavailable; fallback decides");
            self.troubled.notify_one();
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
            rebased: self.rebased.load(Ordering::Relaxed),
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
