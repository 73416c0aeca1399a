//! A bucket, a clock, and threads that make calls: run under loom, and held against the same calls
//! one after another.
//!
//! Two checks, in every execution:
//! 1. *An order explains it*: each answer, and what is left at the end, are those of some order of
//!    the calls, made one after another on a fresh bucket with the times the threads had read.
//!    Nothing is lost, doubled or made up by racing.
//! 2. *The history is sound* (see [`history`](crate::history)): knows nothing of the source, and so
//!    finds wrong arithmetic too.

use std::{collections::HashSet, sync::Mutex, time::Duration};

use loom::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use tollgate::{Bucket, Decision, Quota};

use crate::{history, turn::Turn};

/// One token a tick, and a tick is a microsecond: room for debt makes it that coarse.
pub const fn greedy(capacity: u32) -> Quota {
    Quota::per_second(1_000_000)
        .with_capacity(capacity)
        .with_debt(5000)
}

/// All tokens back after [`WINDOW`] ticks.
pub const fn interval(capacity: u32) -> Quota {
    Quota::interval(capacity, Duration::from_nanos(1 << 31)).with_debt(u32::MAX)
}

/// Ticks in the window of an interval quota.
pub const WINDOW: u64 = 4;

/// A call on the bucket, at the time that the clock shows the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Take(u32),
    /// So many tokens, for a wait of at most so many ticks.
    Reserve(u32, u64),
    /// Refunds the decision of this call: counted from 0, first those of `before`, then the
    /// thread's own.
    Refund(usize),
    Reset,
}

/// What a call was answered. Times are ticks since the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    Refused {
        remaining: u32,
        full_at: u64,
    },
    Allowed {
        remaining: u32,
        full_at: u64,
        used_at: u64,
    },
    Refunded(bool),
    Reset,
    /// Of a table: refused for want of a slot.
    NoRoom,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub call: Call,
    pub now: u64,
    pub answer: Answer,
}

/// What happened: the calls of each thread, those before them, and what an observer finds
/// afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trace {
    pub before: Vec<Entry>,
    pub threads: Vec<Vec<Entry>>,
    pub full_at: u64,
    /// Whole tokens a capacity's refill before that.
    pub remaining: u32,
    /// There is no bucket any more: it was full at `full_at`, or before.
    pub forgotten: bool,
}

pub struct Model {
    quota: Quota,
    clock: Vec<u64>,
    before: Vec<Call>,
    threads: Vec<Vec<Call>>,
    explained: bool,
}

impl Model {
    /// `clock` is what the clock shows, one after another, in ticks.
    pub fn new(quota: Quota, clock: &[u64]) -> Model {
        Model {
            quota,
            clock: clock.to_vec(),
            before: Vec::new(),
            threads: Vec::new(),
            explained: true,
        }
    }

    /// Calls made before the threads start.
    pub fn before(mut self, calls: &[Call]) -> Model {
        self.before = calls.to_vec();
        self
    }

    pub fn thread(mut self, calls: &[Call]) -> Model {
        self.threads.push(calls.to_vec());
        self
    }

    /// Holds the model against the soundness of its history alone. For holes, which are offered by
    /// chance: who finds their store in use goes on without, and that is none of the orders.
    pub fn in_no_order(mut self) -> Model {
        self.explained = false;
        self
    }

    pub fn check(self) {
        let model = std::sync::Arc::new(self);
        let orders = std::sync::Arc::new(model.clone().in_every_order());
        let seen = std::sync::Arc::new(Mutex::new(HashSet::new()));
        let mut builder = loom::model::Builder::new();
        // Enough for every mutation named at the models, and it ends: without a bound two calls a
        // thread take a minute.
        builder.preemption_bound = Some(if model.threads.len() > 2 { 2 } else { 3 });
        builder.check({
            let seen = seen.clone();
            move || {
                let trace = model.clone().race();
                history::check(&model.quota, &trace);
                assert!(
                    !model.explained || orders.contains(&trace),
                    "no order of the calls explains {trace:#?}"
                );
                seen.lock().unwrap().insert(trace);
            }
        });
        // Otherwise nothing raced.
        assert!(seen.lock().unwrap().len() > 1);
    }

    fn race(self: std::sync::Arc<Model>) -> Trace {
        let bucket = Arc::new(Bucket::new(self.quota));
        let (clock, turn) = (Arc::new(AtomicU64::new(self.clock[0])), Turn::new());
        let mut before = Log::default();
        self.before
            .iter()
            .for_each(|call| before.call(&bucket, *call, self.clock[0]));
        let threads: Vec<_> = (0..self.threads.len())
            .map(|number| {
                let (model, bucket, mut log) = (self.clone(), bucket.clone(), before.clone());
                let (clock, turn) = (clock.clone(), turn.clone());
                thread::spawn(move || {
                    for call in &model.threads[number] {
                        turn.take();
                        log.call(&bucket, *call, clock.load(Ordering::Relaxed));
                    }
                    log
                })
            })
            .collect();
        self.clock[1..]
            .iter()
            .for_each(|tick| clock.store(*tick, Ordering::Relaxed));
        let logs = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        self.trace(&bucket, before, logs)
    }

