//! Byte stream of a connection to an upstream: bounds the bytes before the end of a response head.
//!
//! hyper bounds a single head, but skips any number of informational responses (1xx) before it. An
//! upstream that sends them without end would occupy a worker.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

/// Reads of a head that are not counted, since counting copies the bytes. Most heads need one.
const UNCOUNTED_READS: usize = 1;
/// Maximum number of bytes of the reads after those.
const MAX_COUNTED_BYTES: usize = 64 * 1024;
/// Maximum number of bytes of one of those reads.
const CHUNK_BYTES: usize = 4 * 1024;
/// Maximum number of informational responses in one of those reads.
const MAX_INFORMATIONAL: usize = 16;

/// Bound on the reads before the end of a response head. The task that drives the connection is
/// the only one that uses it.
#[derive(Debug)]
pub(super) struct HeadBudget {
    /// [`usize::MAX`] while no head is awaited.
    uncounted_reads: AtomicUsize,
    bytes: AtomicUsize,
}

impl HeadBudget {
    /// Begins the head of the next response. Informational responses before it share the budget.
    pub(super) fn begin(&self) {
        self.uncounted_reads
            .store(UNCOUNTED_READS, Ordering::Relaxed);
        self.bytes.store(MAX_COUNTED_BYTES, Ordering::Relaxed);
    }

    /// Ends the bound: the head has arrived.
    pub(super) fn end(&self) {
        self.uncounted_reads.store(usize::MAX, Ordering::Relaxed);
    }
}

impl Default for HeadBudget {
    fn default() -> HeadBudget {
        HeadBudget {
            uncounted_reads: AtomicUsize::new(usize::MAX),
            bytes: AtomicUsize::new(0),
        }
    }
}

/// Stream whose reads fail when the budget of a response head is spent.
pub(super) struct UpstreamStream<T> {
    inner: T,
    budget: Arc<HeadBudget>,
}

impl<T> UpstreamStream<T> {
    pub(super) fn new(inner: T, budget: Arc<HeadBudget>) -> UpstreamStream<T> {
        UpstreamStream { inner, budget }
    }
}

impl<T: Read + Unpin> Read for UpstreamStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let UpstreamStream { inner, budget } = &mut *self;
        let reads = budget.uncounted_reads.load(Ordering::Relaxed);
        if reads > 0 {
            let result = Pin::new(inner).poll_read(cx, buffer);
            if result.is_ready() && reads != usize::MAX {
                budget.uncounted_reads.store(reads - 1, Ordering::Relaxed);
            }
            return result;
        }
        let bytes = budget.bytes.load(Ordering::Relaxed);
        if bytes == 0 {
            return Poll::Ready(Err(io::Error::other("response head too long")));
        }
        let mut chunk = [MaybeUninit::uninit(); CHUNK_BYTES];
        let length = buffer.remaining().min(bytes).min(CHUNK_BYTES);
        let mut chunk = ReadBuf::uninit(&mut chunk[..length]);
        ready!(Pin::new(inner).poll_read(cx, chunk.unfilled()))?;
        buffer.put_slice(chunk.filled());
        // The last of them may be the head that is awaited: only a further read fails.
        let left = match status_lines(chunk.filled()) {
            0..=MAX_INFORMATIONAL => bytes - chunk.filled().len(),
            _ => 0,
        };
        budget.bytes.store(left, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

fn status_lines(bytes: &[u8]) -> usize {
    const BEGIN: &[u8] = b"\nHTTP/1.";
    let starts = bytes.windows(BEGIN.len());
    starts.filter(|start| *start == BEGIN).count()
}

impl<T: Write + Unpin> Write for UpstreamStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }
}
