//! Why a request got no answer from its upstream, and what the client hears of it.

use http_body_util::Full;
use hyper::{StatusCode, header::RETRY_AFTER};
use serde_json::json;

use crate::{
    answer::{self, Answer},
    app::{Told, Unread, incomplete},
};

/// What went wrong between the client and the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection.
    Unreachable,
    /// No connection in time.
    Unconnected,
    /// A connection, but no answer that could be read.
    Broken,
    /// No answer in time.
    Late,
    /// As many requests are on their way as may be.
    Busy,
    /// It is the client's body that did not come as it should.
    Client(Unread),
}

impl Fault {
    /// Whether the upstream is the one to blame.
    pub(super) fn is_upstreams(self) -> bool {
        matches!(
            self,
            Fault::Unreachable | Fault::Unconnected | Fault::Broken | Fault::Late
        )
    }

    /// What the client hears, beside what it is told of its limit.
    pub(crate) fn answer(self, told: &Told) -> Answer {
        let mut answer = answer::fixed(StatusCode::OK, "");
        told.write(answer.headers_mut());
        let (status, message) = match self {
            Fault::Unreachable => (StatusCode::BAD_GATEWAY, "the upstream cannot be reached"),
            Fault::Unconnected => (
                StatusCode::GATEWAY_TIMEOUT,
                "the upstream could not be reached in time",
            ),
            Fault::Broken => (StatusCode::BAD_GATEWAY, "the upstream gave no valid answer"),
            Fault::Late => (
                StatusCode::GATEWAY_TIMEOUT,
                "the upstream did not answer in time",
            ),
            Fault::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many requests are on their way to the upstream",
            ),
            Fault::Client(unread) => return answer::closing(incomplete(answer, unread)),
        };
        if self == Fault::Busy {
            answer.headers_mut().insert(RETRY_AFTER, 1.into());
        }
        let error = status.canonical_reason().unwrap_or("Error");
        *answer.status_mut() = status;
        *answer.body_mut() = Full::new(
            json!({"error": error, "message": message})
                .to_string()
                .into(),
        );
        answer
    }
}
