//! One bucket, one thread: the cost of an uncontended decision.
//!
//! Sides: ours; governor's direct limiter with its default clock; a hand-written bucket behind a
//! `Mutex`; and the floor, the minimum work of any limiter: a clock read, a load and a CAS for an
//! allowed request, a clock read and a load for a refused one. All read quanta's clock. The quota
//! for allowed requests (10⁶ a second, capacity 2³² - 1) is always draining and never exhausted;
//! the one for refused requests (1 an hour) is always exhausted. The caller uses the boolean
//! outcome only.

mod support;

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use support::{Expect, Side, compare, peers::Buckets};
use tollgate::Quota;

/// Operations per slice: some 0.3 ms.
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
