//! Quotas of single keys, which hold for all processes, and pauses, which do not.

use std::{fs, sync::Barrier, thread, time::Duration};

use tollgate::{KeyedLimiter, OpenError, Quota, all};

use crate::directory::Directory;

const HOURLY: Quota = Quota::per_hour(10);

fn pair(directory: &Directory) -> [KeyedLimiter<str>; 2] {
    [HOURLY; 2].map(|quota| directory.open(quota))
}

#[test]
fn a_rule_holds_for_all_from_the_next_call_on() {
    let directory = Directory::new();
    let [one, other] = pair(&directory);
    one.try_acquire("alice", 4).ok().unwrap();
    other.set_rule("alice", Quota::per_hour(100));
    assert_eq!(
        (one.rule("alice"), one.rule("bob")),
        (Some(Quota::per_hour(100)), None)
    );
    assert_eq!(one.try_acquire("alice", 60).remaining(), 40);
    assert_eq!(other.look("alice", 1).remaining(), 40);
    assert_eq!((one.available("bob"), other.available("bob")), (10, 10));
    // The rule in force changes nothing.
    one.set_rule("alice", Quota::per_hour(100));
    assert_eq!(other.available("alice"), 40);
    one.update(
        None,
        [
            ("alice", Some(Quota::per_hour(100))),
            ("carol", Some(Quota::per_hour(1))),
        ],
    );
    assert_eq!(
        (other.available("alice"), other.available("carol")),
        (40, 1)
    );
    // Another one fills its bucket.
    one.set_rule("alice", Quota::per_hour(50));
    assert_eq!(other.available("alice"), 50);

    assert!(other.remove_rule("alice"));
    assert!(!one.remove_rule("alice"));
    assert_eq!(
        (one.rule("alice"), one.available("alice")),
        (None, 6),
        "its bucket of before"
    );
}

#[test]
fn rules_outlive_their_processes_and_leave_no_files() {
    let directory = Directory::new();
    let limiter = directory.open(HOURLY);
    limiter.update(
        None,
        [
            ("alice", Some(Quota::per_hour(100))),
            ("bob", Some(Quota::per_hour(5))),
        ],
    );
    limiter.try_acquire("alice", 60).ok().unwrap();
    drop(limiter);
    let names = [
        "limits",
        "limits.1",
        "limits.lock",
        "limits.rule.1",
        "limits.rule.2",
        "limits.rules.1",
    ];
    assert_eq!(directory.names(), names);

    let limiter = directory.open(HOURLY);
    assert_eq!(
        (limiter.available("alice"), limiter.available("bob")),
        (40, 5)
    );
    limiter.update(Some(Quota::per_hour(20)), [("bob", None)]);
    // A new default fills all buckets, those of rules too.
    assert_eq!(
        (limiter.available("alice"), limiter.available("bob")),
        (100, 20)
    );
    assert_eq!(
        directory.names(),
        [
            "limits",
            "limits.2",
            "limits.lock",
            "limits.rule.3",
            "limits.rules.2"
        ]
    );
    limiter.remove_rule("alice");
    assert_eq!(
        directory.names(),
        ["limits", "limits.2", "limits.lock", "limits.rules.3"]
    );
}

#[test]
fn decisions_under_a_rule_can_be_refunded_until_it_changes() {
    let directory = Directory::new();
    let [one, other] = pair(&directory);
    other.set_rule("alice", Quota::per_hour(100));
    let [first, second] = [10, 20].map(|cost| one.try_acquire("alice", cost));
    assert_eq!(one.refund("alice", first).ok(), Some(true));
    assert_eq!(other.available("alice"), 80);
    let without_rule = one.try_acquire("carol", 2);
    // Another rule leaves this one, with its bucket, as it is, and the table.
    other.set_rule("bob", Quota::per_hour(5));
    assert_eq!(one.refund("carol", without_rule).ok(), Some(true));
    assert_eq!(one.refund("alice", second).ok(), Some(true));
    let third = one.try_acquire("alice", 30);
    other.set_rule("alice", Quota::per_hour(50));
    assert_eq!(one.refund("alice", third).ok(), Some(false));
    assert_eq!(one.available("alice"), 50);
    one.try_acquire("alice", 5).ok().unwrap();
    other.reset("alice");
    assert_eq!(one.available("alice"), 50);
}

#[test]
fn several_limits_with_rules_take_all_or_nothing() {
    let directory = Directory::new();
    let [one, other] = pair(&directory);
    // The table knows both keys.
    assert!(
        ["alice", "bob"]
            .iter()
            .all(|key| one.try_acquire(key, 1).is_allowed())
    );
    one.set_rule("alice", Quota::per_hour(3));
    let both = all([other.ask("alice", 2), other.ask("bob", 2)]);
    assert!(both.try_acquire().is_allowed());
    assert!(
        all([other.ask("bob", 2), other.ask("alice", 2)])
            .try_acquire()
            .is_refused()
    );
    assert_eq!((one.available("alice"), one.available("bob")), (1, 7));
    // One bucket, opened twice.
    assert!(
        all([one.ask("alice", 1), other.ask("alice", 1)])
            .look()
            .is_refused()
    );
}

