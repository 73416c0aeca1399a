//! Public API of `KeyedLimiter`, in addition to the module `behaviour`, which tests every backend.

use std::{
    collections::hash_map::RandomState,
    hash::Hash,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tollgate::{KeyedLimiter, ManualClock, Outcome, Quota, WhenFull};

const SECOND: Duration = Duration::from_secs(1);

fn limiter<K: Hash + ?Sized>(quota: Quota, max_keys: usize) -> (KeyedLimiter<K>, ManualClock) {
    let clock = ManualClock::new();
    (
        KeyedLimiter::builder(quota)
            .max_keys(max_keys)
            .clock(clock.clone())
            .build()
            .unwrap(),
        clock,
    )
}

#[test]
fn keys_do_not_share_buckets() {
    let (limiter, _) = limiter(Quota::per_second(1).with_capacity(2), 1000);
    for key in 0..500_u32 {
        assert!(limiter.try_acquire(&key, 2).is_allowed(), "{key}");
    }
    for key in 0..500_u32 {
        assert!(limiter.try_acquire(&key, 1).is_refused(), "{key}");
    }
    assert_eq!(limiter.stats().live, 500);
}

#[test]
fn any_hashable_value_is_a_key() {
    fn one_each<K: Hash + ?Sized>(key: &K) {
        let (limiter, _) = limiter(Quota::per_second(1), 1000);
        assert!(limiter.try_acquire(key, 1).is_allowed());
        assert!(limiter.try_acquire(key, 1).is_refused());
    }
    one_each(&[1_u8, 2, 3][..]);
    one_each(&IpAddr::from([127, 0, 0, 1]));
    one_each(&("tenant", 7));
    let (limiter, _) = limiter(Quota::per_second(1), 1000);
    assert!(limiter.try_acquire("alice", 1).is_allowed());
    assert!(
        limiter.try_acquire(&String::from("alice"), 1).is_refused(),
        "a String is the key of its str"
    );
}

/// Keys are borrowed, for any time, by a limiter that outlives them.
#[test]
fn keys_may_borrow() {
    let (limiter, _): (KeyedLimiter<(&'static str, u32)>, _) = limiter(Quota::per_second(1), 10);
    for expected in [true, false] {
        let name = String::from("tenant");
        let decision = limiter.try_acquire(&(name.as_str(), 7), 1);
        assert_eq!(decision.is_allowed(), expected);
    }
}

#[test]
fn a_refilled_bucket_makes_room_without_early_eviction() {
    let (limiter, clock) = limiter(Quota::per_second(1).with_capacity(10), 100);
    let slots = limiter.stats().slots as u64;
    for round in 0..50_u64 {
        for key in 0..slots / 3 {
            assert_eq!(limiter.try_acquire(&(round, key), 1).remaining(), 9);
        }
        clock.advance(SECOND);
    }
    assert_eq!(
        (limiter.stats().evicted_early, limiter.stats().live),
        (0, 0)
    );
}

#[test]
fn a_flood_evicts_the_bucket_nearest_to_full_and_counts_evictions() {
    let (limiter, _) = limiter(Quota::per_hour(10), 100);
    assert!(limiter.try_acquire(&u32::MAX, 10).is_allowed());
    for key in 0..100_000_u32 {
        assert!(limiter.try_acquire(&key, 1).is_allowed());
    }
    assert!(
        limiter.try_acquire(&u32::MAX, 1).is_refused(),
        "a flood must not evict a throttled key"
    );
    let stats = limiter.stats();
    assert!(stats.evicted_early > 90_000, "{stats:?}");
    assert_eq!(stats.live, stats.slots);
}

#[test]
fn a_full_table_can_refuse_new_keys_instead() {
    let clock = ManualClock::new();
    let limiter = KeyedLimiter::builder(Quota::per_second(1))
        .max_keys(1)
        .when_full(WhenFull::RefuseNewcomer)
        .clock(clock.clone())
        .build()
        .unwrap();
    let refused = (0..)
        .map(|key: u32| limiter.try_acquire(&key, 1))
        .find(|decision| decision.is_refused())
        .unwrap();
    assert_eq!(refused.outcome(), Outcome::TableFull);
    assert_eq!(refused.retry_after(), Some(SECOND));
    assert_eq!(limiter.stats().saturated, 1);
    clock.advance(SECOND);
    assert!(limiter.try_acquire(&u32::MAX, 1).is_allowed());
}

#[test]
fn a_table_for_one_key_works() {
    let (limiter, _) = limiter(Quota::per_second(1), 1);
    assert!(limiter.try_acquire("a", 1).is_allowed());
    assert!(limiter.try_acquire("a", 1).is_refused());
}

#[test]
fn unknown_keys_that_take_nothing_occupy_no_slot() {
    let (limiter, _) = limiter(Quota::per_second(5), 100);
    assert_eq!(limiter.available("unknown"), 5);
    assert_eq!(
        limiter.try_acquire("unknown", 6).outcome(),
        Outcome::CostAboveCapacity
    );
    assert_eq!(limiter.stats().live, 0);
}

#[test]
fn a_batch_decides_like_single_calls() {
    let (batch, _) = limiter(Quota::per_second(5), 1000);
    let (single, _) = limiter(Quota::per_second(5), 1000);
    let requests: Vec<(u32, u32)> = (0..100).map(|n| (n % 7, n % 4)).collect();
    let mut decided = 0;
    batch.try_acquire_batch(&requests, |n, decision| {
        assert_eq!(n, decided);
        decided += 1;
        let expected = single.try_acquire(&requests[n].0, requests[n].1);
        assert_eq!(
            (decision.outcome(), decision.remaining()),
            (expected.outcome(), expected.remaining())
        );
    });
    assert_eq!(decided, requests.len());
}

#[test]
fn another_hash_function_can_be_set() {
    let limiter = KeyedLimiter::builder(Quota::per_second(1))
        .hasher(RandomState::new())
        .build()
        .unwrap();
    assert!(limiter.try_acquire("a", 1).is_allowed());
    assert!(limiter.try_acquire("a", 1).is_refused());
}

/// Threads contend for the same few keys; each key admits exactly its capacity.
#[test]
fn threads_take_exactly_the_capacity() {
    let (limiter, _) = limiter(Quota::per_hour(1000), 500);
    let limiter = Arc::new(limiter);
    let allowed: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..20_000_u64)
                        .filter(|n| limiter.try_acquire(&(n % 10), 1).is_allowed())
                        .count() as u64
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(allowed, 10 * 1000);
}

/// Every decision is made entirely under one of the quotas, also during a change.
#[test]
fn a_quota_replaced_under_traffic_is_never_seen_in_part() {
    let (limiter, _) = limiter(Quota::per_hour(10), 100);
    thread::scope(|scope| {
        let limiter = &limiter;
        let workers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        let decision = limiter.try_acquire("a", 1);
                        assert!([10, 25].contains(&decision.limit()));
                        assert!(decision.remaining() < decision.limit());
                    }
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            limiter.replace(Quota::per_hour(25));
            limiter.replace(Quota::per_hour(10));
        }
    });
}

