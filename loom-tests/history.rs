//! Invariants of a history of calls, regardless of their order, in ticks and tokens. The checks do
//! not depend on the packing of words.
//!
//! - *No over-admission*: the tokens allowed and not refunded in any time span are at most the
//!   capacity plus the refill of that span. (Interval quotas: no window of the quota has more than
//!   the capacity, and windows do not overlap.)
//! - *A window begins with its first charge*, unless a charge is carried over from the previous
//!   window.
//! - *No charge is lost*: the final state is the one that those charges leave; after refunds fewer
//!   tokens may be left.
//! - *A pause grants nothing*: a thread that has paused the bucket gets no tokens before the end. The
//!   state may have fewer tokens than the charges leave.
//! - A rebase may add one capacity, and the final state is compared with sequential calls alone.
//! - A reset divides the history: the invariants hold for the parts before and after it separately.
//!   The time of the reset is not recorded; a consistent time must exist.

use tollgate::Quota;

use crate::model::{Call, CallResult, Entry, Trace, refill};

/// Tokens that were allowed and not refunded.
#[derive(Clone, Copy, Debug)]
struct Charge {
    used_at: u64,
    cost: u64,
    /// Begin of the quota's window in which this is used; for greedy quotas, `used_at`.
    window: u64,
    when: When,
    /// The same thread made a reset before this charge.
    after_reset: bool,
}

/// Knowledge about the time of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    BeforeTheThreads,
    AtUse,
    Unknown,
}

pub fn check(quota: &Quota, trace: &Trace) {
    check_with(quota, trace, 0);
}

/// Checks a history with a number of early evictions, which act like resets.
pub fn check_with(quota: &Quota, trace: &Trace, evictions: usize) {
    let entries = || trace.before.iter().chain(trace.threads.iter().flatten());
    let resets = evictions + entries().filter(|entry| entry.call == Call::Reset).count();
    check_pauses(trace);
    if entries().any(|entry| entry.call == Call::Rebase) {
        return check_rebased(quota, trace);
    }
    let paused = entries().any(|entry| matches!(entry.call, Call::Pause(_)));
    let refunds = paused || entries().any(|entry| matches!(entry.call, Call::Refund(_)));
    let mut charges = charges(quota, trace);
    charges.sort_by_key(|charge| charge.used_at);
    assert!(
        divides(quota, trace, &charges, resets, refunds),
        "unsound: {charges:#?} {trace:#?}"
    );
    let ahead = entries().any(|entry| matches!(entry.call, Call::Reserve(..)));
    assert!(
        refunds || ahead || begin_with_a_charge(&charges),
        "a window without a first charge: {charges:#?} {trace:#?}"
    );
}

/// Checks that no more was admitted than the quota allows, and that no more is left: where threads die,
/// a charge may count that was never answered, also on the bucket of another key.
pub fn check_admitted(quota: &Quota, trace: &Trace, evictions: usize) {
    let mut charges = charges(quota, trace);
    charges.sort_by_key(|charge| charge.used_at);
    let entries = trace.before.iter().chain(trace.threads.iter().flatten());
    let resets = evictions + entries.filter(|entry| entry.call == Call::Reset).count();
    assert!(
        divides(quota, trace, &charges, resets, true),
        "unsound: {charges:#?} {trace:#?}"
    );
}

/// Checks that a thread takes no tokens before the end of its pauses.
fn check_pauses(trace: &Trace) {
    for log in &trace.threads {
        let mut end = 0;
        for entry in log {
            match (entry.call, entry.result) {
                (Call::Pause(length), _) => end = end.max(entry.now + length),
                (Call::Take(_), CallResult::Allowed { .. }) => {
                    // Another thread may have moved the bucket past the pause.
                    let latest = trace.threads.iter().flatten().map(|entry| entry.now).max();
                    assert!(
                        entry.now >= end || latest >= Some(end),
                        "granted during a pause: {trace:#?}"
                    );
                }
                _ => {}
            }
        }
    }
}

/// Checks that a greedy bucket that was moved back once admits at most one capacity more.
fn check_rebased(quota: &Quota, trace: &Trace) {
    let mut charges = charges(quota, trace);
    charges.sort_by_key(|charge| charge.used_at);
    assert!(
        is_within(2 * u64::from(quota.capacity()), &charges),
        "unsound: {charges:#?} {trace:#?}"
    );
}

/// Returns true when a charge opened every window.
fn begin_with_a_charge(charges: &[Charge]) -> bool {
    charges.iter().all(|charge| {
        charges
            .iter()
            .any(|first| first.window == charge.window && first.used_at == first.window)
    })
}

