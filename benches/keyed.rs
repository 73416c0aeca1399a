//! A bucket for each `IpAddr`: 1 k, 1 M and 10 M keys, one thread and two.
//!
//! Sides: ours one by one, ours in batches of 16, governor's default keyed limiter (a `DashMap`),
//! the same with our hasher, and a `Mutex<HashMap>`. governor's default and `HashMap` hash with
//! SipHash, ours is foldhash (quality); the side `governor, foldhash` shows how much of the
//! difference is the hash.
//!
//! All keys are known, and every bucket is draining: each key was charged 10⁵ tokens beforehand, at
//! a quota of 1 token a second and a capacity of 10⁹, so no bucket becomes full or exhausted during
//! the run. Our table is made for exactly the number of keys: a load of 0.6. Keys come in a random
//! order with repeats, drawn beforehand; the list is longer than a branch predictor remembers, and
//! all sides use the same one. A slice is long enough for a side to bring its own keys back into
//! the caches.

mod support;

use std::{
    collections::HashMap,
    hint::black_box,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use criterion::{Criterion, criterion_group, criterion_main};
use foldhash::quality::RandomState;
use governor::{RateLimiter, clock::DefaultClock, state::keyed::DashMapStateStore};
use support::{
    Expect, Side, compare,
    peers::{Clock, HandQuota, Padded, Tokens, by_hand, for_governor, key, lock},
};
use tollgate::{KeyedLimiter, Quota};

type Governor<S> = RateLimiter<IpAddr, DashMapStateStore<IpAddr, S>, DefaultClock>;
type Requests = Vec<(IpAddr, u32)>;

const QUOTA: Quota = Quota::per_second(1).with_capacity(1_000_000_000);
/// Tokens charged to every key beforehand: more than a day's refill.
const CHARGED: u32 = 100_000;
const BATCH: usize = 16;
/// Minimum length of the list of requests.
const REQUESTS: usize = 1 << 20;

/// Draws keys with repeats (xorshift64*; the seed is fixed, so that runs are comparable).
fn requests(keys: usize) -> Requests {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut draw = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let high = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        (key(((high * keys as u64) >> 32) as usize), 1)
    };
    (0..keys.next_multiple_of(BATCH).max(REQUESTS))
        .map(|_| draw())
        .collect()
}

/// List of requests, with a cursor for each thread.
struct Walk {
    requests: Requests,
    places: [Padded<AtomicUsize>; 2],
}

impl Walk {
    fn new(requests: Requests) -> Walk {
        let half = requests.len() / 2 / BATCH * BATCH;
        Walk {
            requests,
            places: [0, half].map(|place| Padded(AtomicUsize::new(place))),
        }
    }

    /// Returns the next requests of a thread, up to the end of the list.
    fn next(&self, thread: usize, most: u64) -> &[(IpAddr, u32)] {
        let place = self.places[thread].0.load(Ordering::Relaxed);
        let end = self.requests.len().min(place + most as usize);
        self.places[thread]
            .0
            .store(end % self.requests.len(), Ordering::Relaxed);
        &self.requests[place..end]
    }

    /// Passes `operations` requests to `work`, in as few pieces as possible.
    fn take(&self, thread: usize, operations: u64, work: impl Fn(&[(IpAddr, u32)]) -> u64) -> u64 {
        let (mut left, mut allowed) = (operations, 0);
        while left > 0 {
            let piece = self.next(thread, left);
            left -= piece.len() as u64;
            allowed += work(piece);
        }
        allowed
    }
}

/// Calls `allowed` for each request.
fn count(piece: &[(IpAddr, u32)], allowed: impl Fn(&IpAddr) -> bool) -> u64 {
    piece.iter().map(|(key, _)| u64::from(allowed(key))).sum()
}

struct MutexMap {
    buckets: Mutex<HashMap<IpAddr, Tokens>>,
    quota: HandQuota,
    clock: Clock,
}