#[test]
fn an_update_with_several_changes_is_atomic() {
    let (limiter, _) = limiter(Quota::per_day(1), 1000);
    limiter.set_rule("gone", Quota::per_day(9));
    limiter.update(None, [("alice", Some(Quota::per_day(5))), ("gone", None)]);
    assert_eq!(
        (limiter.rule("alice"), limiter.rule("gone")),
        (Some(Quota::per_day(5)), None)
    );
    assert!(
        limiter.try_acquire("bob", 1).is_allowed() && limiter.try_acquire("alice", 5).is_allowed()
    );
    limiter.update(None, [("bob", Some(Quota::per_day(7)))]);
    assert_eq!(
        (limiter.available("alice"), limiter.available("bob")),
        (0, 7),
        "other keys keep their buckets"
    );
    limiter.update(Some(Quota::per_day(2)), [("bob", None)]);
    let left = [
        limiter.available("alice"),
        limiter.available("bob"),
        limiter.available("carol"),
    ];
    assert_eq!(left, [5, 2, 2], "a new default quota refills all buckets");

    // The default and both rules have equal quotas at all times.
    limiter.update(
        Some(Quota::per_day(100)),
        [
            ("alice", Some(Quota::per_day(100))),
            ("bob", Some(Quota::per_day(100))),
        ],
    );
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (limiter, done) = (&limiter, &done);
        for _ in 0..2 {
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let mut limits = Vec::new();
                    limiter.try_acquire_batch(
                        &[("alice", 0), ("carol", 0), ("bob", 0)],
                        |_, decision| limits.push(decision.limit()),
                    );
                    assert!(limits.iter().all(|limit| *limit == limits[0]), "{limits:?}");
                }
            });
        }
        for number in 1..2000 {
            let quota = Quota::per_day(number);
            limiter.update(Some(quota), [("alice", Some(quota)), ("bob", Some(quota))]);
        }
        done.store(true, Ordering::Relaxed);
    });
}
