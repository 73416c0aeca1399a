//! How far a connection has come, written by its task and read by the watch.
//!
//! A timer for every request would cost each of them a place in a shared timer wheel. Instead a connection leaves its marks
//! here, and the [watch](super::watch) looks at all of them now and then.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence},
};
use std::task::Waker;

/// What the watch wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Order {
    GoOn,
    /// Answer what is in flight, then close.
    Finish,
    /// Close at once.
    Close,
}

/// The marks are relaxed: each stands for itself, and the watch looks again soon. Order and waker are a pair: who gives an order
/// looks for the waker after it, the task leaves its waker before it looks for an order, and the fences see to it that not both
/// miss the other.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Requests whose header has been read.
    requests: AtomicU64,
    /// Requests that are reading their body.
    reading_bodies: AtomicU32,
    /// Bytes have come in since the last header was complete.
    header_begun: AtomicBool,
    http2: AtomicBool,
    /// The answer was sent before the request had been read.
    unread: AtomicBool,
    /// The answer has been sent, and what the client still sends is thrown away.
    lingering: AtomicBool,
    order: AtomicU8,
    waker: OnceLock<Waker>,
}

/// What the watch sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) requests: u64,
    pub(super) reading_body: bool,
    pub(super) header_begun: bool,
    pub(super) http2: bool,
    pub(super) lingering: bool,
}

impl Progress {
    pub(super) fn bytes_came(&self) {
        self.header_begun.store(true, Ordering::Relaxed);
    }

    /// Called by the connection's own task alone, so that a load and a store will do.
    #[inline]
    pub(super) fn header_came(&self, http2: bool) {
        self.header_begun.store(false, Ordering::Relaxed);
        self.requests.store(self.requests.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if http2 {
            self.http2.store(true, Ordering::Relaxed);
        }
    }

    /// For as long as the guard lives.
    pub(super) fn reading_body(&self) -> impl Drop + '_ {
        struct Reading<'a>(&'a Progress);
        impl Drop for Reading<'_> {
            fn drop(&mut self) {
                self.0.reading_bodies.fetch_sub(1, Ordering::Relaxed);
                // What came in belonged to the body.
                self.0.header_begun.store(false, Ordering::Relaxed);
            }
        }
        self.reading_bodies.fetch_add(1, Ordering::Relaxed);
        Reading(self)
    }

    pub(super) fn left_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    pub(super) fn lingers(&self) {
        self.lingering.store(true, Ordering::Relaxed);
    }

    pub(super) fn seen(&self) -> Seen {
        Seen {
            requests: self.requests.load(Ordering::Relaxed),
            reading_body: self.reading_bodies.load(Ordering::Relaxed) > 0,
            header_begun: self.header_begun.load(Ordering::Relaxed),
            http2: self.http2.load(Ordering::Relaxed),
            lingering: self.lingering.load(Ordering::Relaxed),
        }
    }

    pub(super) fn order(&self) -> Order {
        match self.order.load(Ordering::Relaxed) {
            0 => Order::GoOn,
            1 => Order::Finish,
            _ => Order::Close,
        }
    }

    /// Orders only become stricter.
    pub(super) fn give(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// The task that [`Progress::give`] wakes; it looks at the order after this.
    #[inline]
    pub(super) fn woken_by(&self, waker: &Waker) {
        // A connection lives in one task, whose wakers are all alike.
        if self.waker.get().is_none() {
            self.waker.get_or_init(|| waker.clone());
            fence(Ordering::SeqCst);
        }
    }
}
