//! Model of a bucket, a clock, and threads that make calls: runs under loom, and compares the
//! results with those of sequential calls.
//!
//! Two checks, in every execution:
//! 1. *Linearisability*: the results and the final state equal those of some sequential order of
//!    the calls on a fresh bucket, with the times that the threads read. Races lose, duplicate or
//!    invent nothing.
//! 2. *Soundness of the history* (see [`history`](crate::history)): this check is independent of
//!    the source, so it detects wrong arithmetic too.

use std::{collections::HashSet, sync::Mutex, time::Duration};

use loom::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use tollgate::{Bucket, Decision, DecisionView, Quota};

use crate::{bound, call_order::CallOrder, history};

/// Greedy quota of one token a tick, and a tick of one microsecond: the headroom makes it that coarse.
pub const fn greedy(capacity: u32) -> Quota {
    Quota::per_second(1_000_000)
        .with_capacity(capacity)
        .with_headroom(5000)
}

/// Interval quota with a window of [`WINDOW`] ticks.
pub const fn interval(capacity: u32) -> Quota {
    Quota::interval(capacity, Duration::from_nanos(1 << 31)).with_headroom(u32::MAX)
}

/// Ticks in the window of an interval quota.
pub const WINDOW: u64 = 4;

/// A call on the bucket, at the time that the thread reads from the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Take(u32),
    /// Tokens to reserve, and the maximum wait in ticks.
    Reserve(u32, u64),
    /// Refunds the decision of the call with this index: the calls of `before` come first, then the
    /// thread's own.
    Refund(usize),
    Reset,
    /// Ticks to pause for.
    Pause(u64),
    Rebase,
}

/// Result of a call. Times are ticks since the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallResult {
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
    /// A reset, a pause or a rebase.
    Done,
    /// Refused by a table because there is no free slot.
    TableFull,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub call: Call,
    pub now: u64,
    pub result: CallResult,
}

/// Record of an execution: the calls of each thread, the calls before them, and the final state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trace {
    pub before: Vec<Entry>,
    pub threads: Vec<Vec<Entry>>,
    pub full_at: u64,
    /// Whole tokens available at `full_at` minus the time that refills the capacity.
    pub remaining: u32,
    /// The bucket was evicted: it was full at `full_at`, or before.
    pub evicted: bool,
}

pub struct Model {
    quota: Quota,
    clock: Vec<u64>,
    before: Vec<Call>,
    threads: Vec<Vec<Call>>,
}

impl Model {
    /// `clock` lists the successive times of the clock, in ticks.
    pub fn new(quota: Quota, clock: &[u64]) -> Model {
        Model {
            quota,
            clock: clock.to_vec(),
            before: Vec::new(),
            threads: Vec::new(),
        }
    }

    /// Sets the calls made before the threads start.
    pub fn before(mut self, calls: &[Call]) -> Model {
        self.before = calls.to_vec();
        self
    }

    pub fn thread(mut self, calls: &[Call]) -> Model {
        self.threads.push(calls.to_vec());
        self
    }

    pub fn check(self) {
        let model = std::sync::Arc::new(self);
        let sequential = std::sync::Arc::new(model.clone().sequential_traces());
        let seen = std::sync::Arc::new(Mutex::new(HashSet::new()));
        let builder = match model.threads.len() {
            2 => bound::builder(2, 3),
            _ => bound::builder(1, 2),
        };
        builder.check({
            let seen = seen.clone();
            move || {
                let trace = model.clone().run_concurrently();
                history::check(&model.quota, &trace);
                assert!(
                    sequential.contains(&trace),
                    "no sequential order of the calls gives {trace:#?}"
                );
                seen.lock().unwrap().insert(trace);
            }
        });
        // With a single trace there was no race.
        assert!(seen.lock().unwrap().len() > 1);
    }

