//! Processes that a limiter is forked into: they share its table, by path and without one.

use std::{io::Read, os::fd::OwnedFd};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    pipe::pipe,
    process::{Pid, WaitOptions, waitpid},
};
use tollgate::{KeyedLimiter, Quota};

use crate::directory::Directory;

const CAPACITY: u32 = 10_000;
const QUOTA: Quota = Quota::per_day(CAPACITY);
const CHILDREN: usize = 4;

/// Runs a function in a forked process, and returns its result. The function must neither panic nor take
/// a lock that another thread of this process may hold at this moment.
#[expect(unsafe_code, reason = "a fork is unsafe, and what this test is about")]
fn forked(run: impl FnOnce() -> u32) -> (Pid, OwnedFd) {
    let (reader, writer) = pipe().unwrap();
    // SAFETY: The child is a copy of this thread alone, and takes no lock of another one: decisions need none,
    // the allocator's are made usable by fork itself, and those of the limiter are its own. It ends without
    // running anything of the parent's.
    match unsafe { libc::fork() } {
        0 => {
            let result = run().to_ne_bytes();
            let is_written = rustix::io::write(&writer, &result).is_ok();
            // SAFETY: Ends the process at once.
            unsafe { libc::_exit(i32::from(!is_written)) }
        }
        child => (Pid::from_raw(child).expect("a child"), reader),
    }
}

fn result((child, reader): (Pid, OwnedFd)) -> u32 {
    let mut result = [0; 4];
    std::fs::File::from(reader).read_exact(&mut result).unwrap();
    let (_, status) = waitpid(Some(child), WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(0));
    u32::from_ne_bytes(result)
}

/// Takes tokens of ten keys, as long as there are some. Returns how many there were.
fn take_all(limiter: &KeyedLimiter<u64>) -> u32 {
    let mut taken = 0;
    let mut refused = 0;
    for key in (0..10).cycle() {
        if limiter.try_acquire(&key, 1).is_allowed() {
            taken += 1;
            refused = 0;
        } else {
            refused += 1;
            if refused == 10 {
                break;
            }
        }
    }
    taken
}

fn check(limiter: &KeyedLimiter<u64>) {
    // The parent has used it: its children inherit what its threads have cached.
    assert!(limiter.try_acquire(&0, 1).is_allowed());
    let children = [(); CHILDREN].map(|()| forked(|| take_all(limiter)));
    let own = take_all(limiter);
    let taken = children.map(result);
    let sum: u32 = taken.iter().sum();
    // A day has 86,400 seconds, in which each of the buckets gets a token every 8.64 s.
    let refilled = 1 + own + sum - 10 * CAPACITY;
    assert!(refilled <= 10, "{own} and {taken:?}");
}

#[test]
fn children_share_the_table_of_a_path() {
    let directory = Directory::new();
    let builder = KeyedLimiter::<u64>::builder(QUOTA).max_keys(1000);
    let limiter = builder.shared_file(directory.path()).open().unwrap();
    check(&limiter);
    // Also a limiter that is opened afterwards.
    let builder = KeyedLimiter::<u64>::builder(QUOTA).max_keys(1000);
    let other = builder.shared_file(directory.path()).open().unwrap();
    assert!((0..10).all(|key| other.available(&key) <= 10));
}

#[test]
fn children_share_the_table_of_a_file_without_a_name() {
    let memory = memfd_create("limits", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    let builder = KeyedLimiter::<u64>::builder(QUOTA).max_keys(1000);
    check(&builder.shared_fd(memory).open().unwrap());
}

/// A child that is forked while a lock is held has the descriptor of it.
#[test]
fn a_child_keeps_no_lock() {
    let directory = Directory::new();
    let limiter = directory.open(QUOTA);
    let changes = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for day in (1..).cycle() {
                limiter.replace(Quota::per_day(day));
                if !changes.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
        });
        let children: Vec<_> = (0..20)
            .map(|_| {
                forked(|| {
                    // Longer than a change waits for the lock.
                    std::thread::sleep(std::time::Duration::from_secs(3));
                    1
                })
            })
            .collect();
        changes.store(false, std::sync::atomic::Ordering::Relaxed);
        // While the children live.
        assert!(limiter.try_replace(QUOTA).is_ok());
        children
            .into_iter()
            .for_each(|child| assert_eq!(result(child), 1));
    });
}

#[test]
fn a_child_changes_the_quota_for_its_parent() {
    let directory = Directory::new();
    let limiter = directory.open(QUOTA);
    let child = forked(|| {
        let replaced = limiter.try_replace(Quota::per_day(5)).is_ok();
        u32::from(replaced && limiter.try_acquire("alice", 2).is_allowed())
    });
    assert_eq!(result(child), 1);
    assert_eq!(
        (limiter.quota(), limiter.available("alice")),
        (Quota::per_day(5), 3)
    );
}
