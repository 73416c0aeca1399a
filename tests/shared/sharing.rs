//! Limiters with one table: they share buckets, and each has its own lines and rules.

use std::{net::IpAddr, os::fd::OwnedFd, time::Duration};

use rustix::fs::{MemfdFlags, memfd_create};
use tollgate::{Bucket, KeyedLimiter, OpenError, Outcome, Quota, WhenFull, all, all_on_key};

use crate::directory::Directory;

const HOURLY: Quota = Quota::per_hour(10);

#[test]
fn charges_refunds_and_resets_hold_for_all() {
    let directory = Directory::new();
    let [one, other] = [HOURLY; 2].map(|quota| directory.open(quota));

    let decision = one.try_acquire("alice", 4);
    assert_eq!(other.look("alice", 1).remaining(), 6);
    assert_eq!(other.try_acquire("alice", 5).remaining(), 1);
    assert!(one.try_acquire("alice", 2).is_refused());
    assert_eq!(one.refund("alice", decision).ok(), Some(true));
    assert_eq!(other.available("alice"), 5);
    assert_eq!(other.available("bob"), 10);

    other.reset("alice");
    assert_eq!(one.available("alice"), 10);
    let stats = one.stats();
    assert_eq!((stats.live, other.stats().live), (0, 0));
    assert!(!stats.is_detached);
}

#[test]
fn a_refund_of_a_decision_before_a_reset_elsewhere_gives_nothing() {
    let directory = Directory::new();
    let [one, other] = [HOURLY; 2].map(|quota| directory.open(quota));
    let decision = one.try_acquire("alice", 4);
    other.reset("alice");
    assert!(other.try_acquire("alice", 10).is_allowed());
    assert_eq!(one.refund("alice", decision).ok(), Some(false));
    assert!(one.try_acquire("alice", 1).is_refused());
}

#[test]
fn a_table_outlives_its_processes() {
    let directory = Directory::new();
    assert!(directory.open(HOURLY).try_acquire("alice", 7).is_allowed());
    assert_eq!(directory.names(), ["limits", "limits.1", "limits.lock"]);
    assert_eq!(directory.open(HOURLY).available("alice"), 3);
}

#[test]
fn tokens_come_back_with_time() {
    let directory = Directory::new();
    let quota = Quota::per_second(50).with_capacity(1);
    let [one, other] = [quota; 2].map(|quota| directory.open(quota));
    let begin = std::time::Instant::now();
    for n in 0..20 {
        let limiter = [&one, &other][n % 2];
        while limiter.try_acquire("alice", 1).is_refused() {
            std::thread::yield_now();
        }
    }
    // The clock of the table against that of the test: never more than was refilled.
    assert!(begin.elapsed() >= Duration::from_millis(19 * 20));
}

#[tokio::test]
async fn callers_of_both_wait_for_tokens() {
    let directory = Directory::new();
    let quota = Quota::per_second(200).with_capacity(1);
    let [one, other] = [quota; 2].map(|quota| directory.open(quota));
    let waits = async |limiter: &KeyedLimiter<str>| {
        for _ in 0..10 {
            limiter.acquire("alice", 1).await.expect("tokens");
        }
    };
    tokio::join!(waits(&one), waits(&other));
}

