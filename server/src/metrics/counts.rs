//! Counts of one route: each thread has a copy that few others write to, so that counting does not
//! make threads wait for each other.

use std::{
    cell::Cell,
    sync::{
        LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use crossbeam_utils::CachePadded;
use tollgate::{Decision, Outcome};

/// One decision in so many is timed where that costs as much as the decision.
const TIMED: u32 = 64;

/// A power of two, so that a number of any size can be cut down to it.
static COPIES: LazyLock<usize> = LazyLock::new(|| {
    thread::available_parallelism()
        .map_or(1, usize::from)
        .next_power_of_two()
        .min(16)
});

static NEXT_COPY: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static COPY: usize = NEXT_COPY.fetch_add(1, Ordering::Relaxed);
    static UNTIMED: Cell<u32> = const { Cell::new(0) };
}

/// Why a request was allowed, or refused.
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
}

impl Reason {
    pub(super) const ALL: [Reason; 8] = [
        Reason::Tokens,
        Reason::Exempt,
        Reason::NoTokens,
        Reason::CostAboveCapacity,
        Reason::TableFull,
        Reason::Unavailable,
        Reason::NoKey,
        Reason::UnknownKey,
    ];

    fn of(decision: &Decision) -> Reason {
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
        }
    }
}

/// How often each reason was given.
pub(super) type Sums = [u64; Reason::ALL.len()];

#[derive(Debug)]
pub(crate) struct Counts(Box<[CachePadded<[AtomicU64; Reason::ALL.len()]>]>);

impl Default for Counts {
    fn default() -> Counts {
        Counts((0..*COPIES).map(|_| CachePadded::default()).collect())
    }
}

impl Counts {
    #[inline]
    pub(crate) fn add(&self, reason: Reason) {
        let copy = &self.0[COPY.with(|copy| *copy) & (self.0.len() - 1)];
        copy[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn decided(&self, decision: &Decision) {
        self.add(Reason::of(decision));
    }

    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for copy in &self.0 {
            for (sum, count) in sums.iter_mut().zip(copy.iter()) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        sums
    }
}

/// Whether it is this decision's turn to be timed, on this thread.
#[inline]
pub(super) fn is_timed() -> bool {
    UNTIMED.with(|untimed| {
        let next = untimed.get().wrapping_add(1);
        untimed.set(next);
        next % TIMED == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_counts_and_none_is_lost() {
        let counts = Counts::default();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).for_each(|_| counts.add(Reason::Tokens)));
            }
        });
        counts.add(Reason::UnknownKey);
        assert_eq!(counts.sums(), [8000, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn one_decision_in_64_is_timed() {
        let timed = thread::spawn(|| (0..6400).filter(|_| is_timed()).count());
        assert_eq!(timed.join().unwrap(), 100);
    }

    #[test]
    fn reasons_stand_in_their_order() {
        assert!(
            Reason::ALL
                .iter()
                .enumerate()
                .all(|(place, reason)| *reason as usize == place)
        );
    }
}
