//! WebSockets: after the handshake, bytes both ways, until one side ends it or nothing moves for
//! too long.

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::{
    Method, Request, Response, Version,
    body::Body,
    header::{CONNECTION, UPGRADE},
    upgrade::{self, OnUpgrade},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use super::{headers::names, pool::Lease};

/// The client's side of a tunnel, if it asks for one. Other protocols than WebSocket are not
/// offered: through HTTP/2, requests would pass that nobody counts.
pub(super) fn asked_for<B: Body>(request: &mut Request<B>) -> Option<OnUpgrade> {
    let headers = request.headers();
    let asks = request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && headers.contains_key(UPGRADE)
        && names(headers, &UPGRADE, b"websocket")
        && names(headers, &CONNECTION, b"upgrade")
        && request.body().is_end_stream();
    asks.then(|| upgrade::on(request))
}

/// Connects both sides as soon as the client has the answer. `held` is held until the end.
pub(super) fn open<B>(
    client: OnUpgrade,
    mut response: Response<B>,
    lease: Option<Lease>,
    idle: Duration,
    held: impl Send + 'static,
) -> Response<()> {
    let upstream = upgrade::on(&mut response);
    tokio::spawn(async move {
        let _held = held;
        if let Some(lease) = lease {
            lease.link.finish().await;
        }
        let Ok((client, upstream)) = tokio::try_join!(client, upstream) else {
            return;
        };
        let moved = AtomicU64::new(0);
        let (mut client, mut upstream) =
            (Marked::new(client, &moved), Marked::new(upstream, &moved));
        tokio::select! {
            ended = copy_bidirectional(&mut client, &mut upstream) => tracing::debug!(?ended, "tunnel ended"),
            () = stands_still(&moved, idle) => tracing::debug!("tunnel closed: nothing moved"),
        }
    });
    response.map(|_| ())
}

/// Ready when nothing has moved for so long, and at most twice that.
async fn stands_still(moved: &AtomicU64, idle: Duration) {
    let mut seen = None;
    loop {
        let now = moved.load(Ordering::Relaxed);
        if seen.replace(now) == Some(now) {
            return;
        }
        tokio::time::sleep(idle).await;
    }
}

/// A side that counts what is read from it.
struct Marked<'a> {
    inner: TokioIo<upgrade::Upgraded>,
    moved: &'a AtomicU64,
}

impl<'a> Marked<'a> {
    fn new(inner: upgrade::Upgraded, moved: &'a AtomicU64) -> Marked<'a> {
        Marked {
            inner: TokioIo::new(inner),
            moved,
        }
    }
}

impl AsyncRead for Marked<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.moved.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Marked<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
