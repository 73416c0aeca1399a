//! Activity of a connection, written by its task and read by the monitor.
//!
//! A timer for every request would cost each request an entry in a shared timer wheel. Instead, a
//! connection records its activity here, and the [monitor](super::timeouts) checks all connections
//! periodically.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};
use std::task::Waker;

use super::{task_waker::TaskWaker, unread_streams::UnreadStreams};
use crate::memory::ConnectionMemory;

/// Shutdown that the monitor requests of a connection, from the mildest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Shutdown {
    None,
    /// Close at once if no request is in progress, else go on.
    IfIdle,
    /// Respond to the first request, which is on its way to a connection that is new, then close.
    AfterFirst,
    /// Finish the requests in flight, then close.
    Graceful,
    /// Close at once.
    Immediate,
}

/// Activity of a connection.
///
/// The activity fields are relaxed: each is independent of the others, and the monitor reads them
/// again soon. `shutdown` and `waker` are a pair. The monitor stores the shutdown before it loads
/// the waker; the task stores its waker before it loads the shutdown. The fences between prevent
/// that both loads miss the other side's store.
#[derive(Debug)]
pub(super) struct Activity {
    /// Requests whose header has been read.
    requests: AtomicU64,
    /// Requests that read their body, wait for an upstream or stream its response. They have
    /// timeouts of their own.
    in_progress: AtomicU32,
    /// Bytes written to the socket.
    written: AtomicU64,
    /// Bytes that the socket does not accept, because the client does not read.
    blocked: AtomicUsize,
    /// HTTP/2 streams with unread bytes.
    unread_streams: UnreadStreams,
    memory: Arc<ConnectionMemory>,
    /// Bytes have arrived since the last header was complete.
    header_begun: AtomicBool,
    http2: AtomicBool,
    /// The response was sent before the request had been read.
    unread: AtomicBool,
    /// The response has been sent, and further bytes from the client are discarded.
    lingering: AtomicBool,
    /// The connection becomes a tunnel.
    tunnel: AtomicBool,
    shutdown: AtomicU8,
    waker: Arc<TaskWaker>,
}

/// Snapshot of a connection's [`Activity`]. Two equal snapshots mean that the connection made no
/// progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) requests: u64,
    pub(super) in_progress: bool,
    pub(super) header_begun: bool,
    pub(super) http2: bool,
    pub(super) lingering: bool,
}

impl Activity {
    pub(super) fn new(memory: Arc<ConnectionMemory>) -> Activity {
        let (requests, in_progress, written, blocked) = Default::default();
        let (header_begun, http2, unread, lingering) = Default::default();
        let (unread_streams, shutdown, waker) = Default::default();
        let tunnel = AtomicBool::new(false);
        Activity {
            requests,
            in_progress,
            written,
            blocked,
            unread_streams,
            memory,
            header_begun,
            http2,
            unread,
            lingering,
            tunnel,
            shutdown,
            waker,
        }
    }

    pub(super) fn memory(&self) -> &Arc<ConnectionMemory> {
        &self.memory
    }

    /// Returns the waker of the connection's task.
    pub(super) fn waker(&self) -> &Arc<TaskWaker> {
        &self.waker
    }

    pub(super) fn unread_streams(&self) -> &UnreadStreams {
        &self.unread_streams
    }

    pub(super) fn record_read(&self) {
        self.header_begun.store(true, Ordering::Relaxed);
    }

