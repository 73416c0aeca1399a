//! The gateway: what is allowed goes to an upstream, and its answer comes back, piece by piece as
//! they come.

mod bell;
mod download;
mod fault;
mod headers;
mod link;
mod pool;
mod shape;
mod tunnel;
mod upload;
mod upstream;

use std::sync::Arc;

use hyper::{
    Request, Response, StatusCode, Version,
    body::{Body, Incoming},
};
use tokio::sync::OwnedSemaphorePermit;

pub(crate) use self::{download::Download, fault::Fault, shape::fault as misshapen};
use self::{
    upload::Upload,
    upstream::{Answered, Upstream},
};
use crate::{
    app::{App, Caller, Told},
    config,
};

/// The upstreams there are.
pub(crate) struct Gateway {
    /// Longer prefixes before shorter ones.
    upstreams: Vec<Upstream>,
}

/// An upstream's answer; a tunnel's has no body.
pub(crate) struct Forwarded {
    pub(crate) response: Response<Option<Download>>,
    /// The upstream answered before it had read the whole request.
    pub(crate) early: bool,
}

impl Gateway {
    pub(crate) fn new(settings: &config::Gateway) -> Result<Gateway, String> {
        let open = |upstream| Upstream::new(upstream, settings);
        Ok(Gateway {
            upstreams: settings
                .upstreams
                .iter()
                .map(open)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The number of the upstream that answers for this path.
    #[inline]
    pub(crate) fn choose(&self, path: &str) -> Option<usize> {
        self.upstreams
            .iter()
            .position(|upstream| upstream.answers_for(path))
    }
}

/// Sends a request to the upstream of this number. `told`: what the client is told in the headers
/// of the answer. `place`: what a connection of ours takes up, for as long as a tunnel goes through
/// it.
pub(crate) async fn forward(
    app: &App,
    gateway: &Gateway,
    number: usize,
    caller: &Caller,
    mut request: Request<Incoming>,
    told: &Told,
    place: Arc<OwnedSemaphorePermit>,
) -> Result<Forwarded, Fault> {
    let Some(upstream) = gateway.upstreams.get(number) else {
        return Err(Fault::Unreachable);
    };
    let tunnel = tunnel::asked_for(&mut request);
    let (mut parts, body) = request.into_parts();
    let bounds = &app.bounds;
    let upload = match tunnel {
        Some(_) => Upload::nothing(),
        None if body.is_end_stream() => Upload::nothing(),
        None => {
            Box::pin(Upload::begin(
                body,
                parts.version,
                bounds.max_body_bytes as u64,
                bounds.body_timeout,
            ))
            .await?
        }
    };
    let transfer = upload.transfer();
    headers::to_upstream(
        &mut parts,
        tunnel.is_some(),
        upstream.url(),
        |headers, host| {
            app.identify
                .pass_on(caller.peer, caller.hop(), headers, host);
        },
    );
    let Answered {
        response,
        lease,
        turn,
    } = upstream
        .send(Request::from_parts(parts, upload), transfer.as_deref())
        .await?;
    let early = transfer.is_some_and(|transfer| !transfer.is_done());
    let mut response = match (tunnel, response.status()) {
        (Some(tunnel), StatusCode::SWITCHING_PROTOCOLS) => {
            let (mut parts, ()) = tunnel::open(
                tunnel,
                response,
                lease,
                upstream.times().tunnel,
                (place, turn),
            )
            .into_parts();
            headers::to_client(&mut parts.headers, true);
            Response::from_parts(parts, None)
        }
        // Nobody asked for it.
        (None, StatusCode::SWITCHING_PROTOCOLS) => return Err(Fault::Broken),
        _ => {
            let (mut parts, body) = response.into_parts();
            headers::to_client(&mut parts.headers, false);
            Response::from_parts(
                parts,
                Some(Download::new(body, lease, upstream.times().idle, turn)),
            )
        }
    };
    // In its place hyper would keep the version of the upstream's protocol.
    *response.version_mut() = Version::HTTP_11;
    told.write(response.headers_mut());
    Ok(Forwarded { response, early })
}
