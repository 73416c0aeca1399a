//! Work on one or several threads, timed from the moment all of them have started.
//!
//! Spawning is not measured. All threads work the whole time: the first one to finish its share
//! stops the others, and all operations until then count. The time per operation is therefore
//! aggregate: two threads without contention take half the time of one.
//!
//! Each thread is pinned to a processor of its own while there are enough. Otherwise the scheduler
//! of a busy machine may run two threads alternately on one processor for milliseconds, which
//! measures no contention at all.

use std::{
    hint,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Operations between two checks of the stop flag: a multiple of the batch size.
const CHUNK: u64 = 256;

pub struct Slice {
    pub operations: u64,
    pub allowed: u64,
    elapsed: Duration,
}

impl Slice {
    pub fn time_for(&self, operations: u64) -> Duration {
        self.elapsed
            .mul_f64(operations as f64 / self.operations as f64)
    }
}

/// Runs `work` until a thread has done `operations`.
pub fn measure(
    threads: usize,
    operations: u64,
    work: &(impl Fn(usize, u64) -> u64 + Sync),
) -> Slice {
    let stop = AtomicBool::new(false);
    if threads == 1 {
        let (begin, end, operations, allowed) = share(0, operations, work, &stop);
        return Slice {
            operations,
            allowed,
            elapsed: end - begin,
        };
    }
    let missing = AtomicUsize::new(threads);
    let shares: Vec<_> = thread::scope(|scope| {
        let start = |n| {
            let (stop, missing) = (&stop, &missing);
            scope.spawn(move || {
                keep_to_processor(n);
                wait_for_all(missing);
                share(n, operations, work, stop)
            })
        };
        let handles: Vec<_> = (0..threads).map(start).collect();
        handles
            .into_iter()
            .filter_map(|handle| handle.join().ok())
            .collect()
    });
    assert_eq!(shares.len(), threads, "a thread failed");
    let begin = shares.iter().map(|share| share.0).min();
    let end = shares.iter().map(|share| share.1).max();
    Slice {
        operations: shares.iter().map(|share| share.2).sum(),
        allowed: shares.iter().map(|share| share.3).sum(),
        elapsed: begin
            .zip(end)
            .map_or(Duration::ZERO, |(begin, end)| end - begin),
    }
}

/// Pins this thread to one processor, where the operating system supports it.
fn keep_to_processor(n: usize) {
    #[cfg(target_os = "linux")]
    {
        let mut processors = rustix::thread::CpuSet::new();
        processors.set(n % thread::available_parallelism().map_or(1, usize::from));
        // Refused in a container that has other processors than the first ones: the scheduler
        // decides then.
        let _ = rustix::thread::sched_setaffinity(None, &processors);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = n;
}

/// Spinning barrier: threads that a condition variable wakes start too far apart.
fn wait_for_all(missing: &AtomicUsize) {
    missing.fetch_sub(1, Ordering::AcqRel);
    let mut spins = 0_u32;
    while missing.load(Ordering::Acquire) > 0 {
        spins += 1;
        // There may be fewer processors than threads.
        if spins.is_multiple_of(1 << 10) {
            thread::yield_now()
        } else {
            hint::spin_loop()
        }
    }
}

fn share(
    thread: usize,
    operations: u64,
    work: &impl Fn(usize, u64) -> u64,
    stop: &AtomicBool,
) -> (Instant, Instant, u64, u64) {
    let (mut done, mut allowed) = (0, 0);
    let begin = Instant::now();
    while done < operations && !stop.load(Ordering::Relaxed) {
        let chunk = CHUNK.min(operations - done);
        allowed += work(thread, chunk);
        done += chunk;
    }
    stop.store(true, Ordering::Relaxed);
    (begin, Instant::now(), done, allowed)
}
