//! Streams with unread bytes, and the stall clocks that end them. The [monitor](super::timeouts)
//! sweeps over those of each connection periodically.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::unread::StreamState;
use crate::stall::StallClock;

/// Streams above which finished ones are removed from the list before the next sweep.
const LIST_LENGTH: usize = 256;

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
        if state.mark_listed() {
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
            let is_finished = stream.state.is_finished();
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
        self.state.has_unread() || !self.state.is_finished()
    }

    /// Time counts when the client held back at its begin and at its end.
    fn is_stalled(&mut self, elapsed: Duration, allowance: Duration) -> bool {
        let taken = self.state.taken();
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
    use bytes::Buf;

    use super::*;
    use crate::{
        http::unread::Chunk,
        memory::{ConnectionMemory, TotalMemory},
    };

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
            state.is_cancelled()
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
            state.is_cancelled()
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
        assert!(!state.is_cancelled());
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
            stalled.is_cancelled()
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
