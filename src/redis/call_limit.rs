//! Load of one key on Redis: a bounded number of calls in flight, and no call while a refusal is
//! remembered.
//!
//! A key starts with one call in flight. Each allowed call adds another, up to the maximum, and a
//! refused call leaves one. So a flood for a key without tokens costs Redis one call per remembered
//! refusal, and a busy key with tokens soon has all the calls it can use. Calls beyond the limit
//! wait in FIFO order, and a refusal answers all of them that it covers.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use super::refusal::Refusal;

/// Maximum number of calls in flight for one key: a quarter of those of the whole limiter.
pub(super) const MAX_IN_FLIGHT: u32 = 64;
/// Maximum number of keys whose refusal is remembered.
const MAX_REMEMBERED: usize = 16_384;
const SHARDS: usize = 64;
/// Nanoseconds between two searches of a full shard for refusals that have expired.
const SEARCH_INTERVAL: u64 = 100_000_000;

/// Calls in flight and remembered refusals, by key.
#[derive(Debug)]
pub(super) struct CallLimit {
    shards: Box<[Mutex<Shard>]>,
    /// Seeded, so that clients cannot choose keys of one shard.
    hasher: RandomState,
    shard_capacity: usize,
}

#[derive(Debug, Default)]
struct Shard {
    keys: HashMap<Box<[u8]>, Entry, RandomState>,
    next_search: u64,
}

#[derive(Debug)]
struct Entry {
    in_flight: u32,
    limit: u32,
    /// Number of refunds and resets while calls were in flight. The refusal of a call from before
    /// the last one is outdated.
    credits: u64,
    refusal: Option<Refusal>,
    /// Notifies waiters when they may find a permit or a refusal. They hold references to it.
    changed: Arc<Notify>,
}

/// Permit for one call. Dropping it ends the call.
#[derive(Debug)]
pub(super) struct CallPermit<'a> {
    calls: &'a CallLimit,
    key: &'a [u8],
    credits: u64,
    result: CallResult,
}

#[derive(Clone, Copy, Debug)]
enum CallResult {
    /// The call failed, or its caller was cancelled.
    Unknown,
    Allowed,
    Refused(Refusal),
}

impl CallLimit {
    pub(super) fn for_many_keys() -> CallLimit {
        CallLimit::new(SHARDS, MAX_REMEMBERED / SHARDS)
    }

    pub(super) fn for_one_key() -> CallLimit {
        CallLimit::new(1, 1)
    }

    fn new(shards: usize, shard_capacity: usize) -> CallLimit {
        CallLimit {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            shard_capacity,
        }
    }

    /// Returns a permit, after a wait if the key has too many calls in flight. `decide` is called
    /// with the key's refusal before each attempt and each wait: if it returns `Some`, no call is
    /// needed.
    ///
    /// # Errors
    /// Returns the result of `decide`.
    pub(super) async fn permit<'a, T>(
        &'a self,
        key: &'a [u8],
        mut decide: impl FnMut(Option<&Refusal>) -> Option<T>,
    ) -> Result<CallPermit<'a>, T> {
        loop {
            let changed;
            let notified;
            {
                let mut shard = self.lock(key);
                let entry = shard.keys.entry(key.into()).or_default();
                if let Some(decided) = decide(entry.refusal.as_ref()) {
                    if entry.in_flight < entry.limit {
                        // The next waiter may have a lower cost.
                        entry.changed.notify_one();
                    }
                    shard.remove_if_idle(key);
                    return Err(decided);
                }
                if entry.in_flight < entry.limit {
                    entry.in_flight += 1;
                    return Ok(CallPermit {
                        calls: self,
                        key,
                        credits: entry.credits,
                        result: CallResult::Unknown,
                    });
                }
                changed = Arc::clone(&entry.changed);
                // Created under the lock, so that no notification in between is missed.
                notified = changed.notified();
            }
            notified.await;
        }
    }

    /// Calls `decide` with the refusal of the key, if one is remembered.
    pub(super) fn with_refusal<T>(
        &self,
        key: &[u8],
        decide: impl FnOnce(&Refusal) -> Option<T>,
    ) -> Option<T> {
        self.lock(key).keys.get(key)?.refusal.as_ref().and_then(decide)
    }

    /// Drops the refusal of the key, and those of its calls in flight: its bucket got tokens other
    /// than by refill.
    pub(super) fn on_credited(&self, key: &[u8]) {
        let mut shard = self.lock(key);
        if let Some(entry) = shard.keys.get_mut(key) {
            entry.credits += 1;
            entry.refusal = None;
            shard.remove_if_idle(key);
        }
    }

    fn lock(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let shard = (self.hasher.hash_one(key) >> 32) as usize % self.shards.len();
        // Poisoning is harmless: nothing panics while an entry is inconsistent.
        self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, key: &[u8], credits: u64, result: CallResult) {
        let mut shard = self.lock(key);
        let Some(entry) = shard.keys.get_mut(key) else {
            return;
        };
        entry.in_flight -= 1;
        match result {
            CallResult::Allowed => {
                entry.limit = (entry.limit + 1).min(MAX_IN_FLIGHT);
                for _ in entry.in_flight..entry.limit {
                    entry.changed.notify_one();
                }
            }
            CallResult::Refused(refusal) => {
                entry.limit = 1;
                let newer = |old: &Refusal| refusal.supersedes(old);
                if entry.credits == credits && entry.refusal.as_ref().is_none_or(newer) {
                    entry.refusal = Some(refusal);
                }
                entry.changed.notify_waiters();
            }
            // Waiters may find that Redis is unavailable.
            CallResult::Unknown => entry.changed.notify_waiters(),
        }
        if let CallResult::Refused(refusal) = result {
            shard.make_room(key, refusal.received(), self.shard_capacity);
        }
        shard.remove_if_idle(key);
    }
}

impl Shard {
    /// Removes expired refusals if there are too many, and the key's own if there are still.
    fn make_room(&mut self, key: &[u8], now: u64, capacity: usize) {
        if self.keys.len() > capacity && now >= self.next_search {
            self.next_search = now.saturating_add(SEARCH_INTERVAL);
            self.keys.retain(|_, entry| {
                entry.refusal = entry.refusal.filter(|refusal| refusal.is_fresh(now));
                !entry.is_idle()
            });
        }
        if self.keys.len() > capacity
            && let Some(entry) = self.keys.get_mut(key)
        {
            entry.refusal = None;
        }
    }

    fn remove_if_idle(&mut self, key: &[u8]) {
        if self.keys.get(key).is_some_and(Entry::is_idle) {
            self.keys.remove(key);
        }
    }
}

impl Default for Entry {
    fn default() -> Entry {
        Entry {
            in_flight: 0,
            limit: 1,
            credits: 0,
            refusal: None,
            changed: Arc::default(),
        }
    }
}

impl Entry {
    /// Whether the entry has no call, no refusal and no waiter.
    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.refusal.is_none() && Arc::strong_count(&self.changed) == 1
    }
}

impl CallPermit<'_> {
    /// Ends the call: the tokens were taken, or none were requested.
    pub(super) fn allowed(mut self) {
        self.result = CallResult::Allowed;
    }

    /// Ends the call: Redis refused, as described by `refusal`.
    pub(super) fn refused(mut self, refusal: Refusal) {
        self.result = CallResult::Refused(refusal);
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        let result = mem::replace(&mut self.result, CallResult::Unknown);
        self.calls.end(self.key, self.credits, result);
    }
}
