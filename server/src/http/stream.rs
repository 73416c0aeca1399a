//! A connection's byte stream: records activity, and closes without losing the last response.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use super::activity::Activity;

/// Smallest bound on the bytes that are discarded after a response that ended its request early.
/// Closing a socket with unread bytes resets the connection, and a client that sends its whole body
/// before it reads then loses the response.
const MIN_LINGER_BYTES: usize = 64 << 20;

/// Stream that records reads and writes, and lingers when it closes with an unread request.
pub(super) struct Stream<T> {
    inner: T,
    activity: Arc<Activity>,
    /// Maximum number of bytes that are discarded after the write side was closed.
    linger_bytes: usize,
    /// Bytes discarded since the write side was closed; `None` before.
    discarded: Option<usize>,
}

impl<T> Stream<T> {
    /// Creates a stream that lingers for a body of `max_body_bytes`, or at least for
    /// [`MIN_LINGER_BYTES`].
    pub(super) fn new(inner: T, activity: Arc<Activity>, max_body_bytes: usize) -> Stream<T> {
        Stream {
            inner,
            activity,
            linger_bytes: max_body_bytes.max(MIN_LINGER_BYTES),
            discarded: None,
        }
    }

    /// Records a write, and fails if the client leaves too many bytes unread: pipelined requests
    /// whose responses have no body are not held back by flow control.
    #[inline]
    fn record_write(&self, result: &Poll<io::Result<usize>>, offered: usize) -> io::Result<()> {
        let written = match result {
            Poll::Ready(Ok(written)) => *written,
            Poll::Ready(Err(_)) => return Ok(()),
            Poll::Pending => 0,
        };
        let blocked = offered - written;
        self.activity.record_write(written, blocked);
        if blocked > self.activity.memory().max() {
            return Err(io::Error::other(
                "unread responses exceed the memory of the connection",
            ));
        }
        Ok(())
    }
}

impl<T: Read + Unpin> Read for Stream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if result.is_ready() {
            self.activity.record_read();
        }
        result
    }
}

impl<T: Read + Write + Unpin> Write for Stream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.record_write(&result, bytes.len())?;
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        let offered = parts.iter().map(|part| part.len()).sum();
        self.record_write(&result, offered)?;
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let discarded = match &mut this.discarded {
            Some(discarded) => discarded,
            None => {
                ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
                if !this.activity.is_unread() {
                    return Poll::Ready(Ok(()));
                }
                this.activity.record_lingering();
                this.discarded.insert(0)
            }
        };
        let mut scratch = [0; 16384];
        // The socket consumes the task's cooperative budget, so other connections get their turn.
        while *discarded < this.linger_bytes {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut this.inner).poll_read(cx, buffer.unfilled()))?;
            match buffer.filled().len() {
                0 => break,
                count => *discarded += count,
            }
        }
        Poll::Ready(Ok(()))
    }
}
