//! Sink whose items cost tokens.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_sink::Sink;
use pin_project_lite::pin_project;

use super::{SharedBucket, payment::Payment};

pin_project! {
    /// Sink whose items cost tokens of a bucket: one each, or as [`LimitedSink::with_cost`] says.
    ///
    /// It holds one item until it is paid; a flush waits for that. It sleeps on tokio's timer, as
    /// [`Limited`](super::Limited) does.
    pub struct LimitedSink<S, T> {
        #[pin]
        inner: S,
        payment: Payment,
        cost: fn(&T) -> u32,
        held: Option<T>,
    }
}

impl<S: Sink<T>, T> LimitedSink<S, T> {
    /// Limits `inner` by a bucket: a token an item.
    ///
    /// ```
    /// use futures_util::{SinkExt, sink};
    /// use tollgate::{Bucket, Quota, io::LimitedSink};
    ///
    /// static MESSAGES: Bucket = Bucket::new(Quota::per_second(10));
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let mut outgoing = LimitedSink::new(sink::drain(), &MESSAGES);
    /// outgoing.send("hello").await?;
    /// # Ok::<(), std::convert::Infallible>(()) }).unwrap();
    /// ```
    #[doc(alias = "ratelimit_sink")]
    pub fn new(inner: S, bucket: impl Into<SharedBucket>) -> LimitedSink<S, T> {
        LimitedSink {
            inner,
            payment: Payment::new(bucket.into()),
            cost: |_| 1,
            held: None,
        }
    }

    /// Sets the cost of an item in tokens. A cost above the bucket's capacity is paid in pieces.
    #[must_use]
    pub fn with_cost(self, cost: fn(&T) -> u32) -> LimitedSink<S, T> {
        LimitedSink { cost, ..self }
    }
}

impl<S: Sink<T>, T> Sink<T> for LimitedSink<S, T> {
    type Error = S::Error;

    /// Passes the item held to the inner sink. Completes when none is held.
    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let mut this = self.project();
        if this.held.is_some() {
            ready!(this.payment.poll_paid(context));
            ready!(this.inner.as_mut().poll_ready(context))?;
            if let Some(item) = this.held.take() {
                this.inner.start_send(item)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, item: T) -> Result<(), S::Error> {
        let this = self.project();
        this.payment.pay((this.cost)(&item).into());
        *this.held = Some(item);
        Ok(())
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), S::Error>> {
        ready!(self.as_mut().poll_ready(context))?;
        self.project().inner.poll_flush(context)
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), S::Error>> {
        ready!(self.as_mut().poll_ready(context))?;
        self.project().inner.poll_close(context)
    }
}

impl<S: fmt::Debug, T> fmt::Debug for LimitedSink<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedSink")
            .field("inner", &self.inner)
            .field("payment", &self.payment)
            .finish_non_exhaustive()
    }
}
