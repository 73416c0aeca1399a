//! Many buckets in memory that is fixed when the limiter is made.

mod acquire;
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
/// println!("{decision}"); // allowed: cost 3, 97 of 100 left
/// decision.ok()?; // or as a Result, with an error that carries retry_after()
/// limiter.refund(&client, decision); // names what it undoes
/// limiter.replace(Quota::per_minute(50)); // from the next call on
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What it remembers
///
/// Keys are hashed, not stored: any `K: Hash + ?Sized` will do, and nothing is cloned or allocated.
/// A bucket that has refilled is as good as new, so its place may go to another key with nothing
/// lost: there is no sweeper, and no time to live. Memory never grows, so a flood of keys cannot
/// exhaust it. A table made for `max_keys` has room for that many keys that are not full at the
/// same time, but for one in a million. Should a key find no room, [`WhenFull`] says what happens,
/// and [`KeyedStats`] counts it.
///
/// # What a collision means
///
/// A key is known by 63 bits of a hash with a random seed. Two keys that share them share a bucket:
/// they limit each other, as if they were one client. Among ten million keys, some 5 in a million
/// times *any* two do; among one million, 5 in a hundred million. The seed differs in every limiter
/// and every run, so nobody outside can prepare such a pair.
///
/// # Threads
///
/// Decisions on known keys take no lock, allocate nothing, and never wait. A new key takes a latch
/// for some tens of nanoseconds. The first call of a thread, and its first after a change of quota
/// or rules, fetches the settings under a lock.
#[doc(alias = "RateLimiter")]
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
pub struct KeyedStats {
    /// Keys whose bucket is not full.
    pub live: usize,
    /// Keys that were forgotten before their bucket was full, since the quota was last replaced.
    pub evicted_early: u64,
    /// Requests that were refused because there was no room for another key, since the quota was
    /// last replaced.
    pub saturated: u64,
    /// Buckets there is room for.
    pub slots: usize,
    /// Memory of the table in bytes.
    pub bytes: usize,
}

impl<S: BuildHasher> KeyedLimiter<S> {
    fn with_sets(
        quota: Quota,
        sets: usize,
        when_full: WhenFull,
        clock: Clock,
        hasher: S,
    ) -> Option<KeyedLimiter<S>> {
        let table = Arc::new(Table::new(&quota, sets, when_full)?);
        let current = Current::new(Generation::new(quota, table, 0, Rules::default()));
        Some(KeyedLimiter {
            current,
            clock,
            hasher,
            next_origin: AtomicU32::new(1),
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
        self.current
            .with(|generation| generation.decide(hash, time, cost))
    }

    fn queue(&self, hash: u64, now_nanos: u64, cost: u32, max_wait: Duration) -> Decision {
        self.current
            .with(|generation| generation.owner(hash).reserve(now_nanos, cost, max_wait))
    }

    fn refund_hash(&self, hash: u64, decision: Decision) -> bool {
        self.current
            .with(|generation| generation.owner(hash).refund(decision))
    }
}

impl<S> fmt::Debug for KeyedLimiter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (quota, rules, slots) = self.current.with(|generation| {
            (
                generation.quota,
                generation.rules.len(),
                generation.table.slots(),
            )
        });
        f.debug_struct("KeyedLimiter")
            .field("quota", &quota)
            .field("rules", &rules)
            .field("slots", &slots)
            .finish_non_exhaustive()
    }
}
