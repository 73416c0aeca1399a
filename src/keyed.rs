//! Many buckets in memory that is fixed when the limiter is made.

mod bounds;
mod builder;
mod change;
mod generation;
mod insert;
mod latch;
mod memory;
mod owner;
mod sync;
mod table;
#[cfg(feature = "tokio")]
mod wait;

use std::{
    fmt,
    hash::{BuildHasher, Hash},
    sync::atomic::AtomicU32,
    time::Duration,
};

pub use builder::{BuildError, KeyedLimiterBuilder};
use foldhash::quality::RandomState;
use generation::{Current, Generation, Rules};
use sync::Arc;
use table::Table;
pub use table::WhenFull;

use crate::{
    clock::{Clock, Time},
    decision::Decision,
    quota::Quota,
    request::nanos,
};

/// How many keys of a batch are loaded ahead.
const BATCH: usize = 16;

/// A bucket for every key: a client's address, an API key, a user's number.
///
/// ```
/// use std::{net::IpAddr, time::Duration};
/// use tollgate::{KeyedLimiter, Quota};
///
/// // Remembers a million keys in 27 MB, never more.
/// let limiter = KeyedLimiter::new(Quota::per_minute(100), 1_000_000);
/// let client: IpAddr = "192.0.2.7".parse()?;
///
/// let decision = limiter.try_acquire(&client, 3);
/// println!("{decision}"); // allowed: 3 asked, 97 of 100 left
/// decision.ok()?; // or as a Result, with an error that carries retry_after()
/// limiter.refund(&client, decision); // names what it undoes
/// limiter.replace(Quota::per_minute(50)); // from the next call on
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What it remembers
///
/// Keys are hashed, not stored: any `K: Hash + ?Sized` will do, and nothing is cloned or allocated. A bucket that has refilled
/// is as good as new, so its place may go to another key with nothing lost: there is no sweeper, and no time to live. Memory
/// never grows, so a flood of keys cannot exhaust it. A table made for `max_keys` has room for that many keys that are not
/// full at the same time, but for one in a million. Should a key find no room, [`WhenFull`] says what happens, and [`Stats`]
/// counts it.
///
/// # What a collision means
///
/// A key is known by 63 bits of a hash with a random seed. Two keys that share them share a bucket: they limit each other, as
/// if they were one client. Among ten million keys, some 5 in a million times *any* two do; among one million, 5 in a hundred
/// million. The seed differs in every limiter and every run, so nobody outside can prepare such a pair.
///
/// # Threads
///
/// Decisions on known keys take no lock, allocate nothing, and never wait. A new key takes a latch for some tens of nanoseconds.
/// The first call of a thread, and its first after a change of quota or rules, fetches the settings under a lock.
pub struct KeyedLimiter<S = RandomState> {
    current: Current,
    clock: Clock,
    hasher: S,
    /// Tells apart what refunds may go to: tables and rules.
    next_origin: AtomicU32,
}

/// What a [`KeyedLimiter`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Keys whose bucket is not full.
    pub live: usize,
    /// Keys that were forgotten before their bucket was full, since the quota was last replaced.
    pub evicted_early: u64,
    /// Requests that were refused because there was no room for another key, since the quota was last replaced.
    pub saturated: u64,
    /// Buckets there is room for.
    pub slots: usize,
    /// Memory of the table in bytes.
    pub bytes: usize,
}

impl KeyedLimiter {
    /// A limiter that tells `max_keys` keys apart. Zero counts as one.
    ///
    /// # Panics
    /// When there is no memory for so many keys; [`KeyedLimiterBuilder::build`] returns an error instead.
    #[must_use]
    #[expect(clippy::panic, reason = "documented, as of a Vec that finds no memory")]
    pub fn new(quota: Quota, max_keys: usize) -> KeyedLimiter {
        match KeyedLimiter::builder(quota).max_keys(max_keys.max(1)).build() {
            Ok(limiter) => limiter,
            Err(error) => panic!("{error}"),
        }
    }

    /// A limiter with other settings: clock, hash, what to do when it is full.
    pub fn builder(quota: Quota) -> KeyedLimiterBuilder {
        KeyedLimiterBuilder::new(quota)
    }
}

impl<S: BuildHasher> KeyedLimiter<S> {
    fn with_sets(quota: Quota, sets: usize, when_full: WhenFull, clock: Clock, hasher: S) -> Option<KeyedLimiter<S>> {
        let table = Arc::new(Table::new(&quota, sets, when_full)?);
        let current = Current::new(Generation::new(quota, table, 0, Rules::default()));
        Some(KeyedLimiter { current, clock, hasher, next_origin: AtomicU32::new(1) })
    }

