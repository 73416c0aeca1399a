//! Copies of tables, and tables that are created from them.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt, PermissionsExt},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tollgate::{KeyedLimiter, OpenError, Quota};

use crate::{directory::Directory, table_words::TableWords};

const HOURLY: Quota = Quota::per_hour(10);

/// A table in one directory, and its copy in another one.
struct Pair {
    memory: Directory,
    disk: Directory,
}

impl Pair {
    fn new() -> Pair {
        let [memory, disk] = [(); 2].map(|()| Directory::new());
        Pair { memory, disk }
    }

    fn copy(&self) -> PathBuf {
        self.disk.file("copy")
    }

    fn try_open(&self, quota: Quota) -> Result<KeyedLimiter<str>, OpenError> {
        self.memory.builder(quota).restored_from(self.copy()).open()
    }

    fn open(&self) -> KeyedLimiter<str> {
        self.try_open(HOURLY).unwrap()
    }

    /// Removes the table, as a loss of power does.
    fn lose(&self) {
        for name in self.memory.names() {
            fs::remove_file(self.memory.file(&name)).unwrap();
        }
    }
}

#[test]
fn a_table_that_is_lost_is_as_it_was_at_the_copy() {
    let pair = Pair::new();
    let limiter = pair.open();
    limiter.try_acquire("alice", 4).ok().unwrap();
    limiter.replace(Quota::per_hour(20));
    limiter.try_acquire("alice", 7).ok().unwrap();
    limiter.set_rule("bob", Quota::per_hour(5));
    limiter.try_acquire("bob", 3).ok().unwrap();
    limiter.copy_to(pair.copy()).unwrap();
    let names = ["copy", "copy.2", "copy.lock", "copy.rule.1", "copy.rules.1"];
    assert_eq!(pair.disk.names(), names);
    limiter.try_acquire("alice", 5).ok().unwrap();
    drop(limiter);

    // While it is there, the copy does not count.
    let limiter = pair.try_open(Quota::per_hour(20)).unwrap();
    assert_eq!(limiter.available("alice"), 8);
    drop(limiter);
    pair.lose();
    let limiter = pair.try_open(Quota::per_hour(20)).unwrap();
    assert_eq!(
        (limiter.available("alice"), limiter.available("bob")),
        (13, 2)
    );
    assert_eq!(limiter.rule("bob"), Some(Quota::per_hour(5)));
    assert!(
        limiter.try_acquire("alice", 13).is_allowed()
            && limiter.try_acquire("alice", 1).is_refused()
    );

    // The next copy takes the place of the one before.
    limiter.remove_rule("bob");
    limiter.copy_to(pair.copy()).unwrap();
    assert_eq!(
        pair.disk.names(),
        ["copy", "copy.2", "copy.lock", "copy.rules.2"]
    );
    drop(limiter);
    pair.lose();
    let limiter = pair.try_open(Quota::per_hour(20)).unwrap();
    assert_eq!(
        (limiter.available("alice"), limiter.available("bob")),
        (0, 20)
    );
}

#[test]
fn without_a_copy_a_table_is_new_and_a_damaged_copy_is_an_error() {
    let pair = Pair::new();
    let limiter = pair.open();
    assert_eq!(limiter.available("alice"), 10);
    limiter.copy_to(pair.copy()).unwrap();
    drop(limiter);
    pair.lose();
    assert!(matches!(
        pair.try_open(Quota::per_hour(20)),
        Err(OpenError::OtherQuota { .. })
    ));
    pair.lose();
    let copy = OpenOptions::new().write(true).open(pair.copy()).unwrap();
    copy.write_all_at(&[7], 24).unwrap();
    assert!(matches!(
        pair.try_open(HOURLY),
        Err(OpenError::Damaged { .. })
    ));
    fs::set_permissions(pair.copy(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        pair.try_open(HOURLY),
        Err(OpenError::NotPrivate { .. })
    ));
}

#[test]
fn a_copy_is_made_under_load_and_grants_no_more_than_a_capacity() {
    let pair = Pair::new();
    let limiter = pair.open();
    let ends = AtomicBool::new(false);
    let keys: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            for key in keys.iter().cycle() {
                let _ = limiter.try_acquire(key, 1).is_allowed();
                if ends.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        for _ in 0..20 {
            limiter.copy_to(pair.copy()).unwrap();
        }
        ends.store(true, Ordering::Relaxed);
    });
    drop(limiter);
    pair.lose();
    let limiter = pair.open();
    for key in &keys {
        let granted = (0..20)
            .filter(|_| limiter.try_acquire(key, 1).is_allowed())
            .count();
        assert!(granted <= 10, "{granted}");
    }
}

#[test]
fn marks_and_latches_are_not_copied() {
    let pair = Pair::new();
    let limiter = pair.memory.builder(HOURLY).max_keys(1).open().unwrap();
    limiter.try_acquire("alice", 4).ok().unwrap();
    let words = TableWords::open(&pair.memory.file("limits.1"));
    words.write_latches(77);
    words.mark_all();
    limiter.copy_to(pair.copy()).unwrap();
    drop(limiter);
    pair.lose();
    let builder = pair
        .memory
        .builder(HOURLY)
        .max_keys(1)
        .restored_from(pair.copy());
    let limiter = builder.open().unwrap();
    assert!((0..16).all(|key| limiter.try_acquire(&key.to_string(), 1).is_allowed()));
    let stats = limiter.stats();
    assert_eq!((stats.stolen, stats.undone, stats.evicted_early), (0, 0, 0));
}

#[test]
fn a_copy_that_is_opened_counts_beside_its_table() {
    let pair = Pair::new();
    let limiter = pair.open();
    limiter.copy_to(pair.copy()).unwrap();
    let builder = KeyedLimiter::<str>::builder(HOURLY).max_keys(1000);
    let copy = builder.shared_file(pair.copy()).open().unwrap();
    assert!(
        tollgate::all([limiter.ask("alice", 7), copy.ask("alice", 7)])
            .try_acquire()
            .is_allowed()
    );
    assert_eq!(
        (limiter.available("alice"), copy.available("alice")),
        (3, 3)
    );
}

#[test]
fn only_a_table_with_a_path_is_copied() {
    let pair = Pair::new();
    let on_heap = KeyedLimiter::<str>::new(HOURLY, 100);
    let error = on_heap.copy_to(pair.copy()).unwrap_err();
    assert!(error.to_string().contains("got one on the heap"), "{error}");
    let limiter = pair.open();
    assert!(matches!(
        limiter.copy_to("/proc/copy"),
        Err(OpenError::FileSystem { .. })
    ));
    let error = limiter.copy_to(pair.memory.path()).unwrap_err();
    assert!(
        error.to_string().contains("got that of a table in use"),
        "{error}"
    );
    limiter.try_acquire("alice", 1).ok().unwrap();
    assert_eq!(pair.open().available("alice"), 9);
}
