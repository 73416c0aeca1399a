//! Responses to requests with a missing or a wrong credential.

use hyper::{HeaderMap, Request, StatusCode};

use crate::{
    app::{App, Caller},
    limit::NamedLimit,
    metrics::{Credential, Reason, RouteCounters},
    request::{
        access::{Access, Denial},
        client_identifier::IdentifyError,
        jwt::TokenError,
    },
    response::{self, Response},
};

/// Returns the response to a request without access. A wrong token costs the client's address a
/// failure, and more of them than allowed get 429.
pub(super) fn denial<B>(
    app: &App,
    (access, credential): (&Access, Credential),
    caller: &Caller,
    request: &Request<B>,
) -> Option<Response> {
    let denial = access.check(caller.peer, request).err()?;
    let limited = (denial == Denial::WrongToken)
        .then(|| limited_failure(app, caller, credential, request.headers()));
    limited.flatten().or_else(|| Some(access.denied(denial)))
}

/// Charges a failed credential to the client's address. Returns 429 when that has had too many.
fn limited_failure(
    app: &App,
    caller: &Caller,
    credential: Credential,
    headers: &HeaderMap,
) -> Option<Response> {
    let client = app.clients.by_address(caller.peer, headers);
    app.limited_failure(client, credential, headers)
}

/// Charges an unknown API key to the client's address. Returns 429 when that has had too many.
pub(super) fn credential_limited(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    error: IdentifyError,
) -> Option<Response> {
    (error == IdentifyError::UnknownKey)
        .then(|| limited_failure(app, caller, Credential::ApiKey, headers))
        .flatten()
}

/// Charges a token that no key has signed to the client's address. Returns 429 when that has had too
/// many.
pub(super) fn token_limited(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    token: Option<TokenError>,
) -> Option<Response> {
    (token == Some(TokenError::NotSigned))
        .then(|| limited_failure(app, caller, Credential::Jwt, headers))
        .flatten()
}

/// Response to a request without the key of a limit, which may have a token that does not count.
pub(super) fn without_limit_key(
    app: &App,
    limit: &NamedLimit,
    token: Option<TokenError>,
) -> Response {
    let message = format!("expected a valid {}", limit.key_text());
    let mut response = response::error(StatusCode::UNAUTHORIZED, &message);
    let is_in_header = app.jwt.as_ref().is_some_and(|jwt| jwt.cookie().is_none());
    if is_in_header && limit.has_claim() {
        response::add_bearer_challenge(&mut response, token.is_some());
    }
    response
}

/// Response to a request whose client is unknown.
pub(super) fn unidentified(error: IdentifyError, counters: &RouteCounters) -> Response {
    let (status, message) = status_of(error);
    counters.add(match error {
        IdentifyError::MissingKey | IdentifyError::KeyTooLong => Reason::NoKey,
        IdentifyError::UnknownKey => Reason::UnknownKey,
        IdentifyError::ConflictingHeaders => return response::error(status, message),
    });
    response::unauthorized_client(message)
}

/// Returns the status and the message of the response to a request whose client is unknown.
pub(super) fn status_of(error: IdentifyError) -> (StatusCode, &'static str) {
    let unauthorized = |message| (StatusCode::UNAUTHORIZED, message);
    match error {
        IdentifyError::MissingKey => unauthorized("API key required"),
        IdentifyError::KeyTooLong => unauthorized("API key: expected at most 1024 bytes"),
        IdentifyError::UnknownKey => unauthorized("unknown API key"),
        IdentifyError::ConflictingHeaders => {
            let message = "X-Forwarded-For and Forwarded name different clients";
            (StatusCode::BAD_REQUEST, message)
        }
    }
}
