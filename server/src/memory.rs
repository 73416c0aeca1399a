//! Memory of bodies that wait for clients, bounded for each connection and in total.
//!
//! A body counts from the moment it is in memory until the client has taken it. When a bound is
//! reached, a response that is made here is replaced by 503, and a response of an upstream waits.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::sync::Notify;

/// Number of bytes in use, and the bound on it.
#[derive(Debug)]
struct Budget {
    used: AtomicUsize,
    max: usize,
    /// The accesses to `used` and `has_waiters` are SeqCst: a waiter stores `has_waiters` before it
    /// loads `used`, a release does the reverse, and one of them sees the other.
    has_waiters: AtomicBool,
    waiters: Mutex<Vec<Waker>>,
}

/// Memory of all connections.
#[derive(Debug)]
pub(crate) struct TotalMemory {
    budget: Budget,
    /// Notified when the bound is reached.
    exhausted: Notify,
}

/// Memory of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionMemory {
    budget: Budget,
    total: Arc<TotalMemory>,
}

/// Part of a budget, released on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    memory: Arc<ConnectionMemory>,
    bytes: usize,
}

impl Budget {
    fn new(max: usize) -> Budget {
        let (used, has_waiters, waiters) = Default::default();
        Budget {
            used,
            max,
            has_waiters,
            waiters,
        }
    }

    fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Adds the bytes unless they exceed the bound.
    fn try_add(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.max);
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits)
            .is_ok()
    }

    fn release(&self, bytes: usize) {
        let used = self.used.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        if used < self.max && self.has_waiters.load(Ordering::SeqCst) {
            let waiters = {
                let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
                self.has_waiters.store(false, Ordering::SeqCst);
                std::mem::take(&mut *waiters)
            };
            waiters.into_iter().for_each(Waker::wake);
        }
    }

    /// Ready when the bound is not reached.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.used() < self.max {
            return Poll::Ready(());
        }
        {
            let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
            waiters.push(cx.waker().clone());
            self.has_waiters.store(true, Ordering::SeqCst);
        }
        if self.used() < self.max {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl TotalMemory {
    pub(crate) fn new(max: usize) -> Arc<TotalMemory> {
        Arc::new(TotalMemory {
            budget: Budget::new(max),
            exhausted: Notify::new(),
        })
    }

    /// Returns the memory of a new connection, of at most `max` bytes.
    pub(crate) fn connection(self: &Arc<TotalMemory>, max: usize) -> Arc<ConnectionMemory> {
        Arc::new(ConnectionMemory {
            budget: Budget::new(max.min(self.budget.max)),
            total: Arc::clone(self),
        })
    }

    /// Waits until a connection needs memory that the bound does not allow.
    pub(crate) async fn exhausted(&self) {
        self.exhausted.notified().await;
    }

    /// Returns the number of bytes to release so that an eighth is free again.
    pub(crate) fn excess(&self) -> usize {
        let max = self.budget.max;
        self.budget.used().saturating_sub(max - max / 8)
    }
}

impl ConnectionMemory {
    /// Returns the number of bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.budget.used()
    }

    /// Adds bytes that are in memory already.
    pub(crate) fn add(&self, bytes: usize) {
        self.budget.add(bytes);
        self.total.budget.add(bytes);
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.budget.release(bytes);
        self.total.budget.release(bytes);
    }

    /// Returns a reservation of no bytes, which can grow.
    pub(crate) fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation {
            memory: Arc::clone(self),
            bytes: 0,
        }
    }

    /// Reserves memory for a body, or returns `None` if a bound does not allow it.
    pub(crate) fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let mut reservation = self.reservation();
        reservation.try_grow(bytes).then_some(reservation)
    }

    /// Ready when neither bound is reached.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        std::task::ready!(self.budget.poll_room(cx));
        let polled = self.total.budget.poll_room(cx);
        if polled.is_pending() {
            self.total.exhausted.notify_one();
        }
        polled
    }

    /// Returns the bound of this connection, in bytes.
    pub(crate) fn max(&self) -> usize {
        self.budget.max
    }
}

impl Reservation {
    /// Adds bytes, or returns false if a bound does not allow them.
    pub(crate) fn try_grow(&mut self, bytes: usize) -> bool {
        let memory = &self.memory;
        if !memory.budget.try_add(bytes) {
            return false;
        }
        if !memory.total.budget.try_add(bytes) {
            memory.budget.release(bytes);
            memory.total.exhausted.notify_one();
            return false;
        }
        self.bytes += bytes;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use super::*;

    fn is_ready(memory: &ConnectionMemory) -> bool {
        memory
            .poll_room(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn a_connection_is_bounded_and_others_are_not_affected() {
        let total = TotalMemory::new(1000);
        let (one, other) = (total.connection(100), total.connection(100));
        let first = one.try_reserve(60).unwrap();
        assert!(one.try_reserve(41).is_none());
        let mut second = one.try_reserve(30).unwrap();
        assert!(second.try_grow(10) && !second.try_grow(1));
        assert!(!is_ready(&one) && is_ready(&other));
        drop(first);
        assert_eq!((one.used(), is_ready(&one)), (40, true));
        drop(second);
        assert_eq!((one.used(), total.budget.used()), (0, 0));
    }

    #[test]
    fn the_total_is_bounded_over_all_connections() {
        let total = TotalMemory::new(100);
        let (one, other) = (total.connection(80), total.connection(80));
        let held = one.try_reserve(70).unwrap();
        assert!(other.try_reserve(31).is_none());
        assert_eq!((other.used(), total.excess()), (0, 0));
        other.add(40);
        assert_eq!(total.excess(), 22);
        assert!(!is_ready(&other));
        drop(held);
        assert!(is_ready(&other));
        other.release(40);
        assert_eq!(total.budget.used(), 0);
    }

    #[tokio::test]
    async fn a_release_wakes_the_waiters_and_the_exhausted_total_is_reported() {
        let total = TotalMemory::new(100);
        let memory = total.connection(100);
        let held = memory.try_reserve(100).unwrap();
        let waiter = total.connection(100);
        let room = tokio::spawn(poll_fn(move |cx| waiter.poll_room(cx)));
        total.exhausted().await;
        assert!(!room.is_finished());
        drop(held);
        room.await.unwrap();
    }
}
