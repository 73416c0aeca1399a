//! Sharded counters of one route. Each thread increments one shard, which few other threads write
//! to, so that counting causes little cache-line contention.

use std::{
    cell::Cell,
    sync::{
        LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use crossbeam_utils::CachePadded;
use tollgate::{DecisionView, Outcome};

/// Sampling interval of latencies: one in-memory decision in this many is timed, because timing
/// costs as much as the decision.
const SAMPLE_INTERVAL: u32 = 64;

/// Number of shards: a power of two, so that a mask maps any thread number to a shard.
static SHARDS: LazyLock<usize> = LazyLock::new(|| {
    thread::available_parallelism()
        .map_or(1, usize::from)
        .next_power_of_two()
        .min(16)
});

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: usize = NEXT_THREAD.fetch_add(1, Ordering::Relaxed);
    static DECISIONS: Cell<u32> = const { Cell::new(0) };
}

/// Reason for allowing or refusing a request; the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Tokens,
    Exempt,
    NoTokens,
    CostAboveCapacity,
    TableFull,
    Unavailable,
    NoKey,
    UnknownKey,
    Denied,
    TooManyAtOnce,
    Banned,
}

impl Reason {
    pub(super) const ALL: [Reason; 11] = [
        Reason::Tokens,
        Reason::Exempt,
        Reason::NoTokens,
        Reason::CostAboveCapacity,
        Reason::TableFull,
        Reason::Unavailable,
        Reason::NoKey,
        Reason::UnknownKey,
        Reason::Denied,
        Reason::TooManyAtOnce,
        Reason::Banned,
    ];

    fn of(decision: &DecisionView) -> Reason {
        match decision.outcome() {
            Outcome::Allowed => Reason::Tokens,
            Outcome::CostAboveCapacity => Reason::CostAboveCapacity,
            Outcome::TableFull => Reason::TableFull,
            Outcome::Unavailable => Reason::Unavailable,
            _ => Reason::NoTokens,
        }
    }

    pub(super) fn is_allowed(self) -> bool {
        matches!(self, Reason::Tokens | Reason::Exempt)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Reason::Tokens => "tokens",
            Reason::Exempt => "exempt",
            Reason::NoTokens => "no_tokens",
            Reason::CostAboveCapacity => "cost_above_capacity",
            Reason::TableFull => "table_full",
            Reason::Unavailable => "unavailable",
            Reason::NoKey => "no_key",
            Reason::UnknownKey => "unknown_key",
            Reason::Denied => "denied",
            Reason::TooManyAtOnce => "too_many_at_once",
            Reason::Banned => "banned",
        }
    }
}

/// Number of decisions for each reason, in the order of [`Reason::ALL`].
pub(super) type Totals = [u64; Reason::ALL.len()];

/// Sharded counters of one route's decisions.
#[derive(Debug)]
pub(crate) struct RouteCounters(Box<[CachePadded<[AtomicU64; Reason::ALL.len()]>]>);

impl Default for RouteCounters {
    fn default() -> RouteCounters {
        RouteCounters((0..*SHARDS).map(|_| CachePadded::default()).collect())
    }
}

impl RouteCounters {
    /// Counts one decision with this reason.
    #[inline]
    pub(crate) fn add(&self, reason: Reason) {
        let shard = &self.0[THREAD.with(|thread| *thread) & (self.0.len() - 1)];
        shard[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a decision by its outcome.
    #[inline]
    pub(crate) fn record(&self, decision: &DecisionView) {
        self.add(Reason::of(decision));
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for shard in &self.0 {
            for (total, count) in totals.iter_mut().zip(shard.iter()) {
                *total += count.load(Ordering::Relaxed);
            }
        }
        totals
    }
}

/// Counts a decision of this thread and returns true if its latency is to be sampled.
#[inline]
pub(super) fn is_sampled() -> bool {
    DECISIONS.with(|decisions| {
        let next = decisions.get().wrapping_add(1);
        decisions.set(next);
        next % SAMPLE_INTERVAL == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_include_the_increments_of_all_threads() {
        let counters = RouteCounters::default();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).for_each(|_| counters.add(Reason::Tokens)));
            }
        });
        counters.add(Reason::UnknownKey);
        assert_eq!(counters.totals(), [8000, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn one_decision_in_64_is_sampled() {
        let sampled = thread::spawn(|| (0..6400).filter(|_| is_sampled()).count());
        assert_eq!(sampled.join().unwrap(), 100);
    }

    #[test]
    fn all_lists_reasons_by_discriminant() {
        assert!(
            Reason::ALL
                .iter()
                .enumerate()
                .all(|(index, reason)| *reason as usize == index)
        );
    }
}
