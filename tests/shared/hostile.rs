//! Tables whose words another program writes: no call panics, also with checks of overflow, and each
//! ends.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use proptest::prelude::*;
use tollgate::{KeyedLimiter, OpenError, Outcome, Quota, WhenFull};

use crate::{
    directory::Directory,
    table_words::{HEADER, TableWords},
};

fn open(directory: &Directory, quota: Quota, when_full: WhenFull) -> KeyedLimiter<u64> {
    let builder = KeyedLimiter::builder(quota)
        .max_keys(1)
        .when_full(when_full);
    builder.shared_file(directory.path()).open().unwrap()
}

fn table(directory: &Directory) -> TableWords {
    TableWords::open(&directory.file("limits.1"))
}

fn quota() -> impl Strategy<Value = Quota> {
    let capacity = prop_oneof![1..=3_u32, 1..=u32::MAX, Just(u32::MAX)];
    let seconds = prop_oneof![1..=5_u64, 1..=3_000_000_000_u64];
    (capacity, seconds, any::<bool>()).prop_filter_map(
        "a quota",
        |(capacity, seconds, interval)| {
            let period = Duration::from_secs(seconds);
            if interval {
                Quota::try_interval(capacity, period).ok()
            } else {
                Quota::new(capacity, u64::from(capacity), period).ok()
            }
        },
    )
}

fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0..64_u32).prop_map(|bits| u64::MAX << bits),
        (0..64_u32).prop_map(|bits| u64::MAX >> bits),
        (0..64_u32).prop_map(|bit| 1 << bit),
        Just(0),
    ]
}

/// Makes every kind of call.
fn call_all(limiter: &KeyedLimiter<u64>) {
    for key in 0..20 {
        let decision = limiter.try_acquire(&key, 1);
        let _ = (
            decision.retry_after(),
            decision.reset_after(),
            decision.to_string(),
        );
        let _ = limiter.look(&key, u32::MAX).retry_after();
        let reserved = limiter.reserve(&key, 1, Duration::MAX);
        let _ = (reserved.wait(), reserved.to_string());
        assert!(limiter.refund(&key, reserved).is_ok() && limiter.refund(&key, decision).is_ok());
        let both = tollgate::all([limiter.ask(&key, 1), limiter.ask(&(key + 1), 1)]);
        let _ = both.try_acquire().is_allowed();
    }
    limiter.try_acquire_batch(&[(1, 1), (2, u32::MAX), (3, 0)], |_, _| {});
    let _ = limiter.stats();
    (0..20).for_each(|key| limiter.reset(&key));
    let _ = limiter.try_acquire(&1, 1).is_allowed();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_words_are_a_table(
        quota in quota(),
        refuses in any::<bool>(),
        words in prop::collection::vec(word(), 200),
        keeps_tags in any::<bool>(),
    ) {
        let directory = Directory::new();
        let when_full = if refuses { WhenFull::RefuseNewcomer } else { WhenFull::EvictNearestToFull };
        let limiter = open(&directory, quota, when_full);
        (0..10).for_each(|key| assert!(limiter.try_acquire(&key, 1).is_allowed()));
        let table = table(&directory);
        let first = if keeps_tags { table.slots() } else { 0 };
        for (n, &value) in (first..table.count()).zip(words.iter().cycle()) {
            if !keeps_tags || n % 2 == 1 {
                table.write(n, value);
            }
        }
        call_all(&limiter);
        // The next process to open it alone repairs it: keys have no more than their capacity.
        drop(limiter);
        let limiter = open(&directory, quota, when_full);
        call_all(&limiter);
    }

    #[test]
    fn any_bytes_of_a_file_are_a_table_or_an_error(
        changes in prop::collection::vec((0..1100_usize, any::<u8>()), 1..20),
        cut in prop::option::of(0..4200_usize),
        is_control in any::<bool>(),
    ) {
        let directory = Directory::new();
        drop(open(&directory, Quota::per_hour(10), WhenFull::default()));
        let path = directory.file(if is_control { "limits" } else { "limits.1" });
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(cut.unwrap_or(usize::MAX));
        fs::write(&path, bytes).unwrap();
        let builder = KeyedLimiter::<u64>::builder(Quota::per_hour(10)).max_keys(1);
        match builder.shared_file(directory.path()).open() {
            Ok(limiter) => call_all(&limiter),
            Err(OpenError::Busy) => prop_assert!(false, "busy"),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn a_repaired_table_grants_what_its_quota_says() {
    let quota = Quota::per_hour(10);
    let directory = Directory::new();
    let limiter = open(&directory, quota, WhenFull::default());
    assert!(limiter.try_acquire(&1, 1).is_allowed());
    drop(limiter);
    let words = table(&directory);
    // Stamps far ahead, more spent than is possible, all latches closed, all tags marked.
    for word in (words.slots()..words.count()).step_by(2) {
        words.write(word + 1, u64::MAX);
    }
    words.mark_all();
    words.write_latches(77);

    let limiter = open(&directory, quota, WhenFull::RefuseNewcomer);
    let refused = limiter.try_acquire(&1, 1);
    let wait = refused.retry_after().expect("a time");
    // Empty as of now, with a debt of one capacity.
    assert!(
        wait > Duration::from_secs(3600) && wait <= Duration::from_secs(3960),
        "{wait:?}"
    );
    assert_eq!(limiter.try_acquire(&2, 1).outcome(), Outcome::TableFull);
    let stats = limiter.stats();
    assert_eq!((stats.stolen, stats.undone), (0, 0), "repaired before");
}

#[test]
fn a_writer_that_never_rests_delays_an_insert_only_so_long() {
    let directory = Directory::new();
    let limiter = open(&directory, Quota::per_hour(10), WhenFull::default());
    let words = table(&directory);
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for ticket in (1..).step_by(2) {
                words.write_latches(ticket);
                if ends.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        // Each call ends. Some are refused, or all fit in between.
        let outcomes: Vec<_> = (0..20)
            .map(|key| limiter.try_acquire(&key, 1).outcome())
            .collect();
        ends.store(true, Ordering::Relaxed);
        let full = outcomes
            .iter()
            .filter(|outcome| **outcome == Outcome::TableFull)
            .count();
        assert_eq!(limiter.stats().saturated, full as u64, "{outcomes:?}");
    });
}

#[test]
fn a_file_that_is_too_short_for_its_table_is_never_mapped() {
    let directory = Directory::new();
    let limiter = open(&directory, Quota::per_hour(10), WhenFull::default());
    drop(limiter);
    let length = HEADER + table(&directory).count() * 8;
    for shorter in [HEADER, length - 4096, length - 8, length - 1] {
        table(&directory).file().set_len(shorter).unwrap();
        let builder = KeyedLimiter::<u64>::builder(Quota::per_hour(10)).max_keys(1);
        let error = builder.shared_file(directory.path()).open().unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    }
}
