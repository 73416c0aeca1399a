//! Models of waiting: the head leaves at each step, while others wait, take, reset and pause.
//!
//! Waiters sleep by a [`ManualClock`], and their queue is a stand-in for tokio's semaphore (see
//! `src/sync/stand_in.rs`). A waiter that is never woken is a deadlock, which loom reports.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
};

use loom::{future::block_on, sync::Arc, thread};
use tollgate::{Bucket, Decision, KeyedLimiter, ManualClock, Quota, Refused};

use crate::{
    bound,
    model::{greedy, time},
};

const QUOTA: Quota = greedy(1);

/// Polls a future once.
fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(std::task::Waker::noop()))
}

/// Polls a future, drops it, and returns true when it got its tokens.
fn poll_and_leave(polls: u32, future: impl Future<Output = Result<Decision, Refused>>) -> bool {
    let mut future = pin!(future);
    (0..polls).any(|_| matches!(poll(future.as_mut()), Poll::Ready(Ok(_))))
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    bound::builder(3, 3).check(model);
}

/// Checks a model that takes minutes with three preemptions.
fn check_slow(model: impl Fn() + Send + Sync + 'static) {
    bound::builder(2, 3).check(model);
}

fn empty_bucket() -> (Arc<Bucket>, ManualClock) {
    let clock = ManualClock::new();
    let bucket = Bucket::with_clock(QUOTA, clock.clone());
    assert!(bucket.try_acquire(1).is_allowed());
    (Arc::new(bucket), clock)
}

/// A waiter leaves at any moment: the other one is served by the time at which the tokens are
/// available, and no token is lost.
///
/// *Caught:* a guard that does not refund; a permit that is returned before the refund.
#[test]
fn a_waiter_leaves_and_the_next_is_served() {
    check_slow(|| {
        let (bucket, clock) = empty_bucket();
        let leaver = thread::spawn({
            let bucket = bucket.clone();
            move || poll_and_leave(1, bucket.acquire(1))
        });
        let waiter = thread::spawn({
            let bucket = bucket.clone();
            move || assert!(block_on(bucket.acquire(1)).is_ok())
        });
        clock.advance(time(&QUOTA, 1));
        let leaver_was_served = leaver.join().unwrap();
        if leaver_was_served {
            clock.advance(time(&QUOTA, 1));
        }
        waiter.join().unwrap();
        assert_eq!(bucket.available(), 0, "two of two tokens, or one of one");
    });
}

/// The head leaves before or after its reservation is ready, while another caller takes: the token
/// is used once, or is still there.
///
/// *Caught:* a guard that does not refund; a refund by the time since the charge while there are
/// waiters.
#[test]
fn the_head_leaves_beside_a_take() {
    check(|| {
        let (bucket, clock) = empty_bucket();
        let leaver = thread::spawn({
            let bucket = bucket.clone();
            move || poll_and_leave(2, bucket.acquire(1))
        });
        let taker = thread::spawn({
            let bucket = bucket.clone();
            move || bucket.try_acquire(1).is_allowed()
        });
        clock.advance(time(&QUOTA, 1));
        let used = u32::from(leaver.join().unwrap()) + u32::from(taker.join().unwrap());
        assert_eq!(used + bucket.available(), 1);
    });
}

/// The head leaves while the bucket is reset: what it gives back is no token of the full bucket.
///
/// *Caught:* a refund that never checks whether its reservation was voided.
#[test]
fn the_head_leaves_beside_a_reset() {
    check(|| {
        let (bucket, _) = empty_bucket();
        let leaver = thread::spawn({
            let bucket = bucket.clone();
            move || poll_and_leave(2, bucket.acquire(1))
        });
        bucket.reset();
        let taken = bucket.try_acquire(1).is_allowed();
        let used = u32::from(leaver.join().unwrap()) + u32::from(taken);
        assert_eq!(used + bucket.available(), 1);
    });
}

/// The head leaves while the quota is replaced: what it gives back is no token of the new bucket.
///
/// *Caught:* the table's origin not compared with the decision's.
#[test]
fn the_head_leaves_beside_a_replaced_quota() {
    check(|| {
        let clock = ManualClock::new();
        let limiter = KeyedLimiter::<u64>::builder(QUOTA).max_keys(1).clock(clock);
        let limiter = Arc::new(limiter.build().unwrap());
        assert!(limiter.try_acquire(&1, 1).is_allowed());
        let leaver = thread::spawn({
            let limiter = limiter.clone();
            move || poll_and_leave(2, limiter.acquire(&1, 1))
        });
        limiter.replace(greedy(2));
        assert!(limiter.try_acquire(&1, 1).is_allowed());
        let used = u32::from(leaver.join().unwrap()) + 1;
        assert_eq!(used + limiter.available(&1), 2);
    });
}

