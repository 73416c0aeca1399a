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
    task::coop,
    time::{Instant, Sleep},
};

use super::{connection::FrameResult, pool::PooledConnection};

/// Response body that fails when the upstream sends no frame for longer than the idle timeout.
pub(crate) struct ResponseBody {
    body: Incoming,
    /// Connection that delivers the body; returned to the pool at the end of the body.
    connection: Option<PooledConnection>,
    idle_timeout: Duration,
    is_waiting: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// Permit of [`Upstream`](super::upstream::Upstream), held until the body is dropped.
    _permit: OwnedSemaphorePermit,
}

impl ResponseBody {
    pub(super) fn new(
        body: Incoming,
        connection: Option<PooledConnection>,
        idle_timeout: Duration,
        permit: OwnedSemaphorePermit,
    ) -> ResponseBody {
        let mut body = ResponseBody {
            body,
            connection,
            idle_timeout,
            is_waiting: false,
            timer: None,
            _permit: permit,
        };
        body.release_at_end();
        body
    }

    fn release_at_end(&mut self) {
        if self.body.is_end_stream()
            && let Some(connection) = self.connection.take()
        {
            connection.release();
        }
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
        // Each frame counts against the task's cooperative budget: thousands of small chunks in one
        // buffer must not delay the other connections of this worker.
        let budget = ready!(coop::poll_proceed(cx));
        if let Poll::Ready(frame) = self.poll_body(cx) {
            budget.made_progress();
            self.is_waiting = false;
            match frame {
                None => self
                    .connection
                    .take()
                    .map(PooledConnection::release)
                    .unwrap_or_default(),
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
