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
use crate::client_slots::ClientSlot;

/// Cost of a frame in units of the task's cooperative budget, which is 128 units per poll: one buffer
/// may hold thousands of small chunks, and they must not delay the other connections of the worker.
const FRAME_COST: u32 = 4;

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
        for _ in 0..FRAME_COST {
            ready!(coop::poll_proceed(cx)).made_progress();
        }
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

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        io::{Read, Write},
        net::TcpListener,
        sync::Arc,
        thread,
    };

    use hyper::Request;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{
        client_slots::ClientSlots,
        config,
        proxy::{pool::Pool, request_body::RequestBody},
    };

    const CHUNKS: u32 = 5000;

    /// Returns the body of a response with many chunks of one byte, all of which have arrived.
    async fn body_of_small_chunks() -> ResponseBody {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("upstream = 'http://{}'", listener.local_addr().unwrap());
        let upstream = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let text = [head, &"1\r\nx\r\n".repeat(CHUNKS as usize), "0\r\n\r\n"].concat();
            stream.write_all(text.as_bytes()).unwrap();
        });
        let gateway = config::settings(&url).gateway.unwrap();
        let pool = Pool::new(&gateway.upstreams[0].url, &gateway).unwrap();
        let request = Request::get("/").header("host", "a");
        let request = request.body(RequestBody::empty()).unwrap();
        let (response, connection) = pool.send_request(request, false).await.unwrap();
        upstream.join().unwrap();
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let timeout = Duration::from_secs(60);
        let slots = ClientSlots::new(1, 0);
        let slot = slots.acquire(slots.key(0), timeout).await.unwrap();
        ResponseBody::new(
            response.into_body(),
            Some(connection),
            timeout,
            permit,
            slot,
        )
    }

    #[tokio::test]
    async fn small_chunks_yield_to_other_tasks() {
        let mut body = body_of_small_chunks().await;
        let (mut total, mut is_end) = (0, false);
        while !is_end {
            // The frames of one poll of the task.
            let mut count = 0;
            poll_fn(|cx| {
                loop {
                    match Pin::new(&mut body).poll_frame(cx) {
                        Poll::Ready(Some(frame)) => count += frame.map(|_| 1).unwrap(),
                        Poll::Ready(None) => is_end = true,
                        Poll::Pending if count == 0 => return Poll::Pending,
                        Poll::Pending => return Poll::Ready(()),
                    }
                    if is_end {
                        return Poll::Ready(());
                    }
                }
            })
            .await;
            assert!(count <= 128 / FRAME_COST, "{count} frames in one poll");
            total += count;
        }
        assert_eq!(total, CHUNKS);
    }
}