impl MutexMap {
    fn take(&self, key: &IpAddr, cost: f64) -> bool {
        let now = self.clock.nanos();
        lock(&self.buckets)
            .entry(*key)
            .or_insert_with(|| Tokens::full(self.quota))
            .take(self.quota, now, cost)
    }
}

struct Limiters {
    ours: KeyedLimiter<IpAddr>,
    governor: Padded<Governor<std::hash::RandomState>>,
    governor_foldhash: Padded<Governor<RandomState>>,
    mutex: Padded<MutexMap>,
}

impl Limiters {
    fn filled(keys: usize) -> Limiters {
        let limiters = Limiters {
            ours: KeyedLimiter::new(QUOTA, keys),
            governor: Padded(RateLimiter::keyed(for_governor(QUOTA))),
            governor_foldhash: Padded(RateLimiter::dashmap_with_hasher(
                for_governor(QUOTA),
                RandomState::default(),
            )),
            mutex: Padded(MutexMap {
                buckets: Mutex::default(),
                quota: by_hand(QUOTA),
                clock: Clock::new(),
            }),
        };
        let charged = NonZeroU32::new(CHARGED).unwrap_or(NonZeroU32::MIN);
        for key in (0..keys).map(key) {
            let allowed = limiters.ours.try_acquire(&key, CHARGED).is_allowed()
                && matches!(limiters.governor.0.check_key_n(&key, charged), Ok(Ok(())))
                && matches!(
                    limiters.governor_foldhash.0.check_key_n(&key, charged),
                    Ok(Ok(()))
                )
                && limiters.mutex.0.take(&key, f64::from(CHARGED));
            assert!(allowed, "{key} was not known");
        }
        let stats = limiters.ours.stats();
        // One key in a million finds no slot while every key drains; more than ten would be a
        // defect of the table.
        assert!(stats.live + keys / 100_000 + 1 > keys, "{stats:?}");
        limiters
    }
}

fn scenario(
    criterion: &mut Criterion,
    name: &str,
    slice: u64,
    walk: &Walk,
    limiters: &Limiters,
    threads: usize,
) {
    let Limiters {
        ours,
        governor,
        governor_foldhash,
        mutex,
    } = limiters;
    let sides = [
        Side::new("ours", threads, Expect::Allowed, |thread, n| {
            walk.take(thread, n, |piece| {
                count(piece, |key| {
                    black_box(ours).try_acquire(key, 1).is_allowed()
                })
            })
        }),
        Side::new("governor", threads, Expect::Allowed, |thread, n| {
            walk.take(thread, n, |piece| {
                count(piece, |key| black_box(governor).0.check_key(key).is_ok())
            })
        }),
        Side::new(
            "governor, foldhash",
            threads,
            Expect::Allowed,
            |thread, n| {
                walk.take(thread, n, |piece| {
                    count(piece, |key| {
                        black_box(governor_foldhash).0.check_key(key).is_ok()
                    })
                })
            },
        ),
        Side::new("Mutex", threads, Expect::Allowed, |thread, n| {
            walk.take(thread, n, |piece| {
                count(piece, |key| black_box(mutex).0.take(key, 1.0))
            })
        }),
        Side::new("ours, batches", threads, Expect::Allowed, |thread, n| {
            walk.take(thread, n, |piece| {
                let mut allowed = 0;
                for batch in piece.chunks(BATCH) {
                    black_box(ours).try_acquire_batch(batch, |_, decision| {
                        allowed += u64::from(decision.is_allowed())
                    });
                }
                allowed
            })
        }),
    ];
    compare(criterion, &format!("keyed/{name}/{threads}"), slice, &sides);
}

fn keyed(criterion: &mut Criterion) {
    for (name, keys, slice) in [
        ("1k", 1_000, 1 << 13),
        ("1M", 1_000_000, 1 << 18),
        ("10M", 10_000_000, 1 << 19),
    ] {
        let (walk, limiters) = (Walk::new(requests(keys)), Limiters::filled(keys));
        for threads in [1, 2] {
            scenario(criterion, name, slice, &walk, &limiters, threads);
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4));
    targets = keyed
}
criterion_main!(benches);
