//! One connection: HTTP/1.1 or HTTP/2, as the client begins it.

use std::{
    convert::Infallible,
    future::Future,
    mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{Request, Version, body::Body, body::Incoming, header::EXPECT, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::net::TcpStream;

use super::{
    progress::{Order, Progress},
    stream::Stream,
};
use crate::{
    answer::Answer,
    app::{self, App, Caller},
    config::Bounds,
};

/// HTTP/2 requests that one connection may have open at a time.
const MAX_STREAMS: u32 = 128;
/// Requests that an HTTP/2 client may take back before they are looked at; more end the connection.
const MAX_RESETS: usize = 20;
/// What an HTTP/2 client may send ahead, a request and in all.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A peer that is gone without a word is noticed within twice this.
const PING: Duration = Duration::from_secs(20);

/// The protocols' settings.
pub(super) fn protocols(bounds: &Bounds) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        // The watch keeps the times of headers.
        .header_read_timeout(None)
        .half_close(true)
        // Our bodies are small: to copy them behind the header costs less than to write two pieces.
        .writev(false)
        .max_buf_size(bounds.max_header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // The kind has checked that it is at most a megabyte.
        .max_header_list_size(bounds.max_header_bytes as u32);
    builder
}

/// Serves a connection to its end, or until it is told to close.
pub(super) async fn serve(
    protocols: &Builder<TokioExecutor>,
    stream: TcpStream,
    requests: Requests,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let progress = Arc::clone(&requests.progress);
    let stream = Stream::new(TokioIo::new(stream), Arc::clone(&progress));
    let mut connection = pin!(protocols.serve_connection(stream, requests));
    let mut finishing = false;
    std::future::poll_fn(|cx| {
        progress.woken_by(cx.waker());
        match progress.order() {
            Order::GoOn => {}
            Order::Finish if finishing => {}
            Order::Finish => {
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
            Order::Close => return Poll::Ready(Ok(())),
        }
        connection.as_mut().poll(cx)
    })
    .await
}

/// The requests of one connection.
pub(super) struct Requests {
    pub(super) app: Arc<App>,
    pub(super) caller: Caller,
    pub(super) progress: Arc<Progress>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Answer;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        self.progress.header_came(request.version() == Version::HTTP_2);
        let handled = match self.app.handle(&request, &self.caller) {
            Some(handled) if request.body().is_end_stream() && handled.is_complete() => {
                return Answering::Now(handled.answer);
            }
            handled => handled,
        };
        let (app, progress, caller) = (Arc::clone(&self.app), Arc::clone(&self.progress), self.caller.clone());
        Answering::Later(Box::pin(async move {
            let _busy = progress.reading_body();
            let handled = match handled {
                Some(handled) => handled,
                None => app.ask(&request, &caller).await,
            };
            if request.body().is_end_stream() && handled.is_complete() {
                return handled.answer;
            }
            let expects_leave = request.headers().contains_key(EXPECT);
            let (answer, unread) = app::finish(&app, handled, request.into_body(), expects_leave).await;
            if unread.is_some() {
                progress.left_unread();
            }
            answer
        }))
    }
}

/// Most answers need nothing but the header: those take no allocation and no task of their own.
pub(super) enum Answering {
    Now(Answer),
    Later(Pin<Box<dyn Future<Output = Answer> + Send>>),
    Done,
}

impl Future for Answering {
    type Output = Result<Answer, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Answering::Later(answer) = &mut *self {
            return answer.as_mut().poll(cx).map(Ok);
        }
        match mem::replace(&mut *self, Answering::Done) {
            Answering::Now(answer) => Poll::Ready(Ok(answer)),
            // A future that has ended is not polled again.
            Answering::Later(_) | Answering::Done => Poll::Pending,
        }
    }
}
