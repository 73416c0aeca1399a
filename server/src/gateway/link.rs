//! One HTTP/1.1 connection to an upstream, driven by the request that uses it.
//!
//! A connection with a task of its own would cost every request two hand-overs, from the client's
//! task and back to it, often to another thread. Here the task that wants the answer does the work
//! of the connection as well. While nobody uses a connection, nobody drives it: the
//! [pool](super::pool) looks at it now and then.

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

use super::{bell::Bell, upload::Upload};
use crate::workers;

/// What an upstream's header may take, and what is read from it at a time.
const BUFFER: usize = 64 * 1024;

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

pub(super) type Piece = hyper::Result<Frame<Bytes>>;

pub(super) struct Link {
    sender: SendRequest<Upload>,
    /// The worker that opened it, and is told what comes in on it.
    home: usize,
    /// `None` when the connection has ended.
    driver: Option<Driver>,
    bell: Arc<Bell>,
}

impl Link {
    pub(super) async fn over(
        stream: impl Read + Write + Unpin + Send + 'static,
    ) -> hyper::Result<Link> {
        // Most requests are small: to copy their bodies behind the header costs less than to write
        // two pieces.
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .writev(false)
            .handshake(stream)
            .await?;
        let driver: Driver = Box::pin(connection.with_upgrades());
        Ok(Link {
            sender,
            home: workers::number(),
            driver: Some(driver),
            bell: Arc::default(),
        })
    }

    /// Whether this thread is told at once what comes in on it, and not by another one.
    pub(super) fn is_at_home(&self) -> bool {
        self.home == workers::number()
    }

    /// Sends a request, and waits for the header of the answer.
    pub(super) async fn request(
        &mut self,
        request: Request<Upload>,
    ) -> hyper::Result<Response<Incoming>> {
        // Who has worked enough for one turn would be told to come back by a waker that is
        // nobody's.
        let mut answer = pin!(unconstrained(self.sender.send_request(request)));
        let (driver, bell) = (&mut self.driver, &self.bell);
        poll_fn(|cx| {
            drive(driver, bell, cx);
            // It gets on with the driver alone, which wakes this task when there is more to do.
            answer
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }

    /// The next piece of an answer's body.
    pub(super) fn poll_body(
        &mut self,
        mut body: Pin<&mut Incoming>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Piece>> {
        let is_at_home = self.is_at_home();
        let mut take = || {
            let mut poll = || {
                body.as_mut()
                    .poll_frame(&mut Context::from_waker(Waker::noop()))
            };
            // Who takes a piece tells the driver that there is room for another, and the driver
            // would wake this task, which is at work on it. At home nobody else can ring while it
            // is.
            if is_at_home {
                self.bell.quietly(poll)
            } else {
                poll()
            }
        };
        // What the connection has read comes before what it would read next, and what it reads now
        // comes at once.
        if let Poll::Ready(piece) = take() {
            return Poll::Ready(piece);
        }
        drive(&mut self.driver, &self.bell, cx);
        take()
    }

    /// Whether it could take a request now.
    pub(super) fn is_idle(&mut self) -> bool {
        drive(
            &mut self.driver,
            &self.bell,
            &mut Context::from_waker(Waker::noop()),
        );
        self.takes_a_request()
    }

    /// Whether it could take a request, if the upstream has not closed it since.
    pub(super) fn could_be_idle(&mut self) -> bool {
        self.takes_a_request() || self.is_idle()
    }

    fn takes_a_request(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// What remains to be done for it, when it is no longer HTTP.
    pub(super) async fn finish(self) {
        if let Some(driver) = self.driver {
            // How it ends is seen by who took it over.
            let _ = driver.await;
        }
    }
}

fn drive(driver: &mut Option<Driver>, bell: &Arc<Bell>, cx: &mut Context<'_>) {
    if let Some(connection) = driver
        && let Poll::Ready(ended) = bell.poll(connection.as_mut(), cx)
    {
        tracing::trace!(?ended, "connection to an upstream ended");
        *driver = None;
    }
}