    /// Records a complete request header. Only the connection's own task calls it, so a load and a
    /// store replace the read-modify-write.
    #[inline]
    pub(super) fn record_header(&self, http2: bool) {
        self.header_begun.store(false, Ordering::Relaxed);
        self.requests
            .store(self.requests.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if http2 {
            self.http2.store(true, Ordering::Relaxed);
        }
    }

    /// Records that a request reads its body, or waits for an upstream, until the guard is dropped.
    pub(super) fn reading_body(self: &Arc<Self>) -> ReadingGuard {
        self.in_progress.fetch_add(1, Ordering::Relaxed);
        ReadingGuard(Arc::clone(self))
    }

    /// Records a write of `written` bytes, after which the socket does not accept `blocked` more.
    /// Only the connection's own task calls it.
    #[inline]
    pub(super) fn record_write(&self, written: usize, blocked: usize) {
        let total = self.written.load(Ordering::Relaxed) + written as u64;
        self.written.store(total, Ordering::Relaxed);
        let before = self.blocked.load(Ordering::Relaxed);
        if before != blocked {
            self.blocked.store(blocked, Ordering::Relaxed);
            self.memory.add(blocked);
            self.memory.release(before);
        }
    }

    /// Returns the bytes that were written to the socket, and those that it does not accept.
    pub(super) fn writes(&self) -> (u64, usize) {
        (
            self.written.load(Ordering::Relaxed),
            self.blocked.load(Ordering::Relaxed),
        )
    }

    /// Records that the response ends the connection before the request has been read. In HTTP/2
    /// it ends the stream alone.
    pub(super) fn record_unread(&self) {
        if !self.http2.load(Ordering::Relaxed) {
            self.unread.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    pub(super) fn record_lingering(&self) {
        self.lingering.store(true, Ordering::Relaxed);
    }

    /// Records that the connection becomes a tunnel, which has a timeout of its own.
    pub(super) fn record_tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    /// Returns true if no request is in progress: none that waits for a decision, its body or an
    /// upstream, and no response of an upstream. A response of this server that the client has not
    /// read does not count.
    pub(super) fn is_idle(&self) -> bool {
        self.in_progress.load(Ordering::Relaxed) == 0 && !self.tunnel.load(Ordering::Relaxed)
    }

    /// Returns true after the first request header.
    pub(super) fn has_requests(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            requests: self.requests.load(Ordering::Relaxed),
            in_progress: self.in_progress.load(Ordering::Relaxed) > 0,
            header_begun: self.header_begun.load(Ordering::Relaxed),
            http2: self.http2.load(Ordering::Relaxed),
            lingering: self.lingering.load(Ordering::Relaxed),
        }
    }

    pub(super) fn shutdown(&self) -> Shutdown {
        match self.shutdown.load(Ordering::Relaxed) {
            0 => Shutdown::None,
            1 => Shutdown::IfIdle,
            2 => Shutdown::AfterFirst,
            3 => Shutdown::Graceful,
            _ => Shutdown::Immediate,
        }
    }

    /// Requests a shutdown. A request only ever becomes stricter, until it is cancelled.
    pub(super) fn request_shutdown(&self, shutdown: Shutdown) {
        self.shutdown.fetch_max(shutdown as u8, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.waker.wake_task();
    }

    /// Cancels a [`Shutdown::IfIdle`].
    pub(super) fn cancel_eviction(&self) {
        let (current, new) = (Shutdown::IfIdle as u8, Shutdown::None as u8);
        // An error is a stricter request, which stays.
        let _ = self
            .shutdown
            .compare_exchange(current, new, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Records that an upstream's response is streamed, until the guard is dropped.
    pub(super) fn streaming(self: &Arc<Self>) -> StreamingGuard {
        self.in_progress.fetch_add(1, Ordering::Relaxed);
        StreamingGuard(Arc::clone(self))
    }

    /// Registers the task that [`Activity::request_shutdown`] wakes. The task loads the shutdown
    /// afterwards.
    #[inline]
    pub(super) fn register(&self, waker: &Waker) {
        if !self.waker.is_registered() {
            self.waker.register(waker);
            fence(Ordering::SeqCst);
        }
    }
}

/// Drop guard of a request that reads its body or waits.
pub(super) struct ReadingGuard(Arc<Activity>);

impl ReadingGuard {
    pub(super) fn activity(&self) -> &Activity {
        &self.0
    }
}

impl Drop for ReadingGuard {
    fn drop(&mut self) {
        self.0.in_progress.fetch_sub(1, Ordering::Relaxed);
        // The bytes that arrived belonged to the body.
        self.0.header_begun.store(false, Ordering::Relaxed);
    }
}

/// The memory of the connection's blocked bytes ends with the connection.
impl Drop for Activity {
    fn drop(&mut self) {
        self.memory.release(*self.blocked.get_mut());
    }
}

/// Drop guard of a response that is streamed from an upstream.
pub(super) struct StreamingGuard(Arc<Activity>);

impl Drop for StreamingGuard {
    fn drop(&mut self) {
        self.0.in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}
