//! One bucket under contention of several threads.
//!
//! Sides and quota are those of `uncontended`, allowed requests. Threads start together at a
//! barrier, spawning is not measured, and time is in aggregate: wall time divided by all operations
//! of all threads. With fewer processors than threads, the others are descheduled, as they would be
//! in a server.

mod support;

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use support::{Expect, Side, compare, peers::Buckets};
use tollgate::Quota;

/// Operations of a thread per slice: several milliseconds, much longer than a thread takes to
/// start.
const SLICE: u64 = 1 << 16;

fn count(operations: u64, allowed: impl Fn() -> bool) -> u64 {
    (0..operations).map(|_| u64::from(allowed())).sum()
}

fn one_bucket(criterion: &mut Criterion) {
    for threads in [1, 2, 4, 8] {
        let buckets = Buckets::new(Quota::per_second(1_000_000).with_capacity(u32::MAX));
        let Buckets {
            ours,
            governor,
            mutex,
            floor,
        } = &buckets;
        let sides = [
            Side::new("ours", threads, Expect::Allowed, |_, n| {
                count(n, || black_box(ours).try_acquire(1).is_allowed())
            }),
            Side::new("governor", threads, Expect::Allowed, |_, n| {
                count(n, || black_box(governor).0.check().is_ok())
            }),
            Side::new("Mutex", threads, Expect::Allowed, |_, n| {
                count(n, || black_box(mutex).take())
            }),
            Side::new("floor", threads, Expect::Allowed, |_, n| {
                count(n, || black_box(floor).allow())
            }),
        ];
        compare(criterion, &format!("contention/{threads}"), SLICE, &sides);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(3));
    targets = one_bucket
}
criterion_main!(benches);
