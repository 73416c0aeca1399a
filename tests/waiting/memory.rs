//! Memory of waiters: queues exist only while callers wait.

use std::{alloc::System, future::Future, pin::pin, task::Context, time::Duration};

use cap::Cap;
use tollgate::{KeyedLimiter, ManualClock, Quota};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Callers wait on 100,000 keys at once, each of them is served, and their memory returns.
///
/// *Caught:* a line that is not removed with its last user; a map that keeps its capacity.
#[test]
fn a_hundred_thousand_keys_can_wait_at_once_and_memory_returns() {
    const KEYS: u64 = 100_000;
    let clock = ManualClock::new();
    // Twice as many as needed: in a table of as many, one in a million finds no slot and evicts another.
    let builder = KeyedLimiter::builder(Quota::per_second(1)).max_keys(2 * KEYS as usize);
    let limiter: KeyedLimiter<u64> = builder.clock(clock.clone()).build().unwrap();
    let (mut served, mut context) = (0, Context::from_waker(std::task::Waker::noop()));
    (0..KEYS).for_each(|key| assert!(limiter.try_acquire(&key, 1).is_allowed()));

    let before = ALLOCATOR.allocated();
    let mut waiters: Vec<_> = (0..KEYS)
        .map(|key| Box::pin(limiter.acquire(&key, 1)))
        .collect();
    for waiter in &mut waiters {
        assert!(waiter.as_mut().poll(&mut context).is_pending());
    }
    let waiting = ALLOCATOR.allocated() - before;
    clock.advance(Duration::from_secs(1));
    for waiter in waiters {
        served += u64::from(pin!(waiter).poll(&mut context).is_ready());
    }
    assert_eq!(served, KEYS);
    let left = ALLOCATOR.allocated().saturating_sub(before);
    assert!(
        left < waiting / 100,
        "{waiting} bytes while waiting, {left} bytes afterwards"
    );
}
