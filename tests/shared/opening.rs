//! Files that are refused, and files that an interrupted process has left.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::Path,
    sync::Arc,
    thread,
};

use rustix::fs::{FlockOperation, flock};
use tollgate::{BuildError, Clock, KeyedLimiter, OpenError, Quota};

use crate::{control_page, directory::Directory};

const HOURLY: Quota = Quota::per_hour(10);

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn error(directory: &Directory) -> OpenError {
    directory.try_open(HOURLY).unwrap_err()
}

/// Overwrites a word of a file.
fn write_word(path: &Path, word: u64, value: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&value.to_ne_bytes(), word * 8).unwrap();
}

#[test]
fn what_others_can_read_or_change_is_refused() {
    let directory = Directory::new();
    drop(directory.open(HOURLY));
    for name in ["limits", "limits.1", "limits.lock"] {
        chmod(&directory.file(name), 0o640);
        let error = error(&directory);
        assert!(
            matches!(error, OpenError::NotPrivate { mode: 0o640, .. }),
            "{name}: {error}"
        );
        chmod(&directory.file(name), 0o600);
    }
    chmod(&directory.file("."), 0o770);
    let error = error(&directory);
    assert!(matches!(error, OpenError::NotPrivate { mode: 0o770, .. }));
    assert!(
        error
            .to_string()
            .contains("with mode 770; use chmod 600 for the file"),
        "{error}"
    );
    chmod(&directory.file("."), 0o700);
    directory.open(HOURLY);
}

#[test]
fn links_directories_and_pipes_are_refused() {
    let directory = Directory::new();
    let path = directory.path();
    let is_refused = || assert!(matches!(error(&directory), OpenError::NotAFile));
    fs::create_dir(&path).unwrap();
    is_refused();
    fs::remove_dir(&path).unwrap();

    symlink(directory.file("elsewhere"), &path).unwrap();
    is_refused();
    fs::remove_file(&path).unwrap();

    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &path,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .unwrap();
    is_refused();
    fs::remove_file(&path).unwrap();

    drop(directory.open(HOURLY));
    fs::hard_link(&path, directory.file("second-name")).unwrap();
    is_refused();
    fs::remove_file(directory.file("second-name")).unwrap();

    symlink("elsewhere", directory.file("other.lock")).unwrap();
    let open = |name: &str| {
        KeyedLimiter::<str>::builder(HOURLY)
            .shared_file(directory.file(name))
            .open()
    };
    assert!(matches!(open("other"), Err(OpenError::NotAFile)));
    assert!(matches!(open(".."), Err(OpenError::NotAFile)));
    assert!(matches!(open("missing/limits"), Err(OpenError::Io { .. })));
}

#[test]
fn other_file_systems_are_refused() {
    let builder = KeyedLimiter::<str>::builder(HOURLY).shared_file("/proc/limits");
    let error = builder.open().unwrap_err();
    assert!(matches!(error, OpenError::FileSystem { kind: 0x9fa0 }));
    assert!(
        error
            .to_string()
            .contains("got a file system of kind 0x9fa0; use a directory in /run")
    );
}

#[test]
fn another_size_or_quota_is_refused_unless_it_is_to_be_replaced() {
    let directory = Directory::new();
    let first = directory.open(HOURLY);
    first.try_acquire("alice", 3).ok().unwrap();

    let error = directory.try_open(Quota::per_hour(20)).unwrap_err();
    assert!(matches!(error, OpenError::OtherQuota { found } if found == HOURLY));
    assert!(
        error
            .to_string()
            .contains("the table in the file has the quota 10/hour"),
        "{error}"
    );
    let error = directory.builder(HOURLY).max_keys(2000).open().unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::OtherSize {
                found: 1672,
                expected: 3336
            }
        ),
        "{error}"
    );
    assert_eq!(first.available("alice"), 7);

    let larger = directory
        .builder(HOURLY)
        .max_keys(2000)
        .replace_quota()
        .open()
        .unwrap();
    assert_eq!(
        (larger.available("alice"), first.available("alice")),
        (10, 10)
    );
    larger.try_acquire("alice", 3).ok().unwrap();
    assert_eq!(first.available("alice"), 7);
    assert_eq!(first.stats().slots, 3336);
    // The same again replaces nothing.
    directory
        .builder(HOURLY)
        .max_keys(2000)
        .replace_quota()
        .open()
        .unwrap();
    assert_eq!(first.available("alice"), 7);
}

