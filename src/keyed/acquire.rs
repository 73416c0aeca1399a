//! The everyday methods, in the first of these modules, so that they come first in the
//! documentation.

use std::{
    hash::{BuildHasher, Hash},
    time::Duration,
};

use super::{BATCH, KeyedLimiter, KeyedLimiterBuilder, KeyedStats};
use crate::{clock::Time, decision::Decision, duration::saturating_nanos, quota::Quota};

impl KeyedLimiter {
    /// A limiter that tells `max_keys` keys apart. Zero counts as one.
    ///
    /// # Panics
    /// When there is no memory for so many keys; [`KeyedLimiterBuilder::build`] returns an error
    /// instead.
    #[must_use]
    #[expect(clippy::panic, reason = "documented, as of a Vec that finds no memory")]
    pub fn new(quota: Quota, max_keys: usize) -> KeyedLimiter {
        match KeyedLimiter::builder(quota)
            .max_keys(max_keys.max(1))
            .build()
        {
            Ok(limiter) => limiter,
            Err(error) => panic!("{error}"),
        }
    }

    /// A limiter with other settings: a clock for tests, another hash, what to do when it is full.
    pub fn builder(quota: Quota) -> KeyedLimiterBuilder {
        KeyedLimiterBuilder::new(quota)
    }
}

impl<S: BuildHasher> KeyedLimiter<S> {
    /// Takes `cost` tokens from the key's bucket, or none; see
    /// [`Bucket::try_acquire_at`](crate::Bucket::try_acquire_at).
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// let limiter = KeyedLimiter::new(Quota::per_minute(2), 1000);
    /// assert!(limiter.try_acquire("alice", 2).is_allowed());
    /// assert!(limiter.try_acquire("alice", 1).is_refused());
    /// assert!(limiter.try_acquire("bob", 1).is_allowed());
    /// ```
    #[doc(alias = "check_key")]
    #[inline(always)]
    #[must_use = "a decision says whether the request may go on"]
    pub fn try_acquire<K: Hash + ?Sized>(&self, key: &K, cost: u32) -> Decision {
        self.decide(self.hash(key), Time::Now(&self.clock), cost)
    }

    /// The same at time `now`, counted from a moment of the caller's; not to be mixed with calls
    /// that read the clock.
    #[inline(always)]
    #[must_use = "a decision says whether the request may go on"]
    pub fn try_acquire_at<K: Hash + ?Sized>(&self, now: Duration, key: &K, cost: u32) -> Decision {
        self.decide(self.hash(key), Time::At(saturating_nanos(now)), cost)
    }

    /// Takes `cost` tokens from the key's bucket ahead of time; see
    /// [`Bucket::reserve_at`](crate::Bucket::reserve_at).
    #[must_use = "a decision says whether the request may go on"]
    pub fn reserve<K: Hash + ?Sized>(&self, key: &K, cost: u32, max_wait: Duration) -> Decision {
        self.queue(self.hash(key), self.clock.nanos(), cost, max_wait)
    }

    /// The same at time `now`.
    #[must_use = "a decision says whether the request may go on"]
    pub fn reserve_at<K: Hash + ?Sized>(
        &self,
        now: Duration,
        key: &K,
        cost: u32,
        max_wait: Duration,
    ) -> Decision {
        self.queue(self.hash(key), saturating_nanos(now), cost, max_wait)
    }

    /// Decides many requests at once, all at the same time, and calls `each` with the number of
    /// every request and its decision, in order. In a large table that is several times faster than
    /// one by one, since memory is loaded ahead.
    ///
    /// ```
    /// # use tollgate::{KeyedLimiter, Quota};
    /// let limiter = KeyedLimiter::new(Quota::per_second(1), 1000);
    /// let mut allowed = Vec::new();
    /// limiter.try_acquire_batch(&[("alice", 1), ("bob", 1), ("alice", 1)], |n, decision| {
    ///     if decision.is_allowed() {
    ///         allowed.push(n);
    ///     }
    /// });
    /// assert_eq!(allowed, [0, 1]);
    /// ```
    pub fn try_acquire_batch<K: Hash>(
        &self,
        requests: &[(K, u32)],
        mut each: impl FnMut(usize, Decision),
    ) {
        let now = Time::At(self.clock.nanos());
        for (chunk_number, chunk) in requests.chunks(BATCH).enumerate() {
            let mut hashes = [0; BATCH];
            for (hash, (key, _)) in hashes.iter_mut().zip(chunk) {
                *hash = self.hash(key);
            }
            // One generation for the chunk.
            let held = self.current.held_or_fetched();
            let Some(generation) = held.generation() else {
                continue;
            };
            hashes[..chunk.len()]
                .iter()
                .for_each(|&hash| generation.table.prefetch(hash));
            for (n, (&hash, &(_, cost))) in hashes.iter().zip(chunk).enumerate() {
                each(chunk_number * BATCH + n, generation.decide(hash, now, cost));
            }
        }
    }

    /// Whole tokens in the key's bucket.
    #[must_use]
    pub fn available<K: Hash + ?Sized>(&self, key: &K) -> u32 {
        self.try_acquire(key, 0).remaining()
    }

    /// Undoes a decision on this key: gives its tokens back, as far as they are still owed, and
    /// says whether any were. See [`Bucket::refund`](crate::Bucket::refund).
    ///
    /// A decision from before the quota was replaced, the key got or lost a rule of its own, was
    /// reset or was evicted early, gives nothing back. (Nor, once in a thousand, does one from
    /// before such a thing befell another key.)
    pub fn refund<K: Hash + ?Sized>(&self, key: &K, decision: Decision) -> bool {
        self.refund_hash(self.hash(key), decision)
    }

    /// Makes the key's bucket full.
    pub fn reset<K: Hash + ?Sized>(&self, key: &K) {
        let (hash, now_nanos) = (self.hash(key), self.clock.nanos());
        self.current
            .with(|generation| generation.owner(hash).reset(now_nanos));
    }

    /// How full the table is. Looks at every slot: some milliseconds for a million keys.
    #[must_use]
    pub fn stats(&self) -> KeyedStats {
        let now_nanos = self.clock.nanos();
        self.current.with(|generation| {
            let table = &generation.table;
            KeyedStats {
                live: table.live(now_nanos),
                evicted_early: table.evicted_early.load(crate::sync::Ordering::Relaxed),
                saturated: table.saturated.load(crate::sync::Ordering::Relaxed),
                slots: table.slots(),
                bytes: table.memory.bytes(),
            }
        })
    }
}
