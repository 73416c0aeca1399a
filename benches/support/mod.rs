//! Interleaved measurement, its record, and the peers, shared by all benches.
//!
//! **Method.** A scenario has several *sides* that do the same work. They are measured in turns: a
//! round is one short slice of every side, and a scenario is hundreds of rounds. A disturbance of
//! the machine then affects neighbouring slices alike, and a ratio is the median of the ratios of
//! the rounds. Each round begins with another side. criterion gets the time of the side that the
//! benchmark is named after; the rounds are recorded for the table at the end of `cargo bench`.
//!
//! Every side counts the requests that it allowed, and the count is checked: a side that is meant
//! to allow never refuses, and the reverse. The limiter goes through `black_box` at every call, so
//! that nothing stays in registers between calls.
#![allow(dead_code, reason = "each bench uses a part")]

pub mod peers;
pub mod plot;
pub mod record;
pub mod threads;

use std::{cell::RefCell, time::Duration};

use criterion::Criterion;

use self::{record::Rounds, threads::measure};

/// Expected outcome of all operations of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Allowed,
    Refused,
}

/// One of the implementations under comparison.
pub struct Side<'a> {
    name: &'static str,
    run: Box<dyn Fn(u64) -> Duration + 'a>,
}

impl<'a> Side<'a> {
    /// `work` performs the given number of operations for a thread and returns the number allowed.
    pub fn new(
        name: &'static str,
        threads: usize,
        expect: Expect,
        work: impl Fn(usize, u64) -> u64 + Sync + 'a,
    ) -> Side<'a> {
        let run = move |operations| {
            let slice = measure(threads, operations, &work);
            let expected = if expect == Expect::Allowed {
                slice.operations
            } else {
                0
            };
            assert_eq!(
                slice.allowed, expected,
                "{name}: allowed of {}",
                slice.operations
            );
            slice.time_for(operations)
        };
        Side {
            name,
            run: Box::new(run),
        }
    }
}

/// Measures the sides of a scenario alternately, `slice` operations at a time.
pub fn compare(criterion: &mut Criterion, scenario: &str, slice: u64, sides: &[Side<'_>]) {
    let rounds = RefCell::new(Rounds::new(sides.iter().map(|side| side.name)));
    let mut group = criterion.benchmark_group(scenario);
    for (titled, side) in sides.iter().enumerate() {
        group.bench_function(side.name, |bencher| {
            bencher.iter_custom(|operations| {
                in_turns(operations, slice, sides, &mut rounds.borrow_mut())[titled]
            });
        });
    }
    group.finish();
    rounds.into_inner().save(scenario);
}

/// Performs `operations` on every side; returns the times.
fn in_turns(operations: u64, slice: u64, sides: &[Side<'_>], rounds: &mut Rounds) -> Vec<Duration> {
    let mut times = vec![Duration::ZERO; sides.len()];
    let mut left = operations;
    while left > 0 {
        let now = left.min(slice);
        let mut round = vec![0.0; sides.len()];
        for turn in 0..sides.len() {
            let n = (turn + rounds.len()) % sides.len();
            let time = (sides[n].run)(now);
            times[n] += time;
            round[n] = time.as_secs_f64() * 1e9 / now as f64;
        }
        // A short remainder at the end would be mostly noise.
        if now >= slice / 4 {
            rounds.push(round);
        }
        left -= now;
    }
    times
}
