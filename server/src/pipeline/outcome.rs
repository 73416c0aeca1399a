//! Outcome of processing a request head.

use hyper::HeaderMap;

use crate::{
    app::{App, Caller},
    client_slots::{ClientKey, ClientSlot},
    endpoint::Endpoint,
    handlers::BodyHandler,
    limit::PendingCharge,
    request::client_id::ClientId,
    response::{LimitHeaders, Response},
};

/// Result of processing a request head without waiting.
pub(crate) enum HeadResult {
    Done(Outcome),
    /// The decision has to be awaited: see [`super::resolve`].
    Pending(PendingCharge),
}

/// Response to a request head, and the step that completes it.
pub(crate) struct Outcome {
    pub(crate) response: Response,
    pub(crate) next: NextStep,
}

/// Step between processing a request head and sending the response.
#[derive(Debug)]
pub(crate) enum NextStep {
    /// The response is complete.
    Respond,
    /// The handler replaces or completes the response once the body has been read.
    ReadBody(BodyHandler),
    /// The upstream sends the response.
    Proxy(ProxyStep),
}

/// Step that forwards a request to an upstream.
#[derive(Debug)]
pub(crate) struct ProxyStep {
    /// Index of the upstream.
    pub(crate) upstream: usize,
    /// Client whose share of the upstream's slots the request takes from.
    pub(crate) client: ClientKey,
    /// Slot of the client, when the request has waited with one.
    pub(crate) slot: Option<ClientSlot>,
    /// Slots of limits of concurrent requests.
    pub(crate) limit_slots: Box<[ClientSlot]>,
    /// Headers that are added to the response.
    pub(crate) limit_headers: LimitHeaders,
}

impl Outcome {
    /// Outcome whose response does not depend on the body.
    pub(super) fn respond(response: Response) -> Outcome {
        Outcome {
            response,
            next: NextStep::Respond,
        }
    }

    /// Outcome whose response is that of the handler.
    pub(super) fn read_body(handler: BodyHandler) -> Outcome {
        Outcome {
            response: Response::default(),
            next: NextStep::ReadBody(handler),
        }
    }

    /// Adds the slots that a request holds until its response has been received.
    pub(super) fn with_slots(mut self, slots: Vec<ClientSlot>) -> Outcome {
        if let NextStep::Proxy(step) = &mut self.next {
            step.limit_slots = slots.into();
        }
        self
    }

    /// Returns true if the response does not depend on the body.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.next, NextStep::Respond)
    }
}

#[inline]
pub(super) fn next_step(endpoint: Endpoint, path: &str) -> NextStep {
    BodyHandler::of(endpoint, path).map_or(NextStep::Respond, NextStep::ReadBody)
}

/// Returns the step that forwards a request, or `None` if its endpoint is no upstream.
#[inline]
pub(super) fn proxy_step(
    app: &App,
    endpoint: Endpoint,
    client: Option<ClientId<'_>>,
    headers: &HeaderMap,
    caller: &Caller,
    limit_headers: LimitHeaders,
) -> Option<NextStep> {
    let (Endpoint::Upstream(upstream), Some(gateway)) = (endpoint, &app.gateway) else {
        return None;
    };
    let client = app.clients.bounded_by(client, caller.peer, headers);
    Some(NextStep::Proxy(ProxyStep {
        upstream,
        client: gateway.client_key(client),
        slot: None,
        limit_slots: Box::default(),
        limit_headers,
    }))
}
