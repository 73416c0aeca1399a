//! One connection: HTTP/1.1 or HTTP/2, as the client's first bytes select.

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
    rt::{TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulConnection},
};
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};

use super::{
    activity::{Activity, Shutdown},
    body::ResponseBody,
    executor::StreamExecutor,
    stream::Stream,
};
use crate::{
    app::{App, Caller, CurrentApp},
    config::ConnectionLimits,
    pipeline::{self, HeadResult, NextStep, Outcome, ProxyStep},
    proxy::{ForwardContext, ForwardedHeaders, ProxyError, ProxyResponse},
    response,
};

/// Maximum number of concurrent HTTP/2 streams of a connection.
const MAX_STREAMS: u32 = 128;
/// Maximum number of HTTP/2 streams that a client may reset before they are accepted. More end the
/// connection.
const MAX_RESETS: usize = 20;
/// HTTP/2 flow-control windows in bytes: of a stream, and of the connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Maximum number of bytes that h2 buffers for a stream whose client does not read.
const STREAM_SEND_BUFFER: usize = 64 * 1024;
/// HTTP/2 ping interval and timeout. A peer that vanished is detected within twice this time.
const PING: Duration = Duration::from_secs(20);

/// Returns the protocol settings of a connection.
fn protocols(
    limits: &ConnectionLimits,
    is_gateway: bool,
    executor: StreamExecutor,
) -> Builder<StreamExecutor> {
    let mut builder = Builder::new(executor);
    builder
        .http1()
        // The monitor enforces the header timeout.
        .header_read_timeout(None)
        // A gateway cancels the upstream request of a client that is gone. It treats a half-closed
        // connection as one of those.
        .half_close(!is_gateway)
        // Bodies of this server are small: copying them behind the header costs less than a
        // vectored write.
        .writev(false)
        .max_buf_size(limits.max_header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_SEND_BUFFER)
        // The value's type bounds it to 1 MiB.
        .max_header_list_size(limits.max_header_bytes as u32);
    builder
}

/// Serves a connection until it ends, or until the monitor requests its shutdown.
pub(super) async fn serve(
    limits: &ConnectionLimits,
    is_gateway: bool,
    stream: TcpStream,
    service: ConnectionService,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let activity = Arc::clone(&service.activity);
    let executor = StreamExecutor::new(Arc::clone(&activity));
    let protocols = protocols(limits, is_gateway, executor);
    let stream = Stream::new(TokioIo::new(stream), Arc::clone(&activity));
    match is_gateway {
        false => drive(protocols.serve_connection(stream, service), &activity).await,
        true => {
            drive(
                protocols.serve_connection_with_upgrades(stream, service),
                &activity,
            )
            .await
        }
    }
}

async fn drive<C: GracefulConnection>(connection: C, activity: &Activity) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    let mut shutting_down = false;
    std::future::poll_fn(|cx| {
        activity.register(cx.waker());
        match activity.shutdown() {
            Shutdown::None => {}
            Shutdown::Graceful if shutting_down => {}
            Shutdown::Graceful => {
                shutting_down = true;
                connection.as_mut().graceful_shutdown();
            }
            Shutdown::Immediate => return Poll::Ready(Ok(())),
        }
        connection.as_mut().poll(cx)
    })
    .await
}

/// Service of one connection.
pub(super) struct ConnectionService {
    pub(super) current: CurrentApp,
    pub(super) caller: Arc<Caller>,
    pub(super) activity: Arc<Activity>,
    /// Released when the connection, and the tunnel that it may become, have ended.
    pub(super) permit: Arc<OwnedSemaphorePermit>,
}

impl Service<Request<Incoming>> for ConnectionService {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, request: Request<Incoming>) -> ResponseFuture {
        self.activity
            .record_header(request.version() == Version::HTTP_2);
        // A request uses one configuration from its head to its response.
        let app = self.current.load();
        let caller = app.refresh(&self.caller);
        let result = match pipeline::process(&app, &request, &caller) {
            HeadResult::Done(outcome)
                if request.body().is_end_stream() && outcome.is_complete() =>
            {
                let memory = self.activity.memory();
                return ResponseFuture::Ready(ResponseBody::local(outcome.response, memory));
            }
            result => result,
        };
        let pending = PendingRequest {
            caller: caller.into_owned(),
            app: Guard::into_inner(app),
            activity: Arc::clone(&self.activity),
            permit: Arc::clone(&self.permit),
        };
        match result {
            HeadResult::Done(Outcome {
                next: NextStep::Proxy(step),
                ..
            }) => ResponseFuture::Pending(Box::pin(pending.proxy(step, request))),
            result => ResponseFuture::Pending(Box::pin(pending.respond(result, request))),
        }
    }
}

