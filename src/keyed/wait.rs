//! Waiting for tokens of a key.

use std::{
    future::Future,
    hash::{BuildHasher, Hash},
    time::Duration,
};

use tokio::time::Instant;

use super::{KeyedLimiter, owner::Owner};
use crate::{
    decision::{Decision, Refused},
    wait::{self, Reservable},
};

impl<S: BuildHasher + Sync> KeyedLimiter<S> {
    /// Takes `cost` tokens from the key's bucket, and waits in turn until they are there; see
    /// [`Bucket::acquire`](crate::Bucket::acquire). Whoever waits while the quota or the key's rule
    /// is replaced queues again under the new one.
    ///
    /// # Errors
    /// When `cost` is above the capacity, the quota's debt is used up, or there is no room for
    /// another key: at once, with nothing taken.
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let limiter = KeyedLimiter::new(Quota::per_second(100).with_capacity(2), 1000);
    /// for _ in 0..4 {
    ///     limiter.acquire("alice", 1).await?; // two at once, then one every 10 ms
    /// }
    /// # Ok::<(), tollgate::Refused>(()) }).unwrap();
    /// ```
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire<K: Hash + ?Sized>(
        &self,
        key: &K,
        cost: u32,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send + use<'_, K, S> {
        wait::acquire(
            KeyTurn {
                limiter: self,
                hash: self.hash(key),
            },
            cost,
            None,
        )
    }

    /// Like [`KeyedLimiter::acquire`], for one who has until `deadline`.
    ///
    /// # Errors
    /// When the tokens cannot be had by then, too: at once, with nothing taken.
    #[must_use = "futures do nothing unless awaited"]
    pub fn acquire_by<K: Hash + ?Sized>(
        &self,
        key: &K,
        cost: u32,
        deadline: Instant,
    ) -> impl Future<Output = Result<Decision, Refused>> + Send + use<'_, K, S> {
        wait::acquire(
            KeyTurn {
                limiter: self,
                hash: self.hash(key),
            },
            cost,
            Some(deadline),
        )
    }
}

/// A key's place in the queue, known by its hash: the key itself need not live as long as the wait.
struct KeyTurn<'a, S> {
    limiter: &'a KeyedLimiter<S>,
    hash: u64,
}

impl<S> Clone for KeyTurn<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for KeyTurn<'_, S> {}

impl<S: BuildHasher> Reservable for KeyTurn<'_, S> {
    fn reserve(self, cost: u32, max_wait: Duration) -> Decision {
        self.limiter
            .queue(self.hash, self.limiter.clock.nanos(), cost, max_wait)
    }

    fn refund(self, decision: Decision) -> bool {
        self.limiter.refund_hash(self.hash, decision)
    }

    fn is_reserved(self, decision: Decision) -> bool {
        self.limiter
            .current
            .with(|generation| generation.owner(self.hash).counts(decision))
    }
}

impl Owner<'_> {
    /// Whether a decision still counts: it was made here, and no reset has come since.
    fn counts(&self, decision: Decision) -> bool {
        let stamp = decision.charge().0.stamp;
        self.origin() == decision.origin()
            && match self {
                Owner::Rule(rule) => rule.bucket.is_refundable(stamp),
                Owner::Table { table, place, .. } => table.counts(place, stamp),
            }
    }
}
