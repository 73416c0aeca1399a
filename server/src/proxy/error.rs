//! Errors of forwarding a request, and the responses that the client gets for them.

use std::{error::Error, fmt, io};

use http_body_util::Full;
use hyper::{StatusCode, header::RETRY_AFTER};
use hyper_util::client::legacy;
use serde_json::json;

use crate::{
    request::body::BodyError,
    response::{self, LimitHeaders, Response},
};

/// Reason why a request has no response from its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyError {
    /// No connection could be opened.
    ConnectFailed,
    /// No connection was opened within the connect timeout.
    ConnectTimeout,
    /// The connection broke, or the response was malformed.
    InvalidResponse,
    /// No response head arrived within the response timeout.
    ResponseTimeout,
    /// The limit on concurrent requests to the upstream is reached.
    TooManyRequests,
    /// The client holds its share of the concurrent requests and tunnels.
    TooManyOfClient { is_tunnel: bool },
    /// The client's request body failed.
    RequestBody(BodyError),
}

/// Error of one attempt to send a request to an upstream.
#[derive(Debug)]
pub(super) enum SendError {
    /// The HTTP/1.1 connection could not be opened.
    Connect(Box<dyn Error + Send + Sync>),
    Http1 {
        error: hyper::Error,
        /// True if the connection had already served a request.
        is_reused: bool,
    },
    Http2(legacy::Error),
}

impl ProxyError {
    /// Response to the client, with the headers of its rate limit.
    pub(crate) fn response(self, limit_headers: &LimitHeaders) -> Response {
        let mut response = response::fixed(StatusCode::OK, "");
        limit_headers.write(response.headers_mut());
        let (status, message) = match self {
            ProxyError::ConnectFailed => (StatusCode::BAD_GATEWAY, "the upstream is unreachable"),
            ProxyError::ConnectTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "connecting to the upstream timed out",
            ),
            ProxyError::InvalidResponse => (
                StatusCode::BAD_GATEWAY,
                "the upstream sent no valid response",
            ),
            ProxyError::ResponseTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "the upstream did not respond in time",
            ),
            ProxyError::TooManyRequests => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many concurrent requests to the upstream",
            ),
            ProxyError::TooManyOfClient { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many concurrent requests of this client",
            ),
            ProxyError::RequestBody(error) => {
                return response::closing(error.apply(response));
            }
        };
        if let ProxyError::TooManyRequests | ProxyError::TooManyOfClient { .. } = self {
            response.headers_mut().insert(RETRY_AFTER, 1.into());
        }
        let error = status.canonical_reason().unwrap_or("Error");
        *response.status_mut() = status;
        *response.body_mut() = Full::new(
            json!({"error": error, "message": message})
                .to_string()
                .into(),
        );
        response
    }
}

impl From<&SendError> for ProxyError {
    fn from(error: &SendError) -> ProxyError {
        match error {
            SendError::Http1 { .. } => ProxyError::InvalidResponse,
            SendError::Http2(error) if !error.is_connect() => ProxyError::InvalidResponse,
            SendError::Http2(error) if is_timeout(error) => ProxyError::ConnectTimeout,
            SendError::Connect(error) if is_timeout(&**error) => ProxyError::ConnectTimeout,
            SendError::Http2(_) | SendError::Connect(_) => ProxyError::ConnectFailed,
        }
    }
}

impl SendError {
    /// Returns true if the request may have met the idle timeout of the upstream: a connection that
    /// had been idle closed before any byte of the response arrived.
    pub(super) fn is_stale_connection(&self) -> bool {
        match self {
            SendError::Http1 {
                error,
                is_reused: true,
            } => {
                let is_closed = |kind| {
                    matches!(
                        kind,
                        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                    )
                };
                let io = error
                    .source()
                    .and_then(|source| source.downcast_ref::<io::Error>());
                error.is_incomplete_message()
                    || error.is_closed()
                    || error.is_canceled()
                    || io.is_some_and(|error| is_closed(error.kind()))
            }
            // The HTTP/2 client retries requests that were not processed by itself.
            SendError::Connect(_) | SendError::Http1 { .. } | SendError::Http2(_) => false,
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no response")
    }
}

impl Error for SendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            SendError::Connect(error) => Some(&**error),
            SendError::Http1 { error, .. } => Some(error),
            SendError::Http2(error) => Some(error),
        }
    }
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
    error.downcast_ref().is_some_and(timed_out) || error.source().is_some_and(is_timeout)
}
