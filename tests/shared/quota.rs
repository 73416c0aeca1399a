//! Changes of the default quota, which reach all processes.

use std::{fs, sync::Barrier, thread};

use tollgate::{KeyedLimiter, Quota};

use crate::directory::Directory;

#[test]
fn a_new_quota_holds_for_all_from_the_next_call_on() {
    let directory = Directory::new();
    let [one, other] = [Quota::per_hour(10); 2].map(|quota| directory.open(quota));
    one.try_acquire("alice", 4).ok().unwrap();
    let decision = other.try_acquire("alice", 4);

    one.replace(Quota::per_hour(20));
    assert_eq!(other.quota(), Quota::per_hour(20));
    assert_eq!(other.try_acquire("alice", 5).remaining(), 15);
    assert_eq!(one.available("alice"), 15);
    assert_eq!(
        other.refund("alice", decision).ok(),
        Some(false),
        "of the old table"
    );
    assert_eq!(directory.names(), ["limits", "limits.2", "limits.lock"]);

    // A quota that is in force changes nothing.
    other.replace(Quota::per_hour(20));
    one.try_replace(Quota::per_hour(20)).unwrap();
    assert_eq!((one.available("alice"), other.available("alice")), (15, 15));
    other.replace_and_reset(Quota::per_hour(20));
    assert_eq!((one.available("alice"), other.available("alice")), (20, 20));
    assert_eq!(directory.names(), ["limits", "limits.3", "limits.lock"]);
    assert_eq!(directory.open(Quota::per_hour(20)).available("alice"), 20);
}

#[test]
fn batches_and_looks_see_a_new_quota() {
    let directory = Directory::new();
    let [one, other] = [Quota::per_hour(10); 2].map(|quota| directory.open(quota));
    assert_eq!(other.look("alice", 1).remaining(), 10);
    one.replace(Quota::per_hour(20));
    assert_eq!(other.look("alice", 1).remaining(), 20);
    one.replace(Quota::per_hour(30));
    let mut seen = Vec::new();
    let requests = vec![("alice", 1); 40];
    other.try_acquire_batch(&requests, |n, decision| {
        seen.push((n, decision.is_allowed()))
    });
    let expected: Vec<_> = (0..40).map(|n| (n, n < 30)).collect();
    assert_eq!(seen, expected);
    one.replace(Quota::per_hour(40));
    let both = tollgate::all([other.ask("alice", 35), one.ask("bob", 35)]);
    assert!(both.try_acquire().is_allowed());
    assert_eq!((one.available("alice"), one.available("bob")), (5, 5));
}

#[test]
fn processes_that_change_the_quota_at_once_agree_in_the_end() {
    let directory = Directory::new();
    let limiters = [Quota::per_hour(10); 4].map(|quota| directory.open(quota));
    thread::scope(|scope| {
        for (n, limiter) in (0_u32..).zip(&limiters) {
            scope.spawn(move || {
                for step in 0..20 {
                    limiter.replace(Quota::per_hour(100 + step * 4 + n));
                    let _ = limiter.try_acquire("alice", 1).is_allowed();
                }
            });
        }
    });
    let quotas = limiters.each_ref().map(KeyedLimiter::quota);
    assert!(quotas.iter().all(|quota| *quota == quotas[0]), "{quotas:?}");
    limiters[0].replace(Quota::per_hour(10));
    let allowed = |limiter: &KeyedLimiter<str>| {
        (0..5)
            .filter(|_| limiter.try_acquire("alice", 1).is_allowed())
            .count()
    };
    let sum: usize = limiters.iter().map(allowed).sum();
    assert_eq!(sum, 10);
    assert_eq!(directory.names().len(), 3, "{:?}", directory.names());
}

#[test]
fn processes_that_set_one_quota_at_once_fill_the_buckets_once() {
    const ROUNDS: u32 = 50;
    let directory = Directory::new();
    let limiters = [Quota::per_hour(10); 4].map(|quota| directory.open(quota));
    let barrier = Barrier::new(limiters.len());
    thread::scope(|scope| {
        for limiter in &limiters {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    barrier.wait();
                    limiter.replace(Quota::per_hour(100 + round));
                }
            });
        }
    });
    let table = format!("limits.{}", 1 + ROUNDS);
    assert_eq!(directory.names(), ["limits", &table, "limits.lock"]);
}

#[test]
fn a_table_that_cannot_be_mapped_is_tried_again() {
    let directory = Directory::new();
    let [one, other] = [Quota::per_hour(10); 2].map(|quota| directory.open(quota));
    other.try_acquire("alice", 4).ok().unwrap();
    one.replace(Quota::per_hour(20));
    let (table, hidden) = (directory.file("limits.2"), directory.file("hidden"));
    fs::rename(&table, &hidden).unwrap();
    for left in [5, 4] {
        assert_eq!(
            other.try_acquire("alice", 1).remaining(),
            left,
            "goes on with the old table"
        );
    }
    let asks = tollgate::all([other.ask("alice", 1), one.ask("bob", 1)]);
    assert!(asks.try_acquire().is_allowed());
    fs::rename(&hidden, &table).unwrap();
    assert_eq!(other.try_acquire("alice", 1).remaining(), 19);
}
