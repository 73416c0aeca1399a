//! Several limits at once: `all` of two, beside one limit alone and two taken one after the other.
//!
//! Taken by hand, a request that the second limit refuses has spent a token of the first:
//! governor has no refund. Ours has one: by hand, the first limit then gets its token back. bucket4j
//! holds several quotas in one state, which is built here with its semantics. Sides: ours; one of
//! our limits; two of ours by hand; two of governor's by hand; two quotas in one state. Keys are known, every bucket is draining and none becomes full or exhausted, as in the
//! bench `keyed`; both limits have the same key, and tables made for exactly the number of keys.
//! One limit with twice the keys touches as much memory as two limits: what it takes more than one
//! limit is the price of the caches, not of the second decision.

mod support;

use std::{hint::black_box, net::IpAddr, num::NonZeroU32, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter};
use support::{
    Expect, Side, compare,
    peers::{Bandwidths, Padded, for_governor, key},
};
use tollgate::{Bucket, KeyedLimiter, Quota, all, all_on_key};

const QUOTA: Quota = Quota::per_second(1).with_capacity(1_000_000_000);
/// Tokens charged to every key beforehand: more than a day's refill.
const CHARGED: u32 = 100_000;

fn count(operations: u64, allowed: impl Fn() -> bool) -> u64 {
    (0..operations).map(|_| u64::from(allowed())).sum()
}

fn buckets(criterion: &mut Criterion) {
    let quota = Quota::per_second(1_000_000).with_capacity(u32::MAX);
    let ours = [(); 2].map(|()| Bucket::new(quota));
    let direct = || Padded(DefaultDirectRateLimiter::direct(for_governor(quota)));
    let governor = [direct(), direct()];
    let one_state = Bandwidths::new([quota; 2]);
    let sides = [
        Side::new("ours", 1, Expect::Allowed, |_, n| {
            count(n, || {
                let [one, other] = black_box(&ours);
                all([one.ask(1), other.ask(1)]).try_acquire().is_allowed()
            })
        }),
        Side::new("one limit", 1, Expect::Allowed, |_, n| {
            count(n, || black_box(&ours)[0].try_acquire(1).is_allowed())
        }),
        Side::new("two by hand", 1, Expect::Allowed, |_, n| {
            count(n, || {
                let limits = black_box(&ours);
                limits.iter().all(|limit| limit.try_acquire(1).is_allowed())
            })
        }),
        Side::new("governor", 1, Expect::Allowed, |_, n| {
            count(n, || {
                let limits = black_box(&governor);
                limits.iter().all(|limit| limit.0.check().is_ok())
            })
        }),
        Side::new("as bucket4j", 1, Expect::Allowed, |_, n| {
            count(n, || black_box(&one_state).take())
        }),
    ];
    compare(criterion, "compound/buckets", 1 << 13, &sides);
}

/// The second limit refuses.
fn refused(criterion: &mut Criterion) {
    let quotas = [
        Quota::per_second(1_000_000).with_capacity(u32::MAX),
        Quota::per_hour(1),
    ];
    let [ours, by_hand] = [(); 2].map(|()| quotas.map(Bucket::new));
    assert!(ours[1].try_acquire(1).is_allowed());
    assert!(by_hand[1].try_acquire(1).is_allowed());
    let governor =
        quotas.map(|quota| Padded(DefaultDirectRateLimiter::direct(for_governor(quota))));
    assert!(governor[1].0.check().is_ok());
    let one_state = Bandwidths::new(quotas);
    assert!(one_state.take());
    let allowing = [(); 2].map(|()| Bucket::new(QUOTA));
    let take = |limits: &[Bucket; 2]| {
        let [one, other] = black_box(limits);
        all([one.ask(1), other.ask(1)]).try_acquire().is_allowed()
    };
    let sides = [
        Side::new("ours", 1, Expect::Refused, |_, n| count(n, || take(&ours))),
        Side::new("allowed", 1, Expect::Allowed, |_, n| {
            count(n, || take(&allowing))
        }),
        Side::new("two by hand, given back", 1, Expect::Refused, |_, n| {
            count(n, || {
                let [one, other] = black_box(&by_hand);
                let first = one.try_acquire(1);
                let is_allowed = first.is_allowed() && other.try_acquire(1).is_allowed();
                if !is_allowed {
                    let _ = one.refund(first);
                }
                is_allowed
            })
        }),
        Side::new("governor, not given back", 1, Expect::Refused, |_, n| {
            count(n, || {
                let limits = black_box(&governor);
                limits.iter().all(|limit| limit.0.check().is_ok())
            })
        }),
        Side::new("as bucket4j", 1, Expect::Refused, |_, n| {
            count(n, || black_box(&one_state).take())
        }),
    ];
    compare(criterion, "compound/refused", 1 << 13, &sides);
}

