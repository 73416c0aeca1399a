//! Current generation of a limiter, and the caches of generations that threads read it from.
//!
//! A change builds another generation and installs it as the current one, so a request sees all of
//! a change or nothing. A reader keeps a copy of the pointer in a thread-local, and compares its
//! number with the limiter's on every call: one load of a word that only a change writes. Compared
//! with the alternatives measured in the design (an epoch pin, an `ArcSwap` load) this costs the
//! least on every decision, and needs no unsafe code. The price is paid by a change: each thread
//! takes a lock once to fetch the new generation. An old table is freed only when every thread that
//! has used it either fetches again, as its next call on this limiter does, or ends.

use std::{
    cell::Cell,
    mem::{self, ManuallyDrop},
    sync::PoisonError,
};

use super::generation::Generation;
use crate::{
    clock::Time,
    decision::Decision,
    sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, per_thread, unmodelled::AtomicU32},
};

per_thread! {
    /// Generations that this thread has used last, one per limiter.
    static CACHE: Cell<Vec<Arc<Generation>>> = Cell::new(Vec::new());
}

pub(crate) struct CurrentGeneration {
    number: AtomicU64,
    generation: Mutex<Arc<Generation>>,
    /// Next number of a table or rule, by which a refund finds the one that made the decision.
    next_origin: AtomicU32,
}

impl CurrentGeneration {
    pub(super) fn new(generation: Generation) -> CurrentGeneration {
        CurrentGeneration {
            number: AtomicU64::new(generation.number),
            generation: Mutex::new(Arc::new(generation)),
            next_origin: AtomicU32::new(1),
        }
    }

    /// Draws the number of a table or rule.
    pub(super) fn new_origin(&self) -> u32 {
        self.next_origin.fetch_add(1, Ordering::Relaxed)
    }

    /// Calls `read` with the current generation.
    pub(super) fn with<R>(&self, read: impl FnOnce(&Generation) -> R) -> R {
        let cached = self.cached();
        match cached.current() {
            Some(generation) => read(generation),
            None => {
                drop(cached);
                read(&self.fetch())
            }
        }
    }

    /// Takes tokens of a key in the current generation.
    #[inline(always)]
    pub(super) fn decide(&self, hash: u64, time: Time<'_>, cost: u32) -> Decision {
        let cached = self.cached();
        match cached.generation() {
            Some(generation) if generation.is_current() => generation.decide(hash, time, cost),
            _ => {
                drop(cached);
                self.fetch_and_decide(hash, time, cost)
            }
        }
    }

    /// Fast path of [`CurrentGeneration::decide`]. Returns `None`, with no effect, in any other case.
    #[cfg(feature = "tokio")]
    #[inline(always)]
    pub(super) fn hit(&self, hash: u64, time: Time<'_>, cost: u32) -> Option<Decision> {
        self.cached().generation()?.hit(hash, time, cost)
    }

    #[cold]
    #[inline(never)]
    fn fetch_and_decide(&self, hash: u64, time: Time<'_>, cost: u32) -> Decision {
        self.with(|generation| generation.decide(hash, time, cost))
    }

    /// Takes this thread's cache, which usually holds the current generation.
    #[inline(always)]
    pub(super) fn cached(&self) -> CachedGenerations {
        // Stored before the lock opens: a thread that learns of a change by other means reads its
        // number. Relaxed would do as well, since the generation that it identifies was fetched
        // under that lock.
        CachedGenerations {
            number: self.number.load(Ordering::Acquire),
            generations: ManuallyDrop::new(take_cache()),
        }
    }

    /// Takes this thread's cache, after fetching the current generation if the cache lacks it.
    #[inline]
    pub(super) fn cached_or_fetched(&self) -> CachedGenerations {
        let cached = self.cached();
        if cached.current().is_some() {
            return cached;
        }
        drop(cached);
        let fetched = self.fetch();
        let (number, mut generations) = (fetched.number, take_cache());
        if generations.is_empty() {
            // The thread is ending, and its cache is gone.
            generations.push(fetched);
        }
        CachedGenerations {
            number,
            generations: ManuallyDrop::new(generations),
        }
    }

    /// Replaces the current generation by the successor that `change` returns, if it returns one. The
    /// lock serializes changes.
    pub(super) fn replace_with<E>(
        &self,
        change: impl FnOnce(&Generation) -> Result<Option<Generation>, E>,
    ) -> Result<(), E> {
        let mut current = self.lock();
        if let Some(next) = change(&current)? {
            self.install(&mut current, next);
        }
        Ok(())
    }

