//! Body of a client's request on its way to the upstream, limited in size and in time.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Version,
    body::{Body, Frame, Incoming, SizeHint},
};

use super::error::ProxyError;
use crate::{
    request::{body::BodyError, header_rules::HeaderRules},
    stall::StallTimer,
};

/// Request body for an upstream; `None` is an empty body.
pub(super) struct RequestBody(Option<Box<StreamingBody>>);

struct StreamingBody {
    body: Incoming,
    /// Frame that was read before the request was sent.
    first: Option<Frame<Bytes>>,
    /// Bytes that may still arrive.
    remaining: u64,
    stall: StallTimer,
    progress: Arc<UploadProgress>,
    /// Rules for trailers.
    header_rules: Arc<HeaderRules>,
}

/// Progress of a request body, observed by the task that waits for the response.
#[derive(Debug, Default)]
pub(super) struct UploadProgress {
    frames: AtomicU64,
    is_waiting_for_client: AtomicBool,
    is_complete: AtomicBool,
    error: OnceLock<BodyError>,
}

impl UploadProgress {
    /// Number of frames that were passed on.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub(super) fn is_waiting_for_client(&self) -> bool {
        self.is_waiting_for_client.load(Ordering::Relaxed)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Relaxed)
    }

    /// Error on the client's side that ended the body.
    pub(super) fn error(&self) -> Option<BodyError> {
        self.error.get().copied()
    }
}

impl RequestBody {
    pub(super) fn empty() -> RequestBody {
        RequestBody(None)
    }

    /// Starts streaming a body of at most `max_bytes`.
    ///
    /// Over HTTP/1 the first frame is awaited. No upstream then receives a request whose body is
    /// broken from the start, and none waits for a client that sends no body at all. Over HTTP/2 a
    /// client may wait for the upstream's response head before it sends its body, so nothing is
    /// awaited.
    pub(super) async fn start(
        body: Incoming,
        version: Version,
        max_bytes: u64,
        timeout: Duration,
        header_rules: Arc<HeaderRules>,
    ) -> Result<RequestBody, ProxyError> {
        if body.size_hint().lower() > max_bytes {
            return Err(ProxyError::RequestBody(BodyError::TooLarge));
        }
        let mut streaming = Box::new(StreamingBody {
            body,
            first: None,
            remaining: max_bytes,
            stall: StallTimer::new(timeout),
            progress: Arc::default(),
            header_rules,
        });
        if version != Version::HTTP_2 {
            let first = streaming.frame().await.transpose();
            streaming.first = first.map_err(ProxyError::RequestBody)?;
        }
        Ok(RequestBody(Some(streaming)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Progress of the body; `None` for an empty one.
    pub(super) fn progress(&self) -> Option<Arc<UploadProgress>> {
        self.0
            .as_ref()
            .map(|streaming| Arc::clone(&streaming.progress))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            None => Poll::Ready(None),
            Some(streaming) => Pin::new(&mut **streaming).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|streaming| streaming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(
            || SizeHint::with_exact(0),
            |streaming| streaming.size_hint(),
        )
    }
}

impl Body for StreamingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let this = &mut *self;
        let result = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                let length = |frame: &Frame<Bytes>| frame.data_ref().map_or(0, Bytes::len) as u64;
                let received = frame.as_ref().and_then(|frame| frame.as_ref().ok());
                this.stall.transferred(received.map_or(0, length));
                frame.map(|frame| this.count(frame.map_err(|_| BodyError::Interrupted)?))
            }
            Poll::Pending => {
                this.progress
                    .is_waiting_for_client
                    .store(true, Ordering::Relaxed);
                ready!(this.stall.poll_stalled(cx));
                Some(Err(BodyError::Timeout))
            }
        };
        let progress = &this.progress;
        progress
            .is_waiting_for_client
            .store(false, Ordering::Relaxed);
        progress.frames.fetch_add(1, Ordering::Relaxed);
        match &result {
            None => progress.is_complete.store(true, Ordering::Relaxed),
            Some(Err(error)) => progress.error.set(*error).unwrap_or_default(),
            Some(Ok(_)) if this.body.is_end_stream() => {
                progress.is_complete.store(true, Ordering::Relaxed)
            }
            Some(Ok(_)) => {}
        }
        Poll::Ready(result)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self
            .first
            .as_ref()
            .and_then(Frame::data_ref)
            .map_or(0, |data| data.len() as u64);
        self.body
            .size_hint()
            .exact()
            .map_or_else(SizeHint::default, |rest| SizeHint::with_exact(first + rest))
    }
}

impl StreamingBody {
    /// Counts a frame against the size limit. Trailers lose the fields that do not pass.
    fn count(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        if let Some(trailers) = frame.trailers_mut() {
            self.header_rules.apply_to_trailers(trailers);
        }
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.remaining = self
            .remaining
            .checked_sub(length)
            .ok_or(BodyError::TooLarge)?;
        Ok(frame)
    }
}
