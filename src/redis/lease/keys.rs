//! Bounded table of the keys of a process. Keys that do not fit are decided on the server, one
//! request at a time.
//!
//! Keys are distributed over shards. A lookup neither locks nor writes. Only an idle key, which
//! holds no tokens and remembers no refusal, is evicted for another. A full shard is searched for
//! idle keys at most ten times per second, so that not every new key of a flood costs a search.

use std::{
    hash::{self, BuildHasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use foldhash::fast::RandomState;

use super::{
    key::Key,
    protocol::{LeaseRequest, Settings, Step},
};
use crate::sync::AtomicU64;

const MAX_SHARDS: usize = 64;
/// Nanoseconds between two searches of a full shard for idle keys.
const SEARCH_INTERVAL: u64 = 100_000_000;
/// Unused high bits of a holder id, which has 53 bits and is not 0.
const UNUSED_ID_BITS: u32 = 11;

/// All keys of one quota.
#[derive(Debug)]
pub(crate) struct Keys {
    settings: Settings,
    shards: Box<[Shard]>,
    /// Seeded, so that clients cannot choose keys of one shard.
    shard_hasher: RandomState,
    /// Generates holder ids. SipHash seeded by the operating system, so that no two processes
    /// generate the same ids.
    id_hasher: hash::RandomState,
    ids_generated: AtomicU64,
    shard_capacity: usize,
    next_shard: AtomicUsize,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Shard {
    keys: papaya::HashMap<Box<[u8]>, Arc<Key>, RandomState>,
    /// Time of the next search for idle keys. Its lock is held while keys are inserted or evicted.
    next_search: Mutex<u64>,
}

impl Keys {
    /// Creates a table with room for about `capacity` keys.
    pub(crate) fn new(settings: Settings, capacity: usize) -> Keys {
        let shards = capacity.clamp(1, MAX_SHARDS);
        Keys {
            settings,
            shards: (0..shards).map(|_| Shard::default()).collect(),
            shard_hasher: RandomState::default(),
            id_hasher: hash::RandomState::new(),
            ids_generated: AtomicU64::new(0),
            shard_capacity: capacity.div_ceil(shards).max(1),
            next_shard: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Calls `f` with the key, if the table has it.
    #[inline]
    pub(crate) fn with<T>(&self, name: &[u8], f: impl FnOnce(&Arc<Key>) -> T) -> Option<T> {
        self.shard(name).keys.pin().get(name).map(f)
    }

    /// Takes tokens if that needs no message, see [`Key::try_take`], and calls `taken` with the
    /// key, its epoch before the take, and the step.
    #[inline]
    pub(crate) fn try_take<T>(
        &self,
        now: u64,
        name: &[u8],
        cost: u32,
        taken: impl FnOnce(&Arc<Key>, u64, Step) -> T,
    ) -> Option<T> {
        self.with(name, |key| {
            let epoch = key.epoch();
            let step = key.try_take(&self.settings, now, cost)?;
            Some(taken(key, epoch, step))
        })
        .flatten()
    }

    /// Returns the key, and inserts it if there is room. `None`: there is no room.
    pub(crate) fn get_or_insert(&self, now: u64, name: &[u8]) -> Option<Arc<Key>> {
        self.with(name, Arc::clone)
            .or_else(|| self.insert(now, name))
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Runs the timers of the next shard, and returns the requests to send. It must be called often
    /// enough that every shard is next several times per lease lifetime.
    pub(crate) fn on_timer(&self, now: u64) -> Vec<(Arc<Key>, LeaseRequest)> {
        let shard =
            &self.shards[self.next_shard.fetch_add(1, Ordering::Relaxed) % self.shards.len()];
        let keys = shard.keys.pin();
        let requests = keys
            .values()
            .filter_map(|key| Some((Arc::clone(key), key.on_timer(&self.settings, now)?)));
        requests.collect()
    }

    /// Closes all keys and the table, and returns the requests to send; see [`Key::close`].
    pub(crate) fn close(&self, now: u64) -> Vec<(Arc<Key>, LeaseRequest)> {
        self.closed.store(true, Ordering::Relaxed);
        let mut requests = Vec::new();
        for shard in &self.shards {
            // An insert under this lock either comes before, or sees that the table is closed.
            let _no_inserts = shard
                .next_search
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let keys = shard.keys.pin();
            requests.extend(
                keys.values()
                    .filter_map(|key| Some((Arc::clone(key), key.close(now)?))),
            );
        }
        requests
    }

    #[inline]
    fn shard(&self, name: &[u8]) -> &Shard {
        &self.shards[(self.shard_hasher.hash_one(name) >> 32) as usize % self.shards.len()]
    }

    fn insert(&self, now: u64, name: &[u8]) -> Option<Arc<Key>> {
        let shard = self.shard(name);
        let mut next_search = shard
            .next_search
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let keys = shard.keys.pin();
        if let Some(key) = keys.get(name) {
            return Some(Arc::clone(key));
        }
        if keys.len() >= self.shard_capacity && now >= *next_search {
            *next_search = now.saturating_add(SEARCH_INTERVAL);
            keys.retain(|_, key| !key.close_if_idle(&self.settings, now));
        }
        if keys.len() >= self.shard_capacity {
            return None;
        }
        let key = Arc::new(Key::new(name, self.next_holder_id()));
        keys.insert(name.into(), Arc::clone(&key));
        Some(key)
    }

    fn next_holder_id(&self) -> u64 {
        (self
            .id_hasher
            .hash_one(self.ids_generated.fetch_add(1, Ordering::Relaxed))
            >> UNUSED_ID_BITS)
            .max(1)
    }
}
