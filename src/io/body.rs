//! HTTP body whose bytes cost tokens.

use std::{
    num::NonZero,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{SharedBucket, payment::Payment};

pin_project! {
    /// HTTP body whose bytes cost tokens of a bucket: an upload or a download of limited speed.
    ///
    /// A frame is held back until it is paid, so it holds one frame of the inner body. Trailers
    /// cost nothing. A frame above the bucket's capacity is paid in pieces.
    ///
    /// It sleeps on tokio's timer, as [`Limited`](super::Limited) does.
    #[derive(Debug)]
    pub struct LimitedBody<B: Body> {
        #[pin]
        inner: B,
        payment: Payment,
        held: Option<Frame<B::Data>>,
    }
}

impl<B: Body> LimitedBody<B> {
    /// Limits `inner` by a bucket, in which a token is a byte.
    ///
    /// ```
    /// # use {axum::{body::Body, response::Response}, tollgate::{Bucket, Quota, io::LimitedBody}};
    /// static DOWNLOADS: Bucket = Bucket::new(Quota::per_second(1_000_000));
    ///
    /// fn limit(response: Response) -> Response {
    ///     response.map(|body| Body::new(LimitedBody::new(body, &DOWNLOADS)))
    /// }
    /// ```
    pub fn new(inner: B, bucket: impl Into<SharedBucket>) -> LimitedBody<B> {
        LimitedBody {
            inner,
            payment: Payment::new(bucket.into()),
            held: None,
        }
    }

    /// Sets the bytes per token; see [`Limited::with_unit`](super::Limited::with_unit).
    #[must_use]
    pub fn with_unit(self, bytes: NonZero<u32>) -> LimitedBody<B> {
        LimitedBody {
            payment: self.payment.with_unit(bytes),
            ..self
        }
    }
}

impl<B: Body> Body for LimitedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        if this.held.is_none() {
            let frame = match ready!(this.inner.poll_frame(context)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            if let Some(data) = frame.data_ref() {
                this.payment.pay(data.remaining() as u64);
            }
            *this.held = Some(frame);
        }
        ready!(this.payment.poll_paid(context));
        Poll::Ready(this.held.take().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.inner.size_hint();
        let held = self.held.as_ref().and_then(Frame::data_ref);
        let Some(held) = held.map(|data| data.remaining() as u64) else {
            return hint;
        };
        let mut with_held = SizeHint::new();
        if let Some(upper) = hint.upper().and_then(|upper| upper.checked_add(held)) {
            with_held.set_upper(upper);
        }
        with_held.set_lower(hint.lower().saturating_add(held));
        with_held
    }
}
