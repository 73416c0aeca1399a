//! The keys of a process, as many as it has room for. Whoever finds no room is decided one by one.
//!
//! Keys are spread over shards, and a decision only reads its shard. Written are those to which a key is added, and only a key that holds
//! nothing and remembers nothing makes room; a full shard is searched for such at most ten times a second, so that a flood of new
//! keys does not buy a search each.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use foldhash::fast::RandomState;

use super::{Answer, Ask, Settings, Step, key::Key};

const SHARDS: usize = 64;
/// Nanoseconds between two searches of a full shard.
const SEARCH: u64 = 100_000_000;

/// All keys of one quota.
#[derive(Debug)]
pub(crate) struct Keys {
    settings: Settings,
    shards: Box<[RwLock<Shard>]>,
    /// Seeded, so that nobody outside can aim at a shard.
    spread: RandomState,
    most_in_shard: usize,
    next_tick: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shard {
    keys: HashMap<Box<[u8]>, Arc<Key>, RandomState>,
    search_at: u64,
}

impl Keys {
    /// Room for about `most` keys.
    pub(crate) fn new(settings: Settings, most: usize) -> Keys {
        Keys {
            settings,
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            spread: RandomState::default(),
            most_in_shard: most.div_ceil(SHARDS).max(1),
            next_tick: AtomicUsize::new(0),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes tokens; see [`Key::take`]. There is a key with the answer where there is something left to do: a message to send, an answer to
    /// wait for, a decision to report. None with [`Answer::Exact`]: there is no room, and nothing to report.
    pub(crate) fn take(&self, now: u64, name: &[u8], cost: u32) -> (Step, Option<Arc<Key>>) {
        if let Some(key) = self.read(name).keys.get(name) {
            let step = key.take(&self.settings, now, cost);
            let done = step.ask.is_none() && matches!(step.answer, Answer::Allowed { .. } | Answer::Refused { .. });
            return (step, if done { None } else { Some(key.clone()) });
        }
        match self.add(now, name) {
            Some(key) => (key.take(&self.settings, now, cost), Some(key)),
            None => (Answer::Exact { seq: 0 }.into(), None),
        }
    }

    /// The key, if it is known.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Arc<Key>> {
        self.read(name).keys.get(name).cloned()
    }

    /// What is due in the next of the 64 shards: to be called so often that all of them have their turn several times a lease.
    pub(crate) fn tick(&self, now: u64) -> Vec<(Arc<Key>, Ask)> {
        let shard = &self.shards[self.next_tick.fetch_add(1, Ordering::Relaxed) % SHARDS];
        let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
        let due = shard.keys.values().filter_map(|key| Some((key.clone(), key.tick(&self.settings, now)?)));
        due.collect()
    }

    /// Gives everything back, for good; see [`Key::close`].
    pub(crate) fn close(&self, now: u64) -> Vec<(Arc<Key>, Ask)> {
        let mut asks = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let last = shard.keys.values().filter_map(|key| Some((key.clone(), key.close(&self.settings, now)?)));
            asks.extend(last);
        }
        asks
    }

    fn read(&self, name: &[u8]) -> std::sync::RwLockReadGuard<'_, Shard> {
        self.shard(name).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, name: &[u8]) -> &RwLock<Shard> {
        &self.shards[(self.spread.hash_one(name) >> 32) as usize % SHARDS]
    }

    fn add(&self, now: u64, name: &[u8]) -> Option<Arc<Key>> {
        let mut shard = self.shard(name).write().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = shard.keys.get(name) {
            return Some(key.clone());
        }
        if shard.keys.len() >= self.most_in_shard {
            self.make_room(&mut shard, now);
        }
        if shard.keys.len() >= self.most_in_shard {
            return None;
        }
        let key = Arc::new(Key::new(name));
        shard.keys.insert(name.into(), key.clone());
        Some(key)
    }

    /// Forgets the keys that hold nothing. One that somebody still has in hand stays, or what it is about to do would be forgotten.
    fn make_room(&self, shard: &mut Shard, now: u64) {
        if now < shard.search_at {
            return;
        }
        shard.search_at = now.saturating_add(SEARCH);
        shard.keys.retain(|_, key| Arc::strong_count(key) > 1 || !key.is_idle(&self.settings, now));
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Keys, Settings, Step};
    use crate::{
        quota::Quota,
        redis::lease::{Ledger, Limits},
        state::Layout,
    };

    const START: u64 = 1_000_000_000;

    fn keys(most: usize) -> Keys {
        let layout = Layout::of(&Quota::per_hour(1).capacity(1000));
        let limits = Limits::of(&layout.terms, 0.1, 1_000_000).unwrap();
        Keys::new(Settings { node: 7, layout, limits, timeout: 50_000_000 }, most)
    }

    #[test]
    fn threads_spend_exactly_what_was_granted() {
        let (keys, ledger) = (keys(100), std::sync::Mutex::new(Ledger::new()));
        let allowed = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..4000 {
                        let (Step { answer, ask }, key) = keys.take(0, b"hot", 1);
                        if let Some(ask) = ask {
                            let settings = keys.settings();
                            let reply = ledger.lock().unwrap().ask(&settings.layout, &settings.limits, START, &ask);
                            key.as_ref().unwrap().reply(settings, 0, &reply.unwrap());
                        }
                        match answer {
                            Answer::Allowed { .. } => {
                                allowed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            }
                            Answer::Exact { seq } => key.unwrap().lost(seq),
                            Answer::Wait | Answer::Refused { .. } => {}
                        }
                    }
                });
            }
        });
        for (key, ask) in keys.close(0) {
            assert_eq!(key.name(), b"hot");
            let settings = keys.settings();
            ledger.lock().unwrap().ask(&settings.layout, &settings.limits, START, &ask);
        }
        let (allowed, ledger) = (allowed.into_inner(), ledger.into_inner().unwrap());
        assert!(allowed > 100);
        assert_eq!(ledger.state.spent, keys.settings().layout.units(allowed));
    }

    #[test]
    fn a_full_table_decides_one_by_one_and_forgets_only_what_holds_nothing() {
        let keys = keys(1);
        let names: Vec<_> = (0..1000_u32).map(u32::to_be_bytes).collect();
        let known = |now| names.iter().filter(|name| keys.take(now, *name, 1).1.is_some()).count();
        assert_eq!(known(0), 64);
        // Their requests are lost, sent again, and lost until they are given up.
        for second in 1..=8 {
            assert_eq!(keys.find(&names[999]).is_some(), keys.take(0, &names[999], 1).1.is_some());
            for _ in 0..64 {
                let _ = keys.tick(second * 1_000_000_000);
            }
        }
        let before: Vec<_> = names.iter().filter(|name| keys.find(*name).is_some()).collect();
        let fresh = (1000..3000_u32).map(u32::to_be_bytes);
        let taken = fresh.filter(|name| keys.take(9_000_000_000, name, 1).1.is_some()).count();
        assert_eq!((before.len(), taken), (64, 64));
    }
}
