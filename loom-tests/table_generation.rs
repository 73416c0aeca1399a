//! Changes under traffic: the quota is replaced, or a rule is set, while other threads take.
//!
//! The limit of a decision identifies the quota that made it. Each quota has its own buckets, so
//! the charges made under one quota must be sound by themselves.

use std::time::Duration;

use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use tollgate::{Decision, DecisionView, ManualClock, WhenFull};

use crate::{
    bound,
    call_order::CallOrder,
    model::greedy,
    table::{Key, Limiter, key, limiter},
};

const KEY: Key = key(1, 0, 0, 0);
const OTHER: Key = key(2, 1, 0, 0);
const NOW: Duration = Duration::ZERO;
const OLD: u32 = 2;
const NEW: u32 = 3;

/// A limiter of capacity [`OLD`], and the turn that orders the calls on it.
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
        self.limiter.refund(&KEY, decision).unwrap();
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

/// Runs `change` and `traffic` concurrently on a limiter whose key has taken 1, and checks the
/// decisions of both.
fn race(
    change: impl Fn(&Shared) -> Vec<DecisionView> + Copy + Send + Sync + 'static,
    traffic: impl Fn(&Shared, Decision) -> Vec<DecisionView> + Copy + Send + Sync + 'static,
) {
    bound::builder(2, 3).check(move || {
        let shared = Shared::new();
        let first = shared.take(1);
        let changer = thread::spawn({
            let shared = shared.clone();
            move || change(&shared)
        });
        let mut decisions = vec![first.view()];
        let own = traffic(&shared, first);
        assert!(
            own.is_sorted_by_key(DecisionView::limit),
            "back to the old quota: {own:?}"
        );
        decisions.extend(own);
        decisions.extend(changer.join().unwrap());
        let last = shared.take(0);
        assert_eq!(last.limit(), NEW);
        for limit in [OLD, NEW] {
            let mut left: Vec<_> = decisions
                .iter()
                .filter(|decision| decision.limit() == limit && decision.is_allowed())
                .map(|decision| (limit - decision.remaining(), decision.cost()))
                .collect();
            left.sort_unstable();
            // Each decision found the state that the one before it had left.
            let spent = left.iter().fold(0, |spent, (left, cost)| {
                assert_eq!(*left, spent + cost, "{decisions:?}");
                *left
            });
            assert!(
                limit == OLD || last.remaining() == NEW - spent,
                "{decisions:?} {last:?}"
            );
        }
    });
}

/// The thread that changes the quota decides under the new one.
fn take_after(shared: &Shared, change: impl Fn(&Shared), cost: u32) -> Vec<DecisionView> {
    change(shared);
    let decision = shared.take(cost).view();
    assert_eq!(decision.limit(), NEW);
    vec![decision]
}

/// Every call sees all of the change or nothing. A thread that has seen it never sees the old quota
/// again. All buckets are full under the new quota.
///
/// *Caught:* a number that is not stored; a table that stays the old one.
#[test]
fn a_quota_is_replaced_under_traffic() {
    race(
        |shared| take_after(shared, Shared::replace, 1),
        |shared, _| vec![shared.take(1).view(), shared.take(2).view()],
    );
}

/// Like [`a_quota_is_replaced_under_traffic`], for a key whose rule is set. Other keys keep their
/// buckets.
///
/// *Caught:* a number that is not stored.
#[test]
fn a_rule_is_set_under_traffic() {
    let change = |shared: &Shared| take_after(shared, Shared::set_rule, 1);
    race(change, |shared, _| {
        let take = |cost| shared.limiter.try_acquire_at(NOW, &OTHER, cost);
        assert!(take(2).is_allowed());
        assert_eq!((take(1).is_refused(), take(0).limit()), (true, OLD));
        vec![shared.take(1).view(), shared.take(2).view()]
    });
}

/// A decision from before the change gives nothing to the bucket after it.
///
/// *Caught:* the table's origin kept, or not compared with the decision's.
#[test]
fn a_refund_while_the_quota_is_replaced() {
    race(|shared| take_after(shared, Shared::replace, 2), refund);
}

/// Like [`a_refund_while_the_quota_is_replaced`], for a rule.
///
/// *Caught:* the rule's origin not compared with the decision's.
#[test]
fn a_refund_while_a_rule_is_set() {
    race(|shared| take_after(shared, Shared::set_rule, 2), refund);
}

fn refund(shared: &Shared, first: Decision) -> Vec<DecisionView> {
    shared.refund(first);
    vec![]
}

/// A thread that learns of a change by other means than the limiter sees it on its next call.
///
/// *Caught:* a number that is not stored; a table that stays the old one.
#[test]
fn a_change_is_visible_when_it_returns() {
    bound::builder(2, 3).check(|| {
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

/// A change takes effect for all threads at once: after one thread has been decided under the new
/// quota, a thread that it synchronizes with is too.
///
/// *Caught:* the number stored after the lock is released.
#[test]
fn a_change_is_visible_to_all_threads_at_once() {
    bound::builder(1, 2).check(|| {
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
