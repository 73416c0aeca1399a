//! The quota is replaced, or a key gets one of its own, while others take.
//!
//! A decision says by its limit which quota made it. Each quota has buckets of its own, so of the
//! charges made under each of them the same must hold as if it were the only one.

use std::time::Duration;

use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use tollgate::{Decision, ManualClock, WhenFull};

use crate::{
    call_order::CallOrder,
    model::greedy,
    table::{Key, Limiter, key, limiter},
};

const KEY: Key = key(1, 0, 0, 0);
const OTHER: Key = key(2, 1, 0, 0);
const NOW: Duration = Duration::ZERO;
const OLD: u32 = 2;
const NEW: u32 = 3;

/// A limiter of capacity [`OLD`], and whose turn it is to call it.
struct Shared {
    limiter: Limiter,
    call_order: CallOrder,
}

impl Shared {
    fn new() -> Arc<Shared> {
        let limiter = limiter(
            greedy(OLD),
            WhenFull::EvictNearestToFull,
            ManualClock::new(),
        );
        Arc::new(Shared {
            limiter,
            call_order: CallOrder::new(),
        })
    }

    fn take(&self, cost: u32) -> Decision {
        self.call_order.begin_call();
        self.limiter.try_acquire_at(NOW, &KEY, cost)
    }

    fn refund(&self, decision: Decision) {
        self.call_order.begin_call();
        self.limiter.refund(&KEY, decision);
    }

    fn replace(&self) {
        self.call_order.begin_call();
        self.limiter.replace(greedy(NEW));
        self.call_order.begin_call();
    }

    fn set_rule(&self) {
        self.call_order.begin_call();
        self.limiter.set_rule(&KEY, greedy(NEW));
        self.call_order.begin_call();
    }
}

/// Runs `change` and `traffic` at once on a limiter whose key has taken 1; checks what both were
/// told.
fn race(
    change: impl Fn(&Shared) -> Vec<Decision> + Copy + Send + Sync + 'static,
    traffic: impl Fn(&Shared, Decision) -> Vec<Decision> + Copy + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let shared = Shared::new();
        let first = shared.take(1);
        let changer = thread::spawn({
            let shared = shared.clone();
            move || change(&shared)
        });
        let mut told = vec![first];
        let own = traffic(&shared, first);
        assert!(
            own.is_sorted_by_key(Decision::limit),
            "back to the old quota: {own:?}"
        );
        told.extend(own);
        told.extend(changer.join().unwrap());
        let last = shared.take(0);
        assert_eq!(last.limit(), NEW);
        for limit in [OLD, NEW] {
            let mut left: Vec<_> = told
                .iter()
                .filter(|decision| decision.limit() == limit && decision.is_allowed())
                .map(|decision| (limit - decision.remaining(), decision.cost()))
                .collect();
            left.sort_unstable();
            // Each found what the one before it had left.
            let spent = left.iter().fold(0, |spent, (left, cost)| {
                assert_eq!(*left, spent + cost, "{told:?}");
                *left
            });
            assert!(
                limit == OLD || last.remaining() == NEW - spent,
                "{told:?} {last:?}"
            );
        }
    });
}

/// Who changes the quota decides under the new one.
fn take_after(shared: &Shared, change: impl Fn(&Shared), cost: u32) -> Vec<Decision> {
    change(shared);
    let decision = shared.take(cost);
    assert_eq!(decision.limit(), NEW);
    vec![decision]
}

/// Every call sees all of the change or nothing; who has seen it never goes back; all buckets are
/// full under the new quota.
///
/// *Caught:* a number that is not stored; a table that stays the old one.
#[test]
fn a_quota_is_replaced_under_traffic() {
    race(
        |shared| take_after(shared, Shared::replace, 1),
        |shared, _| vec![shared.take(1), shared.take(2)],
    );
}

/// The same for a key that gets a quota of its own; others keep their buckets.
///
/// *Caught:* a number that is not stored.
#[test]
fn a_rule_is_set_under_traffic() {
    let change = |shared: &Shared| take_after(shared, Shared::set_rule, 1);
    race(change, |shared, _| {
        let take = |cost| shared.limiter.try_acquire_at(NOW, &OTHER, cost);
        assert!(take(2).is_allowed());
        assert_eq!((take(1).is_refused(), take(0).limit()), (true, OLD));
        vec![shared.take(1), shared.take(2)]
    });
}

/// A decision from before the change gives nothing to the bucket after it.
///
/// *Caught:* the table's number kept, or not compared with the decision's.
#[test]
fn a_refund_while_the_quota_is_replaced() {
    race(|shared| take_after(shared, Shared::replace, 2), refund);
}

/// The same for a rule.
///
/// *Caught:* the rule's number not compared with the decision's.
#[test]
fn a_refund_while_a_rule_is_set() {
    race(|shared| take_after(shared, Shared::set_rule, 2), refund);
}

fn refund(shared: &Shared, first: Decision) -> Vec<Decision> {
    shared.refund(first);
    vec![]
}

/// Who learns of a change by other means than the limiter finds it made.
///
/// *Caught:* a number that is not stored; a table that stays the old one.
#[test]
fn a_change_is_made_when_it_returns() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let shared = Shared::new();
        let changed = Arc::new(AtomicBool::new(false));
        let changer = thread::spawn({
            let (shared, changed) = (shared.clone(), changed.clone());
            move || {
                shared.replace();
                changed.store(true, Ordering::Release);
            }
        });
        assert!(shared.take(1).is_allowed());
        let changed = changed.load(Ordering::Acquire);
        assert!(!changed || shared.take(1).limit() == NEW);
        changer.join().unwrap();
    });
}

/// Nor does it hold for one thread and not yet for another: who hears from somebody who was decided
/// under the new quota is so too.
///
/// *Caught:* the number stored after the lock is open.
#[test]
fn a_change_is_made_for_all_at_once() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let shared = Shared::new();
        let seen = Arc::new(AtomicBool::new(false));
        assert_eq!(shared.take(1).limit(), OLD);
        let changer = thread::spawn({
            let shared = shared.clone();
            move || shared.replace()
        });
        let witness = thread::spawn({
            let (shared, seen) = (shared.clone(), seen.clone());
            move || {
                if shared.take(1).limit() == NEW {
                    seen.store(true, Ordering::Release);
                }
            }
        });
        assert!(!seen.load(Ordering::Acquire) || shared.take(1).limit() == NEW);
        changer.join().unwrap();
        witness.join().unwrap();
    });
}