    /// All traces without concurrency, whatever each call read from the clock.
    fn in_every_order(self: std::sync::Arc<Model>) -> HashSet<Trace> {
        let traces = std::sync::Arc::new(Mutex::new(HashSet::new()));
        let calls: usize = self.threads.iter().map(Vec::len).sum();
        let readings = self.clock.len();
        for order in orders(&self.threads.iter().map(Vec::len).collect::<Vec<_>>()) {
            for combination in 0..readings.pow(calls as u32) {
                let nows = (0..calls)
                    .map(|call| self.clock[combination / readings.pow(call as u32) % readings]);
                let turns: Vec<_> = order.iter().copied().zip(nows).collect();
                let (model, traces) = (self.clone(), traces.clone());
                // Loom's atomics live in a model only; this one has a single thread, and runs once.
                loom::model(move || {
                    let trace = model.one_after_another(&turns);
                    history::check(&model.quota, &trace);
                    traces.lock().unwrap().insert(trace);
                });
            }
        }
        std::mem::take(&mut *traces.lock().unwrap())
    }

    fn one_after_another(&self, turns: &[(usize, u64)]) -> Trace {
        let bucket = Bucket::new(self.quota);
        let mut before = Log::default();
        self.before
            .iter()
            .for_each(|call| before.call(&bucket, *call, self.clock[0]));
        let mut logs = vec![before.clone(); self.threads.len()];
        for &(thread, now) in turns {
            let next = logs[thread].entries.len() - self.before.len();
            logs[thread].call(&bucket, self.threads[thread][next], now);
        }
        self.trace(&bucket, before, logs)
    }

    fn trace(&self, bucket: &Bucket, before: Log, logs: Vec<Log>) -> Trace {
        // A clock behind the stamp shows the bucket as of its stamp; a full one shows it when
        // something is taken.
        let found = bucket.try_acquire_at(Duration::ZERO, 0);
        let mut full_at = ticks(&self.quota, found.reset_after());
        let remaining = bucket.available_at(time(
            &self.quota,
            full_at.saturating_sub(refill(&self.quota)),
        ));
        if found.remaining() == self.quota.capacity() {
            let taken = ticks(
                &self.quota,
                bucket.try_acquire_at(Duration::ZERO, 1).reset_after(),
            );
            full_at = taken - if self.quota.is_interval() { WINDOW } else { 1 };
        }
        let threads = logs
            .into_iter()
            .map(|log| log.entries[before.entries.len()..].to_vec())
            .collect();
        Trace {
            before: before.entries,
            threads,
            full_at,
            remaining,
            forgotten: false,
        }
    }
}

/// What one thread did, and the decisions it may refund.
#[derive(Clone, Default)]
struct Log {
    entries: Vec<Entry>,
    decisions: Vec<Option<Decision>>,
}

impl Log {
    fn call(&mut self, bucket: &Bucket, call: Call, now: u64) {
        let quota = bucket.quota();
        let at = time(&quota, now);
        let (decision, answer) = match call {
            Call::Take(cost) => decided(bucket.try_acquire_at(at, cost), &quota, now),
            Call::Reserve(cost, wait) => {
                decided(bucket.reserve_at(at, cost, time(&quota, wait)), &quota, now)
            }
            Call::Refund(number) => (
                None,
                Answer::Refunded(
                    bucket.refund(self.decisions[number].expect("refunds a decision")),
                ),
            ),
            Call::Reset => {
                bucket.reset_at(at);
                (None, Answer::Reset)
            }
        };
        self.entries.push(Entry { call, now, answer });
        self.decisions.push(decision);
    }
}

pub fn decided(decision: Decision, quota: &Quota, now: u64) -> (Option<Decision>, Answer) {
    let (remaining, full_at) = (
        decision.remaining(),
        now + ticks(quota, decision.reset_after()),
    );
    let answer = match decision.is_allowed() {
        true => Answer::Allowed {
            remaining,
            full_at,
            used_at: used_at(decision, quota, now),
        },
        false => Answer::Refused { remaining, full_at },
    };
    (Some(decision), answer)
}

/// When the tokens may be used: after the wait, or as of the stamp, which is not before `now`.
fn used_at(decision: Decision, quota: &Quota, now: u64) -> u64 {
    let full_at = now + ticks(quota, decision.reset_after());
    match ticks(quota, decision.wait()) {
        0 if quota.is_interval() => now.max(full_at - WINDOW),
        0 => full_at - u64::from(decision.limit() - decision.remaining()),
        wait => now + wait,
    }
}

/// Every order of so many calls a thread, as the threads whose turn it is.
fn orders(calls: &[usize]) -> Vec<Vec<usize>> {
    if calls.iter().all(|left| *left == 0) {
        return vec![Vec::new()];
    }
    let mut orders = Vec::new();
    for thread in (0..calls.len()).filter(|thread| calls[*thread] > 0) {
        let mut rest = calls.to_vec();
        rest[thread] -= 1;
        orders.extend(
            self::orders(&rest)
                .into_iter()
                .map(|order| [vec![thread], order].concat()),
        );
    }
    orders
}

/// Ticks in which an empty bucket fills.
pub fn refill(quota: &Quota) -> u64 {
    if quota.is_interval() {
        WINDOW
    } else {
        quota.capacity().into()
    }
}

pub fn time(quota: &Quota, ticks: u64) -> Duration {
    quota.resolution() * ticks as u32
}

pub fn ticks(quota: &Quota, time: Duration) -> u64 {
    assert_eq!(time.as_nanos() % quota.resolution().as_nanos(), 0);
    (time.as_nanos() / quota.resolution().as_nanos()) as u64
}
