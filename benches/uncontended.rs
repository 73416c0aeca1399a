//! One bucket, one thread: what a decision costs when nobody else wants the bucket.
//!
//! Sides: ours; governor's direct limiter with its default clock; a hand-written bucket behind a
//! `Mutex`; and the floor, which is the work that no limiter can leave out: for an allowed request
//! a clock read, a load and a swap, for a refused one a clock read and a load. All read quanta's
//! clock. For allowed requests the quota (10⁶ a second, capacity 2³² - 1) is one that is always
//! draining and never exhausted; for refused ones (1 an hour) it is always exhausted. The caller
//! asks for yes or no.

mod support;

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use support::{Expect, Side, compare, peers::Buckets};
use tollgate::Quota;

/// Operations in a slice: some 0.3 ms.
const SLICE: u64 = 1 << 13;

fn count(operations: u64, allowed: impl Fn() -> bool) -> u64 {
    (0..operations).map(|_| u64::from(allowed())).sum()
}

fn allow(criterion: &mut Criterion) {
    let buckets = Buckets::new(Quota::per_second(1_000_000).with_capacity(u32::MAX));
    let Buckets {
        ours,
        governor,
        mutex,
        floor,
    } = &buckets;
    let sides = [
        Side::new("ours", 1, Expect::Allowed, |_, n| {
            count(n, || black_box(ours).try_acquire(1).is_allowed())
        }),
        Side::new("governor", 1, Expect::Allowed, |_, n| {
            count(n, || black_box(governor).0.check().is_ok())
        }),
        Side::new("Mutex", 1, Expect::Allowed, |_, n| {
            count(n, || black_box(mutex).take())
        }),
        Side::new("floor", 1, Expect::Allowed, |_, n| {
            count(n, || black_box(floor).allow())
        }),
    ];
    compare(criterion, "allow", SLICE, &sides);
}

fn refuse(criterion: &mut Criterion) {
    let buckets = Buckets::new(Quota::per_hour(1));
    let Buckets {
        ours,
        governor,
        mutex,
        floor,
    } = &buckets;
    assert!(ours.try_acquire(1).is_allowed() && governor.0.check().is_ok() && mutex.take());
    let sides = [
        Side::new("ours", 1, Expect::Refused, |_, n| {
            count(n, || black_box(ours).try_acquire(1).is_allowed())
        }),
        Side::new("governor", 1, Expect::Refused, |_, n| {
            count(n, || black_box(governor).0.check().is_ok())
        }),
        Side::new("Mutex", 1, Expect::Refused, |_, n| {
            count(n, || black_box(mutex).take())
        }),
        Side::new("floor", 1, Expect::Refused, |_, n| {
            count(n, || black_box(floor).refuse())
        }),
    ];
    compare(criterion, "refuse", SLICE, &sides);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = allow, refuse
}
criterion_main!(benches);
