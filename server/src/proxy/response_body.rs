//! Body of an upstream's response on its way to the client.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep},
};

use super::{client_slots::ClientSlot, connection::FrameResult, pool::PooledConnection};

/// Response body that fails when the upstream sends no frame for longer than the idle timeout.
pub(crate) struct ResponseBody {
    body: Incoming,
    /// Connection that delivers the body; returned to the pool at the end of the body.
    connection: Option<PooledConnection>,
    idle_timeout: Duration,
    is_waiting: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// Permit of [`Upstream`](super::upstream::Upstream), released at the end of the body. A client
    /// that does not read the rest occupies no slot of the upstream.
    permit: Option<OwnedSemaphorePermit>,
    /// Slot of the client, held until the body is dropped.
    _slot: ClientSlot,
}

impl ResponseBody {
    pub(super) fn new(
        body: Incoming,
        connection: Option<PooledConnection>,
        idle_timeout: Duration,
        permit: OwnedSemaphorePermit,
        slot: ClientSlot,
    ) -> ResponseBody {
        let mut body = ResponseBody {
            body,
            connection,
            idle_timeout,
            is_waiting: false,
            timer: None,
            permit: Some(permit),
            _slot: slot,
        };
        body.release_at_end();
        body
    }

    fn release_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.release();
        }
    }

    /// Returns the connection to its pool, and then the permit, so that the next request finds the
    /// connection.
    fn release(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.release();
        }
        self.permit = None;
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<FrameResult>> {
        let body = Pin::new(&mut self.body);
        match &mut self.connection {
            Some(pooled) => pooled.connection.poll_body(body, cx),
            None => body.poll_frame(cx),
        }
    }

    fn poll_idle_timeout(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.idle_timeout;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if !std::mem::replace(&mut self.is_waiting, true) {
            timer.as_mut().reset(Instant::now() + timeout);
        }
        timer.as_mut().poll(cx)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = self.poll_body(cx) {
            self.is_waiting = false;
            match frame {
                None => self.release(),
                Some(_) => self.release_at_end(),
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.poll_idle_timeout(cx));
        Poll::Ready(Some(Err("upstream response body timed out".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
