//! Several limits at once.

use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
    thread,
    time::Duration,
};

use tollgate::{
    Bucket, KeyedLimiter, ManualClock, Outcome, Quota, WhenFull, all, all_of, all_on_key,
};

const SECOND: Duration = Duration::from_secs(1);

fn keyed(quota: Quota, clock: &ManualClock) -> KeyedLimiter<str> {
    let builder = KeyedLimiter::builder(quota).max_keys(100);
    builder.clock(clock.clone()).build().unwrap()
}

#[test]
fn the_answer_names_the_limit_that_decides() {
    let clock = ManualClock::new();
    let burst = Bucket::with_clock(Quota::per_second(2), clock.clone());
    let minute = keyed(Quota::per_minute(3), &clock);
    let request = || all([burst.ask(1), minute.ask("alice", 1)]).try_acquire();

    let first = request();
    assert!(first.is_allowed() && !first.is_refused());
    assert_eq!((first.refused_by(), first.retry_after()), (None, None));
    assert_eq!((first.tightest(), first.remaining()), (0, 1));
    assert!(request().is_allowed());
    let refused = request();
    assert_eq!((refused.refused_by(), refused.tightest()), (Some(0), 0));
    assert_eq!(refused.retry_after(), Some(SECOND / 2));
    assert_eq!(refused.remaining(), 0);
    let outcomes: Vec<_> = refused.parts().map(|part| part.outcome()).collect();
    assert_eq!(outcomes, [Outcome::Refused, Outcome::Allowed]);
    assert_eq!(refused.part(1).unwrap().remaining(), 1, "nothing is taken");
    assert!(refused.part(2).is_none());

    clock.advance(SECOND / 2);
    assert!(request().is_allowed());
    let refused = request();
    assert_eq!(refused.refused_by(), Some(1), "the one that takes longest");
    assert_eq!(refused.retry_after(), Some(SECOND * 39 / 2));
    assert_eq!(
        refused.ok().unwrap_err().retry_after(),
        Some(SECOND * 39 / 2)
    );
}

#[test]
fn a_cost_above_one_capacity_is_never_allowed() {
    let clock = ManualClock::new();
    let small = Bucket::with_clock(Quota::per_second(2), clock.clone());
    let empty = Bucket::with_clock(Quota::per_hour(1).with_capacity(9), clock);
    assert!(empty.try_acquire(9).is_allowed());
    let refused = all([empty.ask(3), small.ask(3)]).try_acquire();
    assert_eq!(
        (refused.refused_by(), refused.retry_after()),
        (Some(1), None)
    );
    assert_eq!(refused.to_string(), small.try_acquire(3).to_string());
}

#[test]
fn costs_of_the_same_bucket_are_added() {
    let clock = ManualClock::new();
    let bucket = Bucket::with_clock(Quota::per_second(5), clock.clone());
    let limiter = keyed(Quota::per_second(9), &clock);
    let asks = [
        bucket.ask(2),
        limiter.ask("a", 1),
        bucket.ask(2),
        limiter.ask("b", 1),
    ];
    let decision = all(asks).try_acquire();
    assert!(decision.is_allowed());
    let costs: Vec<_> = decision.parts().map(|part| part.cost()).collect();
    assert_eq!(costs, [4, 1, 4, 1]);
    assert_eq!(bucket.available(), 1);
    let refused = all(asks).try_acquire();
    assert_eq!(refused.part(2).unwrap().outcome(), Outcome::Refused);
    assert!(decision.refund());
    assert_eq!((bucket.available(), limiter.available("a")), (5, 9));
    let never = all([bucket.ask(u32::MAX), bucket.ask(u32::MAX)]).try_acquire();
    assert_eq!(never.part(0).unwrap().outcome(), Outcome::CostAboveCapacity);
    assert_eq!(bucket.available(), 5);
}

/// Hashes all keys to the same number.
#[derive(Clone, Default)]
struct Colliding;

impl BuildHasher for Colliding {
    type Hasher = Colliding;

    fn build_hasher(&self) -> Colliding {
        Colliding
    }
}

impl Hasher for Colliding {
    fn finish(&self) -> u64 {
        0x0123_4567_89ab_cdef
    }

    fn write(&mut self, _: &[u8]) {}
}

#[test]
fn keys_that_collide_share_a_bucket() {
    let limiter: KeyedLimiter<str, Colliding> = KeyedLimiter::builder(Quota::per_hour(3))
        .hasher(Colliding)
        .build()
        .unwrap();
    let both = || all([limiter.ask("a", 1), limiter.ask("b", 1)]).try_acquire();
    assert!(both().is_allowed());
    assert!(both().is_refused());
    assert_eq!(limiter.available("a"), 1);
}

