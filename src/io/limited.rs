//! Reader and writer whose bytes cost tokens.

use std::{
    io,
    num::NonZero,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::{SharedBucket, payment::Payment};

pin_project! {
    /// Reader or writer whose bytes cost tokens of a bucket.
    ///
    /// Both directions pay from the same bucket; each waits on its own. Bytes are paid in pieces of
    /// at most the bucket's capacity and 16 KiB. A reader holds back up to one piece until it is
    /// paid. A writer pays before it writes, and keeps what the inner writer did not accept for its
    /// next write.
    ///
    /// It sleeps on tokio's timer: polling it outside of a tokio runtime with time enabled panics
    /// when it has to wait. A pause of the bucket ([`Bucket::pause_for`](crate::Bucket::pause_for))
    /// pauses the stream.
    #[derive(Debug)]
    pub struct Limited<T> {
        #[pin]
        inner: T,
        reading: Payment,
        writing: Payment,
        // Read from `inner` up to `filled`, and delivered up to `delivered`. Allocated by the first
        // read.
        buffer: Box<[u8]>,
        filled: usize,
        delivered: usize,
    }
}

impl<T> Limited<T> {
    /// Limits `inner` by a bucket, in which a token is a byte.
    ///
    /// ```
    /// # use {std::sync::Arc, tollgate::{Bucket, Quota, io::Limited}};
    /// # fn example(socket: tokio::net::TcpStream) {
    /// // For this connection alone: 100 kB a second.
    /// let bucket = Arc::new(Bucket::new(Quota::per_second(100_000)));
    /// let socket = Limited::new(socket, bucket);
    /// # }
    /// ```
    pub fn new(inner: T, bucket: impl Into<SharedBucket>) -> Limited<T> {
        let reading = Payment::new(bucket.into());
        Limited {
            inner,
            writing: reading.another(),
            reading,
            buffer: Box::default(),
            filled: 0,
            delivered: 0,
        }
    }

    /// Sets the bytes per token. A bucket refills at most 10⁹ tokens a second, so 100 Gbit/s take
    /// 16 bytes a token. The rest of a token pays for the next bytes.
    ///
    /// ```
    /// # use {std::num::NonZero, tollgate::{Bucket, Quota, io::Limited}};
    /// static LINK: Bucket = Bucket::new(Quota::per_second(781_250_000));
    /// const UNIT: NonZero<u32> = NonZero::new(16).unwrap();
    ///
    /// let fast = Limited::new(tokio::io::empty(), &LINK).with_unit(UNIT);
    /// ```
    #[must_use]
    pub fn with_unit(self, bytes: NonZero<u32>) -> Limited<T> {
        Limited {
            reading: self.reading.with_unit(bytes),
            writing: self.writing.with_unit(bytes),
            ..self
        }
    }

    /// Returns the inner reader or writer.
    pub const fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Returns the inner reader or writer. Bytes that it reads or writes directly cost nothing.
    pub const fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Returns the inner reader or writer. Bytes that were read and not delivered yet are lost.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: AsyncRead> AsyncBufRead for Limited<T> {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.project();
        if this.delivered == this.filled {
            if this.buffer.is_empty() {
                *this.buffer = vec![0; this.reading.piece(usize::MAX)].into();
            }
            let mut piece = ReadBuf::new(this.buffer);
            ready!(this.inner.poll_read(context, &mut piece))?;
            (*this.filled, *this.delivered) = (piece.filled().len(), 0);
            this.reading.start(*this.filled as u64);
        }
        ready!(this.reading.poll_paid(context));
        Poll::Ready(Ok(&this.buffer[*this.delivered..*this.filled]))
    }

    fn consume(self: Pin<&mut Self>, length: usize) {
        let this = self.project();
        let length = length.min(*this.filled - *this.delivered);
        *this.delivered += length;
        this.reading.spend(length as u64);
    }
}

impl<T: AsyncRead> AsyncRead for Limited<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let paid = ready!(self.as_mut().poll_fill_buf(context))?;
        let length = paid.len().min(buffer.remaining());
        buffer.put_slice(&paid[..length]);
        self.consume(length);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite> AsyncWrite for Limited<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        // A wait that an earlier write began.
        ready!(this.writing.poll_paid(context));
        let length = this.writing.piece(bytes.len());
        this.writing.start(length as u64);
        ready!(this.writing.poll_paid(context));
        let written = ready!(this.inner.poll_write(context, &bytes[..length]))?;
        this.writing.spend(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_shutdown(context)
    }
}
