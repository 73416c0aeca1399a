//! Deaths during changes of the quota: the others go on, and agree.

use std::{fs, process::Child, thread, time::Duration};

use rustix::process::Signal;
use tollgate::{KeyedLimiter, OpenError, Quota, torture};

use crate::process::{self, Random};

const PROCESSES: u64 = 3;
const MAX_KEYS: usize = 100;

fn quota(number: u64) -> Quota {
    Quota::per_day(100 + u32::try_from(number % 2).expect("0 or 1"))
}

fn open(path: &str, number: u64) -> Result<KeyedLimiter<u64>, OpenError> {
    let builder = KeyedLimiter::builder(quota(number)).max_keys(MAX_KEYS);
    builder.shared_file(path).replace_quota().open()
}

/// Changes the quota again and again until the time `end`.
pub fn child(path: &str, seed: u64, end: u64) {
    torture::often(2000, seed);
    let limiter = match open(path, seed) {
        Ok(limiter) => limiter,
        // Another one has stopped with the lock.
        Err(OpenError::Busy) => return,
        Err(error) => panic!("{error}"),
    };
    let mut random = Random(seed);
    while process::now() < end {
        match limiter.try_replace(quota(random.below(2))) {
            Ok(()) | Err(OpenError::Busy) => {}
            Err(error) => panic!("{error}"),
        }
        for key in 0..10 {
            let _ = limiter.try_acquire(&key, 1).is_allowed();
        }
    }
}

pub fn run(seconds: u64) {
    let directory = process::directory();
    let path = directory.path().join("limits");
    let mut random = Random(2);
    let end = process::now() + seconds * 1_000_000_000;
    let mut started = 0;
    let mut start = || {
        started += 1;
        let [seed, end] = [started, end].map(|number: u64| number.to_string());
        process::start(&["change", process::text(&path), &seed, &end])
    };
    let mut deaths = 0;
    let mut children: Vec<Child> = (0..PROCESSES).map(|_| start()).collect();
    while process::now() < end {
        for child in &mut children {
            if let Some(status) = child.try_wait().expect("a child") {
                assert!(status.code().is_none_or(|code| code == 0), "{status}");
                deaths += 1;
                *child = start();
            }
            match random.below(50) {
                0 => process::signal(child, Signal::KILL),
                1..20 => process::signal(child, Signal::CONT),
                _ => {}
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    process::end_all(children);

    // Whatever they have left: a table of either quota, and after a change no file of another.
    let limiters = [0, 1].map(|number| open(process::text(&path), number).expect("a table"));
    assert!(limiters.iter().all(|limiter| limiter.quota() == quota(1)));
    for limiter in &limiters {
        assert!(limiter.try_acquire(&1, 50).is_allowed());
    }
    assert!(limiters[0].try_acquire(&1, 2).is_refused());
    let names = fs::read_dir(directory.path())
        .expect("the directory")
        .count();
    assert_eq!(names, 3, "the control file, the lock and one table");
    println!("change: {seconds} s, {deaths} deaths among processes that change the quota");
}
