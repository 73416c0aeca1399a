//! Model of a table of four slots, a clock, and threads that make calls on keys.
//!
//! Every key may use every slot: two sets of two. In every execution, the following holds for each
//! key separately:
//! - its history is sound (see [`history`](crate::history)): the bucket never over-admits, no
//!   charge is lost, and none is charged to another key, also when the slot goes to another key and
//!   the key returns; an early eviction counts as a reset, and there are no more of them than the
//!   statistics show;
//! - every decision shows the key's own bucket, in a state that one of the key's own charges left.
//!
//! In a model [`of_processes`](TableModel::of_processes), threads may count as gone at any moment, and
//! one may die before each of its steps. Then no key is admitted more than its bucket has, and much
//! later every key gets its whole capacity: nothing is stuck. A charge that was never answered may
//! count, also on the bucket of another key.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, Hasher},
    sync::atomic::AtomicU32,
    time::Duration,
};

use loom::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use tollgate::{
    Death, Decision, KeyedLimiter, KeyedLimiterBuilder, ManualClock, Outcome, Quota, WhenFull,
    with_steps,
};

use crate::{
    bound,
    call_order::CallOrder,
    history,
    model::{Call, CallResult, Decisions, Entry, Trace, record_decision, ticks, time},
};

/// A key is its own hash, so that a model controls its sets.
pub type Key = u64;

/// Returns a key whose home is set 0 or 1, and whose first slot is 0 or 1 in the home set and in
/// the other set.
pub const fn key(number: u64, home: u64, home_slot: u64, other_slot: u64) -> Key {
    home << 63 | home_slot << 32 | (1 - home) << 31 | number << 4 | other_slot << 1
}

/// Hashes a key to itself.
#[derive(Clone, Debug, Default)]
pub struct IdentityHasher(u64);

impl BuildHasher for IdentityHasher {
    type Hasher = IdentityHasher;

    fn build_hasher(&self) -> IdentityHasher {
        IdentityHasher(0)
    }
}

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// Number of calls that a [`TableModel::filler`] makes before the threads start.
pub const FILLER_CALLS: usize = 3;

pub type Limiter = KeyedLimiter<Key, IdentityHasher>;

/// Builder of limiters of four slots.
pub type Builder = KeyedLimiterBuilder<Key, IdentityHasher>;

/// Returns the builder of a limiter of four slots. The clock is for calls that take no time as an
/// argument.
pub fn builder(quota: Quota, when_full: WhenFull, clock: ManualClock) -> Builder {
    KeyedLimiter::builder(quota)
        .max_keys(1)
        .hasher(IdentityHasher::default())
        .when_full(when_full)
        .clock(clock)
}

/// Builds a limiter of four slots.
pub fn limiter(quota: Quota, when_full: WhenFull, clock: ManualClock) -> Limiter {
    builder(quota, when_full, clock).build().unwrap()
}

pub struct TableModel {
    quota: Quota,
    when_full: WhenFull,
    clock: Vec<u64>,
    before: Vec<(u64, Key, Call)>,
    threads: Vec<Vec<(Key, Call)>>,
    /// Greatest number of early evictions.
    evictions: u64,
    preemptions: usize,
    /// Preemptions in CI.
    ci_preemptions: usize,
    /// Threads count as gone at any moment.
    of_processes: bool,
    /// Numbers of the threads that die.
    dying: Vec<usize>,
    /// Call of a thread that dies before the others start.
    died: Option<(Key, Call)>,
}

/// Number of the thread that dies before the others start.
const FIRST: usize = 31;

/// Ticks after which every bucket is full.
const MUCH_LATER: u64 = 10_000;

impl TableModel {
    /// Creates a model whose clock shows these ticks, one after another.
    pub fn new(quota: Quota, clock: &[u64]) -> TableModel {
        let when_full = WhenFull::EvictNearestToFull;
        TableModel {
            quota,
            when_full,
            clock: clock.to_vec(),
            before: Vec::new(),
            threads: Vec::new(),
            evictions: 0,
            preemptions: 2,
            ci_preemptions: 1,
            of_processes: false,
            dying: Vec::new(),
            died: None,
        }
    }

    pub fn refuse_newcomers(mut self) -> TableModel {
        self.when_full = WhenFull::RefuseNewcomer;
        self
    }

    /// Sets the greatest number of early evictions. The default is none.
    pub fn evictions(mut self, most: u64) -> TableModel {
        self.evictions = most;
        self
    }

    /// Limits the model to one preemption, for models that take a minute with two.
    pub fn one_preemption(mut self) -> TableModel {
        self.preemptions = 1;
        self
    }

    /// Adds a call made at this time, before the threads start.
    pub fn before(mut self, now: u64, key: Key, call: Call) -> TableModel {
        self.before.push((now, key, call));
        self
    }