/// A request whose response is not ready at once.
#[derive(Clone)]
struct PendingRequest {
    app: Arc<App>,
    caller: Arc<Caller>,
    activity: Arc<Activity>,
    /// Released when the connection, and the tunnel that it may become, have ended.
    permit: Arc<OwnedSemaphorePermit>,
}

impl PendingRequest {
    /// Responds to a request that waits for its decision or for its body.
    async fn respond(
        self,
        result: HeadResult,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let PendingRequest {
            app,
            caller,
            activity,
            ..
        } = &self;
        let _reading = activity.reading_body();
        let outcome = match result {
            HeadResult::Done(outcome) => outcome,
            HeadResult::Pending(charge) => pipeline::resolve(app, &request, caller, charge).await,
        };
        if request.body().is_end_stream() && outcome.is_complete() {
            return ResponseBody::local(outcome.response, activity.memory());
        }
        if let NextStep::Proxy(step) = outcome.next {
            return Box::pin(self.clone().proxy(step, request)).await;
        }
        let expects_continue = request.headers().contains_key(EXPECT);
        let memory = activity.memory();
        let body = request.into_body();
        let (response, error) =
            pipeline::finish(app, outcome, body, expects_continue, memory).await;
        if error.is_some() {
            activity.record_unread();
        }
        ResponseBody::local(response, memory)
    }

    /// Responds with the upstream's response, or with an error when there is none.
    async fn proxy(self, step: ProxyStep, request: Request<Incoming>) -> Response<ResponseBody> {
        let ProxyStep {
            upstream,
            client,
            limit_headers,
        } = step;
        let PendingRequest {
            app,
            caller,
            activity,
            permit,
        } = &self;
        let Some(gateway) = &app.gateway else {
            return ProxyError::ConnectFailed
                .response(&limit_headers)
                .map(ResponseBody::Small);
        };
        let _reading = activity.reading_body();
        let (has_body, permit) = (!request.body().is_end_stream(), Arc::clone(permit));
        let context = ForwardContext {
            max_body_bytes: app.connection_limits.max_body_bytes as u64,
            body_timeout: app.connection_limits.body_timeout,
            stall_timeout: app.connection_limits.stall_timeout,
            client,
            forwarded: ForwardedHeaders::new(
                caller.hop(),
                app.clients.trusted(),
                &app.header_rules,
            ),
            limit_headers: &limit_headers,
            connection_permit: permit,
        };
        match gateway.forward(upstream, request, context).await {
            Ok(ProxyResponse { response, is_early }) => {
                if is_early {
                    activity.record_unread();
                }
                response.map(|body| match body {
                    Some(body) => ResponseBody::upstream(body, activity.streaming()),
                    None => ResponseBody::Small(Full::default()),
                })
            }
            Err(error) => {
                if has_body {
                    activity.record_unread();
                }
                let response = error.response(&limit_headers);
                if has_body {
                    response::closing(response)
                } else {
                    response
                }
                .map(ResponseBody::Small)
            }
        }
    }
}

/// Future of a response. Most responses need only the request's header and are ready at once: they
/// need no allocation.
pub(super) enum ResponseFuture {
    Ready(Response<ResponseBody>),
    Pending(Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>>),
    Done,
}

impl Future for ResponseFuture {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let ResponseFuture::Pending(response) = &mut *self {
            return response.as_mut().poll(cx).map(Ok);
        }
        match mem::replace(&mut *self, ResponseFuture::Done) {
            ResponseFuture::Ready(response) => Poll::Ready(Ok(response)),
            // A future that has completed is not polled again.
            ResponseFuture::Pending(_) | ResponseFuture::Done => Poll::Pending,
        }
    }
}