#[test]
fn changes_of_several_processes_at_once_are_all_made() {
    const EACH: usize = 8;
    let directory = Directory::new();
    let limiters = [HOURLY; 4].map(|quota| directory.open(quota));
    let barrier = Barrier::new(limiters.len());
    thread::scope(|scope| {
        for (process, limiter) in limiters.iter().enumerate() {
            let barrier = &barrier;
            scope.spawn(move || {
                for key in 0..EACH {
                    barrier.wait();
                    limiter.set_rule(&format!("{process}-{key}"), Quota::per_hour(77));
                }
            });
        }
    });
    for limiter in &limiters {
        for (process, key) in (0..4).flat_map(|process| (0..EACH).map(move |key| (process, key))) {
            assert_eq!(limiter.available(&format!("{process}-{key}")), 77);
        }
    }
}

#[test]
fn there_are_only_so_many_rules() {
    let directory = Directory::new();
    let limiter = directory.open(HOURLY);
    let names: Vec<_> = (0..1001).map(|number| number.to_string()).collect();
    let rules = |count: usize| {
        names[..count]
            .iter()
            .map(|name| (name.as_str(), Some(Quota::per_day(5))))
    };
    assert!(matches!(
        limiter.try_update(None, rules(1001)),
        Err(OpenError::TooManyRules { most: 1000 })
    ));
    assert_eq!(limiter.rule("0"), None, "nothing has changed");
    limiter.try_update(None, rules(1000)).unwrap();
    assert_eq!(limiter.available("999"), 5);
    limiter
        .try_update(None, names.iter().map(|name| (name.as_str(), None)))
        .unwrap();
    assert_eq!(limiter.available("999"), 10);
}

#[test]
fn a_pause_is_that_of_one_process() {
    let directory = Directory::new();
    let [one, other] = pair(&directory);
    one.set_rule("alice", Quota::per_hour(100));
    for key in ["alice", "bob"] {
        other.pause_for(key, Duration::from_secs(60)).unwrap();
        assert!(other.try_acquire(key, 1).is_refused());
        assert!(one.try_acquire(key, 1).is_allowed());
        let refused = other.try_acquire(key, 1);
        assert!(
            refused.retry_after() > Some(Duration::from_secs(50)),
            "{refused}"
        );
    }
    assert_eq!(other.look("alice", 1).limit(), 100, "of its own quota");
    // It outlives changes that other processes make.
    one.replace(Quota::per_hour(20));
    assert!(other.try_acquire("bob", 1).is_refused());
    one.set_rule("carol", Quota::per_hour(1));
    assert!(other.try_acquire("alice", 1).is_refused() && other.try_acquire("bob", 1).is_refused());
    assert_eq!((other.available("carol"), one.available("bob")), (1, 20));
}

#[test]
fn after_a_pause_a_key_has_the_bucket_of_all_again() {
    let directory = Directory::new();
    let [one, other] = pair(&directory);
    for limiter in [&one, &other] {
        limiter
            .pause_for("alice", Duration::from_millis(20))
            .unwrap();
    }
    let (ends, mut granted) = (std::time::Instant::now() + Duration::from_millis(60), 0);
    while std::time::Instant::now() < ends {
        granted += [&one, &other]
            .iter()
            .filter(|limiter| limiter.try_acquire("alice", 1).is_allowed())
            .count();
    }
    assert_eq!(granted, 10);
    // A rule of another process is not hidden by what is left of the pause.
    one.set_rule("alice", Quota::per_hour(3));
    assert_eq!((one.available("alice"), other.available("alice")), (3, 3));
    assert!(one.try_acquire("alice", 2).is_allowed());
    assert_eq!(other.available("alice"), 1);
}

#[test]
fn a_table_without_a_rules_file_is_not_opened() {
    let directory = Directory::new();
    let limiter = directory.open(HOURLY);
    limiter.set_rule("alice", Quota::per_hour(1));
    let other = directory.open(HOURLY);
    fs::rename(directory.file("limits.rule.1"), directory.file("hidden")).unwrap();
    let error = directory.try_open(HOURLY).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    // One that has it mapped goes on; a change that it cannot follow shows in its statistics.
    assert_eq!(
        (other.available("alice"), other.stats().is_outdated),
        (1, false)
    );
    limiter.set_rule("bob", Quota::per_hour(2));
    fs::rename(directory.file("limits.rule.2"), directory.file("hidden")).unwrap();
    assert_eq!(
        (other.available("bob"), other.stats().is_outdated),
        (10, true)
    );
    fs::rename(directory.file("hidden"), directory.file("limits.rule.2")).unwrap();
    assert_eq!(
        (other.available("bob"), other.stats().is_outdated),
        (2, false)
    );
}

#[test]
fn a_damaged_list_is_refused() {
    let directory = Directory::new();
    let limiter = directory.open(HOURLY);
    limiter.set_rule("alice", Quota::per_hour(100));
    drop(limiter);
    let list = directory.file("limits.rules.1");
    let good = fs::read(&list).unwrap();
    for at in (0..64).chain([4096, 4104, 4112, 4120, good.len() - 1]) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&list, bytes).unwrap();
        let error = directory.try_open(HOURLY).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{at}: {error}");
    }
    for length in [0, 8, 4095, 4096, good.len() - 8] {
        fs::write(&list, &good[..length]).unwrap();
        let error = directory.try_open(HOURLY).unwrap_err();
        assert!(
            matches!(error, OpenError::Damaged { .. } | OpenError::Io { .. }),
            "{length}: {error}"
        );
    }
    fs::write(&list, good).unwrap();
    assert_eq!(directory.open(HOURLY).available("alice"), 100);
}
