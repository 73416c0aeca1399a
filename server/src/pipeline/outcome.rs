//! Outcome of processing a request head.

use hyper::StatusCode;

use crate::{
    handlers::BodyHandler,
    limit::PendingCharge,
    proxy::ClientKey,
    response::{self, LimitHeaders, Response},
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
#[derive(Clone, Debug)]
pub(crate) enum NextStep {
    /// The response is complete.
    Respond,
    /// The handler replaces or completes the response once the body has been read.
    ReadBody(BodyHandler),
    /// The upstream sends the response.
    Proxy(ProxyStep),
}

/// Step that forwards a request to an upstream.
#[derive(Clone, Debug)]
pub(crate) struct ProxyStep {
    /// Index of the upstream.
    pub(crate) upstream: usize,
    /// Client whose share of the upstream's slots the request takes from.
    pub(crate) client: ClientKey,
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
            response: response::fixed(StatusCode::OK, ""),
            next: NextStep::ReadBody(handler),
        }
    }

    /// Returns true if the response does not depend on the body.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.next, NextStep::Respond)
    }
}
