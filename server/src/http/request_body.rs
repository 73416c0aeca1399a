//! Body of a request that this server itself reads.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::task_waker::TaskWaker;

/// Request body whose last frame does not wake the task that takes it.
pub(super) struct RequestBody<'a> {
    body: Incoming,
    /// Waker of the connection. `None`: HTTP/2, where taking a frame opens the flow-control window.
    waker: Option<&'a TaskWaker>,
}

impl<'a> RequestBody<'a> {
    pub(super) fn new(body: Incoming, waker: Option<&'a TaskWaker>) -> RequestBody<'a> {
        RequestBody { body, waker }
    }
}

impl Body for RequestBody<'_> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Some(waker) = self.waker else {
            return Pin::new(&mut self.body).poll_frame(cx);
        };
        let (polled, is_woken) = waker.hold(|| Pin::new(&mut self.body).poll_frame(cx));
        // After the last frame, the sender of the body, in this task, has nothing left to do.
        if is_woken && !self.body.is_end_stream() {
            waker.wake_task();
        }
        polled
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
        convert::Infallible,
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Wake, Waker},
    };

    use http_body_util::{BodyExt, Full};
    use hyper::{Request, Response, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Task>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Serves a request that has arrived completely in one poll of the connection. Returns the
    /// number of wake-ups.
    async fn wakes(framing: &str, body: &str) -> usize {
        let (mut client, server) = tokio::io::duplex(4096);
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}");
        client.write_all(request.as_bytes()).await.unwrap();
        let (waker, task) = (Arc::<TaskWaker>::default(), Arc::<Task>::default());
        waker.register(&Arc::clone(&task).into());
        let service = service_fn(|request: Request<Incoming>| {
            let waker = Arc::clone(&waker);
            async move {
                let body = RequestBody::new(request.into_body(), Some(&waker));
                let data = body.collect().await.unwrap().to_bytes();
                Ok::<_, Infallible>(Response::new(Full::new(data)))
            }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(server), service);
        let mut connection = pin!(connection);
        let own = Waker::from(Arc::clone(&waker));
        let mut polls = 0;
        // The first poll, and one for each wake-up.
        while polls <= task.0.load(Ordering::Relaxed) {
            polls += 1;
            let polled = connection.as_mut().poll(&mut Context::from_waker(&own));
            assert!(polled.is_pending(), "the connection stays open");
        }
        let mut response = vec![0; 4096];
        let length = client.read(&mut response).await.unwrap();
        assert!(response[..length].ends_with(b"data"), "the body is echoed");
        task.0.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_complete_body_does_not_wake_the_task_that_takes_it() {
        assert_eq!(wakes("Content-Length: 4", "data").await, 0);
        // The end of a chunked body is known only after the last frame.
        let chunked = "4\r\ndata\r\n0\r\n\r\n";
        assert!(wakes("Transfer-Encoding: chunked", chunked).await > 0);
    }
}