    /// Adds a key that keeps its slot, because its bucket stays far from full.
    pub fn filler(self, key: Key) -> TableModel {
        let capacity = self.quota.capacity();
        (0..FILLER_CALLS).fold(self, |model, _| {
            model.before(0, key, Call::Reserve(capacity, 1000))
        })
    }

    pub fn thread(mut self, calls: &[(Key, Call)]) -> TableModel {
        self.threads.push(calls.to_vec());
        self
    }

    /// Sets the number of preemptions in CI, where one is not enough or takes half a minute.
    pub fn preemptions_in_ci(mut self, number: usize) -> TableModel {
        self.preemptions = self.preemptions.max(number);
        self.ci_preemptions = number;
        self
    }

    /// Lets threads count as gone at any moment, as in a table that processes share.
    pub fn of_processes(mut self) -> TableModel {
        self.of_processes = true;
        self
    }

    /// Adds a thread that dies, before each of its steps in turn.
    pub fn dying_thread(mut self, calls: &[(Key, Call)]) -> TableModel {
        self.dying.push(self.threads.len());
        self.of_processes().thread(calls)
    }

    /// Adds a call on which a thread dies before the others start, before each of its steps in turn. The
    /// last time it does not die.
    pub fn died(mut self, key: Key, call: Call) -> TableModel {
        self.dying.push(FIRST);
        self.died = Some((key, call));
        self.of_processes()
    }

    /// Explores the model, for each step before which a dying thread may die.
    pub fn check(self) {
        let model = std::sync::Arc::new(self);
        model.check_deaths(&mut [None; FIRST + 1], 0);
    }

    /// Explores all deaths of the dying threads from this one on. Returns the threads that died, as bits.
    fn check_deaths(
        self: &std::sync::Arc<TableModel>,
        steps: &mut [Option<u32>],
        from: usize,
    ) -> u32 {
        let Some(&dying) = self.dying.get(from) else {
            return self.explore(steps);
        };
        let mut dead = 0;
        for step in 0.. {
            steps[dying] = Some(step);
            let now_dead = self.check_deaths(steps, from + 1);
            dead |= now_dead;
            if now_dead >> dying & 1 == 0 {
                break;
            }
        }
        dead
    }

    fn explore(self: &std::sync::Arc<TableModel>, steps: &[Option<u32>]) -> u32 {
        let dead = std::sync::Arc::new(AtomicU32::new(0));
        let (model, steps, now_dead) = (self.clone(), steps.to_vec(), dead.clone());
        let mut builder = bound::builder(model.ci_preemptions, model.preemptions);
        // Much later every key takes twice: more steps than loom's default.
        builder.max_branches = 10_000;
        builder.check(move || model.clone().race(&steps, &now_dead));
        dead.load(Ordering::Relaxed)
    }

    fn race(
        self: std::sync::Arc<TableModel>,
        steps: &[Option<u32>],
        dead: &std::sync::Arc<AtomicU32>,
    ) {
        let mut before = Log::default();
        let builder = builder(self.quota, self.when_full, before.clock.clone());
        let builder = if self.of_processes {
            builder.with_mortal_threads()
        } else {
            builder
        };
        let limiter = Arc::new(builder.build().unwrap());
        let (clock, call_order) = (Arc::new(AtomicU64::new(self.clock[0])), CallOrder::new());
        self.before
            .iter()
            .for_each(|&(now, key, call)| before.call(&limiter, key, call, now));
        if let Some((key, call)) = self.died {
            let mut died = before.clone();
            let result = with_steps(steps[FIRST], || {
                died.call(&limiter, key, call, self.clock[0]);
            });
            match result {
                Ok(()) => before = died,
                Err(Death) => {
                    dead.fetch_or(1 << FIRST, Ordering::Relaxed);
                }
            }
        }
        let threads: Vec<_> = (0..self.threads.len())
            .map(|number| {
                let (model, limiter, mut log) = (self.clone(), limiter.clone(), before.clone());
                let (clock, call_order) = (clock.clone(), call_order.clone());
                let (steps, dead) = (steps[number], dead.clone());
                thread::spawn(move || {
                    let result = with_steps(steps, || {
                        for &(key, call) in &model.threads[number] {
                            call_order.begin_call();
                            log.call(&limiter, key, call, clock.load(Ordering::Relaxed));
                        }
                    });
                    if let Err(Death) = result {
                        dead.fetch_or(1 << number, Ordering::Relaxed);
                    }
                    log
                })
            })
            .collect();
        self.clock[1..]
            .iter()
            .for_each(|tick| clock.store(*tick, Ordering::Relaxed));
        let mut logs: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        if self.of_processes {
            // What died may have left marks, which a look does not undo.
            let (mut last, now) = (before.clone(), *self.clock.last().unwrap());
            let entries = logs.iter().flat_map(|log| &log.entries);
            let keys: BTreeSet<Key> = entries.map(|(key, _)| *key).collect();
            keys.into_iter()
                .for_each(|key| last.call(&limiter, key, Call::Take(1), now));
            logs.push(last);
        }
        self.verify(&limiter, &before, &logs);
    }

