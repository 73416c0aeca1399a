//! Many deaths: processes that insert keys in a small table, while they are killed and stopped.

use std::{
    path::Path,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tollgate::{KeyedLimiter, Quota, WhenFull, torture};

use crate::{
    process::{self, Random},
    sold::{self, Log},
};

const PROCESSES: u64 = 4;
const KEYS: u64 = 1000;
/// A table of half as many slots as keys.
const MAX_KEYS: usize = 300;
const CAPACITY: u32 = 10;
/// Buckets are full again after 4 ms, and their slots free.
const QUOTA: Quota = Quota::per_second(2500).with_capacity(CAPACITY);
/// Deaths, stops, sleeps and yields, together, in a million steps.
const PER_MILLION: u32 = 20;

fn open(path: &str) -> KeyedLimiter<u64> {
    let builder = KeyedLimiter::builder(QUOTA).max_keys(MAX_KEYS);
    let builder = builder.when_full(WhenFull::RefuseNewcomer);
    builder.shared_file(path).open().expect("a table")
}

/// Takes tokens of random keys until the time `end`.
pub fn child(path: &str, seed: u64, log: &str, end: u64) {
    let limiter = open(path);
    let mut log = Log::open(Path::new(log));
    let mut random = Random(seed);
    torture::often(PER_MILLION, seed);
    while process::now() < end {
        for _ in 0..100 {
            let key = random.below(KEYS);
            let cost = 1 + random.below(3);
            let decision = limiter.try_acquire(&key, u32::try_from(cost).expect("small"));
            if decision.is_allowed() {
                log.write(key, &decision);
            }
        }
    }
}

pub fn run(seconds: u64) {
    let directory = process::directory();
    let path = directory.path().join("limits");
    let logs = directory.path().join("logs");
    std::fs::create_dir(&logs).expect("a directory for the logs");
    let limiter = open(process::text(&path));

    let mut random = Random(1);
    let (begin, mut started, mut deaths, mut stops) = (process::now(), 0, 0, 0);
    let end = begin + seconds * 1_000_000_000;
    let start = |started: &mut u64| {
        *started += 1;
        let log = logs.join(started.to_string());
        let [seed, end] = [*started, end].map(|number| number.to_string());
        let arguments = [
            "crowd",
            process::text(&path),
            &seed,
            process::text(&log),
            &end,
        ];
        process::start(&arguments)
    };
    let mut children: Vec<Child> = (0..PROCESSES).map(|_| start(&mut started)).collect();
    while process::now() < end {
        for child in &mut children {
            if child.try_wait().expect("a child").is_some() {
                deaths += 1;
                *child = start(&mut started);
            }
            match random.below(100) {
                0 => process::signal(child, Signal::KILL),
                1 => {
                    process::signal(child, Signal::STOP);
                    stops += 1;
                }
                // Those that have stopped at a step are let go on after some 20 ms.
                2..7 => process::signal(child, Signal::CONT),
                _ => {}
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    process::end_all(children);
    let elapsed = process::now() - begin;

    let sums = sold::check(&logs);
    let stats = limiter.stats();
    println!(
        "crowd: {seconds} s, {deaths} deaths, {stops} stops from outside; {} charges, {} latches \
         taken, {} marks undone, {} inserts started over, {} refused for want of a slot",
        sums.charges, stats.stolen, stats.undone, stats.fenced, stats.saturated
    );
    assert_eq!(sums.over, 0, "charges of units that were sold before");
    assert!(
        sums.charges > 1000 * seconds && stats.stolen > 0,
        "too little happened for a test"
    );
    let most = u128::from(CAPACITY) * 1_000_000_000 + 2500 * u128::from(elapsed);
    assert!(
        u128::from(sums.most_tokens) * 1_000_000_000 <= most,
        "more than refill"
    );

    // Nothing is stuck: each key gets all of its capacity.
    let mut longest = Duration::ZERO;
    for key in 0..KEYS {
        if key % 50 == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        let before = Instant::now();
        let decision = limiter.try_acquire(&key, CAPACITY);
        longest = longest.max(before.elapsed());
        assert!(decision.is_allowed(), "key {key}: {decision}");
    }
    println!("crowd: the longest of {KEYS} inserts after it: {longest:?}");
}