/// The head is served although others take whatever is available.
///
/// *Caught:* a sleep that reads the clock before it listens to it.
#[test]
fn the_head_is_served_beside_takes() {
    check(|| {
        let (bucket, clock) = empty_bucket();
        let waiter = thread::spawn({
            let bucket = bucket.clone();
            move || assert!(block_on(bucket.acquire(1)).is_ok())
        });
        let taker = thread::spawn({
            let bucket = bucket.clone();
            move || bucket.try_acquire(1).is_allowed()
        });
        clock.advance(time(&QUOTA, 1));
        if taker.join().unwrap() {
            clock.advance(time(&QUOTA, 1));
        }
        waiter.join().unwrap();
        assert_eq!(bucket.available(), 0);
    });
}

/// Tokens that the head has reserved are its own, also between the moment at which they are available
/// and its next poll.
///
/// *Caught:* a take in place of a reservation.
#[test]
fn no_other_caller_takes_what_the_head_has_reserved() {
    check(|| {
        let (bucket, clock) = empty_bucket();
        let waiter = thread::spawn({
            let bucket = bucket.clone();
            move || {
                let mut acquiring = pin!(bucket.acquire(1));
                let is_served = poll(acquiring.as_mut()).is_ready();
                assert!(bucket.try_acquire(1).is_refused());
                assert!(is_served || block_on(acquiring).is_ok());
            }
        });
        clock.advance(time(&QUOTA, 1));
        waiter.join().unwrap();
        assert_eq!(bucket.available(), 0);
    });
}

/// A reset fills the bucket, and the head takes from it at once.
///
/// *Caught:* a reset that does not notify; a head that listens for changes after its reservation, or
/// ignores them.
#[test]
fn the_head_follows_a_reset() {
    check(|| {
        let (bucket, _) = empty_bucket();
        let waiter = thread::spawn({
            let bucket = bucket.clone();
            move || assert!(block_on(bucket.acquire(1)).is_ok())
        });
        bucket.reset();
        waiter.join().unwrap();
        assert_eq!(bucket.available(), 0);
    });
}

/// A pause voids the reservation of the head, which is served after the pause.
///
/// *Caught:* a pause that voids nothing; a head that keeps a reservation that was voided.
#[test]
fn the_head_follows_a_pause() {
    check(|| {
        let (bucket, clock) = empty_bucket();
        let waiter = thread::spawn({
            let bucket = bucket.clone();
            move || assert!(block_on(bucket.acquire(1)).is_ok())
        });
        bucket.pause_for(time(&QUOTA, 3));
        clock.advance(time(&QUOTA, 3));
        assert!(
            bucket.try_acquire(1).is_refused(),
            "the bucket refills after the pause"
        );
        clock.advance(time(&QUOTA, 1));
        waiter.join().unwrap();
        assert_eq!(bucket.available(), 0);
    });
}

/// The line of a key is removed with its last user: were there two lines, there would be two heads,
/// and a head that leaves before another one would lose its tokens. One caller leaves while another
/// one, with a third behind it, comes and leaves.
///
/// *Caught:* a sleep for a time from now, in place of a sleep until a time; a line that is removed
/// by its first user; a count of users that is changed outside of the lock; a permit that a dropped
/// waiter was granted and keeps.
#[test]
fn a_key_has_one_line() {
    check_slow(|| {
        let clock = ManualClock::new();
        let limiter = KeyedLimiter::<u64>::builder(QUOTA)
            .max_keys(1)
            .clock(clock.clone());
        let limiter = Arc::new(limiter.build().unwrap());
        assert!(limiter.try_acquire(&1, 1).is_allowed());
        let leaver = thread::spawn({
            let limiter = limiter.clone();
            move || assert!(!poll_and_leave(1, limiter.acquire(&1, 1)))
        });
        let waiters = thread::spawn({
            let limiter = limiter.clone();
            move || {
                let [mut first, mut second] = [0, 1].map(|_| Box::pin(limiter.acquire(&1, 1)));
                if poll(first.as_mut()).is_pending() {
                    assert!(poll(second.as_mut()).is_pending());
                    drop(first);
                    assert!(block_on(second).is_ok());
                }
            }
        });
        leaver.join().unwrap();
        clock.advance(time(&QUOTA, 1));
        waiters.join().unwrap();
        assert_eq!(limiter.available(&1), 0);
    });
}

/// A new quota takes effect for the head at once.
///
/// *Caught:* a change that notifies before it is installed, or does not notify; a head that listens
/// for changes after its reservation, or ignores them.
#[test]
fn the_head_follows_a_replaced_quota() {
    check(|| {
        let clock = ManualClock::new();
        let limiter = KeyedLimiter::<u64>::builder(QUOTA).max_keys(1).clock(clock);
        let limiter = Arc::new(limiter.build().unwrap());
        assert!(limiter.try_acquire(&1, 1).is_allowed());
        let waiter = thread::spawn({
            let limiter = limiter.clone();
            move || assert!(block_on(limiter.acquire(&1, 1)).is_ok())
        });
        limiter.replace(greedy(2));
        waiter.join().unwrap();
        assert_eq!(limiter.available(&1), 1);
    });
}
