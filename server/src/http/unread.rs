//! Response bytes that a client has not taken yet, for each HTTP/2 stream.
//!
//! hyper and h2 buffer a body until the client opens its window, and do not poll the body meanwhile.
//! The buffers that they hold are therefore [`Chunk`]s, which report the bytes that were written to
//! the socket.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};

use crate::memory::ConnectionMemory;

/// Memory of a buffered chunk besides its bytes: its queue entry, and its part of the stream.
const CHUNK_OVERHEAD: usize = 1024;

/// State of one HTTP/2 stream, shared by its task, its buffered chunks and the monitor.
#[derive(Debug)]
pub(super) struct StreamState {
    memory: Arc<ConnectionMemory>,
    /// Bytes and chunks that hyper has received and the client has not.
    unread: AtomicUsize,
    /// Bytes written to the socket.
    taken: AtomicU64,
    is_listed: AtomicBool,
    /// The task has ended. h2 may still hold bytes of the stream.
    is_finished: AtomicBool,
    is_cancelled: AtomicBool,
    /// The end of the body waits until the client has taken all bytes.
    is_ending: AtomicBool,
    task: OnceLock<Waker>,
}

/// Data of a response body. On HTTP/2 it belongs to a stream.
#[derive(Debug)]
pub(super) struct Chunk {
    bytes: Bytes,
    delivery: Option<Delivery>,
}

/// A chunk's part of the unread bytes of its stream.
#[derive(Debug)]
struct Delivery {
    stream: Arc<StreamState>,
    unread: usize,
    /// Bytes that the chunk added to the memory of the connection.
    memory: usize,
}

impl StreamState {
    pub(super) fn new(memory: Arc<ConnectionMemory>) -> StreamState {
        let (unread, taken, task) = Default::default();
        let (is_listed, is_finished, is_cancelled, is_ending) = Default::default();
        StreamState {
            memory,
            unread,
            taken,
            is_listed,
            is_finished,
            is_cancelled,
            is_ending,
            task,
        }
    }

    /// Registers the task that [`StreamState::cancel`] wakes, and returns true if the stream is
    /// cancelled.
    pub(super) fn poll_cancelled(&self, cx: &Context<'_>) -> bool {
        // The task's wakers all wake the same task.
        self.task.get_or_init(|| cx.waker().clone());
        self.is_cancelled()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }

    /// Ends the stream.
    pub(super) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }

    pub(super) fn finish(&self) {
        self.is_finished.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::SeqCst)
    }

    /// Marks the stream as listed, and returns true if it was before.
    pub(super) fn mark_listed(&self) -> bool {
        self.is_listed.swap(true, Ordering::SeqCst)
    }

    /// Returns the number of bytes written to the socket.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn has_unread(&self) -> bool {
        self.unread.load(Ordering::SeqCst) > 0
    }

    /// Ready when the memory of the connection allows another chunk.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.memory.poll_room(cx)
    }

    /// Ready when the client has taken all bytes.
    pub(super) fn poll_taken(&self) -> Poll<()> {
        self.is_ending.store(true, Ordering::SeqCst);
        if self.has_unread() {
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl Chunk {
    /// Data of a body whose memory is accounted for elsewhere, if at all.
    pub(super) fn reserved(bytes: Bytes, stream: Option<Arc<StreamState>>) -> Chunk {
        Chunk::new(bytes, stream, 0)
    }

    /// Data that counts against the memory of its connection.
    pub(super) fn counted(bytes: Bytes, stream: Option<Arc<StreamState>>) -> Chunk {
        let memory = bytes.len() + CHUNK_OVERHEAD;
        Chunk::new(bytes, stream, memory)
    }

    fn new(bytes: Bytes, stream: Option<Arc<StreamState>>, memory: usize) -> Chunk {
        let unread = bytes.len();
        let delivery = stream.filter(|_| unread > 0).map(|stream| {
            stream.unread.fetch_add(unread, Ordering::SeqCst);
            if memory > 0 {
                stream.memory.add(memory);
            }
            Delivery {
                stream,
                unread,
                memory,
            }
        });
        Chunk { bytes, delivery }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(delivery) = &mut self.delivery {
            delivery.take(count);
        }
    }
}

impl Delivery {
    fn take(&mut self, count: usize) {
        self.unread -= count;
        self.stream.taken.fetch_add(count as u64, Ordering::Relaxed);
        self.remove(count);
    }

    fn remove(&self, count: usize) {
        let before = self.stream.unread.fetch_sub(count, Ordering::SeqCst);
        if before == count && self.stream.is_ending.load(Ordering::SeqCst) {
            self.stream.wake();
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.memory > 0 {
            self.stream.memory.release(self.memory);
        }
        if self.unread > 0 {
            self.remove(self.unread);
        }
    }
}
