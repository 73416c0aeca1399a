//! The keys of a process, as many as it has room for. Whoever finds no room is decided one by one.
//!
//! Keys are spread over shards, and a decision takes no lock there, nor does it write. Only a key
//! that holds nothing and remembers nothing makes room for another; a full shard is searched for
//! such at most ten times a second, so that a flood of new keys does not buy a search each.

use std::{
    hash::{self, BuildHasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use foldhash::fast::RandomState;

use super::{Ask, Settings, Step, key::Key};
use crate::sync::AtomicU64;

const MOST_SHARDS: usize = 64;
/// Nanoseconds between two searches of a full shard.
const SEARCH: u64 = 100_000_000;
/// A key's number has 53 bits, and is not 0.
const UNUSED_BITS: u32 = 11;

/// All keys of one quota.
#[derive(Debug)]
pub(crate) struct Keys {
    settings: Settings,
    shards: Box<[Shard]>,
    /// Seeded, so that nobody outside can aim at a shard.
    spread: RandomState,
    /// Draws the keys' numbers: seeded by the operating system, and of a quality that no two
    /// processes draw the same.
    draw: hash::RandomState,
    drawn: AtomicU64,
    most_in_shard: usize,
    next_tick: AtomicUsize,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Shard {
    keys: papaya::HashMap<Box<[u8]>, Arc<Key>, RandomState>,
    /// Held by who adds or removes; it is searched again when this time has come.
    search_at: Mutex<u64>,
}

impl Keys {
    /// Room for about `most` keys.
    pub(crate) fn new(settings: Settings, most: usize) -> Keys {
        let shards = most.clamp(1, MOST_SHARDS);
        Keys {
            settings,
            shards: (0..shards).map(|_| Shard::default()).collect(),
            spread: RandomState::default(),
            draw: hash::RandomState::new(),
            drawn: AtomicU64::new(0),
            most_in_shard: most.div_ceil(shards).max(1),
            next_tick: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How long an answer is waited for.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_nanos(self.settings.timeout)
    }

    /// Calls `look` with the key, if it is known.
    #[inline]
    pub(crate) fn with<T>(&self, name: &[u8], look: impl FnOnce(&Arc<Key>) -> T) -> Option<T> {
        self.shard(name).keys.pin().get(name).map(look)
    }

    /// Takes tokens, if that needs no more than this process: see [`Key::take_at_once`].
    #[inline]
    pub(crate) fn take_at_once<T>(
        &self,
        now: u64,
        name: &[u8],
        cost: u32,
        taken: impl FnOnce(&Arc<Key>, u64, Step) -> T,
    ) -> Option<T> {
        self.with(name, |key| {
            let turn = key.turn();
            Some(taken(
                key,
                turn,
                key.take_at_once(&self.settings, now, cost)?,
            ))
        })
        .flatten()
    }

    /// The key, if it is known or there is room for it.
    pub(crate) fn key(&self, now: u64, name: &[u8]) -> Option<Arc<Key>> {
        self.with(name, Arc::clone).or_else(|| self.add(now, name))
    }

    /// Shards there are.
    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// What is due in the next shard: to be called so often that all of them have their turn
    /// several times a lease.
    pub(crate) fn tick(&self, now: u64) -> Vec<(Arc<Key>, Ask)> {
        let shard =
            &self.shards[self.next_tick.fetch_add(1, Ordering::Relaxed) % self.shards.len()];
        let keys = shard.keys.pin();
        let due = keys
            .values()
            .filter_map(|key| Some((Arc::clone(key), key.tick(&self.settings, now)?)));
        due.collect()
    }

    /// Gives everything back, for good; see [`Key::close`].
    pub(crate) fn close(&self, now: u64) -> Vec<(Arc<Key>, Ask)> {
        self.closed.store(true, Ordering::Relaxed);
        let mut asks = Vec::new();
        for shard in &self.shards {
            // Whoever adds a key does it before this, or finds that all is closed.
            let _none_is_added = shard
                .search_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let keys = shard.keys.pin();
            asks.extend(
                keys.values()
                    .filter_map(|key| Some((Arc::clone(key), key.close(&self.settings, now)?))),
            );
        }
        asks
    }

    #[inline]
    fn shard(&self, name: &[u8]) -> &Shard {
        &self.shards[(self.spread.hash_one(name) >> 32) as usize % self.shards.len()]
    }

    fn add(&self, now: u64, name: &[u8]) -> Option<Arc<Key>> {
        let shard = self.shard(name);
        let mut search_at = shard
            .search_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let keys = shard.keys.pin();
        if let Some(key) = keys.get(name) {
            return Some(Arc::clone(key));
        }
        if keys.len() >= self.most_in_shard && now >= *search_at {
            *search_at = now.saturating_add(SEARCH);
            keys.retain(|_, key| !key.retire(&self.settings, now));
        }
        if keys.len() >= self.most_in_shard {
            return None;
        }
        let key = Arc::new(Key::new(name, self.number()));
        keys.insert(name.into(), Arc::clone(&key));
        Some(key)
    }

    fn number(&self) -> u64 {
        (self
            .draw
            .hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
            >> UNUSED_BITS)
            .max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Keys, Settings, Step};
    use crate::{
        quota::Quota,
        redis::lease::{Answer, Ledger, Limits},
    };

    const START: u64 = 1_000_000_000;

    fn keys(most: usize) -> Keys {
        let layout = Quota::per_hour(1).with_capacity(1000).layout();
        let limits = Limits::of(&layout.scaled, 0.1, 1_000_000).unwrap();
        Keys::new(
            Settings {
                node: 7,
                layout,
                limits,
                timeout: 50_000_000,
            },
            most,
        )
    }

    #[test]
    fn threads_spend_exactly_what_was_granted() {
        let (keys, ledger) = (keys(100), std::sync::Mutex::new(Ledger::new()));
        let allowed = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..4000 {
                        let (settings, key) = (keys.settings(), keys.key(0, b"hot").unwrap());
                        let Step { answer, ask } = key.take(settings, 0, 1);
                        if let Some(ask) = ask {
                            let reply = ledger.lock().unwrap().ask(
                                &settings.layout,
                                &settings.limits,
                                START,
                                &ask,
                            );
                            key.reply(settings, 0, &reply.unwrap());
                        }
                        match answer {
                            Answer::Allowed { .. } => {
                                allowed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            }
                            Answer::Exact { seq } => key.lost(seq),
                            Answer::Wait | Answer::Refused { .. } => {}
                        }
                    }
                });
            }
        });
        for (key, ask) in keys.close(0) {
            assert_eq!(key.name(), b"hot");
            let settings = keys.settings();
            ledger
                .lock()
                .unwrap()
                .ask(&settings.layout, &settings.limits, START, &ask);
        }
        let (allowed, ledger) = (allowed.into_inner(), ledger.into_inner().unwrap());
        assert!(allowed > 100);
        assert_eq!(ledger.state.spent, keys.settings().layout.units(allowed));
    }

    /// It does not know any more what it was granted, so it must not be asked for it under the same
    /// number.
    #[test]
    fn a_key_that_was_forgotten_and_comes_back_gives_nothing_back_that_was_spent() {
        let (keys, mut ledger) = (keys(1), Ledger::new());
        let settings = keys.settings();
        let mut spend_one = |now: u64, key: &super::Key| {
            while let Step {
                answer: Answer::Wait,
                ask: Some(ask),
            } = key.take(settings, now, 1)
            {
                let reply = ledger
                    .ask(&settings.layout, &settings.limits, START + now / 1000, &ask)
                    .unwrap();
                key.reply(settings, now, &reply);
            }
            ledger.state.spent
        };
        let before = spend_one(0, &keys.key(0, b"one").unwrap());
        assert_eq!(before, settings.layout.units(1));
        let later = 2_000_000_000;
        assert!(keys.key(later, b"other").is_some() && keys.with(b"one", |_| ()).is_none());
        let much_later = 2 * later;
        let after = spend_one(much_later, &keys.key(much_later, b"one").unwrap());
        assert!(
            after > before,
            "{before} were spent before, and {after} in all"
        );
    }

    #[test]
    fn a_full_table_decides_one_by_one_and_forgets_only_what_holds_nothing() {
        let keys = keys(64);
        let names: Vec<_> = (0..1000_u32).map(u32::to_be_bytes).collect();
        let take = |now, name: &[u8]| {
            keys.key(now, name)
                .map(|key| key.take(keys.settings(), now, 1))
                .is_some()
        };
        assert_eq!(names.iter().filter(|name| take(0, *name)).count(), 64);
        // Their requests are lost, sent again, and lost until they are given up.
        for second in 1..=8 {
            assert_eq!(
                keys.with(&names[999], |_| ()).is_some(),
                take(0, &names[999])
            );
            for _ in 0..64 {
                let _ = keys.tick(second * 1_000_000_000);
            }
        }
        let before: Vec<_> = names
            .iter()
            .filter(|name| keys.with(*name, |_| ()).is_some())
            .collect();
        let fresh = (1000..3000_u32).map(u32::to_be_bytes);
        let taken = fresh.filter(|name| take(9_000_000_000, name)).count();
        assert_eq!((before.len(), taken), (64, 64));
    }
}
