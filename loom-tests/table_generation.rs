//! The quota is replaced, or a key gets one of its own, while others take.
//!
//! A decision says by its limit which quota made it. Each quota has buckets of its own, so of the charges made under each of
//! them the same must hold as if it were the only one.

use std::time::Duration;

use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use tollgate::{Decision, WhenFull};

use crate::{
    model::greedy,
    table::{Key, Limiter, key, limiter},
};

const KEY: Key = key(1, 0, 0, 0);
const OTHER: Key = key(2, 1, 0, 0);
const NOW: Duration = Duration::ZERO;
const OLD: u32 = 2;
const NEW: u32 = 3;

/// Runs `change` and `traffic` at once on a limiter of capacity [`OLD`] whose key has taken 1; checks what both were told.
fn race(
    change: impl Fn(&Limiter, Decision) -> Vec<Decision> + Copy + Send + Sync + 'static,
    traffic: impl Fn(&Limiter, Decision) -> Vec<Decision> + Copy + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let limiter = Arc::new(limiter(greedy(OLD), WhenFull::EvictNearestToFull));
        let first = limiter.try_acquire_at(NOW, &KEY, 1);
        let changer = thread::spawn({
            let limiter = limiter.clone();
            move || change(&limiter, first)
        });
        let mut told = vec![first];
        let own = traffic(&limiter, first);
        assert!(own.is_sorted_by_key(Decision::limit), "back to the old quota: {own:?}");
        told.extend(own);
        told.extend(changer.join().unwrap());
        let last = limiter.try_acquire_at(NOW, &KEY, 0);
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
            assert!(limit == OLD || last.remaining() == NEW - spent, "{told:?} {last:?}");
        }
    });
}

fn take(limiter: &Limiter, cost: u32) -> Decision {
    limiter.try_acquire_at(NOW, &KEY, cost)
}

/// Every call sees all of the change or nothing; who has seen it never goes back; all buckets are full under the new quota.
#[test]
fn a_quota_is_replaced_under_traffic() {
    let change = |limiter: &Limiter, _| {
        limiter.replace(greedy(NEW));
        let decision = take(limiter, 1);
        assert_eq!(decision.limit(), NEW);
        vec![decision]
    };
    race(change, |limiter, _| vec![take(limiter, 1), take(limiter, 2)]);
}

/// The same for a key that gets a quota of its own; others keep their buckets.
#[test]
fn a_rule_is_set_under_traffic() {
    let change = |limiter: &Limiter, _| {
        limiter.set_rule(&KEY, greedy(NEW));
        let decision = take(limiter, 1);
        assert_eq!(decision.limit(), NEW);
        vec![decision]
    };
    race(change, |limiter, _| {
        let other = limiter.try_acquire_at(NOW, &OTHER, 2);
        assert!(other.is_allowed() && other.limit() == OLD);
        assert!(limiter.try_acquire_at(NOW, &OTHER, 1).is_refused());
        vec![take(limiter, 1), take(limiter, 2)]
    });
}

/// A decision from before the change gives nothing to the bucket after it.
#[test]
fn a_refund_while_the_quota_is_replaced() {
    let change = |limiter: &Limiter, _| {
        limiter.replace(greedy(NEW));
        vec![take(limiter, 2)]
    };
    race(change, |limiter, first| {
        limiter.refund(&KEY, first);
        vec![]
    });
}

/// The same for a rule.
#[test]
fn a_refund_while_a_rule_is_set() {
    let change = |limiter: &Limiter, _| {
        limiter.set_rule(&KEY, greedy(NEW));
        vec![take(limiter, 2)]
    };
    race(change, |limiter, first| {
        limiter.refund(&KEY, first);
        vec![]
    });
}

/// Who learns of a change by other means than the limiter finds it made.
#[test]
fn a_change_is_made_when_it_returns() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let limiter = Arc::new(limiter(greedy(OLD), WhenFull::EvictNearestToFull));
        let changed = Arc::new(AtomicBool::new(false));
        let changer = thread::spawn({
            let (limiter, changed) = (limiter.clone(), changed.clone());
            move || {
                limiter.replace(greedy(NEW));
                changed.store(true, Ordering::Release);
            }
        });
        assert!(take(&limiter, 1).is_allowed());
        let changed = changed.load(Ordering::Acquire);
        assert!(!changed || take(&limiter, 1).limit() == NEW);
        changer.join().unwrap();
    });
}
