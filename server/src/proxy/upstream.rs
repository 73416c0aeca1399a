//! Upstream: its client, its timeouts, its limit on concurrent requests, and retries.

use std::{
    error::Error,
    io,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{Method, Request, Response, body::Incoming};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    error::{ProxyError, SendError},
    pool::{Pool, PooledConnection},
    request_body::{RequestBody, UploadProgress},
};
use crate::{
    config::{self, UpstreamTimeouts},
    outage::Outage,
    values::{Scheme, UpstreamUrl},
};

/// Interval and timeout of HTTP/2 keep-alive pings: a dead upstream is detected within twice this.
const PING: Duration = Duration::from_secs(20);

/// HTTP/2 flow-control window of a response, in bytes. The window of the connection has room for
/// `max_requests` of them, so that responses whose clients do not read do not hold back others.
const STREAM_WINDOW: u32 = 64 * 1024;

/// Server that requests with a path prefix are forwarded to.
pub(super) struct Upstream {
    prefix: String,
    url: UpstreamUrl,
    client: HttpClient,
    timeouts: UpstreamTimeouts,
    /// Each request in progress and each tunnel holds a permit.
    permits: Arc<Semaphore>,
    outage: Outage,
}

enum HttpClient {
    Http1(Arc<Pool>),
    /// All requests share a few connections, which have tasks of their own.
    Http2(Box<legacy::Client<HttpConnector, RequestBody>>),
}

/// Response head, and what its body needs until it ends.
pub(super) struct UpstreamResponse {
    pub(super) response: Response<Incoming>,
    /// HTTP/1.1 connection that delivers the body.
    pub(super) connection: Option<PooledConnection>,
    pub(super) permit: OwnedSemaphorePermit,
}

type ClientResponse = (Response<Incoming>, Option<PooledConnection>);

impl Upstream {
    pub(super) fn new(
        upstream: &config::Upstream,
        settings: &config::Gateway,
    ) -> Result<Upstream, String> {
        let config::Upstream { prefix, url } = upstream.clone();
        let client =
            HttpClient::new(&url, settings).map_err(|error| format!("upstream: {url}: {error}"))?;
        Ok(Upstream {
            prefix,
            url,
            client,
            timeouts: settings.timeouts,
            permits: Arc::new(Semaphore::new(settings.max_requests)),
            outage: Outage::new(Instant::now()),
        })
    }

    /// Returns true if the path has this upstream's prefix. A prefix ends at a segment boundary:
    /// `/api` matches `/api` and `/api/data`, but not `/apis`.
    pub(super) fn matches(&self, path: &str) -> bool {
        let rest = path.strip_prefix(&self.prefix);
        rest.is_some_and(|rest| {
            rest.is_empty() || rest.starts_with('/') || self.prefix.ends_with('/')
        })
    }

    pub(super) fn url(&self) -> &UpstreamUrl {
        &self.url
    }

    pub(super) fn timeouts(&self) -> &UpstreamTimeouts {
        &self.timeouts
    }

