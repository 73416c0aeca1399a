//! A request's body on its way to the upstream: no longer than it may be, and no slower.

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
use tokio::time::{Instant, Sleep};

use super::Fault;
use crate::app::Unread;

/// Bytes that buy a body another second.
const BYTES_A_SECOND: u64 = 1000;

/// A body for an upstream.
pub(super) struct Upload(Option<Box<Streaming>>);

struct Streaming {
    body: Incoming,
    /// What was read before the upstream was asked.
    first: Option<Frame<Bytes>>,
    /// Bytes that may still come.
    left: u64,
    patience: Patience,
    transfer: Arc<Transfer>,
}

/// How far a body has come, for who waits for the upstream's answer.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    pieces: AtomicU64,
    waits_for_client: AtomicBool,
    done: AtomicBool,
    fault: OnceLock<Unread>,
}

impl Transfer {
    pub(super) fn pieces(&self) -> u64 {
        self.pieces.load(Ordering::Relaxed)
    }

    pub(super) fn waits_for_client(&self) -> bool {
        self.waits_for_client.load(Ordering::Relaxed)
    }

    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// What the client did wrong.
    pub(super) fn fault(&self) -> Option<Unread> {
        self.fault.get().copied()
    }
}

impl Upload {
    pub(super) fn nothing() -> Upload {
        Upload(None)
    }

    /// Takes over a body. Over HTTP/1 its first piece is awaited, so that no upstream sees a
    /// request whose body is broken from the start, or waits with a client that never sends one.
    /// Over HTTP/2 a client may well wait for the upstream's word.
    pub(super) async fn begin(
        body: Incoming,
        version: Version,
        most: u64,
        patience: Duration,
    ) -> Result<Upload, Fault> {
        if body.size_hint().lower() > most {
            return Err(Fault::Client(Unread::TooLarge));
        }
        let (first, transfer) = (None, Arc::default());
        let mut streaming = Box::new(Streaming {
            body,
            first,
            left: most,
            patience: Patience::new(patience),
            transfer,
        });
        if version != Version::HTTP_2 {
            streaming.first = streaming.frame().await.transpose().map_err(Fault::Client)?;
        }
        Ok(Upload(Some(streaming)))
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn transfer(&self) -> Option<Arc<Transfer>> {
        self.0
            .as_ref()
            .map(|streaming| Arc::clone(&streaming.transfer))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Unread;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unread>>> {
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

impl Body for Streaming {
    type Data = Bytes;
    type Error = Unread;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unread>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let this = &mut *self;
        let result = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.patience.rests();
                frame.map(|frame| this.counted(frame.map_err(|_| Unread::Broken)?))
            }
            Poll::Pending => {
                this.transfer
                    .waits_for_client
                    .store(true, Ordering::Relaxed);
                ready!(this.patience.poll_end(cx));
                Some(Err(Unread::TooSlow))
            }
        };
        let transfer = &this.transfer;
        transfer.waits_for_client.store(false, Ordering::Relaxed);
        transfer.pieces.fetch_add(1, Ordering::Relaxed);
        match &result {
            None => transfer.done.store(true, Ordering::Relaxed),
            Some(Err(fault)) => transfer.fault.set(*fault).unwrap_or_default(),
            Some(Ok(_)) if this.body.is_end_stream() => {
                transfer.done.store(true, Ordering::Relaxed)
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

impl Streaming {
    fn counted(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Unread> {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.left = self.left.checked_sub(length).ok_or(Unread::TooLarge)?;
        self.patience.earns(length);
        Ok(frame)
    }
}

/// How long one may still wait for a client, all waits taken together: a body that trickles in for
/// ever must end, and one that waits for a slow upstream must not.
struct Patience {
    left: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(left: Duration) -> Patience {
        Patience {
            left,
            since: None,
            timer: None,
        }
    }

    fn earns(&mut self, bytes: u64) {
        self.left += Duration::from_nanos(bytes.saturating_mul(1_000_000_000 / BYTES_A_SECOND));
    }

    fn rests(&mut self) {
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.left;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
        if self.since.is_none() {
            let now = Instant::now();
            self.since = Some(now);
            timer.as_mut().reset(now + left);
        }
        timer.as_mut().poll(cx)
    }
}
