//! What the benches share: alternating measurement, its record, and the peers.
//!
//! **Method.** A scenario has several *sides* that do the same work. They are not measured one
//! after the other, for minutes apart, but in turns: a round is one short slice of every side, and
//! a scenario is hundreds of rounds. Whatever disturbs the machine then disturbs neighbours alike,
//! and a ratio is the median of the ratios of the rounds. The side that begins changes from round
//! to round. criterion is told the time of the side that a benchmark is named after; the rounds are
//! kept for the table that `cargo bench` ends with.
//!
//! Every side counts what it allowed, and the count is checked: a side that is meant to allow never
//! refuses, and the other way round. The limiter goes through `black_box` at every call, so that
//! nothing is kept in registers from one call to the next.
#![allow(dead_code, reason = "every bench uses another part")]

pub mod peers;
pub mod record;
pub mod threads;

use std::{cell::RefCell, time::Duration};

use criterion::Criterion;

use self::{record::Rounds, threads::measure};

/// What a side's work must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Allowed,
    Refused,
}

/// One of those that are compared.
pub struct Side<'a> {
    name: &'static str,
    run: Box<dyn Fn(u64) -> Duration + 'a>,
}

impl<'a> Side<'a> {
    /// `work` does so many operations on behalf of a thread and returns how many were allowed.
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

/// Measures the sides of a scenario in turns, `slice` operations at a time.
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

/// Does `operations` on every side; returns the times.
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
        // What is left over at the end may be too short to be told from noise.
        if now >= slice / 4 {
            rounds.push(round);
        }
        left -= now;
    }
    times
}