/// Draws a key (xorshift64*), from a state of its own for each slice.
fn draw(state: &mut u64, keys: usize) -> IpAddr {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    let high = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
    key(((high * keys as u64) >> 32) as usize)
}

fn keyed(criterion: &mut Criterion, name: &str, keys: usize, slice: u64) {
    let one = KeyedLimiter::new(QUOTA, keys);
    let builder = KeyedLimiter::builder(QUOTA).max_keys(keys);
    let Ok(other) = builder.hashed_like(&one).build() else {
        return eprintln!("no memory for {keys} keys");
    };
    let ours = [one, other];
    let twice = KeyedLimiter::new(QUOTA, 2 * keys);
    let by_key = || {
        Padded(DefaultKeyedRateLimiter::<IpAddr>::keyed(for_governor(
            QUOTA,
        )))
    };
    let governor = [by_key(), by_key()];
    let charged = NonZeroU32::new(CHARGED).unwrap_or(NonZeroU32::MIN);
    for key in (0..keys).map(key) {
        for (ours, governor) in ours.iter().zip(&governor) {
            assert!(ours.try_acquire(&key, CHARGED).is_allowed());
            assert!(matches!(governor.0.check_key_n(&key, charged), Ok(Ok(()))));
        }
    }
    for key in (0..2 * keys).map(key) {
        assert!(twice.try_acquire(&key, CHARGED).is_allowed());
    }
    let state = std::sync::atomic::AtomicU64::new(0x2545_F491_4F6C_DD1D);
    let each_of = |keys: usize, n: u64, allowed: &dyn Fn(&IpAddr) -> bool| {
        let mut place = state.load(std::sync::atomic::Ordering::Relaxed);
        let count = (0..n)
            .map(|_| u64::from(allowed(&draw(&mut place, keys))))
            .sum();
        state.store(place, std::sync::atomic::Ordering::Relaxed);
        count
    };
    let each = |n: u64, allowed: &dyn Fn(&IpAddr) -> bool| each_of(keys, n, allowed);
    let sides = [
        Side::new("ours", 1, Expect::Allowed, |_, n| {
            each(n, &|key| {
                let [one, other] = black_box(&ours);
                let limits = all_on_key(key, [(one, 1), (other, 1)]);
                limits.try_acquire().is_allowed()
            })
        }),
        Side::new("hashed twice", 1, Expect::Allowed, |_, n| {
            each(n, &|key| {
                let [one, other] = black_box(&ours);
                let limits = all([one.ask(key, 1), other.ask(key, 1)]);
                limits.try_acquire().is_allowed()
            })
        }),
        Side::new("one limit", 1, Expect::Allowed, |_, n| {
            each(n, &|key| {
                black_box(&ours)[0].try_acquire(key, 1).is_allowed()
            })
        }),
        Side::new("one limit, twice the keys", 1, Expect::Allowed, |_, n| {
            each_of(2 * keys, n, &|key| {
                black_box(&twice).try_acquire(key, 1).is_allowed()
            })
        }),
        Side::new("two by hand", 1, Expect::Allowed, |_, n| {
            each(n, &|key| {
                let limits = black_box(&ours);
                limits
                    .iter()
                    .all(|limit| limit.try_acquire(key, 1).is_allowed())
            })
        }),
        Side::new("governor", 1, Expect::Allowed, |_, n| {
            each(n, &|key| {
                let limits = black_box(&governor);
                limits.iter().all(|limit| limit.0.check_key(key).is_ok())
            })
        }),
    ];
    compare(criterion, &format!("compound/{name}"), slice, &sides);
}

fn one_key(criterion: &mut Criterion) {
    keyed(criterion, "1k", 1_000, 1 << 13);
    keyed(criterion, "1M", 1_000_000, 1 << 18);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4));
    targets = buckets, refused, one_key
}
criterion_main!(benches);