#[test]
fn what_a_shared_table_cannot_have_is_refused() {
    let directory = Directory::new();
    let builder = || KeyedLimiter::<str>::builder(HOURLY);
    let error = builder()
        .clock(Clock::monotonic())
        .shared_file(directory.path())
        .open()
        .unwrap_err();
    assert!(matches!(error, OpenError::Unsupported { .. }));
    assert_eq!(
        error.to_string(),
        "shared table: clock: a shared table has a clock of its own"
    );
    for max_keys in [0, usize::MAX] {
        let error = builder()
            .shared_file(directory.path())
            .max_keys(max_keys)
            .open()
            .unwrap_err();
        assert!(matches!(
            error,
            OpenError::Build(BuildError::MaxKeys { .. })
        ));
    }
    assert!(directory.names().is_empty());
    let file = File::create(directory.file("plain")).unwrap();
    let error = builder().shared_fd(file.into()).open().unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    assert!(
        error.to_string().contains("use a memfd with seals"),
        "{error}"
    );
}

#[test]
fn a_table_for_which_there_is_no_space_is_refused_and_leaves_nothing() {
    let directory = Directory::new();
    // Far beyond what file systems and machines have.
    let error = directory
        .builder(HOURLY)
        .max_keys(20_000_000_000)
        .open()
        .unwrap_err();
    assert!(
        matches!(error, OpenError::NoSpace { bytes } if bytes > 500_000_000_000),
        "{error}"
    );
    assert_eq!(directory.names(), ["limits.lock"]);

    // The space of one that fits is its own from the start.
    directory.open(HOURLY);
    let table = fs::metadata(directory.file("limits.1")).unwrap();
    assert!(table.blocks() * 512 >= table.len());
}

#[test]
fn another_program_or_namespace_or_version_is_refused() {
    let directory = Directory::new();
    drop(directory.open(HOURLY));
    let path = directory.path();
    let good = fs::read(&path).unwrap();
    // Words of the control file: 1 and 2 are versions, 6 to 8 probes, 9 the time namespace.
    let reseal = |word: usize| {
        fs::write(&path, &good).unwrap();
        control_page::change(&path, |words| words[word] += 1);
    };
    for word in [1, 2] {
        reseal(word);
        assert!(matches!(error(&directory), OpenError::Version { found: 2 }));
    }
    for word in [4, 6, 7, 8] {
        reseal(word);
        assert!(
            matches!(error(&directory), OpenError::OtherHasher),
            "{word}"
        );
    }
    reseal(9);
    assert!(matches!(error(&directory), OpenError::OtherClock));
    fs::write(&path, &good).unwrap();
    directory.open(HOURLY);
}

