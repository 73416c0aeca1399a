//! HTTP/1.1 connection to an upstream, driven by the request that uses it.
//!
//! A connection with a task of its own would cost every request two hand-overs, from the client's
//! task to the connection's and back, often across threads. Here the task that waits for the
//! response also drives the connection. No task drives an idle connection: the [pool](super::pool)
//! polls it periodically.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    client::conn::http1::{self, SendRequest},
    rt::{Read, Write},
};
use tokio::task::unconstrained;

use super::{
    request_body::RequestBody,
    stream::{HeadBudget, UpstreamStream},
    waker::ConnectionWaker,
};
use crate::workers;

/// Read buffer size, and the limit on the size of an upstream's response head, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Frame of a response body, or the error that ended the body.
pub(super) type FrameResult = hyper::Result<Frame<Bytes>>;

/// HTTP/1.1 connection and the future that performs its I/O.
pub(super) struct Connection {
    sender: SendRequest<RequestBody>,
    /// Number of the worker that opened the connection and whose reactor polls its socket.
    worker: usize,
    /// `None` when the connection has ended.
    driver: Option<Driver>,
    waker: Arc<ConnectionWaker>,
    head_budget: Arc<HeadBudget>,
}

impl Connection {
    /// Starts HTTP/1.1 on a connected stream.
    pub(super) async fn handshake(
        stream: impl Read + Write + Unpin + Send + 'static,
    ) -> hyper::Result<Connection> {
        // Most requests are small: copying the body behind the head costs less than a vectored
        // write of two buffers.
        let head_budget = Arc::<HeadBudget>::default();
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .writev(false)
            .handshake(UpstreamStream::new(stream, Arc::clone(&head_budget)))
            .await?;
        let driver: Driver = Box::pin(connection.with_upgrades());
        Ok(Connection {
            sender,
            worker: workers::number(),
            driver: Some(driver),
            waker: Arc::default(),
            head_budget,
        })
    }

    /// Returns true if this thread's reactor polls the socket, so that reads cause no wake-up
    /// across threads.
    pub(super) fn is_local(&self) -> bool {
        self.worker == workers::number()
    }

    /// Sends a request and waits for the response head.
    pub(super) async fn send_request(
        &mut self,
        request: Request<RequestBody>,
    ) -> hyper::Result<Response<Incoming>> {
        self.head_budget.begin();
        // When tokio's cooperative budget runs out, it wakes the waker of the current context. That
        // is the no-op waker below, so the budget must not apply.
        let mut response = pin!(unconstrained(self.sender.send_request(request)));
        let (driver, waker) = (&mut self.driver, &self.waker);
        let response = poll_fn(|cx| {
            drive(driver, waker, cx);
            // Only the driver makes the response progress, and the driver wakes this task.
            response
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        })
        .await;
        self.head_budget.end();
        response
    }

    /// Polls the next frame of a response body.
    pub(super) fn poll_body(
        &mut self,
        mut body: Pin<&mut Incoming>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<FrameResult>> {
        let is_local = self.is_local();
        let mut take = || {
            let mut poll = || {
                body.as_mut()
                    .poll_frame(&mut Context::from_waker(Waker::noop()))
            };
            // Taking a frame signals the driver that there is room for another, and the driver
            // would wake this task, which is already running. On the connection's own worker no
            // other thread can wake it in the meantime.
            if is_local {
                self.waker.suppress(poll)
            } else {
                poll()
            }
        };
        // A frame that was already read comes first. A frame that the driver reads now is returned
        // in the same poll.
        if let Poll::Ready(frame) = take() {
            return Poll::Ready(frame);
        }
        drive(&mut self.driver, &self.waker, cx);
        take()
    }

    /// Drives the connection once and returns true if it can take a request.
    pub(super) fn is_open(&mut self) -> bool {
        drive(
            &mut self.driver,
            &self.waker,
            &mut Context::from_waker(Waker::noop()),
        );
        self.is_ready()
    }

    /// Returns true if the connection can take another request. The upstream may have closed it
    /// since the last I/O: [`Connection::is_open`] finds that out before reuse.
    pub(super) fn can_reuse(&mut self) -> bool {
        self.is_ready() || self.is_open()
    }

    fn is_ready(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Completes the driver of an upgraded connection, which is no longer HTTP.
    pub(super) async fn finish(self) {
        if let Some(driver) = self.driver {
            // The owner of the upgraded stream sees the error.
            let _ = driver.await;
        }
    }
}

fn drive(driver: &mut Option<Driver>, waker: &Arc<ConnectionWaker>, cx: &mut Context<'_>) {
    if let Some(connection) = driver
        && let Poll::Ready(result) = waker.poll(connection.as_mut(), cx)
    {
        tracing::trace!(?result, "upstream connection ended");
        *driver = None;
    }
}
