//! Limiter in memory, as a layer uses it.

use std::{fmt, hash::BuildHasher};
#[cfg(feature = "tokio")]
use std::{sync::Arc, time::Duration};

#[cfg(feature = "tokio")]
use super::check_outcome::Pending;
use super::request_key::RequestKey;
use crate::{Ask, Clock, DecisionView, KeyedLimiter, Quota};

/// Default capacity, in keys, of the limiter that a layer creates.
const MAX_KEYS: usize = 100_000;

/// Creates the limiter of a layer that is given a quota.
#[track_caller]
#[expect(
    clippy::panic,
    reason = "documented, as for a Vec that cannot allocate"
)]
pub(super) fn of_default_size(quota: Quota) -> KeyedLimiter<RequestKey<'static>> {
    let builder = KeyedLimiter::builder(quota).max_keys(MAX_KEYS);
    // Clients wait by clocks of their own.
    match builder.clock(Clock::monotonic()).build() {
        Ok(limiter) => limiter,
        Err(error) => panic!("{error}"),
    }
}

/// Limiter in memory, with any hasher.
pub(super) trait MemoryLimiter: fmt::Debug + Send + Sync {
    fn try_acquire(&self, key: &RequestKey<'_>, cost: u32) -> DecisionView;
    /// Asks for tokens, as one of several limits.
    fn ask<'a>(&'a self, key: &RequestKey<'a>, cost: u32) -> Ask<'a>;
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
    ) -> Pending<DecisionView>;
    /// Asks for tokens like [`MemoryLimiter::ask`], of the key with this hash.
    #[cfg(feature = "tokio")]
    fn ask_hashed(&self, hash: u64, cost: u32) -> Ask<'_>;
}

impl<S: BuildHasher + Send + Sync + 'static> MemoryLimiter
    for KeyedLimiter<RequestKey<'static>, S>
{
    fn try_acquire(&self, key: &RequestKey<'_>, cost: u32) -> DecisionView {
        KeyedLimiter::try_acquire(self, key, cost).view()
    }

    fn ask<'a>(&'a self, key: &RequestKey<'a>, cost: u32) -> Ask<'a> {
        KeyedLimiter::ask(self, key, cost)
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
    ) -> Pending<DecisionView> {
        let hash = self.hash(key);
        Box::pin(async move { self.acquire_hash_within(hash, cost, max_wait).await.into() })
    }

    #[cfg(feature = "tokio")]
    fn ask_hashed(&self, hash: u64, cost: u32) -> Ask<'_> {
        KeyedLimiter::ask_hashed(self, hash, cost)
    }
}