    /// Takes the lock, with the generation that is current in all processes.
    fn lock(&self) -> MutexGuard<'_, Arc<Generation>> {
        #[cfg_attr(not(feature = "shared"), expect(unused_mut))]
        let mut current = self
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        #[cfg(feature = "shared")]
        if let Some(next) = current.after_change(|| self.new_origin()) {
            self.install(&mut current, next);
        }
        current
    }

    fn install(&self, current: &mut Arc<Generation>, next: Generation) {
        let next = Arc::new(next);
        current.retire();
        self.number.store(next.number, Ordering::Release);
        *current = next;
    }

    /// Fetches the current generation, and adds it to the others that a call holds.
    #[cold]
    #[inline(never)]
    fn fetch_after(&self, mut generations: Vec<Arc<Generation>>) -> Vec<Arc<Generation>> {
        generations.push(Arc::clone(&self.lock()));
        generations
    }

    /// Fetches the current generation, and caches it for this thread's next call.
    #[cold]
    fn fetch(&self) -> Arc<Generation> {
        let current = Arc::clone(&self.lock());
        let mut generations = take_cache();
        // It may be there already: one whose table was replaced and cannot be mapped.
        generations.retain(|other| !other.is_retired() && other.number != current.number);
        generations.push(Arc::clone(&current));
        put_cache(generations);
        current
    }
}

impl Drop for CurrentGeneration {
    fn drop(&mut self) {
        self.generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retire();
        let mut generations = take_cache();
        generations.retain(|generation| !generation.is_retired());
        put_cache(generations);
    }
}

/// A thread's cache, taken out of its thread-local while it is in use, and put back on drop. So a
/// decision is inlined into its caller, and not into a closure of the thread-local. A limiter that
/// is called in between finds an empty cache, and fetches.
pub(super) struct CachedGenerations {
    number: u64,
    generations: ManuallyDrop<Vec<Arc<Generation>>>,
}

impl CachedGenerations {
    /// Returns the current generation, if this thread has used it before and no other process has
    /// replaced its table.
    #[inline(always)]
    fn current(&self) -> Option<&Generation> {
        self.generation()
            .filter(|generation| generation.is_current())
    }

    /// Returns the generation that was current when the cache was taken, if this thread has used it
    /// before.
    #[inline(always)]
    pub(super) fn generation(&self) -> Option<&Generation> {
        self.generations
            .iter()
            .find(|generation| generation.number == self.number)
            .map(|generation| &**generation)
    }
}

impl Drop for CachedGenerations {
    #[inline(always)]
    fn drop(&mut self) {
        put_cache(mem::take(&mut *self.generations));
    }
}

/// A thread's cache, like [`CachedGenerations`], with the current generations of several limiters. A
/// call on several limiters takes the cache once: nested, the second would find it empty.
///
/// Cold functions take the list and return it, and a call that panics does not drop it, so that it
/// stays in registers: nothing takes its address.
#[derive(Default)]
pub(crate) struct HeldGenerations {
    generations: ManuallyDrop<Vec<Arc<Generation>>>,
    is_taken: bool,
    has_fetched: bool,
}

impl HeldGenerations {
    /// Adds the current generation of a limiter, if the thread has not used it before. Returns its
    /// index.
    #[inline(always)]
    pub(super) fn hold(&mut self, current: &CurrentGeneration) -> usize {
        if !self.is_taken {
            self.generations = ManuallyDrop::new(take_cache());
            self.is_taken = true;
        }
        let number = current.number.load(Ordering::Acquire);
        let mut generations = self.generations.iter();
        match generations
            .position(|generation| generation.number == number && generation.is_current())
        {
            Some(index) => index,
            None => {
                let generations = mem::take(&mut *self.generations);
                self.generations = ManuallyDrop::new(current.fetch_after(generations));
                self.has_fetched = true;
                self.generations.len() - 1
            }
        }
    }

    /// Returns the generation with this index, if it is held.
    #[inline(always)]
    pub(super) fn get(&self, index: usize) -> Option<&Generation> {
        self.generations.get(index).map(|generation| &**generation)
    }

    /// Puts the cache back after a call. After a call that panics the next one finds an empty cache,
    /// and fetches.
    #[inline(always)]
    pub(crate) fn put_back(mut self) {
        let generations = mem::take(&mut *self.generations);
        if self.has_fetched {
            put_back_fetched(generations);
        } else if self.is_taken {
            put_cache(generations);
        } else {
            forget_empty(generations);
        }
    }
}

/// Takes this thread's cache, which is empty while the thread is ending.
#[inline]
fn take_cache() -> Vec<Arc<Generation>> {
    CACHE.try_with(Cell::take).unwrap_or_default()
}

#[inline(always)]
fn put_cache(generations: Vec<Arc<Generation>>) {
    let mut generations = ManuallyDrop::new(generations);
    let _ = CACHE.try_with(|cache| forget_empty(cache.replace(mem::take(&mut *generations))));
    // Not put back while the thread is ending, since the thread-local is gone.
    forget_empty(ManuallyDrop::into_inner(generations));
}

/// Puts the cache back, without generations that have been replaced. They are released after a call
/// and not during it: one that was current at its begin is in use.
#[cold]
#[inline(never)]
fn put_back_fetched(mut generations: Vec<Arc<Generation>>) {
    generations.retain(|generation| !generation.is_retired());
    // One whose table was replaced and cannot be mapped is fetched again and again.
    generations.sort_unstable_by_key(|generation| generation.number);
    generations.dedup_by_key(|generation| generation.number);
    put_cache(generations);
}

/// Drops a list that is empty in all common cases, without a call for those.
#[inline(always)]
fn forget_empty(generations: Vec<Arc<Generation>>) {
    if generations.capacity() > 0 {
        drop(generations);
    } else {
        mem::forget(generations);
    }
}
