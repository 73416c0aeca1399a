//! Models of calls on several limits beside calls on one of them.

use std::time::Duration;

use loom::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use tollgate::{Ask, Bucket, ManualClock, WhenFull, all};

use crate::{
    bound,
    call_order::CallOrder,
    model::{greedy, time},
    table::{Key, Limiter, key, limiter},
};

/// Limits, and the order of the calls on them.
struct Limits<L, const N: usize = 2> {
    limits: [L; N],
    call_order: CallOrder,
}

impl<L, const N: usize> Limits<L, N> {
    fn new(limits: [L; N]) -> Arc<Limits<L, N>> {
        Arc::new(Limits {
            limits,
            call_order: CallOrder::new(),
        })
    }

    /// Takes one token of each, named in this order.
    fn take(&self, ask: impl Fn(&L) -> Ask<'_>, order: [usize; N], now: Duration) -> bool {
        self.call_order.begin_call();
        let asks = order.map(|number| ask(&self.limits[number]));
        all(asks).try_acquire_at(now).is_allowed()
    }
}

/// Order in which two limits are named.
fn named(is_reversed: bool) -> [usize; 2] {
    if is_reversed { [1, 0] } else { [0, 1] }
}

type Buckets<const N: usize = 2> = Limits<Bucket, N>;

fn buckets<const N: usize>(capacities: [u32; N]) -> Arc<Buckets<N>> {
    Limits::new(capacities.map(|capacity| Bucket::new(greedy(capacity))))
}

impl<const N: usize> Buckets<N> {
    fn available(&self) -> [u32; N] {
        let available = |bucket: &Bucket| bucket.available_at(Duration::ZERO);
        self.limits.each_ref().map(available)
    }
}

impl Buckets {
    fn take_both(&self, is_reversed: bool, now: Duration) -> bool {
        self.take(|bucket| bucket.ask(1), named(is_reversed), now)
    }

    fn take_one(&self, number: usize) -> bool {
        self.call_order.begin_call();
        let decision = self.limits[number].try_acquire_at(Duration::ZERO, 1);
        decision.is_allowed()
    }
}

/// Two callers name the same two limits in opposite orders, and there is room for one: one passes.
///
/// *Caught:* parts taken in the order in which they are named.
#[test]
fn of_two_crossing_callers_one_passes() {
    bound::builder(2, 3).check(|| {
        let buckets = buckets([1, 1]);
        let other = {
            let buckets = buckets.clone();
            thread::spawn(move || buckets.take_both(true, Duration::ZERO))
        };
        let passed = [
            buckets.take_both(false, Duration::ZERO),
            other.join().unwrap(),
        ];
        assert_eq!(passed.iter().filter(|passed| **passed).count(), 1);
        assert_eq!(buckets.available(), [0, 0]);
    });
}

/// The same as [`of_two_crossing_callers_one_passes`], for three limits, whose order is neither that in
/// which they are named nor the reverse of it.
///
/// *Caught:* parts taken in the order in which they are named.
#[test]
fn of_two_callers_of_three_limits_one_passes() {
    bound::builder(2, 3).check(|| {
        let buckets = buckets([1; 3]);
        let take = |buckets: &Buckets<3>, order| {
            buckets.take(|bucket| bucket.ask(1), order, Duration::ZERO)
        };
        let other = {
            let buckets = buckets.clone();
            thread::spawn(move || take(&buckets, [1, 2, 0]))
        };
        let passed = [take(&buckets, [0, 2, 1]), other.join().unwrap()];
        assert_eq!(passed.iter().filter(|passed| **passed).count(), 1);
        assert_eq!(buckets.available(), [0; 3]);
    });
}

/// A caller of both limits beside a caller of one of them: what was taken is what was allowed, in
/// each limit.
///
/// *Caught:* no give-back, or a second one; the next word stored instead of swapped.
#[test]
fn a_refused_caller_gives_back_what_it_took() {
    for single in [0, 1] {
        bound::builder(2, 3).check(move || {
            let buckets = buckets([2, 2]);
            for number in [0, 1] {
                assert!(buckets.take_one(number));
            }
            let other = {
                let buckets = buckets.clone();
                thread::spawn(move || buckets.take_one(single))
            };
            let both = buckets.take_both(false, Duration::ZERO);
            let one = other.join().unwrap();
            // A caller of one limit may be refused while the other one holds its token.
            let mut left = [1 - u32::from(both); 2];
            left[single] -= u32::from(one);
            assert_eq!(buckets.available(), left);
        });
    }
}

