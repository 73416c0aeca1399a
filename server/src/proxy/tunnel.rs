//! WebSocket tunnels: after the handshake, bytes are copied both ways until one side closes or the
//! idle timeout expires.

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

use super::{headers::contains_token, pool::PooledConnection};

/// Returns the client's side of the tunnel if the request is a WebSocket handshake. Other protocols
/// are not offered: requests inside an HTTP/2 tunnel would bypass the rate limit.
pub(super) fn requested_upgrade<B: Body>(request: &mut Request<B>) -> Option<OnUpgrade> {
    let headers = request.headers();
    let is_websocket = request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && headers.contains_key(UPGRADE)
        && contains_token(headers, &UPGRADE, b"websocket")
        && contains_token(headers, &CONNECTION, b"upgrade")
        && request.body().is_end_stream();
    is_websocket.then(|| upgrade::on(request))
}

/// Spawns a task that connects both sides once the client has received the response. `permits` are
/// released when the tunnel ends.
pub(super) fn spawn<B>(
    client: OnUpgrade,
    mut response: Response<B>,
    connection: Option<PooledConnection>,
    idle_timeout: Duration,
    permits: impl Send + 'static,
) -> Response<()> {
    let upstream = upgrade::on(&mut response);
    tokio::spawn(async move {
        let _permits = permits;
        if let Some(pooled) = connection {
            pooled.connection.finish().await;
        }
        let Ok((client, upstream)) = tokio::try_join!(client, upstream) else {
            return;
        };
        let reads = AtomicU64::new(0);
        let (mut client, mut upstream) = (
            CountingStream::new(client, &reads),
            CountingStream::new(upstream, &reads),
        );
        tokio::select! {
            result = copy_bidirectional(&mut client, &mut upstream) => tracing::debug!(?result, "tunnel ended"),
            () = idle(&reads, idle_timeout) => tracing::debug!(?idle_timeout, "tunnel closed: idle timeout expired"),
        }
    });
    response.map(|_| ())
}

/// Completes after no byte was read for between one and two idle timeouts.
async fn idle(reads: &AtomicU64, timeout: Duration) {
    let mut last = None;
    loop {
        let current = reads.load(Ordering::Relaxed);
        if last.replace(current) == Some(current) {
            return;
        }
        tokio::time::sleep(timeout).await;
    }
}

/// One side of a tunnel; counts its reads.
struct CountingStream<'a> {
    inner: TokioIo<upgrade::Upgraded>,
    reads: &'a AtomicU64,
}

impl<'a> CountingStream<'a> {
    fn new(inner: upgrade::Upgraded, reads: &'a AtomicU64) -> CountingStream<'a> {
        CountingStream {
            inner: TokioIo::new(inner),
            reads,
        }
    }
}

impl AsyncRead for CountingStream<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.reads.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CountingStream<'_> {
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
