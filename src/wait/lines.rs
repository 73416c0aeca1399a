//! Lines of many keys, which exist only while callers wait on the key.
//!
//! A line is removed under the lock of its shard, by the last of its users: were it removed while
//! another caller holds its permit, a third would create a second line and become a second head.

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash},
    ops::Deref,
    sync::atomic::{AtomicUsize, Ordering},
};

use foldhash::fast::RandomState;

use super::Line;
use crate::sync::{Arc, Mutex};

/// Shards, so that waiters of different keys rarely contend for a lock. One under loom.
const SHARDS: usize = if cfg!(tollgate_loom) { 1 } else { 16 };

/// Fewer entries than this are not worth giving memory back for.
const LEAST_CAPACITY: usize = 256;

type Shard<K, L> = Mutex<HashMap<K, Entry<L>, RandomState>>;

/// Lines of all keys on which callers wait. Only waiters and changes touch it.
pub(crate) struct Lines<K, L = Line> {
    shards: Box<[Shard<K, L>]>,
    hasher: RandomState,
    /// Number of lines in all shards.
    count: AtomicUsize,
    max: usize,
}

struct Entry<L> {
    /// Users of the line, counted under the lock of the shard only.
    users: usize,
    line: Arc<L>,
}

impl<K: Eq + Hash + Clone, L: AsRef<Line> + Default> Lines<K, L> {
    /// Creates an empty set of at most `max` lines.
    pub(crate) fn new(max: usize) -> Lines<K, L> {
        Lines {
            shards: (0..SHARDS)
                .map(|_| Mutex::new(HashMap::default()))
                .collect(),
            hasher: RandomState::default(),
            count: AtomicUsize::new(0),
            max,
        }
    }

    /// Returns true when no caller is queued on this key.
    #[inline]
    pub(crate) fn is_empty<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        // A hint, as the sum of queued costs is.
        self.count.load(Ordering::Relaxed) == 0 || self.is_line_empty(key)
    }

    /// Looks the key up. Out of line: with no waiter on any key, a decision is small.
    #[cold]
    #[inline(never)]
    fn is_line_empty<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.with_shard(key, |shard| {
            shard
                .get(key)
                .is_none_or(|entry| L::as_ref(&entry.line).is_empty())
        })
    }

    /// Returns the line of the key, or `None` when there are too many.
    pub(crate) fn join(&self, key: K) -> Option<KeyLine<'_, K, L>> {
        let line = self.with_shard(&key, |shard| {
            if let Some(entry) = shard.get_mut(&key) {
                entry.users += 1;
                return Some(Arc::clone(&entry.line));
            }
            if self.count.fetch_add(1, Ordering::Relaxed) >= self.max {
                self.count.fetch_sub(1, Ordering::Relaxed);
                return None;
            }
            let line = Arc::new(L::default());
            let entry = Entry {
                users: 1,
                line: Arc::clone(&line),
            };
            shard.insert(key.clone(), entry);
            Some(line)
        })?;
        Some(KeyLine {
            lines: self,
            key,
            line,
        })
    }

    /// Notifies the head of the key's line of a change.
    ///
    /// The lock orders a caller that joins at this moment: it either is found here, or sees the
    /// change.
    pub(crate) fn notify<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let line = self.with_shard(key, |shard| Some(Arc::clone(&shard.get(key)?.line)));
        if let Some(line) = line {
            L::as_ref(&line).notify();
        }
    }

    /// Notifies the heads of all lines of a change; see [`Lines::notify`].
    pub(crate) fn notify_all(&self) {
        for shard in &self.shards {
            let lines: Vec<_> = with(shard, |entries| {
                entries
                    .values()
                    .map(|entry| Arc::clone(&entry.line))
                    .collect()
            });
            lines.iter().for_each(|line| L::as_ref(line).notify());
        }
    }

    fn leave(&self, key: &K) {
        self.with_shard(key, |shard| {
            let Some(entry) = shard.get_mut(key) else {
                return;
            };
            entry.users -= 1;
            if entry.users == 0 {
                shard.remove(key);
                self.count.fetch_sub(1, Ordering::Relaxed);
                if shard.capacity() > LEAST_CAPACITY && shard.len() < shard.capacity() / 8 {
                    shard.shrink_to(2 * shard.len());
                }
            }
        });
    }

    fn with_shard<Q: Hash + ?Sized, T>(
        &self,
        key: &Q,
        change: impl FnOnce(&mut HashMap<K, Entry<L>, RandomState>) -> T,
    ) -> T {
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        with(&self.shards[shard], change)
    }
}

fn with<M, T>(shard: &Mutex<M>, change: impl FnOnce(&mut M) -> T) -> T {
    // Poisoning is harmless: no closure leaves a map inconsistent if it panics.
    change(
        &mut shard
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner),
    )
}

impl<K, L> fmt::Debug for Lines<K, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("count", &self.count)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

/// Line of a key, in use by one caller.
pub(crate) struct KeyLine<'a, K: Eq + Hash + Clone, L: AsRef<Line> + Default = Line> {
    lines: &'a Lines<K, L>,
    key: K,
    line: Arc<L>,
}

impl<K: Eq + Hash + Clone, L: AsRef<Line> + Default> Deref for KeyLine<'_, K, L> {
    type Target = L;

    fn deref(&self) -> &L {
        &self.line
    }
}

impl<K: Eq + Hash + Clone, L: AsRef<Line> + Default> Drop for KeyLine<'_, K, L> {
    fn drop(&mut self) {
        self.lines.leave(&self.key);
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use std::thread;

    use super::Lines;

    #[test]
    fn a_line_is_removed_with_its_last_user() {
        let lines = Lines::<u64>::new(usize::MAX);
        for round in 0..2_000_u64 {
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| drop((lines.join(round), lines.join(round))));
                }
            });
            assert_eq!(
                lines.count.load(super::Ordering::Relaxed),
                0,
                "round {round}"
            );
        }
        assert!(
            lines
                .shards
                .iter()
                .all(|shard| shard.lock().unwrap().is_empty())
        );
    }

    #[test]
    fn lines_beyond_the_bound_are_refused() {
        let lines = Lines::<u64>::new(1);
        let first = lines.join(1);
        assert!(lines.join(2).is_none());
        assert!(lines.join(1).is_some());
        drop(first);
        assert!(lines.join(2).is_some());
    }
}