/// Time moves between the look and the takes of two threads: no limit admits more than its capacity
/// and the refill.
///
/// *Caught:* the next word stored instead of swapped.
#[test]
fn no_limit_over_admits_while_time_moves() {
    bound::builder(2, 3).check(|| {
        let (buckets, clock) = (buckets([1, 2]), Arc::new(AtomicU64::new(0)));
        let calls = |buckets: &Buckets, clock: &AtomicU64, is_reversed| {
            let now = || time(&greedy(1), clock.load(Ordering::Relaxed));
            let allowed = |_: &u32| buckets.take_both(is_reversed, now());
            (0..2).filter(allowed).count()
        };
        let other = {
            let (buckets, clock) = (buckets.clone(), clock.clone());
            thread::spawn(move || calls(&buckets, &clock, true))
        };
        clock.store(1, Ordering::Relaxed);
        let admitted = calls(&buckets, &clock, false) + other.join().unwrap();
        // Capacity 1 and one tick.
        assert!(admitted <= 2, "{admitted}");
    });
}

/// Two parts on one bucket are one charge: beside another caller the bucket is charged with both or
/// with none.
///
/// *Caught:* the next word stored instead of swapped.
#[test]
fn parts_on_one_bucket_are_one_charge() {
    bound::builder(2, 3).check(|| {
        let buckets = buckets([2, 1]);
        let other = {
            let buckets = buckets.clone();
            thread::spawn(move || buckets.take_one(0))
        };
        buckets.call_order.begin_call();
        let bucket = &buckets.limits[0];
        let twice = all([bucket.ask(1), bucket.ask(1)]).try_acquire_at(Duration::ZERO);
        let (twice, once) = (twice.is_allowed(), other.join().unwrap());
        assert!(twice != once, "room for two tokens");
        assert_eq!(buckets.available()[0], u32::from(!twice));
    });
}

const KEY: Key = key(1, 0, 0, 0);
const OTHER: Key = key(2, 0, 0, 0);
const FILLERS: [Key; 2] = [key(8, 1, 0, 0), key(9, 1, 1, 0)];

type Limiters = Limits<Limiter>;

fn limiters(capacities: [u32; 2], when_full: WhenFull) -> Arc<Limiters> {
    let new = |capacity| limiter(greedy(capacity), when_full, ManualClock::new());
    Limits::new(capacities.map(new))
}

impl Limiters {
    fn take_both(&self, is_reversed: bool, now: Duration) -> bool {
        self.take(|limiter| limiter.ask(&KEY, 1), named(is_reversed), now)
    }

    fn take_one(&self, number: usize, key: Key, now: Duration, cost: u32) -> bool {
        self.call_order.begin_call();
        let decision = self.limits[number].try_acquire_at(now, &key, cost);
        decision.is_allowed()
    }

    fn available(&self, number: usize, key: Key, now: Duration) -> u32 {
        self.limits[number].look_at(now, &key, 0).remaining()
    }
}

/// The same as [`of_two_crossing_callers_one_passes`], for keys that the tables do not have yet.
///
/// *Caught:* parts taken in the order in which they are named.
#[test]
fn of_two_crossing_callers_of_new_keys_one_passes() {
    bound::builder(1, 2).check(|| {
        let limiters = limiters([1, 1], WhenFull::EvictNearestToFull);
        let other = {
            let limiters = limiters.clone();
            thread::spawn(move || limiters.take_both(true, Duration::ZERO))
        };
        let passed = [
            limiters.take_both(false, Duration::ZERO),
            other.join().unwrap(),
        ];
        assert_eq!(passed.iter().filter(|passed| **passed).count(), 1);
        let left = [0, 1].map(|number| limiters.available(number, KEY, Duration::ZERO));
        assert_eq!(left, [0, 0]);
    });
}

/// Between the look and the take the key's bucket is full again, and its slot goes to another key:
/// neither key is charged for the other.
///
/// *Caught:* the tag not confirmed; the next word stored instead of swapped.
#[test]
fn a_slot_that_is_taken_over_is_charged_by_its_owner_alone() {
    bound::builder(1, 2).check(|| {
        let limiters = limiters([2, 2], WhenFull::EvictNearestToFull);
        let at = |tick| time(&greedy(2), tick);
        // Both limiters have the key, and the first one has no other slot that is free in the next tick.
        assert!(limiters.take_both(false, at(0)));
        for filler in [FILLERS[0], FILLERS[1], key(4, 0, 1, 1)] {
            limiters.take_one(0, filler, at(0), 2);
        }
        let other = {
            let limiters = limiters.clone();
            thread::spawn(move || limiters.take_one(0, OTHER, at(1), 2))
        };
        let passed = limiters.take_both(false, at(1));
        let other = other.join().unwrap();
        assert!(passed && other);
        assert_eq!(limiters.available(0, OTHER, at(1)), 0);
        // The other key may have evicted this one early.
        assert!(limiters.available(0, KEY, at(1)) >= 1);
    });
}

