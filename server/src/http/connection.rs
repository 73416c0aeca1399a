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

use arc_swap::Guard;
use http_body_util::Full;
use hyper::{
    Request, Response, Version, body::Body, body::Incoming, header::EXPECT, service::Service,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulConnection},
};
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};

use super::{
    activity::{Order, Progress},
    body::AnswerBody,
    stream::Stream,
};
use crate::{
    app::{App, Caller},
    config::Bounds,
    pipeline::{self, HeadResult, NextStep, Outcome},
    proxy::{ForwardContext, ForwardedHeaders, ProxyError, ProxyResponse},
    reload::Current,
    response::{self, LimitHeaders},
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
pub(super) fn protocols(bounds: &Bounds, gateway: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        // The watch keeps the times of headers.
        .header_read_timeout(None)
        // A gateway stops asking for who is gone, and takes who closes one way for one of those.
        .half_close(!gateway)
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
    gateway: bool,
    stream: TcpStream,
    requests: Requests,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let progress = Arc::clone(&requests.progress);
    let stream = Stream::new(TokioIo::new(stream), Arc::clone(&progress));
    match gateway {
        false => drive(protocols.serve_connection(stream, requests), &progress).await,
        true => {
            drive(
                protocols.serve_connection_with_upgrades(stream, requests),
                &progress,
            )
            .await
        }
    }
}

async fn drive<C: GracefulConnection>(connection: C, progress: &Progress) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
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
    pub(super) current: Current,
    pub(super) caller: Arc<Caller>,
    pub(super) progress: Arc<Progress>,
    /// Free again when connection and tunnel have ended.
    pub(super) place: Arc<OwnedSemaphorePermit>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        self.progress
            .header_came(request.version() == Version::HTTP_2);
        // All of a request goes by one configuration.
        let app = self.current.load();
        let caller = app.refresh(&self.caller);
        let result = match pipeline::process(&app, &request, &caller) {
            HeadResult::Done(outcome)
                if request.body().is_end_stream() && outcome.is_complete() =>
            {
                return Answering::Now(outcome.response);
            }
            result => result,
        };
        let later = Later {
            caller: caller.into_owned(),
            app: Guard::into_inner(app),
            progress: Arc::clone(&self.progress),
            place: Arc::clone(&self.place),
        };
        match result {
            HeadResult::Done(Outcome {
                next: NextStep::Proxy(index, limit_headers),
                ..
            }) => Answering::Later(Box::pin(later.proxied(index, request, limit_headers))),
            result => Answering::Later(Box::pin(later.answer(result, request))),
        }
    }
}

/// What an answer needs that takes its time.
#[derive(Clone)]
struct Later {
    app: Arc<App>,
    caller: Arc<Caller>,
    progress: Arc<Progress>,
    /// Free again when connection and tunnel have ended.
    place: Arc<OwnedSemaphorePermit>,
}

impl Later {
    /// The answer to a request whose decision or whose body has to be waited for.
    async fn answer(self, result: HeadResult, request: Request<Incoming>) -> Response<AnswerBody> {
        let Later {
            app,
            caller,
            progress,
            ..
        } = &self;
        let _busy = progress.reading_body();
        let outcome = match result {
            HeadResult::Done(outcome) => outcome,
            HeadResult::Pending(charge) => pipeline::resolve(app, &request, caller, charge).await,
        };
        if request.body().is_end_stream() && outcome.is_complete() {
            return outcome.response.map(AnswerBody::Ours);
        }
        if let NextStep::Proxy(index, limit_headers) = outcome.next {
            return Box::pin(self.clone().proxied(index, request, limit_headers)).await;
        }
        let expects_continue = request.headers().contains_key(EXPECT);
        let (response, error) =
            pipeline::finish(app, outcome, request.into_body(), expects_continue).await;
        if error.is_some() {
            progress.left_unread();
        }
        response.map(AnswerBody::Ours)
    }

    /// The upstream's answer, or what there is to say of why there is none.
    async fn proxied(
        self,
        index: usize,
        request: Request<Incoming>,
        limit_headers: LimitHeaders,
    ) -> Response<AnswerBody> {
        let Later {
            app,
            caller,
            progress,
            place,
        } = &self;
        let Some(gateway) = &app.gateway else {
            return ProxyError::ConnectFailed
                .response(&limit_headers)
                .map(AnswerBody::Ours);
        };
        let _busy = progress.reading_body();
        let (has_body, place) = (!request.body().is_end_stream(), Arc::clone(place));
        let context = ForwardContext {
            max_body_bytes: app.bounds.max_body_bytes as u64,
            body_timeout: app.bounds.body_timeout,
            forwarded: ForwardedHeaders::new(caller.hop(), app.clients.trusted()),
            limit_headers: &limit_headers,
            connection_permit: place,
        };
        match gateway.forward(index, request, context).await {
            Ok(ProxyResponse { response, is_early }) => {
                if is_early {
                    progress.left_unread();
                }
                response.map(|body| match body {
                    Some(body) => AnswerBody::Upstreams(Box::new((body, progress.passing()))),
                    None => AnswerBody::Ours(Full::default()),
                })
            }
            Err(error) => {
                if has_body {
                    progress.left_unread();
                }
                let answer = error.response(&limit_headers);
                if has_body {
                    response::closing(answer)
                } else {
                    answer
                }
                .map(AnswerBody::Ours)
            }
        }
    }
}

/// Most answers need nothing but the header: those take no allocation and no task of their own.
pub(super) enum Answering {
    Now(response::Response),
    Later(Pin<Box<dyn Future<Output = Response<AnswerBody>> + Send>>),
    Done,
}

impl Future for Answering {
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Answering::Later(answer) = &mut *self {
            return answer.as_mut().poll(cx).map(Ok);
        }
        match mem::replace(&mut *self, Answering::Done) {
            Answering::Now(answer) => Poll::Ready(Ok(answer.map(AnswerBody::Ours))),
            // A future that has ended is not polled again.
            Answering::Later(_) | Answering::Done => Poll::Pending,
        }
    }
}
