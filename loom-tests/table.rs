//! A table of four slots, a clock, and threads that make calls on its keys.
//!
//! Every key may stand in every slot: two sets of two. What must hold in every execution, of each
//! key by itself:
//! - its history is sound (see [`history`](crate::history)): never over-admit, no charge is lost,
//!   none lands on somebody else, also when its slot goes to another key and it returns; an early
//!   eviction is like a reset, and there are not more of them than were counted;
//! - what it was told is its own: every answer shows its bucket as one of its own charges left it.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, Hasher},
    time::Duration,
};

use loom::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use tollgate::{Decision, KeyedLimiter, ManualClock, Outcome, Quota, WhenFull};

use crate::{
    call_order::CallOrder,
    history,
    model::{Call, CallResult, Entry, Trace, record_decision, ticks, time},
};

/// A key is its hash, so that a model says where it stands.
pub type Key = u64;

/// A key whose home is set 0 or 1; in it, and in the other set, it looks first at slot 0 or 1.
pub const fn key(number: u64, home: u64, home_slot: u64, other_slot: u64) -> Key {
    home << 63 | home_slot << 32 | (1 - home) << 31 | number << 4 | other_slot << 1
}

/// Hashes a key to itself.
#[derive(Clone, Debug, Default)]
pub struct AsIs(u64);

impl BuildHasher for AsIs {
    type Hasher = AsIs;

    fn build_hasher(&self) -> AsIs {
        AsIs(0)
    }
}

impl Hasher for AsIs {
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

/// How many calls before the threads a [`TableModel::filler`] is.
pub const FILLER_CALLS: usize = 3;

pub type Limiter = KeyedLimiter<AsIs>;

/// Four slots. The clock is for what takes no time as an argument.
pub fn limiter(quota: Quota, when_full: WhenFull, clock: ManualClock) -> Limiter {
    KeyedLimiter::builder(quota)
        .max_keys(1)
        .hasher(AsIs::default())
        .when_full(when_full)
        .clock(clock)
        .build()
        .unwrap()
}

pub struct TableModel {
    quota: Quota,
    when_full: WhenFull,
    clock: Vec<u64>,
    before: Vec<(u64, Key, Call)>,
    threads: Vec<Vec<(Key, Call)>>,
    /// So many early evictions at most.
    evictions: u64,
    preemptions: usize,
}

impl TableModel {
    /// `clock` is what the clock shows, one after another, in ticks.
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
        }
    }

    pub fn refuse_newcomers(mut self) -> TableModel {
        self.when_full = WhenFull::RefuseNewcomer;
        self
    }

    /// There may be so many early evictions; else none.
    pub fn evictions(mut self, most: u64) -> TableModel {
        self.evictions = most;
        self
    }

    /// At most one preemption: where two take a minute.
    pub fn one_preemption(mut self) -> TableModel {
        self.preemptions = 1;
        self
    }

    /// A call made before the threads start, at this time.
    pub fn before(mut self, now: u64, key: Key, call: Call) -> TableModel {
        self.before.push((now, key, call));
        self
    }

    /// A key that keeps its slot: it stays far from full.
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

    pub fn check(self) {
        let model = std::sync::Arc::new(self);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(model.preemptions);
        builder.check(move || model.clone().race());
    }

    fn race(self: std::sync::Arc<TableModel>) {
        let mut before = Log::default();
        let limiter = Arc::new(limiter(self.quota, self.when_full, before.clock.clone()));
        let (clock, call_order) = (Arc::new(AtomicU64::new(self.clock[0])), CallOrder::new());
        self.before
            .iter()
            .for_each(|&(now, key, call)| before.call(&limiter, key, call, now));
        let threads: Vec<_> = (0..self.threads.len())
            .map(|number| {
                let (model, limiter, mut log) = (self.clone(), limiter.clone(), before.clone());
                let (clock, call_order) = (clock.clone(), call_order.clone());
                thread::spawn(move || {
                    for &(key, call) in &model.threads[number] {
                        call_order.begin_call();
                        log.call(&limiter, key, call, clock.load(Ordering::Relaxed));
                    }
                    log
                })
            })
            .collect();
        self.clock[1..]
            .iter()
            .for_each(|tick| clock.store(*tick, Ordering::Relaxed));
        let logs: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        self.judge(&limiter, &before, &logs);
    }

    fn judge(&self, limiter: &Limiter, before: &Log, logs: &[Log]) {
        let started = before.entries.len();
        let everything: Vec<_> = before
            .entries
            .iter()
            .chain(logs.iter().flat_map(|log| &log.entries[started..]))
            .collect();
        let latest = everything
            .iter()
            .map(|(_, entry)| entry.now.max(used_at(entry)))
            .max()
            .unwrap_or(0);
        let stats = limiter.stats();
        assert!(stats.evicted_early <= self.evictions, "{stats:?}");
        let refused = everything
            .iter()
            .filter(|(_, entry)| entry.result == CallResult::TableFull)
            .count();
        assert_eq!(stats.saturated, refused as u64);
        for key in everything
            .iter()
            .map(|(key, _)| *key)
            .collect::<BTreeSet<Key>>()
        {
            let of_key = |entries: &[(Key, Entry)]| -> Vec<_> {
                // Refunds go by number, so the calls of others stand there as nothing.
                let nothing = |entry: &Entry| Entry {
                    call: Call::Take(0),
                    result: CallResult::TableFull,
                    ..*entry
                };
                entries
                    .iter()
                    .map(|(owner, entry)| {
                        if *owner == key {
                            *entry
                        } else {
                            nothing(entry)
                        }
                    })
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
                evicted,
            };
            history::check_with(&self.quota, &trace, stats.evicted_early as usize);
            history::check_refusals(&trace);
        }
    }
}

/// What one thread did, and the decisions it may refund.
#[derive(Clone, Default)]
struct Log {
    entries: Vec<(Key, Entry)>,
    decisions: Vec<Option<Decision>>,
    /// The limiter's: a reset reads it, before it does anything that loom sees.
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
                CallResult::Refunded(
                    limiter.refund(&key, self.decisions[number].expect("refunds a decision")),
                ),
            ),
            Call::Reset => {
                self.clock.set(at);
                limiter.reset(&key);
                (None, CallResult::Reset)
            }
        };
        self.entries.push((key, Entry { call, now, result }));
        self.decisions.push(decision);
    }
}

/// A refusal for want of room shows the bucket of somebody else.
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