    /// Sends a request and waits for the response head. `progress` belongs to the request's body.
    pub(super) async fn send(
        &self,
        request: Request<RequestBody>,
        progress: Option<&UploadProgress>,
    ) -> Result<UpstreamResponse, ProxyError> {
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => Box::pin(self.wait_for_permit()).await?,
        };
        let (response, connection) = self.send_with_retry(request, progress).await?;
        if self.outage.record_success() {
            tracing::info!(upstream = %self.url, "upstream recovered");
        }
        Ok(UpstreamResponse {
            response,
            connection,
            permit,
        })
    }

    /// Waits for a permit, at most as long as connecting may take.
    async fn wait_for_permit(&self) -> Result<OwnedSemaphorePermit, ProxyError> {
        let acquire = Arc::clone(&self.permits).acquire_owned();
        let permit = timeout(self.timeouts.connect, acquire).await;
        permit
            .ok()
            .and_then(Result::ok)
            .ok_or(ProxyError::TooManyRequests)
    }

    /// Sends a request, and sends it once more, on a new connection, if it went out on an idle
    /// connection that closed before the response: an upstream may close an idle connection just as
    /// a request is sent on it. Only requests with a safe method and without a body are repeated.
    async fn send_with_retry(
        &self,
        request: Request<RequestBody>,
        progress: Option<&UploadProgress>,
    ) -> Result<ClientResponse, ProxyError> {
        let is_safe =
            request.body().is_empty() && matches!(*request.method(), Method::GET | Method::HEAD);
        let retry = is_safe.then(|| clone_without_body(&request));
        let first = match self.send_with_timeout(request, progress, false).await? {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        if let Some(error) = progress.and_then(UploadProgress::error) {
            return Err(ProxyError::RequestBody(error));
        }
        let second = match retry {
            Some(request) if first.is_stale_connection() => {
                Box::pin(self.send_with_timeout(request, None, true)).await?
            }
            _ => Err(first),
        };
        second.map_err(|source| {
            tracing::debug!(upstream = %self.url, error = &source as &dyn Error, "no response from upstream");
            let error = ProxyError::from(&source);
            self.log_failure(error, Some(&source));
            error
        })
    }

    /// Logs that the upstream fails: once per outage, not for every request.
    fn log_failure(&self, reason: ProxyError, source: Option<&SendError>) {
        if let Some(failures) = self.outage.record_failure(Instant::now()) {
            let error = source.map(|error| error as &(dyn Error + 'static));
            tracing::warn!(upstream = %self.url, ?reason, error, failures, "upstream failed");
        }
    }

    /// Sends a request and waits for the response head. The timeout starts when the last frame of
    /// the request was sent; the wait exceeds it by at most one more timeout.
    async fn send_with_timeout(
        &self,
        request: Request<RequestBody>,
        progress: Option<&UploadProgress>,
        is_retry: bool,
    ) -> Result<Result<ClientResponse, SendError>, ProxyError> {
        let mut response = pin!(self.client.send(request, is_retry));
        let mut frames = 0;
        loop {
            if let Ok(response) = timeout(self.timeouts.response, response.as_mut()).await {
                return Ok(response);
            }
            match progress {
                // The request body has a timeout of its own.
                Some(progress)
                    if progress.is_waiting_for_client() || progress.frames() != frames =>
                {
                    frames = progress.frames()
                }
                _ => {
                    let error = ProxyError::ResponseTimeout;
                    self.log_failure(error, None);
                    return Err(error);
                }
            }
        }
    }
}

/// Returns the flow-control window of a connection with `max_requests` responses, in bytes.
fn connection_window(max_requests: usize) -> u32 {
    /// The maximum of RFC 9113.
    const MAX: u32 = (1 << 31) - 1;
    let requests = u32::try_from(max_requests).unwrap_or(MAX);
    // One more for the responses that end.
    requests
        .saturating_add(1)
        .saturating_mul(STREAM_WINDOW)
        .min(MAX)
}

/// Clones a request whose body is empty.
fn clone_without_body(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut clone = Request::new(RequestBody::empty());
    *clone.method_mut() = request.method().clone();
    *clone.uri_mut() = request.uri().clone();
    *clone.version_mut() = request.version();
    *clone.headers_mut() = request.headers().clone();
    clone
}

impl HttpClient {
    fn new(url: &UpstreamUrl, settings: &config::Gateway) -> io::Result<HttpClient> {
        if url.scheme != Scheme::H2c {
            return Pool::new(url, settings).map(HttpClient::Http1);
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(settings.timeouts.connect));
        connector.set_nodelay(true);
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(settings.timeouts.keep_alive)
            .http2_only(true)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(connection_window(settings.max_requests))
            .set_host(false);
        Ok(HttpClient::Http2(Box::new(builder.build(connector))))
    }

    async fn send(
        &self,
        request: Request<RequestBody>,
        is_retry: bool,
    ) -> Result<ClientResponse, SendError> {
        match self {
            HttpClient::Http1(pool) => pool
                .send_request(request, is_retry)
                .await
                .map(|(response, connection)| (response, Some(connection))),
            HttpClient::Http2(client) => match Box::pin(client.request(request)).await {
                Ok(response) => Ok((response, None)),
                Err(error) => Err(SendError::Http2(error)),
            },
        }
    }
}
