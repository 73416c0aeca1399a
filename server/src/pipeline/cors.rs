//! Requests from pages of other origins.

use hyper::{HeaderMap, StatusCode, header::HeaderName};

use super::outcome::{NextStep, Outcome};
use crate::{
    app::{App, Caller},
    endpoint::Endpoint,
    response::{self, Cors, Response},
};

/// Returns true if the server decides about requests by the header of this name.
pub(super) fn decides_by(app: &App, caller: &Caller, name: &[u8]) -> bool {
    let is = |known: &HeaderName| known.as_str().as_bytes().eq_ignore_ascii_case(name);
    app.clients.decides_by(caller.peer, name)
        || app
            .policies
            .as_ref()
            .is_some_and(|policies| policies.decides_by(name))
        || app.cors.is_some() && response::PREFLIGHT_HEADERS.iter().any(is)
}

/// Adds the CORS headers of the settings to the response.
#[inline]
pub(super) fn add_cors(app: &App, request: &HeaderMap, outcome: &mut Outcome) {
    if let Some(cors) = &app.cors {
        let headers = cors.headers(request);
        match &mut outcome.next {
            NextStep::Proxy(step) => step.limit_headers.set_cors(headers),
            NextStep::Respond | NextStep::ReadBody(_) => {
                headers.write(outcome.response.headers_mut());
            }
        }
    }
}

/// Outcome of a preflight. A proxy in front of `/auth` forwards it to the upstream itself.
pub(super) fn preflight_outcome(
    cors: &Cors,
    endpoint: Endpoint,
    headers: &HeaderMap,
    pass: Option<NextStep>,
) -> Outcome {
    if endpoint == Endpoint::Auth {
        return Outcome::respond(response::fixed(
            StatusCode::OK,
            r#"{"message": "Access granted"}"#,
        ));
    }
    match pass.filter(|_| !cors.answers()) {
        Some(next) => Outcome {
            response: Response::default(),
            next,
        },
        None => Outcome::respond(cors.preflight_response(headers)),
    }
}
