//! Response bytes that a client has not taken yet, for each HTTP/2 stream.
//!
//! hyper and h2 buffer a body until the client opens its window, and do not poll the body meanwhile.
//! The buffers that they hold are therefore [`Chunk`]s, which report the bytes that were written to
//! the socket. The [monitor](super::timeouts) checks the streams with unread bytes periodically.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes};

use crate::{memory::ConnectionMemory, stall::StallClock};

/// Memory of a buffered chunk besides its bytes: its queue entry, and its part of the stream.
const CHUNK_OVERHEAD: usize = 1024;

/// Streams above which finished ones are removed from the list before the next sweep.
const LIST_LENGTH: usize = 256;

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
        self.is_cancelled.load(Ordering::SeqCst)
    }

    fn cancel(&self) {
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

/// Streams of a connection that had unread bytes when their task last ran.
#[derive(Debug, Default)]
pub(super) struct UnreadStreams(Mutex<Vec<UnreadStream>>);

#[derive(Debug)]
struct UnreadStream {
    state: Arc<StreamState>,
    taken: u64,
    /// `None` before the first sweep.
    clock: Option<StallClock>,
    /// The last sweep saw unread bytes.
    was_unread: bool,
}

/// Result of a sweep over the streams of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sweep {
    /// A client has not taken all bytes of a response.
    pub(super) has_unread: bool,
    /// A stream is stalled that only the end of the connection can end.
    pub(super) must_close: bool,
}

impl UnreadStreams {
    /// Adds a stream that has unread bytes.
    pub(super) fn add(&self, state: &Arc<StreamState>) {
        if state.is_listed.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut streams = self.lock();
        if streams.len() >= LIST_LENGTH {
            streams.retain(UnreadStream::is_live);
        }
        streams.push(UnreadStream {
            state: Arc::clone(state),
            taken: 0,
            clock: None,
            was_unread: false,
        });
    }

    /// Advances the stall clocks by `elapsed`, and resets the streams that are stalled.
    pub(super) fn sweep(&self, elapsed: Duration, allowance: Duration) -> Sweep {
        let mut result = Sweep::default();
        self.lock().retain_mut(|stream| {
            if !stream.is_live() {
                return false;
            }
            let is_finished = stream.state.is_finished.load(Ordering::SeqCst);
            result.has_unread |= stream.state.has_unread();
            if stream.is_stalled(elapsed, allowance) {
                if is_finished {
                    result.must_close = true;
                } else {
                    stream.state.cancel();
                }
            }
            true
        });
        result
    }

    fn lock(&self) -> MutexGuard<'_, Vec<UnreadStream>> {
        // No panic leaves the list inconsistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnreadStream {
    fn is_live(&self) -> bool {
        self.state.has_unread() || !self.state.is_finished.load(Ordering::SeqCst)
    }

    /// Time counts when the client held back at its begin and at its end.
    fn is_stalled(&mut self, elapsed: Duration, allowance: Duration) -> bool {
        let taken = self.state.taken.load(Ordering::Relaxed);
        let transferred = taken - mem::replace(&mut self.taken, taken);
        let is_unread = self.state.has_unread();
        let was_unread = mem::replace(&mut self.was_unread, is_unread);
        let clock = self.clock.get_or_insert_with(|| StallClock::new(allowance));
        clock.credit(transferred);
        was_unread && is_unread && clock.spend(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::TotalMemory;

    const SECOND: Duration = Duration::from_secs(1);

    fn stream() -> (Arc<ConnectionMemory>, Arc<StreamState>, UnreadStreams) {
        let memory = TotalMemory::new(usize::MAX).connection(usize::MAX);
        let state = Arc::new(StreamState::new(Arc::clone(&memory)));
        (memory, state, UnreadStreams::default())
    }

    fn chunk(state: &Arc<StreamState>, length: usize) -> Chunk {
        Chunk::counted(vec![b'x'; length].into(), Some(Arc::clone(state)))
    }

    /// Returns the seconds after which the stream is cancelled.
    fn cancelled_after(streams: &UnreadStreams, state: &StreamState) -> Option<u64> {
        (0..1000).find(|_| {
            let sweep = streams.sweep(SECOND, 30 * SECOND);
            assert!(!sweep.must_close);
            state.is_cancelled.load(Ordering::SeqCst)
        })
    }

    #[test]
    fn a_stream_whose_client_takes_nothing_is_cancelled_after_the_allowance() {
        let (_memory, state, streams) = stream();
        let _unread = chunk(&state, 100);
        streams.add(&state);
        assert_eq!(cancelled_after(&streams, &state), Some(30));
    }

    #[test]
    fn bytes_taken_below_the_minimum_rate_only_delay_the_end() {
        let (_memory, state, streams) = stream();
        let mut unread = chunk(&state, 1_000_000);
        streams.add(&state);
        let end = (0..1000).find(|_| {
            unread.advance(500);
            streams.sweep(SECOND, 30 * SECOND);
            state.is_cancelled.load(Ordering::SeqCst)
        });
        assert!((59..=60).contains(&end.unwrap()), "{end:?}");
    }

    #[test]
    fn a_silent_upstream_does_not_count() {
        let (memory, state, streams) = stream();
        for _ in 0..20 {
            let mut event = chunk(&state, 10);
            streams.add(&state);
            assert!(streams.sweep(SECOND, 30 * SECOND).has_unread);
            event.advance(10);
            drop(event);
            for _ in 0..300 {
                assert_eq!(streams.sweep(SECOND, 30 * SECOND), Sweep::default());
            }
        }
        assert!(!state.is_cancelled.load(Ordering::SeqCst));
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn another_stream_does_not_renew_the_clock() {
        let (memory, stalled, streams) = stream();
        let _unread = chunk(&stalled, 10);
        streams.add(&stalled);
        let end = (0..1000).find(|_| {
            let other = Arc::new(StreamState::new(Arc::clone(&memory)));
            let mut response = chunk(&other, 100_000);
            streams.add(&other);
            response.advance(100_000);
            drop(response);
            other.finish();
            streams.sweep(SECOND, 30 * SECOND);
            stalled.is_cancelled.load(Ordering::SeqCst)
        });
        assert_eq!(end, Some(30));
    }

    #[test]
    fn a_finished_stream_with_unread_bytes_closes_the_connection() {
        let (_memory, state, streams) = stream();
        let unread = chunk(&state, 10);
        streams.add(&state);
        state.finish();
        let closes = || streams.sweep(SECOND, 30 * SECOND).must_close;
        assert_eq!((0..100).find(|_| closes()), Some(30));
        drop(unread);
        assert!(!closes());
        assert!(streams.lock().is_empty());
    }

    #[test]
    fn finished_streams_are_removed_from_a_long_list() {
        let (memory, live, streams) = stream();
        let _unread = chunk(&live, 1);
        streams.add(&live);
        for _ in 0..10_000 {
            let state = Arc::new(StreamState::new(Arc::clone(&memory)));
            state.finish();
            streams.add(&state);
        }
        let list = streams.lock();
        assert!(list.len() <= LIST_LENGTH);
        assert!(Arc::ptr_eq(&list[0].state, &live));
    }
}
