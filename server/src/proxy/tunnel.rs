//! WebSocket tunnels: after the handshake, bytes are copied both ways until one side closes, the idle
//! timeout expires, or the client stops reading.

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
use crate::stall::StallTimer;

/// Returns the client's side of the tunnel if the request is a WebSocket handshake. Other protocols
/// are not offered: requests inside an HTTP/2 tunnel would bypass the rate limit.
pub(super) fn requested_upgrade<B: Body>(request: &mut Request<B>) -> Option<OnUpgrade> {
    requests_upgrade(request).then(|| upgrade::on(request))
}

/// Returns true if the request is a WebSocket handshake.
pub(super) fn requests_upgrade<B: Body>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && headers.contains_key(UPGRADE)
        && contains_token(headers, &UPGRADE, b"websocket")
        && contains_token(headers, &CONNECTION, b"upgrade")
        && request.body().is_end_stream()
}

/// Tunnel between a client and an upstream.
pub(super) struct Tunnel<P> {
    pub(super) connection: Option<PooledConnection>,
    /// Maximum time without a byte in either direction.
    pub(super) idle_timeout: Duration,
    /// Allowance of the stall clock for a client that does not read.
    pub(super) stall_timeout: Duration,
    /// Released when the tunnel ends.
    pub(super) permits: P,
}

impl<P: Send + 'static> Tunnel<P> {
    /// Spawns a task that connects both sides once the client has received the response.
    pub(super) fn spawn<B>(self, client: OnUpgrade, mut response: Response<B>) -> Response<()> {
        let upstream = upgrade::on(&mut response);
        tokio::spawn(async move {
            let Tunnel {
                connection,
                idle_timeout,
                stall_timeout,
                permits: _permits,
            } = self;
            if let Some(pooled) = connection {
                pooled.connection.finish().await;
            }
            let Ok((client, upstream)) = tokio::try_join!(client, upstream) else {
                return;
            };
            let reads = AtomicU64::new(0);
            let stall = StallTimer::new(stall_timeout);
            let mut client = TunnelStream::new(client, &reads, Some(stall));
            let mut upstream = TunnelStream::new(upstream, &reads, None);
            tokio::select! {
                result = copy_bidirectional(&mut client, &mut upstream) => tracing::debug!(?result, "tunnel ended"),
                () = idle(&reads, idle_timeout) => tracing::debug!(?idle_timeout, "tunnel closed: idle timeout expired"),
            }
        });
        response.map(|_| ())
    }
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
struct TunnelStream<'a> {
    inner: TokioIo<upgrade::Upgraded>,
    reads: &'a AtomicU64,
    /// Ends the tunnel when this side does not read. `None`: the upstream may take its time.
    stall: Option<StallTimer>,
}

impl<'a> TunnelStream<'a> {
    fn new(
        inner: upgrade::Upgraded,
        reads: &'a AtomicU64,
        stall: Option<StallTimer>,
    ) -> TunnelStream<'a> {
        TunnelStream {
            inner: TokioIo::new(inner),
            reads,
            stall,
        }
    }
}

impl AsyncRead for TunnelStream<'_> {
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

impl AsyncWrite for TunnelStream<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.inner).poll_write(cx, bytes);
        if let Some(stall) = &mut this.stall {
            match &result {
                Poll::Ready(written) => {
                    let written = written.as_ref().map_or(0, |written| *written as u64);
                    stall.transferred(written);
                }
                Poll::Pending => {
                    ready!(stall.poll_stalled(cx));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
