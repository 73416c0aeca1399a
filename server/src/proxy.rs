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

use std::{any::Any, hash::Hash, sync::Arc, time::Duration};

#[cfg(fuzzing)]
use hyper::http::request::Parts;
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
    tunnel::Tunnel,
    upstream::{Upstream, UpstreamResponse},
};
use crate::{
    client_slots::{ClientKey, ClientSlot, ClientSlots},
    config,
    response::LimitHeaders,
};

/// Upstreams of a configuration.
pub(crate) struct Gateway {
    /// Longer prefixes before shorter ones.
    upstreams: Vec<Upstream>,
    clients: Arc<ClientSlots>,
}

/// Values that forwarding a request takes from the connection and from the effective configuration.
pub(crate) struct ForwardContext<'a> {
    /// Maximum size of the request body, in bytes.
    pub(crate) max_body_bytes: u64,
    /// Allowance of the stall clock for the request body.
    pub(crate) body_timeout: Duration,
    /// Allowance of the stall clock for a tunnel.
    pub(crate) stall_timeout: Duration,
    /// Client whose share of the slots the request counts against.
    pub(crate) client: ClientKey,
    /// Slot that the client has taken for the request already.
    pub(crate) slot: Option<ClientSlot>,
    /// Slots of limits of concurrent requests.
    pub(crate) limit_slots: Box<[ClientSlot]>,
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
            clients: ClientSlots::new(
                settings.max_concurrent_per_client,
                settings.max_tunnels_per_client,
            ),
        })
    }

    /// Returns the key of a client in the shares of slots.
    pub(crate) fn client_key(&self, client: impl Hash) -> ClientKey {
        self.clients.key(client)
    }

    /// Takes a slot of the client for a request, without waiting.
    pub(crate) fn try_client_slot<B: Body>(
        &self,
        client: ClientKey,
        request: &Request<B>,
    ) -> Option<ClientSlot> {
        let is_tunnel = tunnel::requests_upgrade(request);
        self.clients.try_acquire(client, is_tunnel)
    }

    async fn client_slot(
        &self,
        client: ClientKey,
        is_tunnel: bool,
        timeout: Duration,
    ) -> Result<ClientSlot, ProxyError> {
        let slot = if is_tunnel {
            // Tunnels end too rarely to wait for one.
            self.clients.try_acquire(client, true)
        } else {
            self.clients.acquire(client, timeout).await
        };
        slot.ok_or(ProxyError::TooManyOfClient { is_tunnel })
    }

    /// Returns the index of the upstream with the longest matching prefix.
    #[inline]
    pub(crate) fn select(&self, path: &str) -> Option<usize> {
        self.upstreams
            .iter()
            .position(|upstream| upstream.matches(path))
    }

    /// Returns the request head that [`Gateway::forward`] would send to the upstream at `index`, and
    /// the body.
    #[cfg(fuzzing)]
    pub(crate) fn upstream_head<B: Body>(
        &self,
        index: usize,
        mut request: Request<B>,
        forwarded: &ForwardedHeaders<'_>,
    ) -> (Parts, B) {
        let upgrade = tunnel::requested_upgrade(&mut request).is_some();
        let (mut parts, body) = request.into_parts();
        let url = self.upstreams[index].url();
        headers::prepare_request(&mut parts, &body, upgrade, url, forwarded);
        (parts, body)
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
        let timeouts = upstream.timeouts();
        let slot = match context.slot {
            Some(slot) => slot,
            None => {
                self.client_slot(context.client, upgrade.is_some(), timeouts.connect)
                    .await?
            }
        };
        let slot = slot.with(context.limit_slots);
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
            &body,
            upgrade.is_some(),
            upstream.url(),
            &context.forwarded,
        );
        let UpstreamResponse {
            response,
            connection,
            permit,
        } = upstream
            .send(Request::from_parts(parts, body), progress.as_deref())
            .await?;
        let is_early = progress.is_some_and(|progress| !progress.is_complete());
        let mut response = match (upgrade, response.status()) {
            (Some(client), StatusCode::SWITCHING_PROTOCOLS) => {
                let tunnel = Tunnel {
                    connection,
                    idle_timeout: timeouts.tunnel,
                    stall_timeout: context.stall_timeout,
                    permits: (context.connection_permit, permit, slot),
                };
                let (mut parts, ()) = tunnel.spawn(client, response).into_parts();
                headers::prepare_response(&mut parts.headers, true);
                Response::from_parts(parts, None)
            }
            // The client did not request an upgrade.
            (None, StatusCode::SWITCHING_PROTOCOLS) => return Err(ProxyError::InvalidResponse),
            _ => {
                let (mut parts, body) = response.into_parts();
                headers::prepare_response(&mut parts.headers, false);
                // An event stream may be silent for as long as a tunnel.
                let idle_timeout = if headers::is_event_stream(&parts.headers) {
                    timeouts.idle.max(timeouts.tunnel)
                } else {
                    timeouts.idle
                };
                let body = ResponseBody::new(body, connection, idle_timeout, permit, slot);
                Response::from_parts(parts, Some(body))
            }
        };
        // Otherwise hyper would keep the version of the upstream's protocol.
        *response.version_mut() = Version::HTTP_11;
        context.limit_headers.write_upstream(response.headers_mut());
        Ok(ProxyResponse { response, is_early })
    }
}