/// A key that finds no slot in one table gives back what it took in the other.
///
/// *Caught:* no give-back, or a second one.
#[test]
fn a_key_without_a_slot_leaves_the_other_limit_as_it_was() {
    bound::builder(1, 2).check(|| {
        let limiters = limiters([2, 2], WhenFull::RefuseNewcomer);
        for filler in [FILLERS[0], FILLERS[1], key(4, 0, 0, 0), key(5, 0, 1, 1)] {
            limiters.take_one(1, filler, Duration::ZERO, 2);
        }
        let other = {
            let limiters = limiters.clone();
            thread::spawn(move || limiters.take_one(0, KEY, Duration::ZERO, 1))
        };
        let both = limiters.take_both(false, Duration::ZERO);
        let one = other.join().unwrap();
        assert!(!both && one);
        assert_eq!(limiters.available(0, KEY, Duration::ZERO), 1);
    });
}

/// The same as [`a_refused_caller_gives_back_what_it_took`], for keys of tables.
///
/// *Caught:* no give-back, or a second one; the next word stored instead of swapped.
#[test]
fn a_refused_caller_of_keys_gives_back_what_it_took() {
    for single in [0, 1] {
        bound::builder(1, 2).check(move || {
            let limiters = limiters([2, 2], WhenFull::EvictNearestToFull);
            let take_one = |limiters: &Limiters, number: usize| {
                limiters.take_one(number, KEY, Duration::ZERO, 1)
            };
            for number in [0, 1] {
                assert!(take_one(&limiters, number));
            }
            let other = {
                let limiters = limiters.clone();
                thread::spawn(move || take_one(&limiters, single))
            };
            let both = limiters.take_both(false, Duration::ZERO);
            let one = other.join().unwrap();
            // A caller of one limit may be refused while the other one holds its token.
            let mut left = [1 - u32::from(both); 2];
            left[single] -= u32::from(one);
            let available = [0, 1].map(|number| limiters.available(number, KEY, Duration::ZERO));
            assert_eq!(available, left);
        });
    }
}

/// A call that the look refuses holds no token, not for a moment: a caller of the other limit, with
/// room for one, passes.
///
/// *Caught:* tokens taken without a look, and given back.
#[test]
fn a_refused_look_at_keys_writes_nothing() {
    for empty in [0, 1] {
        bound::builder(1, 2).check(move || {
            let limiters = limiters([1, 1], WhenFull::EvictNearestToFull);
            assert!(limiters.take_one(empty, KEY, Duration::ZERO, 1));
            let other = {
                let limiters = limiters.clone();
                thread::spawn(move || limiters.take_one(1 - empty, KEY, Duration::ZERO, 1))
            };
            assert!(!limiters.take_both(false, Duration::ZERO));
            assert!(other.join().unwrap());
            let left = [0, 1].map(|number| limiters.available(number, KEY, Duration::ZERO));
            assert_eq!(left, [0, 0]);
        });
    }
}

/// Tokens that have refilled before they are given back are not given back again, when another
/// caller has charged the key in the meantime.
///
/// *Caught:* all that was charged given back, whatever has refilled; the next word stored instead of
/// swapped.
#[test]
fn refilled_tokens_of_a_key_are_not_given_back() {
    bound::builder(1, 2).check(|| {
        let limiters = limiters([1, 1], WhenFull::EvictNearestToFull);
        let at = |tick| time(&greedy(1), tick);
        // In the next tick both keys are full, and have their slots.
        assert!(limiters.take_both(false, at(0)));
        let other = {
            let limiters = limiters.clone();
            thread::spawn(move || {
                limiters.take_one(1, KEY, at(1), 1);
                limiters.take_one(0, KEY, at(2), 1)
            })
        };
        limiters.take_both(false, at(1));
        assert!(
            other.join().unwrap(),
            "the token of the tick before is back"
        );
        assert_eq!(limiters.available(0, KEY, at(2)), 0);
    });
}