    fn run_concurrently(self: std::sync::Arc<Model>) -> Trace {
        let bucket = Arc::new(Bucket::new(self.quota));
        let (clock, call_order) = (Arc::new(AtomicU64::new(self.clock[0])), CallOrder::new());
        let mut before = Log::default();
        self.before
            .iter()
            .for_each(|call| before.call(&bucket, *call, self.clock[0]));
        let threads: Vec<_> = (0..self.threads.len())
            .map(|number| {
                let (model, bucket, mut log) = (self.clone(), bucket.clone(), before.clone());
                let (clock, call_order) = (clock.clone(), call_order.clone());
                thread::spawn(move || {
                    for call in &model.threads[number] {
                        call_order.begin_call();
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

    /// Returns the traces of all sequential orders, for every combination of clock readings.
    fn sequential_traces(self: std::sync::Arc<Model>) -> HashSet<Trace> {
        let traces = std::sync::Arc::new(Mutex::new(HashSet::new()));
        let calls: usize = self.threads.iter().map(Vec::len).sum();
        let readings = self.clock.len();
        for order in orders(&self.threads.iter().map(Vec::len).collect::<Vec<_>>()) {
            for combination in 0..readings.pow(calls as u32) {
                let nows = (0..calls)
                    .map(|call| self.clock[combination / readings.pow(call as u32) % readings]);
                let schedule: Vec<_> = order.iter().copied().zip(nows).collect();
                let (model, traces) = (self.clone(), traces.clone());
                // Loom's atomics exist in a model only; this one has a single thread and runs once.
                loom::model(move || {
                    let trace = model.run_sequentially(&schedule);
                    history::check(&model.quota, &trace);
                    traces.lock().unwrap().insert(trace);
                });
            }
        }
        std::mem::take(&mut *traces.lock().unwrap())
    }

    fn run_sequentially(&self, schedule: &[(usize, u64)]) -> Trace {
        let bucket = Bucket::new(self.quota);
        let mut before = Log::default();
        self.before
            .iter()
            .for_each(|call| before.call(&bucket, *call, self.clock[0]));
        let mut logs = vec![before.clone(); self.threads.len()];
        for &(thread, now) in schedule {
            let next = logs[thread].entries.len() - self.before.len();
            logs[thread].call(&bucket, self.threads[thread][next], now);
        }
        self.trace(&bucket, before, logs)
    }

    fn trace(&self, bucket: &Bucket, before: Log, logs: Vec<Log>) -> Trace {
        // A clock behind the stamp returns the bucket as of its stamp; a full bucket reveals its
        // stamp when a token is taken.
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
            evicted: false,
        }
    }
}

/// Calls of one thread, and the decisions it may refund.
#[derive(Clone, Default)]
struct Log {
    entries: Vec<Entry>,
    decisions: Decisions,
}

/// Decisions by the number of their call. Those of `before` are shared by all threads, and a refund
/// takes one. The lock of `std` is no step of a model.
#[derive(Clone, Default)]
pub struct Decisions(Vec<std::sync::Arc<Mutex<Option<Decision>>>>);

impl Decisions {
    pub fn push(&mut self, decision: Option<Decision>) {
        self.0.push(std::sync::Arc::new(Mutex::new(decision)));
    }

    pub fn take(&self, number: usize) -> Decision {
        let decision = self.0[number].lock().unwrap().take();
        decision.expect("refunds a decision, once")
    }
}

impl Log {
    fn call(&mut self, bucket: &Bucket, call: Call, now: u64) {
        let quota = bucket.quota();
        let at = time(&quota, now);
        let (decision, result) = match call {
            Call::Take(cost) => record_decision(bucket.try_acquire_at(at, cost), &quota, now),
            Call::Reserve(cost, wait) => {
                record_decision(bucket.reserve_at(at, cost, time(&quota, wait)), &quota, now)
            }
            Call::Refund(number) => (
                None,
                CallResult::Refunded(bucket.refund(self.decisions.take(number)).unwrap()),
            ),
            Call::Reset => {
                bucket.reset_at(at);
                (None, CallResult::Done)
            }
            Call::Pause(length) => {
                bucket.pause_at(at, time(&quota, length));
                (None, CallResult::Done)
            }
            Call::Rebase => {
                bucket.rebase_at(at);
                (None, CallResult::Done)
            }
        };
        self.entries.push(Entry { call, now, result });
        self.decisions.push(decision);
    }
}

pub fn record_decision(
    decision: Decision,
    quota: &Quota,
    now: u64,
) -> (Option<Decision>, CallResult) {
    let (remaining, full_at) = (
        decision.remaining(),
        now + ticks(quota, decision.reset_after()),
    );
    let result = match decision.is_allowed() {
        true => CallResult::Allowed {
            remaining,
            full_at,
            used_at: used_at(decision.view(), quota, now),
        },
        false => CallResult::Refused { remaining, full_at },
    };
    (Some(decision), result)
}

/// Returns the time at which the tokens may be used: after the wait, or as of the stamp, which is
/// not before `now`.
fn used_at(decision: DecisionView, quota: &Quota, now: u64) -> u64 {
    let full_at = now + ticks(quota, decision.reset_after());
    match ticks(quota, decision.wait()) {
        0 if quota.is_interval() => now.max(full_at - WINDOW),
        0 => full_at - u64::from(decision.limit() - decision.remaining()),
        wait => now + wait,
    }
}

/// Returns every order of the threads' calls, as sequences of thread indexes.
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

/// Returns the ticks in which an empty bucket fills.
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