    fn verify(&self, limiter: &Limiter, before: &Log, logs: &[Log]) {
        let started = before.entries.len();
        let entries: Vec<_> = before
            .entries
            .iter()
            .chain(logs.iter().flat_map(|log| &log.entries[started..]))
            .collect();
        let latest = entries
            .iter()
            .map(|(_, entry)| entry.now.max(used_at(entry)))
            .max()
            .unwrap_or(0);
        let stats = limiter.stats();
        // A takeover that was undone is counted, and begins again.
        let most = if self.of_processes {
            u64::MAX
        } else {
            self.evictions
        };
        assert!(stats.evicted_early <= most, "{stats:?}");
        let refused = entries
            .iter()
            .filter(|(_, entry)| entry.result == CallResult::TableFull)
            .count();
        if self.dying.is_empty() {
            assert_eq!(stats.saturated, refused as u64);
        }
        for key in entries
            .iter()
            .map(|(key, _)| *key)
            .collect::<BTreeSet<Key>>()
        {
            let of_key = |entries: &[(Key, Entry)]| -> Vec<_> {
                // Refunds refer to calls by number, so the calls of other keys become no-ops.
                let no_op = |entry: &Entry| Entry {
                    call: Call::Take(0),
                    result: CallResult::TableFull,
                    ..*entry
                };
                entries
                    .iter()
                    .map(
                        |(owner, entry)| {
                            if *owner == key { *entry } else { no_op(entry) }
                        },
                    )
                    .collect()
            };
            let found = limiter.try_acquire_at(Duration::ZERO, &key, 0);
            let evicted = found.remaining() == self.quota.capacity();
            let trace = Trace {
                before: of_key(&before.entries),
                threads: logs
                    .iter()
                    .map(|log| of_key(&log.entries[started..]))
                    .collect(),
                full_at: if evicted {
                    latest
                } else {
                    ticks(&self.quota, found.reset_after())
                },
                remaining: found.remaining(),
                evicted: evicted,
            };
            let evictions = stats.evicted_early as usize;
            if self.of_processes {
                history::check_admitted(&self.quota, &trace, evictions);
            } else {
                history::check_with(&self.quota, &trace, evictions);
                history::check_refusals(&trace);
            }
        }
        if self.of_processes {
            self.check_much_later(limiter, entries.iter().map(|(key, _)| *key).collect());
        }
    }
}

impl TableModel {
    /// Checks that every key gets its whole capacity much later, once, also under latches that were left
    /// closed.
    fn check_much_later(&self, limiter: &Limiter, keys: BTreeSet<Key>) {
        let capacity = self.quota.capacity();
        for (n, key) in (1..).zip(keys) {
            let at = time(&self.quota, n * MUCH_LATER);
            for outcome in [Outcome::Allowed, Outcome::Refused] {
                let decision = limiter.try_acquire_at(at, &key, capacity);
                assert_eq!(decision.outcome(), outcome, "of {key:x}");
            }
        }
    }
}

/// Calls that one thread made, and the decisions it may refund.
#[derive(Clone, Default)]
struct Log {
    entries: Vec<(Key, Entry)>,
    decisions: Decisions,
    /// The limiter's clock. A reset reads it before any operation that loom tracks.
    clock: ManualClock,
}

impl Log {
    fn call(&mut self, limiter: &Limiter, key: Key, call: Call, now: u64) {
        let quota = limiter.quota();
        let at = time(&quota, now);
        let (decision, result) = match call {
            Call::Take(cost) => {
                full_or_decided(limiter.try_acquire_at(at, &key, cost), &quota, now)
            }
            Call::Reserve(cost, wait) => full_or_decided(
                limiter.reserve_at(at, &key, cost, time(&quota, wait)),
                &quota,
                now,
            ),
            Call::Refund(number) => (
                None,
                CallResult::Refunded(limiter.refund(&key, self.decisions.take(number)).unwrap()),
            ),
            Call::Reset => {
                self.clock.set(at);
                limiter.reset(&key);
                (None, CallResult::Done)
            }
            Call::Pause(_) | Call::Rebase => unreachable!("a table has neither"),
        };
        self.entries.push((key, Entry { call, now, result }));
        self.decisions.push(decision);
    }
}

/// Converts a decision. A refusal because the table is full shows the bucket of another key.
fn full_or_decided(decision: Decision, quota: &Quota, now: u64) -> (Option<Decision>, CallResult) {
    match decision.outcome() {
        Outcome::TableFull => (Some(decision), CallResult::TableFull),
        _ => record_decision(decision, quota, now),
    }
}

fn used_at(entry: &Entry) -> u64 {
    match entry.result {
        CallResult::Allowed { used_at, .. } if !matches!(entry.call, Call::Reserve(..)) => used_at,
        _ => 0,
    }
}
