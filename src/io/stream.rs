//! Stream whose items cost tokens.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use pin_project_lite::pin_project;

use super::{SharedBucket, payment::Payment};

pin_project! {
    /// Stream whose items cost tokens of a bucket: one each, or as [`LimitedStream::with_cost`]
    /// says.
    ///
    /// An item is held back until it is paid, so it holds one item of the inner stream. It sleeps on
    /// tokio's timer, as [`Limited`](super::Limited) does.
    pub struct LimitedStream<S: Stream> {
        #[pin]
        inner: S,
        payment: Payment,
        cost: fn(&S::Item) -> u32,
        held: Option<S::Item>,
    }
}

impl<S: Stream> LimitedStream<S> {
    /// Limits `inner` by a bucket: a token an item.
    ///
    /// ```
    /// use futures_util::{StreamExt, stream};
    /// use tollgate::{Bucket, Quota, io::LimitedStream};
    ///
    /// static CALLS: Bucket = Bucket::new(Quota::per_second(10));
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let mut jobs = LimitedStream::new(stream::iter(["a", "b"]), &CALLS);
    /// while let Some(job) = jobs.next().await {
    ///     // call
    /// }
    /// # });
    /// ```
    #[doc(alias = "ratelimit_stream")]
    pub fn new(inner: S, bucket: impl Into<SharedBucket>) -> LimitedStream<S> {
        LimitedStream {
            inner,
            payment: Payment::new(bucket.into()),
            cost: |_| 1,
            held: None,
        }
    }

    /// Sets the cost of an item in tokens. A cost above the bucket's capacity is paid in pieces.
    #[must_use]
    pub fn with_cost(self, cost: fn(&S::Item) -> u32) -> LimitedStream<S> {
        LimitedStream { cost, ..self }
    }
}

impl<S: Stream> Stream for LimitedStream<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        if this.held.is_none() {
            let Some(item) = ready!(this.inner.poll_next(context)) else {
                return Poll::Ready(None);
            };
            this.payment.pay((this.cost)(&item).into());
            *this.held = Some(item);
        }
        ready!(this.payment.poll_paid(context));
        Poll::Ready(this.held.take())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let held = usize::from(self.held.is_some());
        let (lower, upper) = self.inner.size_hint();
        let with_held = upper.and_then(|upper| upper.checked_add(held));
        (lower.saturating_add(held), with_held)
    }
}

impl<S: Stream + fmt::Debug> fmt::Debug for LimitedStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedStream")
            .field("inner", &self.inner)
            .field("payment", &self.payment)
            .finish_non_exhaustive()
    }
}
