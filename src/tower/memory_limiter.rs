//! Limiter in memory, as a layer uses it.

use std::{fmt, hash::BuildHasher};
#[cfg(feature = "tokio")]
use std::{sync::Arc, time::Duration};

#[cfg(feature = "tokio")]
use super::check_outcome::PendingDecision;
use super::request_key::RequestKey;
use crate::{DecisionView, KeyedLimiter};

/// Limiter in memory, with any hasher.
pub(super) trait MemoryLimiter: fmt::Debug + Send + Sync {
    fn try_acquire(&self, key: &RequestKey<'_>, cost: u32) -> DecisionView;
    /// Returns true when callers are queued on the key.
    #[cfg(feature = "tokio")]
    fn has_waiters(&self, key: &RequestKey<'_>) -> bool;
    /// Takes the tokens, and waits for them at most as long as `max_wait`.
    #[cfg(feature = "tokio")]
    fn acquire_within(
        self: Arc<Self>,
        key: &RequestKey<'_>,
        cost: u32,
        max_wait: Duration,
    ) -> PendingDecision;
}

impl<S: BuildHasher + Send + Sync + 'static> MemoryLimiter
    for KeyedLimiter<RequestKey<'static>, S>
{
    fn try_acquire(&self, key: &RequestKey<'_>, cost: u32) -> DecisionView {
        KeyedLimiter::try_acquire(self, key, cost).view()
    }

    #[cfg(feature = "tokio")]
    fn has_waiters(&self, key: &RequestKey<'_>) -> bool {
        KeyedLimiter::has_waiters(self, key)
    }

    #[cfg(feature = "tokio")]
    fn acquire_within(
        self: Arc<Self>,
        key: &RequestKey<'_>,
        cost: u32,
        max_wait: Duration,
    ) -> PendingDecision {
        let hash = self.hash(key);
        Box::pin(async move { self.acquire_hash_within(hash, cost, max_wait).await.into() })
    }
}