/// Checks that every refusal reports the state that one of the bucket's charges left, or a fuller
/// state after a refund.
pub fn check_refusals(trace: &Trace) {
    let entries = || trace.before.iter().chain(trace.threads.iter().flatten());
    let left: Vec<_> = entries()
        .filter_map(|entry| match entry.result {
            CallResult::Allowed { full_at, .. } => Some(full_at),
            _ => None,
        })
        .collect();
    let refunds = entries().any(|entry| matches!(entry.call, Call::Refund(_)));
    for entry in entries() {
        if let CallResult::Refused { full_at, .. } = entry.result {
            let own = left.contains(&full_at) || refunds && left.iter().any(|left| full_at < *left);
            assert!(
                own,
                "refused for another bucket's charge: {entry:?} {trace:#?}"
            );
        }
    }
}

/// Returns true when the history is sound for some time of each reset.
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
        // A charge after a reset of its own thread comes after the first reset of all.
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

/// Returns true when a reset, which takes a tick of its own, is possible between two charges.
fn may_precede(before: &Charge, after: &Charge) -> bool {
    match (before.when, after.when) {
        (_, When::BeforeTheThreads) => false,
        (When::AtUse, When::AtUse) => before.window < after.window,
        _ => true,
    }
}

fn sound(quota: &Quota, charges: &[Charge]) -> bool {
    let capacity = u64::from(quota.capacity());
    if !quota.is_interval() {
        return is_within(capacity, charges);
    }
    charges.iter().enumerate().all(|(first, from)| {
        let later = &charges[first..];
        let here = later.iter().filter(|charge| charge.window == from.window);
        from.window <= from.used_at
            && from.used_at < from.window + refill(quota)
            && here.map(|charge| charge.cost).sum::<u64>() <= capacity
            && later.iter().all(|to| {
                to.window == from.window || to.window.abs_diff(from.window) >= refill(quota)
            })
    })
}

/// Returns true when any time span has at most `most` tokens plus the refill of the span, which is a
/// token a tick.
fn is_within(most: u64, charges: &[Charge]) -> bool {
    charges.iter().enumerate().all(|(first, from)| {
        let later = &charges[first..];
        later.iter().all(|to| {
            let here = later.iter().filter(|charge| charge.used_at <= to.used_at);
            here.map(|charge| charge.cost).sum::<u64>() <= most + (to.used_at - from.used_at)
        })
    })
}

/// Returns true when these charges leave the observed final state, or, after refunds, when the
/// observed state has fewer tokens than they leave.
fn leaves(quota: &Quota, trace: &Trace, charges: &[Charge], refunds: bool) -> bool {
    let Some(last) = charges.iter().map(|charge| charge.window).max() else {
        return refunds || trace.remaining == quota.capacity();
    };
    if !quota.is_interval() {
        let full_at = charges
            .iter()
            .fold(0, |end: u64, charge| end.max(charge.used_at) + charge.cost);
        return full_at == trace.full_at || (refunds || trace.evicted) && full_at < trace.full_at;
    }
    let full_at = last + refill(quota);
    let spent: u64 = charges
        .iter()
        .filter(|charge| charge.window == last)
        .map(|charge| charge.cost)
        .sum();
    let found = u64::from(quota.capacity() - trace.remaining);
    // A window whose charges were all refunded ends as it begins.
    let emptier =
        full_at < trace.full_at || full_at == trace.full_at && (spent <= found || found == 0);
    full_at == trace.full_at && spent == found || refunds && emptier
}

fn charges(quota: &Quota, trace: &Trace) -> Vec<Charge> {
    let refunds =
        |log: &[Entry], number| log.iter().any(|entry| entry.call == Call::Refund(number));
    // Any thread may refund a decision made before the threads; other decisions only their own
    // thread.
    let by_any_thread = |number| {
        refunds(&trace.before, number) || trace.threads.iter().any(|log| refunds(log, number))
    };
    let before = trace
        .before
        .iter()
        .enumerate()
        .filter(|(number, _)| !by_any_thread(*number));
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

fn charge(quota: &Quota, entry: &Entry, default: When) -> Option<Charge> {
    let CallResult::Allowed {
        used_at, full_at, ..
    } = entry.result
    else {
        return None;
    };
    let (cost, when) = match entry.call {
        Call::Take(cost) if default == When::Unknown => (cost, When::AtUse),
        Call::Take(cost) | Call::Reserve(cost, _) => (cost, default),
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
