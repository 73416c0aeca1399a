//! The body of an answer: the service's, untouched, or the gate's own.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of what [`RateLimit`](super::RateLimit) answers: that of the service behind it, or
    /// a short text.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        source: Source<B>,
    }
}

pin_project! {
    #[project = Projected]
    #[derive(Debug)]
    enum Source<B> {
        Service { #[pin] body: B },
        Gate { text: Option<Bytes> },
    }
}

impl<B: From<Bytes>> ResponseBody<B> {
    /// The same as a body of the service's own type, where that can be made of a text: untouched,
    /// without the box that `axum::body::Body::new` would put around it.
    ///
    /// ```
    /// use axum::{body::Body, response::Response};
    /// use tollgate::tower::ResponseBody;
    ///
    /// fn as_axums(answer: Response<ResponseBody<Body>>) -> Response {
    ///     answer.map(ResponseBody::into_inner)
    /// }
    /// ```
    #[must_use]
    pub fn into_inner(self) -> B {
        match self.source {
            Source::Service { body } => body,
            Source::Gate { text } => text.unwrap_or_default().into(),
        }
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn of_service(body: B) -> ResponseBody<B> {
        ResponseBody {
            source: Source::Service { body },
        }
    }

    pub(super) fn of_gate(text: String) -> ResponseBody<B> {
        ResponseBody {
            source: Source::Gate {
                text: Some(text.into()).filter(|text: &Bytes| !text.is_empty()),
            },
        }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().source.project() {
            Projected::Service { body } => body.poll_frame(context),
            Projected::Gate { text } => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Service { body } => body.is_end_stream(),
            Source::Gate { text } => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Service { body } => body.size_hint(),
            Source::Gate { text } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
        }
    }
}
