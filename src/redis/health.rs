//! Whether Redis is asked at all: the breaker in an atomic, what it counts, and the line that it
//! logs.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

use super::{breaker::Breaker, counters::Counter, error::RedisError};

/// What a [`RedisLimiter`](super::RedisLimiter) has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStats {
    /// Whether Redis is asked now; if not, [`RedisFallback`](super::RedisFallback) decides until a probe
    /// succeeds.
    pub up: bool,
    /// Decisions that Redis made.
    pub redis: u64,
    /// Decisions made from tokens on lease, or by what is remembered of a refusal.
    pub lease: u64,
    /// Decisions made without Redis.
    pub fallback: u64,
    /// Requests that Redis failed to answer as it should, and in time.
    pub failures: u64,
    /// How often Redis went away.
    pub outages: u64,
}

pub(super) struct Health {
    breaker: AtomicU64,
    redis: Counter,
    lease: Counter,
    fallback: Counter,
    failures: AtomicU64,
    /// The bucket for which a request failed: where a probe has to succeed, since in a cluster
    /// another key may be well.
    failed: Mutex<Vec<u8>>,
    /// Wakes whoever watches, when the breaker opens.
    pub(super) opened: Arc<Notify>,
}

impl Health {
    /// Nothing is asked before the first connection.
    pub(super) fn new() -> Health {
        Health {
            breaker: AtomicU64::new(Breaker::OPEN.0),
            redis: Counter::default(),
            lease: Counter::default(),
            fallback: Counter::default(),
            failures: AtomicU64::new(0),
            failed: Mutex::default(),
            opened: Arc::default(),
        }
    }

    /// What to hand to [`Health::failed`]; `None`: do not ask.
    #[inline]
    pub(super) fn ask(&self) -> Option<Breaker> {
        Some(self.breaker()).filter(|breaker| !breaker.is_open())
    }

    pub(super) fn answered(&self) {
        self.redis.add_one();
    }

    #[inline]
    pub(super) fn leased(&self) {
        self.lease.add_one();
    }

    #[inline]
    pub(super) fn fell_back(&self) {
        self.fallback.add_one();
    }

    /// A request failed, for this bucket if it was for one.
    pub(super) fn failed(&self, seen: Breaker, bucket: Option<&[u8]>, error: &RedisError) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if let Some(open) = self.breaker().failed(seen)
            && self.swap(seen, open)
        {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) =
                bucket.unwrap_or_default().to_vec();
            tracing::warn!("going on without Redis: {error}");
            self.opened.notify_one();
        }
    }

    pub(super) fn recovered(&self) {
        let open = self.breaker();
        if let Some(closed) = open.recovered() {
            self.swap(open, closed);
        }
    }

    pub(super) fn failed_bucket(&self) -> Vec<u8> {
        self.failed
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
            // It begins open.
            outages: breaker.openings() - 1,
        }
    }

    #[inline]
    fn breaker(&self) -> Breaker {
        // Connections and settings come by ways of their own; nothing is published by this number.
        Breaker(self.breaker.load(Ordering::Relaxed))
    }

    /// Whether it was as it was thought to be, and is changed.
    fn swap(&self, from: Breaker, to: Breaker) -> bool {
        self.breaker
            .compare_exchange(from.0, to.0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}
