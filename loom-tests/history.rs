//! What must hold of a history of calls, whatever order they came in. It counts in ticks and tokens
//! and knows nothing of words.
//!
//! - *Never over-admit*: of what was allowed and not refunded, no window of time holds more than
//!   the capacity and what came back in that window. (Interval quotas: no window of the quota more
//!   than the capacity, and windows do not overlap.)
//! - *A window begins with what is first taken in it*, where nothing is carried over from one
//!   before.
//! - *No charge is lost*: what is left at the end is what those charges leave; after refunds it may
//!   be less.
//! - A reset divides the history: before it and after it the same holds, each for itself. Which is
//!   the moment of the reset is not recorded; one that fits must exist.

use tollgate::Quota;

use crate::model::{Answer, Call, Entry, Trace, refill};

/// Tokens that were allowed and not refunded.
#[derive(Clone, Copy, Debug)]
struct Charge {
    used_at: u64,
    cost: u64,
    /// When a window of the quota begins in which this is used; of greedy quotas, `used_at`.
    window: u64,
    when: When,
    /// Follows a reset in its own thread.
    after_reset: bool,
}

/// What is known of when it was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    BeforeTheThreads,
    AtUse,
    Unknown,
}

pub fn check(quota: &Quota, trace: &Trace) {
    check_with(quota, trace, 0);
}

/// The same with so many early evictions, which are like resets.
pub fn check_with(quota: &Quota, trace: &Trace, evictions: usize) {
    let entries = || trace.before.iter().chain(trace.threads.iter().flatten());
    let resets = evictions + entries().filter(|entry| entry.call == Call::Reset).count();
    let refunds = entries().any(|entry| matches!(entry.call, Call::Refund(_)));
    let mut charges = charges(quota, trace);
    charges.sort_by_key(|charge| charge.used_at);
    assert!(
        divides(quota, trace, &charges, resets, refunds),
        "unsound: {charges:#?} {trace:#?}"
    );
    let ahead = entries().any(|entry| matches!(entry.call, Call::Reserve(..)));
    assert!(
        refunds || ahead || begin_with_a_charge(&charges),
        "a window of its own: {charges:#?} {trace:#?}"
    );
}

/// Whether every window was opened by a charge in it.
fn begin_with_a_charge(charges: &[Charge]) -> bool {
    charges.iter().all(|charge| {
        charges
            .iter()
            .any(|first| first.window == charge.window && first.used_at == first.window)
    })
}

/// A refusal shows the bucket as one of its charges left it, or fuller after a refund.
pub fn check_answers(trace: &Trace) {
    let entries = || trace.before.iter().chain(trace.threads.iter().flatten());
    let left: Vec<_> = entries()
        .filter_map(|entry| match entry.answer {
            Answer::Allowed { full_at, .. } => Some(full_at),
            _ => None,
        })
        .collect();
    let refunds = entries().any(|entry| matches!(entry.call, Call::Refund(_)));
    for entry in entries() {
        if let Answer::Refused { full_at, .. } = entry.answer {
            let own = left.contains(&full_at) || refunds && left.iter().any(|left| full_at < *left);
            assert!(
                own,
                "refused for somebody else's charge: {entry:?} {trace:#?}"
            );
        }
    }
}

/// Whether some moment of each reset makes the history sound.
fn divides(quota: &Quota, trace: &Trace, charges: &[Charge], resets: usize, refunds: bool) -> bool {
    if resets == 0 {
        return sound(quota, charges) && leaves(quota, trace, charges, refunds);
    }
    (0..1_u32 << charges.len()).any(|chosen| {
        let side = |after: u32| move |(n, _): &(usize, &Charge)| chosen >> n & 1 == after;
        let [before, after] = [0, 1].map(|after| -> Vec<_> {
            charges
                .iter()
                .enumerate()
                .filter(side(after))
                .map(|(_, charge)| *charge)
                .collect()
        });
        // What follows a reset in its own thread follows the first of all.
        let later: Vec<_> = after
            .iter()
            .map(|charge| Charge {
                after_reset: false,
                ..*charge
            })
            .collect();
        before.iter().all(|before| {
            !before.after_reset && after.iter().all(|after| may_precede(before, after))
        }) && sound(quota, &before)
            && divides(quota, trace, &later, resets - 1, refunds)
    })
}