#[test]
fn a_key_without_a_slot_takes_nothing_elsewhere() {
    let clock = ManualClock::new();
    let bucket = Bucket::with_clock(Quota::per_second(5), clock.clone());
    let limiter: KeyedLimiter<u32> = KeyedLimiter::builder(Quota::per_hour(1))
        .max_keys(1)
        .when_full(WhenFull::RefuseNewcomer)
        .clock(clock)
        .build()
        .unwrap();
    let full = (0..1000).find(|key| limiter.try_acquire(key, 1).is_refused());
    let full = full.expect("a small table is full after some keys");
    let refused = all([bucket.ask(1), limiter.ask(&full, 1)]).try_acquire();
    assert_eq!(refused.refused_by(), Some(1));
    assert_eq!(refused.part(1).unwrap().outcome(), Outcome::TableFull);
    assert_eq!(bucket.available(), 5);
}

#[test]
fn rules_changes_and_pauses_apply() {
    let clock = ManualClock::new();
    let limiter = keyed(Quota::per_hour(1), &clock);
    let other = keyed(Quota::per_hour(100), &clock);
    let request = |key: &'static str| all([limiter.ask(key, 1), other.ask(key, 1)]).try_acquire();
    limiter.set_rule("alice", Quota::per_hour(2));
    assert!(request("alice").is_allowed());
    let second = request("alice");
    assert!(second.is_allowed());
    assert!(request("alice").is_refused());
    assert!(second.refund());
    assert_eq!(limiter.available("alice"), 1);
    let third = request("alice");
    limiter.replace(Quota::per_hour(5));
    assert_eq!(other.available("alice"), 98);
    assert!(third.refund(), "the other limiter gives back");
    assert_eq!(
        (limiter.available("alice"), other.available("alice")),
        (2, 99),
        "the first one has other buckets now"
    );
    assert!(request("bob").is_allowed());
    limiter.pause_for("bob", SECOND).unwrap();
    assert!(request("bob").is_refused());
    assert_eq!(other.available("bob"), 99);
}

#[test]
fn each_limit_follows_its_own_clock() {
    let (fast, slow) = (ManualClock::new(), ManualClock::new());
    let [quick, late] = [&fast, &slow].map(|clock| keyed(Quota::per_second(1), clock));
    let request = || all([quick.ask("a", 1), late.ask("a", 1)]).try_acquire();
    assert!(request().is_allowed());
    fast.advance(SECOND);
    assert_eq!(request().refused_by(), Some(1));
    slow.advance(SECOND);
    assert!(request().is_allowed());
}

#[test]
fn one_to_eight_limits_are_combined_at_run_time() {
    let buckets: Vec<_> = (1..=9)
        .map(|capacity| Bucket::new(Quota::per_hour(1).with_capacity(capacity)))
        .collect();
    let asks: Vec<_> = buckets.iter().map(|bucket| bucket.ask(1)).collect();
    assert_eq!(
        all_of(&asks).unwrap_err().to_string(),
        "expected from 1 to 8 limits, got 9"
    );
    assert!(all_of(&[]).is_err());
    for count in 1..=8 {
        let limits = all_of(&asks[9 - count..]).unwrap();
        let decision = limits.try_acquire();
        assert_eq!((decision.parts().len(), decision.tightest()), (count, 0));
        assert!(decision.part(count).is_none());
        assert!(decision.refund());
    }
    let available: Vec<_> = buckets.iter().map(|bucket| bucket.available()).collect();
    assert_eq!(available, (1..=9).collect::<Vec<_>>());
}

#[test]
fn a_look_takes_nothing() {
    let clock = ManualClock::new();
    let bucket = Bucket::with_clock(Quota::per_second(2), clock.clone());
    let limiter = keyed(Quota::per_minute(1), &clock);
    let limits = all([bucket.ask(2), limiter.ask("a", 1)]);
    assert!(limits.look().is_allowed());
    assert!(!limits.look().refund());
    assert!(limits.try_acquire().is_allowed());
    let look = limits.look();
    assert_eq!(
        (look.refused_by(), look.retry_after()),
        (Some(1), Some(SECOND * 60))
    );
    assert_eq!(bucket.look(1).retry_after(), Some(SECOND / 2));
    assert_eq!(limiter.look("b", 2).outcome(), Outcome::CostAboveCapacity);
}