#[test]
fn children_share_a_file_without_a_name() {
    let memory = memfd_create("limits", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    let open = |file: &OwnedFd| {
        let builder = KeyedLimiter::<str>::builder(HOURLY).max_keys(1000);
        builder.shared_fd(file.try_clone().unwrap()).open()
    };
    let [one, other] = [(); 2].map(|()| open(&memory).unwrap());
    assert!(one.try_acquire("alice", 4).is_allowed());
    assert_eq!(other.available("alice"), 6);
    assert!(
        rustix::fs::ftruncate(&memory, 0).is_err(),
        "its size is sealed"
    );
    assert!(matches!(
        one.try_replace(Quota::per_hour(20)),
        Err(OpenError::Unsupported { .. })
    ));
    assert_eq!(other.available("alice"), 6);

    let builder = KeyedLimiter::<str>::builder(Quota::per_hour(20)).max_keys(1000);
    let error = builder
        .shared_fd(memory)
        .replace_quota()
        .open()
        .unwrap_err();
    assert!(matches!(error, OpenError::OtherQuota { found } if found == HOURLY));
}

#[test]
fn keys_of_all_types_hash_alike() {
    let directory = Directory::new();
    fn check<K: std::hash::Hash + ?Sized>(directory: &Directory, name: &str, key: &K) {
        let open = || {
            let builder = KeyedLimiter::<K>::builder(HOURLY).max_keys(100);
            builder.shared_file(directory.file(name)).open().unwrap()
        };
        assert!(open().try_acquire(key, 3).is_allowed());
        assert_eq!(open().available(key), 7, "{name}");
    }
    check(&directory, "number", &7_u64);
    check(&directory, "text", "alice");
    check(&directory, "address", &IpAddr::from([192, 0, 2, 7]));
    check(&directory, "pair", &("alice", 7_u32));
}

#[test]
fn a_full_table_evicts_or_refuses_as_each_process_says() {
    let directory = Directory::new();
    let open = |when_full| {
        let builder = KeyedLimiter::<u64>::builder(HOURLY).max_keys(1);
        let builder = builder.shared_file(directory.path());
        builder.when_full(when_full).open().unwrap()
    };
    let evicting = open(WhenFull::EvictNearestToFull);
    let refusing = open(WhenFull::RefuseNewcomer);
    for key in 0..16 {
        assert!(refusing.try_acquire(&key, 1).is_allowed());
    }
    let refused = refusing.try_acquire(&16, 1);
    assert_eq!(refused.outcome(), Outcome::TableFull);
    assert!(evicting.try_acquire(&16, 1).is_allowed());
    let stats = refusing.stats();
    assert_eq!((stats.saturated, stats.evicted_early), (1, 1));
    assert_eq!(evicting.stats(), stats);
}

#[test]
fn several_limits_take_all_or_nothing() {
    let directory = Directory::new();
    let open = |name: &str, quota| {
        let builder = KeyedLimiter::<str>::builder(quota).max_keys(1000);
        builder.shared_file(directory.file(name)).open().unwrap()
    };
    let [hourly, daily] =
        [("hourly", HOURLY), ("daily", Quota::per_day(15))].map(|(name, quota)| open(name, quota));
    let [hourly_elsewhere, daily_elsewhere] =
        [("hourly", HOURLY), ("daily", Quota::per_day(15))].map(|(name, quota)| open(name, quota));
    let own = Bucket::new(Quota::per_hour(100));

    assert!(
        all([own.ask(1), hourly.ask("alice", 8), daily.ask("alice", 8)])
            .try_acquire()
            .is_allowed()
    );
    let both = all([
        daily_elsewhere.ask("alice", 3),
        hourly_elsewhere.ask("alice", 3),
    ]);
    assert!(both.try_acquire().is_refused());
    assert_eq!(
        (hourly.available("alice"), daily.available("alice")),
        (2, 7)
    );
    // One table, opened twice, is one bucket: their costs count together.
    let thrice = all([hourly.ask("alice", 1), hourly_elsewhere.ask("alice", 2)]);
    assert!(thrice.look().is_refused() && thrice.try_acquire().is_refused());
    assert!(
        all([hourly.ask("alice", 1), hourly_elsewhere.ask("alice", 1)])
            .try_acquire()
            .is_allowed()
    );
    assert_eq!(hourly.available("alice"), 0);
}

#[test]
fn a_second_file_has_the_seed_of_the_first() {
    let directory = Directory::new();
    let first = directory.open(HOURLY);
    let second = |like: &KeyedLimiter<str>, name| {
        let builder = KeyedLimiter::builder(Quota::per_day(50)).max_keys(1000);
        builder
            .hashed_like(like)
            .shared_file(directory.file(name))
            .open()
    };
    let both = second(&first, "second").unwrap();
    assert!(
        all_on_key("alice", [(&first, 2), (&both, 2)])
            .try_acquire()
            .is_allowed()
    );
    assert_eq!((first.available("alice"), both.available("alice")), (8, 48));
    // Opened again, also by a program that says nothing of the first.
    assert_eq!(second(&first, "second").unwrap().available("alice"), 48);

    let other = KeyedLimiter::<str>::builder(HOURLY)
        .shared_file(directory.file("other"))
        .open()
        .unwrap();
    assert!(matches!(
        second(&other, "second"),
        Err(OpenError::OtherSeed)
    ));
    let on_heap = KeyedLimiter::new(HOURLY, 1000);
    assert!(matches!(
        second(&on_heap, "third"),
        Err(OpenError::OtherSeed)
    ));
}
