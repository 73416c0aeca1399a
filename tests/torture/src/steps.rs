//! One death or stop at each step of an insert, and what the next caller gets.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tollgate::{KeyedLimiter, Quota, WhenFull, torture};

use crate::process::{self, Ended};

const CAPACITY: u32 = 10;
const QUOTA: Quota = Quota::per_day(CAPACITY);
const COST: u32 = 4;

/// Exit status of a child that has got its tokens, was refused, or never came to its step.
const ALLOWED: i32 = 10;
const REFUSED: i32 = 11;
const SURVIVED: i32 = 12;

fn open(path: &str) -> KeyedLimiter<u64> {
    let builder = KeyedLimiter::builder(QUOTA).max_keys(1000);
    let builder = builder.when_full(WhenFull::RefuseNewcomer);
    builder.shared_file(path).open().expect("a table")
}

/// Inserts a key, and dies or stops at a step.
pub fn child(path: &str, key: u64, step: u64, signal: &str) {
    let limiter = open(path);
    // The first call of a thread makes steps of its own.
    let _ = limiter.look(&u64::MAX, 1);
    let step = u32::try_from(step).expect("a small number");
    match signal {
        "kill" => torture::die_at(step),
        _ => torture::stop_at(step),
    }
    let decision = limiter.try_acquire(&key, COST);
    let survived = torture::rest();
    std::process::exit(match (survived, decision.is_allowed()) {
        (true, _) => SURVIVED,
        (false, true) => ALLOWED,
        (false, false) => REFUSED,
    });
}

#[expect(
    clippy::zombie_processes,
    reason = "`process::wait` waits, and knows of stops"
)]
pub fn run() {
    let directory = process::directory();
    let path = directory.path().join("limits");
    let limiter = open(process::text(&path));
    for signal in ["kill", "stop"] {
        let (mut steps, mut longest) = (0_u64, Duration::ZERO);
        loop {
            let key = steps << 1 | u64::from(signal == "stop");
            let [key_text, step] = [key, steps].map(|number| number.to_string());
            let arguments = ["step", process::text(&path), &key_text, &step, signal];
            let child = process::start(&arguments);
            let ended = process::wait(&child);
            if ended == Ended::Exited(SURVIVED) {
                break;
            }
            let expected = match signal {
                "kill" => Ended::Killed,
                _ => Ended::Stopped,
            };
            assert_eq!(ended, expected, "step {step}");

            let before = Instant::now();
            let mut granted = u32::from(limiter.try_acquire(&key, 1).is_allowed());
            longest = longest.max(before.elapsed());
            assert_eq!(granted, 1, "step {step}, {signal}: its key is stuck");
            while limiter.try_acquire(&key, 1).is_allowed() {
                granted += 1;
            }
            if ended == Ended::Stopped {
                process::signal(&child, Signal::CONT);
                match process::wait(&child) {
                    Ended::Exited(ALLOWED) => granted += COST,
                    ended => assert_eq!(ended, Ended::Exited(REFUSED), "step {step}"),
                }
            }
            // One that was killed may have charged the key before it answered.
            let least = CAPACITY - if ended == Ended::Killed { COST } else { 0 };
            assert!(
                (least..=CAPACITY).contains(&granted),
                "step {step}, {signal}: {granted} granted"
            );
            steps += 1;
        }
        assert!(steps > 30, "an insert has more steps than {steps}");
        println!(
            "steps: {signal} at each of {steps} steps of an insert; the longest next insert of the \
             key: {longest:?}"
        );
    }
}
