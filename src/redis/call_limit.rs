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

use super::{refusal::Refusal, script::TakeReply};

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
pub(super) struct CallPermit {
    calls: Arc<CallLimit>,
    key: Box<[u8]>,
    credits: u64,
    result: CallResult,
}

#[derive(Clone, Copy, Debug)]
enum CallResult {
    /// The call failed, or was not sent.
    Unknown,
    /// Reply that took tokens or requested none, and the time of its arrival.
    Allowed(TakeReply, u64),
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
    pub(super) async fn permit<T>(
        self: &Arc<Self>,
        key: &[u8],
        mut decide: impl FnMut(Option<&Refusal>) -> Option<T>,
    ) -> Result<CallPermit, T> {
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
                        calls: Arc::clone(self),
                        key: key.into(),
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
        self.lock(key)
            .keys
            .get(key)?
            .refusal
            .as_ref()
            .and_then(decide)
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
            CallResult::Allowed(reply, received) => {
                entry.refusal = entry
                    .refusal
                    .and_then(|refusal| refusal.updated(&reply, received));
                entry.limit = (entry.limit + 1).min(MAX_IN_FLIGHT);
                for _ in entry.in_flight..entry.limit {
                    entry.changed.notify_one();
                }
            }
            CallResult::Refused(refusal) => {
                entry.limit = 1;
                // Otherwise tokens were added since the call was sent.
                if entry.credits == credits {
                    let covers_more = entry.refusal.filter(|old| !refusal.supersedes(old));
                    let updated = covers_more
                        .and_then(|old| old.updated(refusal.reply(), refusal.received()));
                    entry.refusal = Some(updated.unwrap_or(refusal));
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
    /// Returns true if the entry has no call, no refusal and no waiter.
    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.refusal.is_none() && Arc::strong_count(&self.changed) == 1
    }
}

impl CallPermit {
    /// Ends the call: the tokens were taken, or none were requested. The reply arrived at `received`.
    pub(super) fn allowed(mut self, reply: TakeReply, received: u64) {
        self.result = CallResult::Allowed(reply, received);
    }

    /// Ends the call: Redis refused, as described by `refusal`.
    pub(super) fn refused(mut self, refusal: Refusal) {
        self.result = CallResult::Refused(refusal);
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        let result = mem::replace(&mut self.result, CallResult::Unknown);
        self.calls.end(&self.key, self.credits, result);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{task::JoinSet, time::timeout};

    use super::*;

    const MILLI: u64 = 1_000_000;

    fn reply(micros: u64) -> TakeReply {
        TakeReply {
            taken: false,
            micros,
            spent: 0,
            stamp: 0,
            incarnation: 1,
            rebased: false,
        }
    }

    fn refusal(cost: u32, now: u64) -> Refusal {
        Refusal::new(cost, reply(now / 1000), now, now)
    }

    async fn permit(calls: &Arc<CallLimit>, key: &[u8]) -> CallPermit {
        let permit = calls.permit(key, |_| None::<()>).await;
        permit.unwrap()
    }

    /// Number of permits that the key has at once.
    async fn free(calls: &Arc<CallLimit>, key: &[u8]) -> usize {
        let mut permits = Vec::new();
        while let Ok(permit) = timeout(Duration::ZERO, permit(calls, key)).await {
            permits.push(permit);
        }
        permits.len()
    }

    #[tokio::test]
    async fn limit_grows_with_allowed_calls_and_a_refusal_ends_the_growth() {
        let calls = Arc::new(CallLimit::for_many_keys());
        let held = permit(&calls, b"key").await;
        assert_eq!(
            (free(&calls, b"key").await, free(&calls, b"other").await),
            (0, 1)
        );
        held.allowed(reply(1), 1);
        assert_eq!(free(&calls, b"key").await, 1, "an idle key begins anew");

        let mut held = vec![permit(&calls, b"key").await];
        for _ in 0..200 {
            let next = held.pop().unwrap();
            next.allowed(reply(1), 1);
            // Never idle meanwhile, after the first.
            while let Ok(next) = timeout(Duration::ZERO, permit(&calls, b"key")).await {
                held.push(next);
            }
        }
        assert!(held.len() <= MAX_IN_FLIGHT as usize, "{}", held.len());
        held.pop().unwrap().refused(refusal(1, MILLI));
        while held.len() > 1 {
            drop(held.pop());
            assert_eq!(free(&calls, b"key").await, 0);
        }
    }

    #[tokio::test]
    async fn refusal_answers_all_waiters_that_it_covers() {
        let calls = Arc::new(CallLimit::for_many_keys());
        let held = permit(&calls, b"key").await;
        let mut waiters = JoinSet::new();
        for cost in [5, 1, 5, 1, 5] {
            let calls = Arc::clone(&calls);
            waiters.spawn(async move {
                let covers = |refusal: Option<&Refusal>| {
                    let refusal = *refusal?;
                    (cost >= 5).then_some(refusal)
                };
                match calls.permit(b"key", covers).await {
                    Ok(permit) => {
                        permit.allowed(reply(2000), 2 * MILLI);
                        false
                    }
                    Err(_) => true,
                }
            });
        }
        tokio::task::yield_now().await;
        held.refused(refusal(5, MILLI));
        let answered = waiters.join_all().await;
        assert_eq!(answered.iter().filter(|answered| **answered).count(), 3);
    }

    #[tokio::test]
    async fn refusal_of_a_call_from_before_a_refund_is_not_remembered() {
        let calls = Arc::new(CallLimit::for_many_keys());
        let remembers = |key| calls.with_refusal(key, |_| Some(())).is_some();
        permit(&calls, b"key").await.refused(refusal(1, MILLI));
        assert!(remembers(b"key"));
        calls.on_credited(b"key");
        assert!(!remembers(b"key"));
        let before = permit(&calls, b"key").await;
        calls.on_credited(b"key");
        before.refused(refusal(1, MILLI));
        assert!(!remembers(b"key"));
    }

    #[tokio::test]
    async fn memory_is_bounded_and_expired_refusals_make_room() {
        let calls = Arc::new(CallLimit::new(1, 10));
        for key in 0..1000_u32 {
            let key = key.to_le_bytes();
            permit(&calls, &key).await.refused(refusal(1, MILLI));
        }
        let count = || calls.lock(b"").keys.len();
        assert_eq!(count(), 10);
        let later = 500 * MILLI;
        permit(&calls, b"late").await.refused(refusal(1, later));
        assert_eq!(count(), 1);
        assert!(calls.with_refusal(b"late", |_| Some(())).is_some());
    }

    #[tokio::test]
    async fn cancelled_waiters_leave_nothing_behind() {
        let calls = Arc::new(CallLimit::for_many_keys());
        let held = permit(&calls, b"key").await;
        for _ in 0..10 {
            assert_eq!(free(&calls, b"key").await, 0);
        }
        drop(held);
        assert!(calls.lock(b"key").keys.is_empty());
        assert_eq!(free(&calls, b"key").await, 1);
    }
}
