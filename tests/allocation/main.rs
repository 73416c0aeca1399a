//! Decisions on buckets and known keys allocate nothing. A program of its own: the count is that of
//! all threads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;

use cap::Cap;
use tollgate::{Ask, Bucket, KeyedLimiter, Quota, all, all_of, all_on_key};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Asserts that a call allocates nothing once it has been made.
fn assert_allocates_nothing(what: &str, call: impl Fn()) {
    call();
    let bytes = || {
        let before = ALLOCATOR.total_allocated();
        call();
        ALLOCATOR.total_allocated() - before
    };
    // Another thread of the test runner may allocate meanwhile, but not each time.
    let least = (0..10).map(|_| bytes()).min();
    assert_eq!(least, Some(0), "{what}");
}

/// *Caught:* a list of the parts.
#[test]
fn decisions_allocate_nothing() {
    let buckets = [(); 8].map(|()| Bucket::new(Quota::per_hour(1000)));
    let empty = Bucket::new(Quota::per_hour(1));
    assert!(empty.try_acquire(1).is_allowed());
    let burst = KeyedLimiter::<str>::new(Quota::per_hour(1000), 100);
    let builder = KeyedLimiter::builder(Quota::per_hour(2000)).max_keys(100);
    let hourly = builder.hashed_like(&burst).build().unwrap();
    let ruled = KeyedLimiter::<str>::new(Quota::per_hour(1000), 100);
    ruled.set_rule("alice", Quota::per_hour(3000));

    let [one, other, ..] = &buckets;
    let keys = || [burst.ask("alice", 1), hourly.ask("bob", 2)];
    assert_allocates_nothing("a bucket", || assert!(one.try_acquire(1).is_allowed()));
    assert_allocates_nothing("a key", || {
        assert!(burst.try_acquire("alice", 1).is_allowed());
    });
    assert_allocates_nothing("two buckets", || {
        let both = all([other.ask(1), one.ask(1)]).try_acquire();
        assert!(both.is_allowed());
        assert!(both.refund());
    });
    assert_allocates_nothing("a bucket twice", || {
        assert!(all([one.ask(1), one.ask(2)]).try_acquire().is_allowed());
    });
    assert_allocates_nothing("keys, a rule and a bucket", || {
        let [alice, bob] = keys();
        let four = all([one.ask(1), alice, bob, ruled.ask("alice", 1)]);
        assert!(four.look().is_allowed() && four.try_acquire().is_allowed());
    });
    assert_allocates_nothing("limits on one key", || {
        let both = all_on_key("alice", [(&burst, 1), (&hourly, 1)]);
        assert!(both.try_acquire().is_allowed());
    });
    assert_allocates_nothing("eight buckets", || {
        let asks: [Ask<'_>; 8] = [3, 1, 7, 0, 5, 2, 6, 4].map(|n: usize| buckets[n].ask(1));
        assert!(all_of(&asks).unwrap().try_acquire().is_allowed());
    });
    assert_allocates_nothing("a refusal", || {
        let [alice, bob] = keys();
        let refused = all([alice, bob, empty.ask(1)]).try_acquire();
        assert_eq!(refused.refused_by(), Some(2));
    });
}
