//! Replacing the quota under traffic: everything a decision depends on, in one immutable piece.
//!
//! Quota, layout, table and rules make a *generation*. A change makes another one and puts it in
//! the first one's place, so a request sees all of a change or nothing. Readers keep a copy of the
//! pointer in a thread-local, and compare its number with the limiter's on every call: one load
//! that nobody writes to but a change. Compared with the alternatives measured in the design (an
//! epoch pin, an `ArcSwap` load) this costs the least on every decision, and needs no unsafe code.
//! The price is paid by a change: a thread takes a lock once to fetch the new generation, and an
//! old table is freed only when every thread that has used it fetches again, as its next call on
//! this limiter does, or ends.

use std::{
    cell::Cell,
    collections::HashMap,
    mem,
    sync::{
        PoisonError,
        atomic::{AtomicBool, AtomicU64 as Number, Ordering::Relaxed},
    },
};

use super::{
    sync::{Arc, Mutex, per_thread},
    table::Table,
};
use crate::{
    bucket::Bucket,
    quota::Quota,
    sync::{AtomicU64, Ordering},
};

/// Numbers are unique in the process, so that one is enough to tell whose generation a thread
/// holds.
static NEXT_NUMBER: Number = Number::new(1);

per_thread! {
    /// The generations this thread has used last, one of every limiter.
    static USED: Cell<Vec<Arc<Generation>>> = Cell::new(Vec::new());
}

#[derive(Debug)]
pub(super) struct Generation {
    number: u64,
    pub(super) quota: Quota,
    /// Shared with the generation before, if only a rule has changed.
    pub(super) table: Arc<Table>,
    /// What refunds tell the table by.
    pub(super) table_origin: u32,
    pub(super) rules: Rules,
    /// There is a newer one, or the limiter is gone: not to be kept.
    retired: AtomicBool,
}

/// Keys with a quota of their own, by hash. A hash is as good as the table's tags.
pub(super) type Rules = HashMap<u64, Arc<Rule>, foldhash::fast::FixedState>;

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) bucket: Bucket,
    pub(super) origin: u32,
}

impl Generation {
    pub(super) fn new(
        quota: Quota,
        table: Arc<Table>,
        table_origin: u32,
        rules: Rules,
    ) -> Generation {
        let number = NEXT_NUMBER.fetch_add(1, Relaxed);
        Generation {
            number,
            quota,
            table,
            table_origin,
            rules,
            retired: AtomicBool::new(false),
        }
    }

    /// The key's own bucket, if it has one. Most limiters have no rules at all.
    #[inline]
    pub(super) fn rule(&self, hash: u64) -> Option<&Rule> {
        if self.rules.is_empty() {
            None
        } else {
            self.rules.get(&hash).map(|rule| &**rule)
        }
    }
}

/// The generation in force.
pub(super) struct Current {
    number: AtomicU64,
    generation: Mutex<Arc<Generation>>,
}

impl Current {
    pub(super) fn new(generation: Generation) -> Current {
        Current {
            number: AtomicU64::new(generation.number),
            generation: Mutex::new(Arc::new(generation)),
        }
    }

    /// Calls `read` with the generation in force.
    pub(super) fn with<R>(&self, read: impl FnOnce(&Generation) -> R) -> R {
        let held = self.held();
        match held.generation() {
            Some(generation) => read(generation),
            None => {
                drop(held);
                read(&self.fetch())
            }
        }
    }

    /// What this thread holds; the generation in force is usually among it.
    #[inline(always)]
    pub(super) fn held(&self) -> Held {
        // Stored before the lock opens: whoever learns of a change by other means reads its number.
        // Relaxed would do as well, since the generation it stands for was fetched under that lock.
        Held {
            number: self.number.load(Ordering::Acquire),
            used: take_used(),
        }
    }

    /// The generation in force, fetched if need be.
    #[inline]
    pub(super) fn held_or_fetched(&self) -> Held {
        let held = self.held();
        if held.generation().is_some() {
            return held;
        }
        drop(held);
        let fetched = self.fetch();
        let (number, mut used) = (fetched.number, take_used());
        if used.is_empty() {
            // The thread is ending, and keeps nothing.
            used.push(fetched);
        }
        Held { number, used }
    }

    /// Puts the successor that `change` makes in the place of the generation in force. Changes come
    /// one at a time.
    pub(super) fn change(&self, change: impl FnOnce(&Generation) -> Generation) {
        let mut current = self
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let next = Arc::new(change(&current));
        current.retired.store(true, Relaxed);
        self.number.store(next.number, Ordering::Release);
        *current = next;
    }

    /// The generation in force, kept for this thread's next call.
    #[cold]
    fn fetch(&self) -> Arc<Generation> {
        let current = Arc::clone(
            &self
                .generation
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let mut used = take_used();
        used.retain(|generation| !generation.retired.load(Relaxed));
        used.push(Arc::clone(&current));
        put_used(used);
        current
    }
}

/// What a thread holds, taken out of its thread-local while it is in use, and put back in the end:
/// so a decision becomes part of its caller, and not of a function of the thread-local. A limiter
/// that is called in between finds nothing there, and fetches.
pub(super) struct Held {
    number: u64,
    used: Vec<Arc<Generation>>,
}

impl Held {
    /// The generation in force, if this thread has used it before.
    #[inline(always)]
    pub(super) fn generation(&self) -> Option<&Generation> {
        self.used
            .iter()
            .find(|generation| generation.number == self.number)
            .map(|generation| &**generation)
    }
}

impl Drop for Held {
    #[inline(always)]
    fn drop(&mut self) {
        put_used(mem::take(&mut self.used));
    }
}

/// Nothing while the thread ends.
#[inline]
fn take_used() -> Vec<Arc<Generation>> {
    USED.try_with(Cell::take).unwrap_or_default()
}

#[inline]
fn put_used(used: Vec<Arc<Generation>>) {
    // While the thread ends there is nothing to keep it in.
    let _ = USED.try_with(|place| place.set(used));
}

impl Drop for Current {
    fn drop(&mut self) {
        self.generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retired
            .store(true, Relaxed);
        let mut used = take_used();
        used.retain(|generation| !generation.retired.load(Relaxed));
        put_used(used);
    }
}
