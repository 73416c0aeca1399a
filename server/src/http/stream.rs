//! A connection's stream: leaves marks of what comes in, and closes without losing the last answer.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use super::activity::Progress;

/// What a client may go on sending after an answer that ended its request, in bytes. To close while
/// bytes are unread resets the connection, and the client may then never see the answer.
const LINGER_BYTES: usize = 4 << 20;

pub(super) struct Stream<T> {
    inner: T,
    progress: Arc<Progress>,
    /// `None` until the answers' side is closed.
    drained: Option<usize>,
}

impl<T> Stream<T> {
    pub(super) fn new(inner: T, progress: Arc<Progress>) -> Stream<T> {
        Stream {
            inner,
            progress,
            drained: None,
        }
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
            self.progress.bytes_came();
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
        if result.is_ready() {
            self.progress.bytes_went();
        }
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
        if result.is_ready() {
            self.progress.bytes_went();
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let drained = match &mut this.drained {
            Some(drained) => drained,
            None => {
                ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
                if !this.progress.is_unread() {
                    return Poll::Ready(Ok(()));
                }
                this.progress.lingers();
                this.drained.insert(0)
            }
        };
        let mut room = [0; 8192];
        while *drained < LINGER_BYTES {
            let mut buffer = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut this.inner).poll_read(cx, buffer.unfilled()))?;
            match buffer.filled().len() {
                0 => break,
                count => *drained += count,
            }
        }
        Poll::Ready(Ok(()))
    }
}
