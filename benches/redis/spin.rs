//! Threads that decide in a tight loop, for decisions that do not wait.

use std::{
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::load::{Measured, histogram};

/// Decisions per timed one: a clock read takes as long as a decision.
const TIMED: usize = 64;

/// Calls `ask` from one thread per processor, with the number of the thread and of the call, for
/// the given duration.
pub fn spin(time: Duration, ask: impl Fn(usize, usize) + Sync) -> Measured {
    let (threads, start) = (
        thread::available_parallelism().map_or(2, usize::from),
        Instant::now(),
    );
    let (mut asked, mut times) = (0, histogram());
    thread::scope(|scope| {
        let spinning: Vec<_> = (0..threads)
            .map(|n| {
                scope.spawn({
                    let ask = &ask;
                    move || spin_alone(n, start + time, ask)
                })
            })
            .collect();
        for thread in spinning {
            let (count, measured) = thread.join().expect("load threads do not panic");
            asked += count;
            times.add(measured).expect("both have the same bounds");
        }
    });
    Measured {
        per_second: asked as f64 / start.elapsed().as_secs_f64(),
        p50: times.value_at_quantile(0.5) as f64 / 1000.0,
        p99: times.value_at_quantile(0.99) as f64 / 1000.0,
    }
}

fn spin_alone(thread: usize, end: Instant, ask: &impl Fn(usize, usize)) -> (usize, Histogram<u64>) {
    let (mut asked, mut times) = (0, histogram());
    loop {
        let before = Instant::now();
        ask(thread, asked);
        let after = Instant::now();
        times.saturating_record((after - before).as_nanos() as u64);
        (1..TIMED).for_each(|n| ask(thread, asked + n));
        asked += TIMED;
        if after >= end {
            return (asked, times);
        }
    }
}
