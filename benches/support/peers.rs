//! Peers: the minimum cost of a decision, a bucket behind a lock, several quotas in one state, and
//! governor.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use governor::DefaultDirectRateLimiter;
use tollgate::{Bucket, Quota};

/// Clock of all sides: quanta, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Clock {
    clock: quanta::Clock,
    origin: u64,
}

impl Clock {
    pub fn new() -> Clock {
        let clock = quanta::Clock::new();
        let origin = clock.raw();
        Clock { clock, origin }
    }

    #[inline]
    pub fn nanos(&self) -> u64 {
        self.clock.delta_as_nanos(self.origin, self.clock.raw())
    }
}

/// Minimum work of any limiter.
#[derive(Debug)]
#[repr(align(128))]
pub struct Floor {
    word: AtomicU64,
    clock: Clock,
}

impl Floor {
    pub fn new() -> Floor {
        Floor {
            word: AtomicU64::new(0),
            clock: Clock::new(),
        }
    }

    /// A clock read, a load, and a successful CAS.
    #[inline]
    pub fn allow(&self) -> bool {
        let now = self.clock.nanos();
        let mut word = self.word.load(Ordering::Relaxed);
        while let Err(newer) =
            self.word
                .compare_exchange_weak(word, now, Ordering::Relaxed, Ordering::Relaxed)
        {
            word = newer;
        }
        true
    }

    /// A clock read and a load.
    #[inline]
    pub fn refuse(&self) -> bool {
        self.clock.nanos() < self.word.load(Ordering::Relaxed)
    }
}

/// Hand-written token bucket: a lock and floating-point tokens.
#[derive(Debug)]
#[repr(align(128))]
pub struct MutexBucket {
    state: Mutex<Tokens>,
    quota: HandQuota,
    clock: Clock,
}

#[derive(Clone, Copy, Debug)]
pub struct HandQuota {
    pub capacity: f64,
    pub tokens_per_nano: f64,
}

#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    tokens: f64,
    last: u64,
}

impl Tokens {
    pub fn full(quota: HandQuota) -> Tokens {
        Tokens {
            tokens: quota.capacity,
            last: 0,
        }
    }

    #[inline]
    pub fn take(&mut self, quota: HandQuota, now: u64, cost: f64) -> bool {
        // The clock is read before the lock is taken, so `now` may be behind.
        let elapsed = now.saturating_sub(self.last);
        self.last = self.last.max(now);
        self.tokens = (self.tokens + elapsed as f64 * quota.tokens_per_nano).min(quota.capacity);
        let allowed = self.tokens >= cost;
        if allowed {
            self.tokens -= cost;
        }
        allowed
    }
}

impl MutexBucket {
    pub fn new(quota: Quota) -> MutexBucket {
        let quota = by_hand(quota);
        MutexBucket {
            state: Mutex::new(Tokens::full(quota)),
            quota,
            clock: Clock::new(),
        }
    }

    #[inline]
    pub fn take(&self) -> bool {
        let now = self.clock.nanos();
        lock(&self.state).take(self.quota, now, 1.0)
    }
}

/// Several quotas as bucket4j has them in one bucket: a state of all of them, which a decision copies,
/// changes and swaps for the one it has read. A refusal swaps nothing.
#[derive(Debug)]
#[repr(align(128))]
pub struct Bandwidths<const K: usize> {
    state: ArcSwap<[Tokens; K]>,
    quotas: [HandQuota; K],
    clock: Clock,
}

impl<const K: usize> Bandwidths<K> {
    pub fn new(quotas: [Quota; K]) -> Bandwidths<K> {
        let quotas = quotas.map(by_hand);
        Bandwidths {
            state: ArcSwap::from_pointee(quotas.map(Tokens::full)),
            quotas,
            clock: Clock::new(),
        }
    }

    #[inline]
    pub fn take(&self) -> bool {
        let now = self.clock.nanos();
        loop {
            let seen = self.state.load();
            let mut next = **seen;
            let mut parts = next.iter_mut().zip(self.quotas);
            if !parts.all(|(tokens, quota)| tokens.take(quota, now, 1.0)) {
                return false;
            }
            let before = self.state.compare_and_swap(&*seen, Arc::new(next));
            if Arc::ptr_eq(&before, &seen) {
                return true;
            }
        }
    }
}

#[inline]
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn by_hand(quota: Quota) -> HandQuota {
    HandQuota {
        capacity: f64::from(quota.capacity()),
        tokens_per_nano: quota.tokens_per_second() / 1e9,
    }
}

/// Converts a quota for governor, whose default clock is quanta as well.
pub fn for_governor(quota: Quota) -> governor::Quota {
    let interval = quota.period().div_f64(quota.tokens() as f64);
    let capacity = NonZeroU32::new(quota.capacity()).unwrap_or(NonZeroU32::MIN);
    governor::Quota::with_period(interval)
        .unwrap_or_else(|| governor::Quota::per_second(capacity))
        .allow_burst(capacity)
}

/// All sides for one bucket, with the same quota.
#[derive(Debug)]
pub struct Buckets {
    pub ours: Bucket,
    pub governor: Padded<DefaultDirectRateLimiter>,
    pub mutex: MutexBucket,
    pub floor: Floor,
}

/// Padded to a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

impl Buckets {
    pub fn new(quota: Quota) -> Buckets {
        Buckets {
            ours: Bucket::new(quota),
            governor: Padded(DefaultDirectRateLimiter::direct(for_governor(quota))),
            mutex: MutexBucket::new(quota),
            floor: Floor::new(),
        }
    }
}

/// Returns the n-th key: 10 M distinct IPv4 addresses without a pattern.
pub fn key(n: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits((n as u32).wrapping_mul(0x9E37_79B1)))
}
