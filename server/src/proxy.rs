//! Reverse proxy: forwards allowed requests to an upstream and streams the response back.

mod connection;
mod error;
mod forwarded;
mod headers;
mod pool;
mod request_body;
mod response_body;
mod stream;
mod tunnel;
mod upstream;
mod waker;

use std::{any::Any, sync::Arc, time::Duration};

use hyper::{
    Request, Response, StatusCode, Version,
    body::{Body, Incoming},
};

pub(crate) use self::{
    error::ProxyError,
    forwarded::{ForwardedHeaders, Hop},
    response_body::ResponseBody,
};
use self::{
    request_body::RequestBody,
    upstream::{Upstream, UpstreamResponse},
};
use crate::{config, response::LimitHeaders};

/// Upstreams of a configuration.
pub(crate) struct Gateway {
    /// Longer prefixes before shorter ones.
    upstreams: Vec<Upstream>,
}

/// Values that forwarding a request takes from the connection and from the effective configuration.
pub(crate) struct ForwardContext<'a> {
    /// Maximum size of the request body, in bytes.
    pub(crate) max_body_bytes: u64,
    /// Initial time budget for receiving the request body.
    pub(crate) body_timeout: Duration,
    pub(crate) forwarded: ForwardedHeaders<'a>,
    /// Rate limit headers of the response.
    pub(crate) limit_headers: &'a LimitHeaders,
    /// Permit of the client's connection. A tunnel holds it until it ends.
    pub(crate) connection_permit: Arc<dyn Any + Send + Sync>,
}

/// Response of an upstream.
pub(crate) struct ProxyResponse {
    /// The response; a tunnel's has no body.
    pub(crate) response: Response<Option<ResponseBody>>,
    /// True if the upstream responded before it had read the whole request.
    pub(crate) is_early: bool,
}

impl Gateway {
    /// Creates the upstreams of the configuration.
    ///
    /// # Errors
    /// A line that names the upstream whose TLS roots could not be loaded.
    pub(crate) fn new(settings: &config::Gateway) -> Result<Gateway, String> {
        let new = |upstream| Upstream::new(upstream, settings);
        let upstreams = settings.upstreams.iter().map(new);
        Ok(Gateway {
            upstreams: upstreams.collect::<Result<_, _>>()?,
        })
    }

    /// Returns the index of the upstream with the longest matching prefix.
    #[inline]
    pub(crate) fn select(&self, path: &str) -> Option<usize> {
        self.upstreams
            .iter()
            .position(|upstream| upstream.matches(path))
    }

    /// Forwards a request to the upstream at `index` and returns its response.
    pub(crate) async fn forward(
        &self,
        index: usize,
        mut request: Request<Incoming>,
        context: ForwardContext<'_>,
    ) -> Result<ProxyResponse, ProxyError> {
        let Some(upstream) = self.upstreams.get(index) else {
            return Err(ProxyError::ConnectFailed);
        };
        let upgrade = tunnel::requested_upgrade(&mut request);
        let (mut parts, body) = request.into_parts();
        let body = if upgrade.is_some() || body.is_end_stream() {
            RequestBody::empty()
        } else {
            // Boxed to keep this future small: most requests have no body.
            Box::pin(RequestBody::start(
                body,
                parts.version,
                context.max_body_bytes,
                context.body_timeout,
                Arc::clone(context.forwarded.rules()),
            ))
            .await?
        };
        let progress = body.progress();
        headers::prepare_request(
            &mut parts,
            upgrade.is_some(),
            upstream.url(),
            &context.forwarded,
        );
        if !body.is_end_stream() && body.size_hint().exact().is_none() {
            headers::announce_chunks(&mut parts);
        }
        let UpstreamResponse {
            response,
            connection,
            permit,
        } = upstream
            .send(Request::from_parts(parts, body), progress.as_deref())
            .await?;
        let is_early = progress.is_some_and(|progress| !progress.is_complete());
        let timeouts = upstream.timeouts();
        let mut response = match (upgrade, response.status()) {
            (Some(client), StatusCode::SWITCHING_PROTOCOLS) => {
                let permits = (context.connection_permit, permit);
                let (mut parts, ()) =
                    tunnel::spawn(client, response, connection, timeouts.tunnel, permits)
                        .into_parts();
                headers::prepare_response(&mut parts.headers, true);
                Response::from_parts(parts, None)
            }
            // The client did not request an upgrade.
            (None, StatusCode::SWITCHING_PROTOCOLS) => return Err(ProxyError::InvalidResponse),
            _ => {
                let (mut parts, body) = response.into_parts();
                headers::prepare_response(&mut parts.headers, false);
                let body = ResponseBody::new(body, connection, timeouts.idle, permit);
                Response::from_parts(parts, Some(body))
            }
        };
        // Otherwise hyper would keep the version of the upstream's protocol.
        *response.version_mut() = Version::HTTP_11;
        context.limit_headers.write_upstream(response.headers_mut());
        Ok(ProxyResponse { response, is_early })
    }
}
