//! What an answer carries: a few bytes of ours, or an upstream's body.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::activity::Passing;
use crate::proxy::ResponseBody;

pub(super) enum AnswerBody {
    Ours(Full<Bytes>),
    Upstreams(Box<(ResponseBody, Passing)>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            AnswerBody::Ours(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            AnswerBody::Upstreams(body) => {
                let (download, passing) = &mut **body;
                let polled = Pin::new(download).poll_frame(cx);
                passing.waits(polled.is_pending());
                polled
            }
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Ours(body) => body.is_end_stream(),
            AnswerBody::Upstreams(body) => body.0.is_end_stream(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Ours(body) => body.size_hint(),
            AnswerBody::Upstreams(body) => body.0.size_hint(),
        }
    }
}
