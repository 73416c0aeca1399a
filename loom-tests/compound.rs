//! Models of calls on several limits beside calls on one of them.

use std::time::Duration;

use loom::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use tollgate::{Bucket, ManualClock, WhenFull, all};

use crate::{
    bound,
    model::{greedy, time},
    table::{Key, Limiter, key, limiter},
};

/// Runs a model with its bound, each execution with new limits.
fn check(model: impl Fn() + Send + Sync + 'static) {
    bound::builder(2, 3).check(model);
}

fn buckets(capacities: [u32; 2]) -> Arc<[Bucket; 2]> {
    Arc::new(capacities.map(|capacity| Bucket::new(greedy(capacity))))
}

/// Takes one token of each bucket, in either order of naming them.
fn take(buckets: &[Bucket; 2], is_reversed: bool, now: Duration) -> bool {
    let [one, other] = [buckets[0].ask(1), buckets[1].ask(1)];
    let asks = if is_reversed {
        [other, one]
    } else {
        [one, other]
    };
    all(asks).try_acquire_at(now).is_allowed()
}

fn available(buckets: &[Bucket; 2]) -> [u32; 2] {
    buckets
        .each_ref()
        .map(|bucket| bucket.available_at(Duration::ZERO))
}

/// Two callers name the same two limits in opposite orders, and there is room for one: one passes.
///
/// *Caught:* parts taken in the order in which they are named; one look instead of several.
#[test]
fn of_two_crossing_callers_one_passes() {
    check(|| {
        let buckets = buckets([1, 1]);
        let other = {
            let buckets = buckets.clone();
            thread::spawn(move || take(&buckets, true, Duration::ZERO))
        };
        let passed = [take(&buckets, false, Duration::ZERO), other.join().unwrap()];
        assert_eq!(passed.iter().filter(|passed| **passed).count(), 1);
        assert_eq!(available(&buckets), [0, 0]);
    });
}

/// A caller of both limits beside callers of one of them: what was taken is what was allowed, in
/// each limit.
///
/// *Caught:* no give-back; a give-back of both parts, or of another number of units.
#[test]
fn a_refused_caller_gives_back_what_it_took() {
    for single in [0, 1] {
        check(move || {
            let buckets = buckets([2, 2]);
            buckets
                .iter()
                .for_each(|bucket| drop(bucket.try_acquire_at(Duration::ZERO, 1)));
            let other = {
                let buckets = buckets.clone();
                thread::spawn(move || {
                    buckets[single]
                        .try_acquire_at(Duration::ZERO, 1)
                        .is_allowed()
                })
            };
            let both = take(&buckets, false, Duration::ZERO);
            let one = other.join().unwrap();
            // A caller of one limit may be refused while the other one holds its token.
            let mut left = [1 - u32::from(both); 2];
            left[single] -= u32::from(one);
            assert_eq!(available(&buckets), left);
        });
    }
}

