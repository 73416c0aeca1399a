//! Response body: a buffer of this server, or an upstream's stream.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame, SizeHint},
    header::RETRY_AFTER,
};

use super::{
    activity::StreamingGuard,
    executor::current_stream,
    unread::{Chunk, StreamState},
};
use crate::{
    memory::{ConnectionMemory, Reservation},
    proxy, response,
};

/// Size up to which a body is one chunk. Larger buffers are passed to hyper in pieces of this size,
/// since hyper copies or buffers a whole chunk.
const CHUNK_BYTES: usize = 16 * 1024;

type BoxError = Box<dyn Error + Send + Sync>;
type FramePoll = Poll<Option<Result<Frame<Chunk>, BoxError>>>;

/// Body of a response.
pub(super) enum ResponseBody {
    /// At most one chunk.
    Small(Full<Bytes>),
    Large(Box<LargeBody>),
    Upstream(Box<UpstreamBody>),
}

/// Buffer of more than a chunk.
pub(super) struct LargeBody {
    rest: Bytes,
    /// Memory of the whole buffer, held until the client has taken it.
    _memory: Reservation,
    stream: Option<Arc<StreamState>>,
}

/// Response body of an upstream.
pub(super) struct UpstreamBody {
    body: proxy::ResponseBody,
    _guard: StreamingGuard,
    /// HTTP/2 stream, known once the body is polled.
    stream: Option<Arc<StreamState>>,
    sent: u64,
    /// End of the body, held back until the client has taken the data.
    end: Option<Option<Frame<Chunk>>>,
}

impl ResponseBody {
    /// Returns a response with a body in memory, or 503 if the memory that the connection, or all
    /// connections, may hold does not suffice for it.
    #[inline]
    pub(super) fn local(
        response: response::Response,
        memory: &Arc<ConnectionMemory>,
    ) -> Response<ResponseBody> {
        if response.body().size_hint().lower() <= CHUNK_BYTES as u64 {
            return response.map(ResponseBody::Small);
        }
        ResponseBody::large(response, memory)
    }

    fn large(
        response: response::Response,
        memory: &Arc<ConnectionMemory>,
    ) -> Response<ResponseBody> {
        let (mut parts, mut body) = response.into_parts();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let data = match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            _ => Bytes::new(),
        };
        if let Some(reservation) = memory.try_reserve(data.len()) {
            let body = ResponseBody::Large(Box::new(LargeBody {
                rest: data,
                _memory: reservation,
                stream: None,
            }));
            return Response::from_parts(parts, body);
        }
        let refusal = response::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many response bytes wait for clients",
        );
        parts.status = refusal.status();
        parts.headers.insert(RETRY_AFTER, 1.into());
        Response::from_parts(parts, ResponseBody::Small(refusal.into_body()))
    }

    pub(super) fn upstream(body: proxy::ResponseBody, guard: StreamingGuard) -> ResponseBody {
        ResponseBody::Upstream(Box::new(UpstreamBody {
            body,
            _guard: guard,
            stream: None,
            sent: 0,
            end: None,
        }))
    }
}

impl LargeBody {
    fn poll_frame(&mut self) -> FramePoll {
        if self.rest.is_empty() {
            ready!(poll_taken(self.stream.as_deref()));
            return Poll::Ready(None);
        }
        if self.stream.is_none() {
            self.stream = current_stream();
        }
        let piece = self.rest.split_to(self.rest.len().min(CHUNK_BYTES));
        let chunk = Chunk::reserved(piece, self.stream.clone());
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }
}

impl UpstreamBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> FramePoll {
        if self.stream.is_none() {
            self.stream = current_stream();
        }
        if self.end.is_none() {
            if let Some(stream) = &self.stream {
                ready!(stream.poll_room(cx));
            }
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)?);
            match frame.map(Frame::into_data) {
                Some(Ok(data)) => {
                    self.sent += data.len() as u64;
                    let chunk = Chunk::counted(data, self.stream.clone());
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                Some(Err(other)) => {
                    let trailers = other.into_trailers().ok().map(Frame::trailers);
                    self.end = Some(trailers);
                }
                None => self.end = Some(None),
            }
        }
        ready!(poll_taken(self.stream.as_deref()));
        Poll::Ready(self.end.take().flatten().map(Ok))
    }

    /// A response that fits into one chunk ends with it. The end of a longer one on HTTP/2 waits,
    /// so that the stall clock can still end its stream.
    fn is_end_stream(&self) -> bool {
        let ends_with_data = self.stream.is_none() || self.sent <= CHUNK_BYTES as u64;
        ends_with_data && self.body.is_end_stream()
    }
}

/// Ready when the client has taken all data of an HTTP/2 stream. HTTP/1 does not wait.
fn poll_taken(stream: Option<&StreamState>) -> Poll<()> {
    stream.map_or(Poll::Ready(()), StreamState::poll_taken)
}

impl Body for ResponseBody {
    type Data = Chunk;
    type Error = BoxError;

    #[inline]
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        match &mut *self {
            ResponseBody::Small(body) => {
                let chunk = |bytes| Chunk::counted(bytes, current_stream());
                Pin::new(body)
                    .poll_frame(cx)
                    .map_ok(|frame| frame.map_data(chunk))
                    .map_err(|never| match never {})
            }
            ResponseBody::Large(body) => body.poll_frame(),
            ResponseBody::Upstream(body) => body.poll_frame(cx),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Small(body) => body.is_end_stream(),
            // The end waits until the client has taken the data.
            ResponseBody::Large(_) => false,
            ResponseBody::Upstream(body) => body.is_end_stream(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Small(body) => body.size_hint(),
            ResponseBody::Large(body) => SizeHint::with_exact(body.rest.len() as u64),
            ResponseBody::Upstream(body) => body.body.size_hint(),
        }
    }
}