    /// Takes `cost` tokens from the key's bucket, or none; see [`Bucket::try_acquire_at`](crate::Bucket::try_acquire_at).
    #[inline(always)]
    #[must_use = "a decision says whether the request may go on"]
    pub fn try_acquire<K: Hash + ?Sized>(&self, key: &K, cost: u32) -> Decision {
        self.decide(self.hash(key), Time::Now(&self.clock), cost)
    }

    /// The same at time `now`, counted from a moment of the caller's; not to be mixed with calls that read the clock.
    #[inline(always)]
    #[must_use = "a decision says whether the request may go on"]
    pub fn try_acquire_at<K: Hash + ?Sized>(&self, now: Duration, key: &K, cost: u32) -> Decision {
        self.decide(self.hash(key), Time::At(nanos(now)), cost)
    }

    /// Takes `cost` tokens from the key's bucket ahead of time; see [`Bucket::reserve_at`](crate::Bucket::reserve_at).
    #[must_use = "a decision says whether the request may go on"]
    pub fn reserve<K: Hash + ?Sized>(&self, key: &K, cost: u32, max_wait: Duration) -> Decision {
        self.queue(self.hash(key), self.clock.nanos(), cost, max_wait)
    }

    /// The same at time `now`.
    #[must_use = "a decision says whether the request may go on"]
    pub fn reserve_at<K: Hash + ?Sized>(&self, now: Duration, key: &K, cost: u32, max_wait: Duration) -> Decision {
        self.queue(self.hash(key), nanos(now), cost, max_wait)
    }

    /// Decides many requests at once, all at the same time, and calls `each` with the number of every request and its
    /// decision, in order. In a large table that is several times faster than one by one, since memory is loaded ahead.
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
    pub fn try_acquire_batch<K: Hash>(&self, requests: &[(K, u32)], mut each: impl FnMut(usize, Decision)) {
        let now = Time::At(self.clock.nanos());
        for (chunk_number, chunk) in requests.chunks(BATCH).enumerate() {
            let mut hashes = [0; BATCH];
            for (hash, (key, _)) in hashes.iter_mut().zip(chunk) {
                *hash = self.hash(key);
            }
            // One generation for the chunk.
            let held = self.current.held_or_fetched();
            let Some(generation) = held.generation() else { continue };
            hashes[..chunk.len()].iter().for_each(|&hash| generation.table.prefetch(hash));
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

    /// Undoes a decision on this key: gives its tokens back, as far as they are still owed, and says whether any were. See
    /// [`Bucket::refund`](crate::Bucket::refund).
    ///
    /// A decision from before the quota was replaced, the key got or lost a rule of its own, was reset or was evicted early,
    /// gives nothing back. (Nor, once in a thousand, does one from before such a thing befell another key.)
    pub fn refund<K: Hash + ?Sized>(&self, key: &K, decision: Decision) -> bool {
        self.refund_hash(self.hash(key), decision)
    }

    /// Makes the key's bucket full.
    pub fn reset<K: Hash + ?Sized>(&self, key: &K) {
        let (hash, now_nanos) = (self.hash(key), self.clock.nanos());
        self.current.with(|generation| generation.owner(hash).reset(now_nanos));
    }

    /// How full the table is. Looks at every slot: some milliseconds for a million keys.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let now_nanos = self.clock.nanos();
        self.current.with(|generation| {
            let table = &generation.table;
            Stats {
                live: table.live(now_nanos),
                evicted_early: table.evicted_early.load(crate::sync::Ordering::Relaxed),
                saturated: table.saturated.load(crate::sync::Ordering::Relaxed),
                slots: table.slots(),
                bytes: table.memory.bytes(),
            }
        })
    }

    #[inline]
    fn hash<K: Hash + ?Sized>(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline(always)]
    fn decide(&self, hash: u64, time: Time<'_>, cost: u32) -> Decision {
        let held = self.current.held();
        match held.generation() {
            Some(generation) => generation.decide(hash, time, cost),
            None => {
                drop(held);
                self.fetch_and_decide(hash, time, cost)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn fetch_and_decide(&self, hash: u64, time: Time<'_>, cost: u32) -> Decision {
        self.current.with(|generation| generation.decide(hash, time, cost))
    }

    fn queue(&self, hash: u64, now_nanos: u64, cost: u32, max_wait: Duration) -> Decision {
        self.current.with(|generation| generation.owner(hash).reserve(now_nanos, cost, max_wait))
    }

    fn refund_hash(&self, hash: u64, decision: Decision) -> bool {
        self.current.with(|generation| generation.owner(hash).refund(decision))
    }
}

impl<S> fmt::Debug for KeyedLimiter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (quota, rules, slots) =
            self.current.with(|generation| (generation.quota, generation.rules.len(), generation.table.slots()));
        f.debug_struct("KeyedLimiter")
            .field("quota", &quota)
            .field("rules", &rules)
            .field("slots", &slots)
            .finish_non_exhaustive()
    }
}