#[test]
fn files_of_others_and_damaged_ones_are_refused() {
    let directory = Directory::new();
    drop(directory.open(HOURLY));
    let (path, table) = (directory.path(), directory.file("limits.1"));
    let good = [&path, &table].map(|path| fs::read(path).unwrap());
    let restore = || {
        for (path, bytes) in [&path, &table].into_iter().zip(&good) {
            fs::write(path, bytes).unwrap();
            chmod(path, 0o600);
        }
    };

    for other in [
        &b"#!/bin/sh\n"[..],
        &[],
        &[0; 4096],
        &[b'x'; 4096],
        &good[0][..4095],
    ] {
        fs::write(&path, other).unwrap();
        assert!(matches!(error(&directory), OpenError::NotOurs));
    }
    restore();
    for word in [3, 12, 100, 127] {
        write_word(&path, word, 77);
        assert!(
            matches!(error(&directory), OpenError::Damaged { .. }),
            "{word}"
        );
        restore();
    }
    for word in [0, 3, 4, 5, 6, 100, 127] {
        write_word(&table, word, u64::MAX);
        assert!(
            matches!(error(&directory), OpenError::Damaged { .. }),
            "{word}"
        );
        restore();
    }
    for length in [0, 1, 100, 4096, good[1].len() - 1] {
        fs::write(&table, &good[1][..length]).unwrap();
        let error = error(&directory);
        assert!(
            matches!(error, OpenError::Damaged { .. } | OpenError::Io { .. }),
            "{length}: {error}"
        );
        restore();
    }
    fs::write(&table, [&good[1][..], &[0]].concat()).unwrap();
    assert!(matches!(error(&directory), OpenError::Damaged { .. }));
    restore();
    fs::remove_file(&table).unwrap();
    let missing = error(&directory);
    assert!(
        missing
            .to_string()
            .contains("current table or list is missing; stop the processes"),
        "{missing}"
    );
    restore();
    directory.open(HOURLY);
}

#[test]
fn a_table_that_another_process_keeps_locked_is_busy() {
    let directory = Directory::new();
    let limiter = directory.open(HOURLY);
    let lock = File::open(directory.file("limits.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    assert!(matches!(error(&directory), OpenError::Busy));
    assert!(matches!(
        limiter.try_replace(Quota::per_hour(20)),
        Err(OpenError::Busy)
    ));
    // Decisions need no lock.
    assert!(limiter.try_acquire("alice", 1).is_allowed());
    drop(lock);
    assert_eq!(directory.open(HOURLY).available("alice"), 9);
}

#[test]
fn those_who_create_a_table_at_once_share_it() {
    let directory = Arc::new(Directory::new());
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let directory = Arc::clone(&directory);
            thread::spawn(move || {
                let limiter = directory.open(HOURLY);
                (0..10)
                    .filter(|_| limiter.try_acquire("alice", 1).is_allowed())
                    .count()
            })
        })
        .collect();
    let allowed: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(allowed, 10);
}

#[test]
fn files_of_an_interrupted_creation_are_replaced() {
    let directory = Directory::new();
    for name in ["limits.tmp", "limits.1", "limits.1.tmp"] {
        fs::write(directory.file(name), "half").unwrap();
        chmod(&directory.file(name), 0o600);
    }
    let limiter = directory.open(HOURLY);
    assert!(limiter.try_acquire("alice", 1).is_allowed());
    assert_eq!(directory.names(), ["limits", "limits.1", "limits.lock"]);
}

#[test]
fn a_deleted_table_is_known_to_be() {
    let directory = Directory::new();
    let limiter = directory.open(HOURLY);
    limiter.try_acquire("alice", 3).ok().unwrap();
    fs::remove_file(directory.path()).unwrap();
    assert!(limiter.stats().is_detached);
    assert_eq!(limiter.available("alice"), 7, "it goes on alone");
    let other = directory.open(HOURLY);
    assert_eq!(
        (other.available("alice"), other.stats().is_detached),
        (10, false)
    );
    // It changes nothing: the files are those of the other table.
    let error = limiter.try_replace(Quota::per_hour(20)).unwrap_err();
    assert!(
        error.to_string().contains("its control file was deleted"),
        "{error}"
    );
    assert_eq!(directory.open(HOURLY).available("alice"), 10);
}

#[test]
fn what_cannot_be_removed_is_no_error_of_a_change() {
    let directory = Directory::new();
    let [one, other] = [HOURLY; 2].map(|quota| directory.open(quota));
    fs::create_dir(directory.file("limits.7")).unwrap();
    one.try_replace(Quota::per_hour(20)).unwrap();
    assert_eq!(other.available("alice"), 20);
}
