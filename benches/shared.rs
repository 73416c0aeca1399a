//! A table that processes share, beside the same table on the heap: decisions on known keys, and inserts.
//!
//! The shared table is on tmpfs. It reads another clock, `CLOCK_BOOTTIME`, which costs more than the
//! process-wide one; the heap with [`Clock::monotonic`] reads one that costs as much. For the scenario with
//! another process this program is started again, and decides on the same keys all the time: in the table
//! of one side, and in another one for the other side.

mod support;

use std::{
    cell::Cell,
    hint::black_box,
    path::Path,
    process::{Child, Command},
};

use criterion::{Criterion, criterion_group};
use support::{Expect, Side, compare};
use tempfile::TempDir;
use tollgate::{Clock, KeyedLimiter, Quota};

const QUOTA: Quota = Quota::per_second(1).with_capacity(1_000_000_000);
/// Tokens charged to every key beforehand: more than a day's refill.
const CHARGED: u32 = 100_000;
/// Full again after a tenth of a microsecond, so that each key finds a free slot.
const BRIEF: Quota = Quota::per_second(10_000_000).with_capacity(1);

/// Argument of the process that decides all the time.
const BUSY: &str = "--busy-at";

fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm")
}

fn shared(path: &Path, quota: Quota, keys: usize) -> KeyedLimiter<u64> {
    let builder = KeyedLimiter::builder(quota).max_keys(keys);
    builder.shared_file(path).open().expect("a table")
}

fn on_heap(clock: Clock, quota: Quota, keys: usize) -> KeyedLimiter<u64> {
    let builder = KeyedLimiter::builder(quota).max_keys(keys).clock(clock);
    builder.build().expect("a table")
}

/// Draws a key (xorshift64*).
fn draw(state: &mut u64, keys: usize) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    let high = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
    (high * keys as u64) >> 32
}

fn charge(limiter: &KeyedLimiter<u64>, keys: usize) {
    for key in 0..keys as u64 {
        assert!(limiter.try_acquire(&key, CHARGED).is_allowed());
    }
}

/// Decides on random keys.
fn decide(limiter: &KeyedLimiter<u64>, keys: usize, n: u64) -> u64 {
    thread_local! { static PLACE: Cell<u64> = const { Cell::new(0x2545_F491_4F6C_DD1D) } }
    let mut place = PLACE.get();
    let allowed = (0..n).map(|_| {
        let key = draw(&mut place, keys);
        u64::from(black_box(limiter).try_acquire(&key, 1).is_allowed())
    });
    let allowed = allowed.sum();
    PLACE.set(place);
    allowed
}

/// Returns a shared table, one on the heap, and one there whose clock costs as much as that of the first.
fn tables(directory: &Path, quota: Quota, keys: usize) -> [(&'static str, KeyedLimiter<u64>); 3] {
    [
        ("shared", shared(&directory.join("limits"), quota, keys)),
        ("heap", on_heap(Clock::process(), quota, keys)),
        (
            "heap, clock of the system",
            on_heap(Clock::monotonic(), quota, keys),
        ),
    ]
}

fn known(criterion: &mut Criterion, name: &str, keys: usize, slice: u64) {
    let directory = directory();
    let sides = tables(directory.path(), QUOTA, keys);
    sides.iter().for_each(|(_, limiter)| charge(limiter, keys));
    let sides = sides.each_ref().map(|(name, limiter)| {
        Side::new(name, 1, Expect::Allowed, move |_, n| {
            decide(limiter, keys, n)
        })
    });
    compare(criterion, name, slice, &sides);
}

fn inserts(criterion: &mut Criterion) {
    const KEYS: usize = 100_000;
    let directory = directory();
    let sides = tables(directory.path(), BRIEF, KEYS);
    let next = std::sync::atomic::AtomicU64::new(0);
    let sides = sides.each_ref().map(|(name, limiter)| {
        let next = &next;
        Side::new(name, 1, Expect::Allowed, move |_, n| {
            let first = next.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
            let keys = first..first + n;
            keys.map(|key| u64::from(black_box(limiter).try_acquire(&key, 1).is_allowed()))
                .sum()
        })
    });
    compare(criterion, "shared/new key", 1 << 12, &sides);
}

/// Process that decides all the time; killed on drop.
struct Busy(Child);

impl Busy {
    fn at(path: &Path) -> Busy {
        let program = std::env::current_exe().expect("the path of this program");
        let child = Command::new(program).arg(BUSY).arg(path).spawn();
        Busy(child.expect("this program can be started again"))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two processes, on two processors, on one table and on one each.
fn beside_another_process(criterion: &mut Criterion) {
    const KEYS: usize = 1000;
    let directory = directory();
    let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
    let limiters = [&one, &other].map(|path| shared(path, QUOTA, KEYS));
    limiters.iter().for_each(|limiter| charge(limiter, KEYS));
    let _busy = Busy::at(&one);
    let [of_both, own] = &limiters;
    let sides = [("one table for both", of_both), ("a table for each", own)];
    let sides = sides.map(|(name, limiter)| {
        Side::new(name, 1, Expect::Allowed, move |_, n| {
            decide(limiter, KEYS, n)
        })
    });
    compare(criterion, "shared/two processes", 1 << 14, &sides);
}

fn shared_tables(criterion: &mut Criterion) {
    known(criterion, "shared/known key, of 1 k", 1000, 1 << 13);
    known(criterion, "shared/known key, of 1 M", 1_000_000, 1 << 12);
    inserts(criterion);
    beside_another_process(criterion);
}

criterion_group!(benches, shared_tables);

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(BUSY) {
        let path = arguments.next().expect("the path of a table");
        let limiter = shared(Path::new(&path), QUOTA, 1000);
        loop {
            decide(&limiter, 1000, 1 << 20);
        }
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