/// *Caught:* a reset of the first limit alone.
#[test]
fn a_reset_refills_the_buckets_of_all_limits() {
    let clock = ManualClock::new();
    let (bucket, limiter) = (
        Bucket::with_clock(Quota::per_hour(3), clock.clone()),
        keyed(Quota::per_hour(9), &clock),
    );
    let limits = all([bucket.ask(1), limiter.ask("a", 3), limiter.ask("b", 0)]);
    assert_eq!(limits.available(), 3);
    assert!(limits.try_acquire().is_allowed() && limits.try_acquire().is_allowed());
    assert!(limiter.try_acquire("c", 4).is_allowed());
    assert_eq!(limits.available(), 1);
    limits.reset();
    let left = (
        bucket.available(),
        limiter.available("a"),
        limiter.available("c"),
    );
    assert_eq!((limits.available(), left), (3, (3, 9, 5)));
}

/// Callers of both limits in either order, and of one of them: what is left is what was not allowed.
#[test]
fn threads_lose_and_invent_no_tokens() {
    const CAPACITY: u32 = 30_000;
    let clock = ManualClock::new();
    let quota = Quota::per_hour(1).with_capacity(CAPACITY);
    let one = Arc::new(Bucket::with_clock(quota, clock.clone()));
    let other = Arc::new(keyed(quota, &clock));
    let call = |kind: usize| {
        let (one, other) = (Arc::clone(&one), Arc::clone(&other));
        thread::spawn(move || {
            let allowed = |_: &u32| match kind {
                0 => all([one.ask(1), other.ask("a", 1)])
                    .try_acquire()
                    .is_allowed(),
                1 => all([other.ask("a", 1), one.ask(1)])
                    .try_acquire()
                    .is_allowed(),
                2 => one.try_acquire(1).is_allowed(),
                _ => other.try_acquire("a", 1).is_allowed(),
            };
            (0..20_000).filter(allowed).count() as u32
        })
    };
    let allowed: Vec<_> = (0..4).map(call).collect();
    let allowed: Vec<_> = allowed
        .into_iter()
        .map(|call| call.join().unwrap())
        .collect();
    let both = allowed[0] + allowed[1];
    assert_eq!(one.available(), CAPACITY - both - allowed[2]);
    assert_eq!(other.available("a"), CAPACITY - both - allowed[3]);
    assert!(both > 0);
}

/// Callers that name three limits neither in the order of all callers nor in its reverse.
///
/// *Caught:* a word that has changed counts as taken.
#[test]
fn threads_with_mixed_orders_lose_and_invent_no_tokens() {
    const CAPACITY: u32 = 30_000;
    let quota = Quota::per_hour(1).with_capacity(CAPACITY);
    let clock = ManualClock::new();
    let buckets = [(); 3].map(|()| Bucket::with_clock(quota, clock.clone()));
    let allowed = |order: [usize; 3]| {
        let limits = order.map(|n| buckets[n].ask(1));
        let calls = (0..20_000).filter(|_| all(limits).try_acquire().is_allowed());
        calls.count() as u32
    };
    let total: u32 = thread::scope(|scope| {
        let orders = [[0, 2, 1], [1, 2, 0], [1, 0, 2]];
        let calls = orders.map(|order| scope.spawn(move || allowed(order)));
        calls.into_iter().map(|call| call.join().unwrap()).sum()
    });
    let left = buckets.each_ref().map(Bucket::available);
    assert_eq!((total, left), (CAPACITY, [0; 3]));
}

/// Counts the hashes that are made.
#[derive(Clone, Default)]
struct Counting(
    std::sync::Arc<std::sync::atomic::AtomicUsize>,
    std::hash::RandomState,
);

impl BuildHasher for Counting {
    type Hasher = std::hash::DefaultHasher;

    fn build_hasher(&self) -> std::hash::DefaultHasher {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.1.build_hasher()
    }
}

/// *Caught:* a hash of another seed.
#[test]
fn limiters_that_are_hashed_alike_hash_a_key_once() {
    let clock = ManualClock::new();
    let limiter = |capacity| {
        let builder = KeyedLimiter::<str>::builder(Quota::per_day(capacity));
        builder.clock(clock.clone()).max_keys(100)
    };
    let counting = Counting::default();
    let one = limiter(3).hasher(counting.clone()).build().unwrap();
    let alike = limiter(5)
        .hasher(counting.clone())
        .hashed_like(&one)
        .build()
        .unwrap();
    // The same function, but nothing says so.
    let apart = limiter(7).hasher(Counting::default()).build().unwrap();
    let take = || all_on_key("a", [(&one, 1), (&alike, 1), (&apart, 1)]).try_acquire();
    let hashes = || counting.0.load(std::sync::atomic::Ordering::Relaxed);
    let before = hashes();
    assert!(take().is_allowed());
    assert_eq!(hashes(), before + 1);
    let left = [
        one.available("a"),
        alike.available("a"),
        apart.available("a"),
    ];
    assert_eq!(left, [2, 4, 6]);
    assert_eq!(
        [
            one.available("b"),
            alike.available("b"),
            apart.available("b")
        ],
        [3, 5, 7]
    );
}
