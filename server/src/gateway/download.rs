//! An upstream's body on its way to the client.

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

use super::{link::Piece, pool::Lease};

/// A body that must not stand still for longer than an upstream may pause.
pub(crate) struct Download {
    body: Incoming,
    /// The connection on which it comes, until it has.
    lease: Option<Lease>,
    idle: Duration,
    waits: bool,
    timer: Option<Pin<Box<Sleep>>>,
    _turn: OwnedSemaphorePermit,
}

impl Download {
    pub(super) fn new(
        body: Incoming,
        lease: Option<Lease>,
        idle: Duration,
        turn: OwnedSemaphorePermit,
    ) -> Download {
        let mut download = Download {
            body,
            lease,
            idle,
            waits: false,
            timer: None,
            _turn: turn,
        };
        download.give_back_at_end();
        download
    }

    fn give_back_at_end(&mut self) {
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        let body = Pin::new(&mut self.body);
        match &mut self.lease {
            Some(lease) => lease.link.poll_body(body, cx),
            None => body.poll_frame(cx),
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        if !std::mem::replace(&mut self.waits, true) {
            timer.as_mut().reset(Instant::now() + idle);
        }
        timer.as_mut().poll(cx)
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = self.poll_body(cx) {
            self.waits = false;
            match frame {
                None => self.lease.take().map(Lease::give_back).unwrap_or_default(),
                Some(_) => self.give_back_at_end(),
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.poll_idle(cx));
        Poll::Ready(Some(Err(
            "the upstream stopped in the middle of its answer".into(),
        )))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
