//! One connection: HTTP/1.1 or HTTP/2, as the client's first bytes select.

use std::{
    convert::Infallible,
    future::Future,
    mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use arc_swap::Guard;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode, Version, body::Body, body::Incoming, header::EXPECT,
    service::Service,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulConnection},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use super::{
    activity::{Activity, ReadingGuard, Shutdown},
    body::ResponseBody,
    connection_permit::ConnectionPermit,
    executor::StreamExecutor,
    listener::Socket,
    request_body::RequestBody,
    stream::Stream,
};
use crate::{
    app::{App, Caller, CurrentApp},
    config::ConnectionLimits,
    limit::PendingCharge,
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
    cancels_requests: bool,
    executor: StreamExecutor,
) -> Builder<StreamExecutor> {
    let mut builder = Builder::new(executor);
    builder
        .http1()
        // The monitor enforces the header timeout.
        .header_read_timeout(None)
        // The request of a client that is gone is cancelled while it waits for an upstream or for its
        // tokens. A half-closed connection counts as one of those.
        .half_close(!cancels_requests)
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

/// Serves the connection of a socket on this worker.
pub(super) async fn serve(
    limits: &ConnectionLimits,
    is_gateway: bool,
    socket: Socket,
    service: ConnectionService,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    match socket {
        Socket::Tcp(stream) => {
            let stream = TcpStream::from_std(stream)?;
            serve_stream(limits, is_gateway, stream, service).await
        }
        Socket::Unix(stream) => {
            let stream = UnixStream::from_std(stream)?;
            serve_stream(limits, is_gateway, stream, service).await
        }
    }
}

/// Serves a connection until it ends, or until the monitor requests its shutdown.
async fn serve_stream(
    limits: &ConnectionLimits,
    is_gateway: bool,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: ConnectionService,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (activity, permit) = (Arc::clone(&service.activity), Arc::clone(&service.permit));
    let protocols = protocols(
        limits,
        is_gateway || service.current.load().delay.is_some(),
        StreamExecutor::new(Arc::clone(&activity)),
    );
    let stream = Stream::new(
        TokioIo::new(stream),
        Arc::clone(&activity),
        limits.max_body_bytes,
    );
    match is_gateway {
        false => {
            let connection = protocols.serve_connection(stream, service);
            drive(connection, &activity, &permit).await
        }
        true => {
            let connection = protocols.serve_connection_with_upgrades(stream, service);
            drive(connection, &activity, &permit).await
        }
    }
}

async fn drive<C: GracefulConnection>(
    connection: C,
    activity: &Activity,
    permit: &ConnectionPermit,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    let mut shutting_down = false;
    let waker = Waker::from(Arc::clone(activity.waker()));
    std::future::poll_fn(|cx| {
        activity.register(cx.waker());
        let shutdown = activity.shutdown();
        match shutdown {
            Shutdown::None | Shutdown::IfIdle | Shutdown::AfterFirst => {}
            Shutdown::Graceful if shutting_down => {}
            Shutdown::Graceful => {
                shutting_down = true;
                connection.as_mut().graceful_shutdown();
            }
            Shutdown::Immediate => return Poll::Ready(Ok(())),
        }
        let mut polled = connection.as_mut().poll(&mut Context::from_waker(&waker));
        if shutdown == Shutdown::AfterFirst
            && polled.is_pending()
            && activity.has_requests()
            && !mem::replace(&mut shutting_down, true)
        {
            connection.as_mut().graceful_shutdown();
            polled = connection.as_mut().poll(&mut Context::from_waker(&waker));
        }
        if shutdown != Shutdown::IfIdle {
            return polled;
        }
        // A request that has arrived meanwhile is in progress now.
        if polled.is_pending() && activity.is_idle() {
            permit.record_eviction();
            return Poll::Ready(Ok(()));
        }
        permit.refuse_eviction();
        polled
    })
    .await
}

/// Service of one connection.
pub(super) struct ConnectionService {
    pub(super) current: CurrentApp,
    pub(super) caller: Arc<Caller>,
    pub(super) activity: Arc<Activity>,
    pub(super) permit: Arc<ConnectionPermit>,
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
        if !self.permit.is_ordinary() && !pipeline::is_local_administration(&app, &request, &caller)
        {
            let pending = self.pending(Guard::into_inner(app), caller.into_owned());
            let reading = self.activity.reading_body();
            return ResponseFuture::pending(pending.admit(request, reading));
        }
        let result = match pipeline::process(&app, &request, &caller) {
            HeadResult::Done(outcome)
                if request.body().is_end_stream() && outcome.is_complete() =>
            {
                let memory = self.activity.memory();
                return ResponseFuture::Ready(ResponseBody::local(outcome.response, memory));
            }
            result => result,
        };
        let (app, reading) = (Guard::into_inner(app), self.activity.reading_body());
        match result {
            HeadResult::Done(Outcome {
                next: NextStep::Proxy(step),
                ..
            }) => {
                let pending = self.pending(app, caller.into_owned());
                ResponseFuture::pending(pending.proxy(step, request, reading))
            }
            HeadResult::Done(outcome) => {
                ResponseFuture::pending(complete(app, outcome, request, reading))
            }
            HeadResult::Pending(charge) => {
                let pending = self.pending(app, caller.into_owned());
                ResponseFuture::pending(pending.resolve(charge, request, reading))
            }
        }
    }
}