/// Whether there may have been a reset between two charges: it is a tick of its own.
fn may_precede(before: &Charge, after: &Charge) -> bool {
    match (before.when, after.when) {
        (_, When::BeforeTheThreads) => false,
        (When::AtUse, When::AtUse) => before.window < after.window,
        _ => true,
    }
}

fn sound(quota: &Quota, charges: &[Charge]) -> bool {
    let capacity = u64::from(quota.capacity());
    charges.iter().enumerate().all(|(first, from)| {
        let later = &charges[first..];
        if quota.is_interval() {
            let here = later.iter().filter(|charge| charge.window == from.window);
            from.window <= from.used_at
                && from.used_at < from.window + refill(quota)
                && here.map(|charge| charge.cost).sum::<u64>() <= capacity
                && later.iter().all(|to| {
                    to.window == from.window || to.window.abs_diff(from.window) >= refill(quota)
                })
        } else {
            later.iter().all(|to| {
                let here = later.iter().filter(|charge| charge.used_at <= to.used_at);
                here.map(|charge| charge.cost).sum::<u64>()
                    <= capacity + (to.used_at - from.used_at)
            })
        }
    })
}

/// Whether these charges leave the bucket as it was found; where something was refunded, or
/// emptier.
fn leaves(quota: &Quota, trace: &Trace, charges: &[Charge], refunds: bool) -> bool {
    let Some(last) = charges.iter().map(|charge| charge.window).max() else {
        return refunds || trace.remaining == quota.capacity();
    };
    if !quota.is_interval() {
        let full_at = charges
            .iter()
            .fold(0, |end: u64, charge| end.max(charge.used_at) + charge.cost);
        return full_at == trace.full_at || (refunds || trace.forgotten) && full_at < trace.full_at;
    }
    let full_at = last + refill(quota);
    let spent: u64 = charges
        .iter()
        .filter(|charge| charge.window == last)
        .map(|charge| charge.cost)
        .sum();
    let found = u64::from(quota.capacity() - trace.remaining);
    // A window that was given back whole ends as it begins.
    let emptier =
        full_at < trace.full_at || full_at == trace.full_at && (spent <= found || found == 0);
    full_at == trace.full_at && spent == found || refunds && emptier
}

fn charges(quota: &Quota, trace: &Trace) -> Vec<Charge> {
    let refunds =
        |log: &[Entry], number| log.iter().any(|entry| entry.call == Call::Refund(number));
    // A decision from before the threads may be refunded by any of them; others by their own.
    let by_anybody = |number| {
        refunds(&trace.before, number) || trace.threads.iter().any(|log| refunds(log, number))
    };
    let before = trace
        .before
        .iter()
        .enumerate()
        .filter(|(number, _)| !by_anybody(*number));
    let own = trace.threads.iter().flat_map(|log| {
        let kept = log
            .iter()
            .enumerate()
            .filter(|(own, _)| !refunds(log, trace.before.len() + own));
        kept.filter_map(|(own, entry)| {
            let after_reset = log[..own].iter().any(|earlier| earlier.call == Call::Reset);
            Some(Charge {
                after_reset,
                ..charge(quota, entry, When::Unknown)?
            })
        })
    });
    let before = before.filter_map(|(_, entry)| charge(quota, entry, When::BeforeTheThreads));
    before.chain(own).collect()
}

fn charge(quota: &Quota, entry: &Entry, otherwise: When) -> Option<Charge> {
    let Answer::Allowed {
        used_at, full_at, ..
    } = entry.answer
    else {
        return None;
    };
    let (cost, when) = match entry.call {
        Call::Take(cost) if otherwise == When::Unknown => (cost, When::AtUse),
        Call::Take(cost) | Call::Reserve(cost, _) => (cost, otherwise),
        _ => return None,
    };
    let window = if quota.is_interval() {
        full_at - refill(quota)
    } else {
        used_at
    };
    Some(Charge {
        used_at,
        cost: cost.into(),
        window,
        when,
        after_reset: false,
    })
}