/// Time moves between the look and the takes of two threads: no limit admits more than its capacity
/// and the refill.
///
/// *Caught:* the next word stored instead of swapped.
#[test]
fn no_limit_over_admits_while_time_moves() {
    check(|| {
        let (buckets, clock) = (buckets([1, 2]), Arc::new(AtomicU64::new(0)));
        let calls = |buckets: &[Bucket; 2], clock: &AtomicU64, is_reversed| {
            let now = || time(&greedy(1), clock.load(Ordering::Relaxed));
            (0..2).filter(|_| take(buckets, is_reversed, now())).count()
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
/// *Caught:* parts that are not merged.
#[test]
fn parts_on_one_bucket_are_one_charge() {
    check(|| {
        let buckets = buckets([2, 1]);
        let other = {
            let buckets = buckets.clone();
            thread::spawn(move || buckets[0].try_acquire_at(Duration::ZERO, 1).is_allowed())
        };
        let twice = all([buckets[0].ask(1), buckets[0].ask(1)]).try_acquire_at(Duration::ZERO);
        let (twice, once) = (twice.is_allowed(), other.join().unwrap());
        assert!(twice != once, "room for two tokens");
        assert_eq!(buckets[0].available_at(Duration::ZERO), u32::from(!twice));
    });
}

const KEY: Key = key(1, 0, 0, 0);
const OTHER: Key = key(2, 0, 0, 0);
const FILLERS: [Key; 2] = [key(8, 1, 0, 0), key(9, 1, 1, 0)];

fn limiters(capacities: [u32; 2], when_full: WhenFull) -> Arc<[Limiter; 2]> {
    Arc::new(capacities.map(|capacity| limiter(greedy(capacity), when_full, ManualClock::new())))
}

fn take_key(limiters: &[Limiter; 2], is_reversed: bool, now: Duration) -> bool {
    let [one, other] = [limiters[0].ask(&KEY, 1), limiters[1].ask(&KEY, 1)];
    let asks = if is_reversed {
        [other, one]
    } else {
        [one, other]
    };
    all(asks).try_acquire_at(now).is_allowed()
}

/// The same as [`of_two_crossing_callers_one_passes`], for keys of tables that do not have them.
///
/// *Caught:* parts taken in the order in which they are named.
#[test]
fn of_two_crossing_callers_of_new_keys_one_passes() {
    bound::builder(1, 2).check(|| {
        let limiters = limiters([1, 1], WhenFull::EvictNearestToFull);
        let other = {
            let limiters = limiters.clone();
            thread::spawn(move || take_key(&limiters, true, Duration::ZERO))
        };
        let passed = [
            take_key(&limiters, false, Duration::ZERO),
            other.join().unwrap(),
        ];
        assert_eq!(passed.iter().filter(|passed| **passed).count(), 1);
        let left = limiters
            .each_ref()
            .map(|limiter| limiter.look_at(Duration::ZERO, &KEY, 0).remaining());
        assert_eq!(left, [0, 0]);
    });
}

/// Between the look and the take the key's bucket is full again, and its slot goes to another key:
/// neither key is charged for the other.
///
/// *Caught:* a swap on a word that was read after the tag was confirmed.
#[test]
fn a_slot_that_is_taken_over_is_charged_by_its_owner_alone() {
    bound::builder(1, 2).check(|| {
        let limiters = limiters([2, 2], WhenFull::EvictNearestToFull);
        let at = |tick| time(&greedy(2), tick);
        drop(limiters[0].try_acquire_at(at(0), &KEY, 1));
        for filler in FILLERS {
            for tick in 0..3 {
                drop(limiters[0].try_acquire_at(at(tick), &filler, 2));
            }
        }
        let other = {
            let limiters = limiters.clone();
            thread::spawn(move || {
                let taken = |_: &u32| limiters[0].try_acquire_at(at(2), &OTHER, 1).is_allowed();
                (0..2).filter(taken).count()
            })
        };
        let passed = take_key(&limiters, false, at(2));
        let other = other.join().unwrap();
        let left = |key: &Key| limiters[0].look_at(at(2), key, 0).remaining();
        assert!(passed && other == 2);
        assert_eq!(left(&OTHER), 0);
        assert!(left(&KEY) >= 1);
    });
}

/// A key that finds no slot in one table gives back what it took in the other.
///
/// *Caught:* no give-back.
#[test]
fn a_key_without_a_slot_leaves_the_other_limit_as_it_was() {
    bound::builder(1, 2).check(|| {
        let limiters = limiters([2, 2], WhenFull::RefuseNewcomer);
        for filler in [FILLERS[0], FILLERS[1], key(4, 0, 0, 0), key(5, 0, 1, 1)] {
            drop(limiters[1].try_acquire_at(Duration::ZERO, &filler, 2));
        }
        let other = {
            let limiters = limiters.clone();
            thread::spawn(move || {
                limiters[0]
                    .try_acquire_at(Duration::ZERO, &KEY, 1)
                    .is_allowed()
            })
        };
        let both = take_key(&limiters, false, Duration::ZERO);
        let one = other.join().unwrap();
        assert!(!both && one);
        assert_eq!(limiters[0].look_at(Duration::ZERO, &KEY, 0).remaining(), 1);
    });
}
