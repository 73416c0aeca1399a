//! How far a connection has come, written by its task and read by the watch.
//!
//! A timer for every request would cost each of them a place in a shared timer wheel. Instead a
//! connection leaves its marks here, and the [watch](super::timeouts) looks at all of them now and
//! then.

use std::sync::{
    Arc, OnceLock,
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

/// The marks are relaxed: each stands for itself, and the watch looks again soon. Order and waker
/// are a pair: who gives an order looks for the waker after it, the task leaves its waker before it
/// looks for an order, and the fences see to it that not both miss the other.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Requests whose header has been read.
    requests: AtomicU64,
    /// Requests that are reading their body, or wait for an upstream: they have a time of their
    /// own.
    reading_bodies: AtomicU32,
    /// Answers that come from an upstream, and are not yet sent.
    passing: AtomicU32,
    /// Pieces that have gone out.
    sent: AtomicU64,
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
    pub(super) passing: bool,
    /// While answers pass, for other answers fit into the memory of the operating system.
    pub(super) sent: u64,
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
        self.requests
            .store(self.requests.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
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

    /// Called by the connection's own task alone. Over HTTP/2 what goes out may be an echo of what
    /// came in.
    #[inline]
    pub(super) fn bytes_went(&self) {
        if !self.http2.load(Ordering::Relaxed) {
            self.piece_went();
        }
    }

    fn piece_went(&self) {
        self.sent
            .store(self.sent.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
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
        let passing = self.passing.load(Ordering::Relaxed) > 0;
        Seen {
            passing,
            sent: if passing {
                self.sent.load(Ordering::Relaxed)
            } else {
                0
            },
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

    /// For as long as an answer comes from an upstream.
    pub(super) fn passing(self: &Arc<Self>) -> Passing {
        self.passing.fetch_add(1, Ordering::Relaxed);
        Passing {
            progress: Arc::clone(self),
            waits: false,
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

/// An answer that comes from an upstream.
pub(super) struct Passing {
    progress: Arc<Progress>,
    waits: bool,
}

impl Passing {
    /// The upstream is to send the next piece, or has sent it.
    pub(super) fn waits(&mut self, waits: bool) {
        match (self.waits, waits) {
            (false, true) => drop(self.progress.reading_bodies.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(self.progress.reading_bodies.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        self.waits = waits;
        if !waits {
            self.progress.piece_went();
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.waits(false);
        self.progress.passing.fetch_sub(1, Ordering::Relaxed);
    }
}
