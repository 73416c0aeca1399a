//! Response body: a buffer of this server, or an upstream's stream.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::activity::StreamingGuard;
use crate::proxy;

/// Body of a response.
pub(super) enum ResponseBody {
    Local(Full<Bytes>),
    Upstream(Box<(proxy::ResponseBody, StreamingGuard)>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            ResponseBody::Local(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            ResponseBody::Upstream(body) => {
                let (body, streaming) = &mut **body;
                let polled = Pin::new(body).poll_frame(cx);
                streaming.set_waiting(polled.is_pending());
                polled
            }
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Local(body) => body.is_end_stream(),
            ResponseBody::Upstream(body) => body.0.is_end_stream(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Local(body) => body.size_hint(),
            ResponseBody::Upstream(body) => body.0.size_hint(),
        }
    }
}