impl ConnectionService {
    fn pending(&self, app: Arc<App>, caller: Arc<Caller>) -> PendingRequest {
        PendingRequest {
            app,
            caller,
            activity: Arc::clone(&self.activity),
            permit: Arc::clone(&self.permit),
        }
    }
}

/// A request whose response is not ready at once.
struct PendingRequest {
    app: Arc<App>,
    caller: Arc<Caller>,
    activity: Arc<Activity>,
    permit: Arc<ConnectionPermit>,
}

impl PendingRequest {
    /// Responds to the first request that a reserved permit does not cover.
    async fn admit(
        self,
        request: Request<Incoming>,
        reading: ReadingGuard,
    ) -> Response<ResponseBody> {
        if self.permit.exchange().await {
            return match pipeline::process(&self.app, &request, &self.caller) {
                HeadResult::Done(outcome) => self.respond(outcome, request, reading).await,
                HeadResult::Pending(charge) => self.resolve(charge, request, reading).await,
            };
        }
        if !request.body().is_end_stream() {
            self.activity.record_unread();
        }
        self.activity.request_shutdown(Shutdown::Graceful);
        let message = "connection limit reached";
        let response = response::error(StatusCode::SERVICE_UNAVAILABLE, message);
        response::closing(response).map(ResponseBody::Small)
    }

    /// Responds to a request that waits for its decision.
    async fn resolve(
        self,
        charge: PendingCharge,
        request: Request<Incoming>,
        reading: ReadingGuard,
    ) -> Response<ResponseBody> {
        let outcome = pipeline::resolve(&self.app, &request, &self.caller, charge).await;
        self.respond(outcome, request, reading).await
    }

    async fn respond(
        self,
        outcome: Outcome,
        request: Request<Incoming>,
        reading: ReadingGuard,
    ) -> Response<ResponseBody> {
        if request.body().is_end_stream() && outcome.is_complete() {
            return ResponseBody::local(outcome.response, self.activity.memory());
        }
        match outcome.next {
            NextStep::Proxy(step) => Box::pin(self.proxy(step, request, reading)).await,
            _ => Box::pin(complete(self.app, outcome, request, reading)).await,
        }
    }

    /// Responds with the upstream's response, or with an error when there is none.
    async fn proxy(
        self,
        step: ProxyStep,
        request: Request<Incoming>,
        _reading: ReadingGuard,
    ) -> Response<ResponseBody> {
        let ProxyStep {
            upstream,
            client,
            slot,
            limit_slots,
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
        let (has_body, permit) = (!request.body().is_end_stream(), Arc::clone(permit));
        let context = ForwardContext {
            max_body_bytes: app.connection_limits.max_body_bytes as u64,
            body_timeout: app.connection_limits.body_timeout,
            stall_timeout: app.connection_limits.stall_timeout,
            client,
            slot,
            limit_slots,
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
                    None => {
                        activity.record_tunnel();
                        ResponseBody::Small(Full::default())
                    }
                })
            }
            Err(error) => {
                if let ProxyError::TooManyOfClient { is_tunnel } = error {
                    let address = caller.peer.address;
                    tracing::debug!(peer = %address, is_tunnel, "share of the client exhausted");
                    app.metrics.client_share.record_refusal(is_tunnel);
                }
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

/// Reads the body of a request and completes its response.
///
/// Not `async` itself: the future would hold the request, and moving it would cost every request with
/// a body.
fn complete(
    app: Arc<App>,
    outcome: Outcome,
    request: Request<Incoming>,
    reading: ReadingGuard,
) -> impl Future<Output = Response<ResponseBody>> + Send {
    let is_http2 = request.version() == Version::HTTP_2;
    // Over HTTP/2, a gRPC client may wait for the status before it ends its stream.
    let awaits_response =
        request.headers().contains_key(EXPECT) || is_http2 && response::is_grpc(&outcome.response);
    let body = request.into_body();
    async move {
        let activity = reading.activity();
        let body = RequestBody::new(body, (!is_http2).then(|| &**activity.waker()));
        let memory = activity.memory();
        let (response, is_read) =
            pipeline::finish(&app, outcome, body, awaits_response, memory).await;
        if !is_read {
            activity.record_unread();
        }
        ResponseBody::local(response, memory)
    }
}

/// Future of a response. Most responses need only the request's header and are ready at once: they
/// need no allocation.
pub(super) enum ResponseFuture {
    Ready(Response<ResponseBody>),
    Pending(Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>>),
    Done,
}

impl ResponseFuture {
    fn pending(
        future: impl Future<Output = Response<ResponseBody>> + Send + 'static,
    ) -> ResponseFuture {
        ResponseFuture::Pending(Box::pin(future))
    }
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
