//! Memory per key, ours and governor's.
//!
//! A million and ten million `IpAddr` keys, all with a bucket that is not full, in our table made
//! for exactly that number (a load of 0.6), and in governor's default keyed limiter. *Allocated* is
//! the number of bytes requested from the allocator, which counts them. *Resident* is the growth of
//! the process's resident memory, read from the operating system (Linux). The memory of governor's
//! map depends on its distance from the next doubling, so a key may cost more or less at other
//! sizes, and memory of outgrown tables may stay resident in the allocator.

mod support;

use std::{alloc::System, fs, net::IpAddr, num::NonZeroU32};

use cap::Cap;
use governor::{DefaultKeyedRateLimiter, RateLimiter};
use support::{
    peers::{for_governor, key},
    record::Rounds,
};
use tollgate::{KeyedLimiter, Quota};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const QUOTA: Quota = Quota::per_second(1).with_capacity(1_000_000_000);
const CHARGED: u32 = 100_000;

/// Bytes per key.
struct Bytes {
    allocated: f64,
    resident: f64,
}

/// Fills a limiter and measures it before it is dropped.
fn measure<T>(keys: usize, fill: impl FnOnce() -> T) -> Bytes {
    let (allocated, resident) = (ALLOCATOR.allocated(), resident());
    let filled = fill();
    let per_key = |now: usize, before: usize| now.saturating_sub(before) as f64 / keys as f64;
    let bytes = Bytes {
        allocated: per_key(ALLOCATOR.allocated(), allocated),
        resident: per_key(self::resident(), resident),
    };
    drop(filled);
    bytes
}

/// Resident bytes of this process; 0 on systems that do not report them.
fn resident() -> usize {
    let pages = |text: String| text.split(' ').nth(1)?.parse::<usize>().ok();
    fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(pages)
        .unwrap_or(0)
        * 4096
}

fn ours(keys: usize) -> Bytes {
    measure(keys, || {
        let limiter = KeyedLimiter::new(QUOTA, keys);
        for n in 0..keys {
            assert!(limiter.try_acquire(&key(n), CHARGED).is_allowed());
        }
        let stats = limiter.stats();
        let few = keys as u64 / 100_000 + 1;
        assert!(
            stats.live as u64 + few > keys as u64 && stats.evicted_early < few,
            "{stats:?}"
        );
        limiter
    })
}

fn governors(keys: usize) -> Bytes {
    let charged = NonZeroU32::new(CHARGED).unwrap_or(NonZeroU32::MIN);
    measure(keys, || {
        let limiter: DefaultKeyedRateLimiter<IpAddr> = RateLimiter::keyed(for_governor(QUOTA));
        for n in 0..keys {
            assert!(matches!(limiter.check_key_n(&key(n), charged), Ok(Ok(()))));
        }
        limiter
    })
}

fn main() {
    // `--test` and `--list` are criterion's: there is nothing quick to run here.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    println!("bytes a key, all draining       ours  governor  ratio");
    for (name, keys) in [("1M", 1_000_000), ("10M", 10_000_000)] {
        let (ours, governor) = (ours(keys), governors(keys));
        let kinds = [
            ("allocated", ours.allocated, governor.allocated),
            ("resident", ours.resident, governor.resident),
        ];
        for (kind, ours, governor) in kinds {
            println!(
                "{name:>4} keys, {kind:<18} {ours:7.1}  {governor:8.1}  {:.2}",
                ours / governor
            );
            let mut record = Rounds::new(["ours", "governor"]);
            record.push(vec![ours, governor]);
            record.save(&format!("memory/{name}/{kind}"));
        }
    }
}
