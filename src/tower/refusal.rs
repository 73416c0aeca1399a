//! The answers of the gate itself: to what is refused, and to what has no key.

use http::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};

use super::{
    accept,
    headers::Headers,
    key::Missing,
    seconds::{Seconds, promised},
};
use crate::{Decision, Outcome};

/// The name of the one policy there is, in the draft's fields and in its problems. Plain, so that it needs no escape.
pub(super) const POLICY_NAME: &str = "default";

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const GRPC: &str = "application/grpc";

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// gRPC's numbers for what went wrong.
#[derive(Clone, Copy, Debug)]
enum Code {
    ResourceExhausted = 8,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// The answer to a request that was refused, without the headers that tell what is left.
pub(super) fn refused(headers: Headers, decision: &Decision, request: &HeaderMap) -> Response<String> {
    let wait = decision.retry_after().map(promised).map(Seconds);
    let message = match (decision.outcome(), &wait) {
        (_, None) => format!(
            "Rate limit exceeded: this request costs {} tokens, more than the capacity of {}, so it can never pass",
            decision.cost(),
            decision.limit()
        ),
        (Outcome::TableFull, Some(wait)) => format!("Rate limit exceeded: too many clients at once, retry in {wait} s"),
        (_, Some(wait)) => format!("Rate limit exceeded: retry in {wait} s"),
    };
    if is_grpc(request) {
        return grpc(Code::ResourceExhausted, &message);
    }
    let retry_after = wait.map_or_else(|| "null".to_owned(), |wait| wait.to_string());
    // No text here needs an escape in JSON.
    if headers == Headers::Draft11 && accept::prefers(request, PROBLEM, JSON) {
        let body = format!(
            r##"{{"type": "https://iana.org/assignments/http-problem-types#quota-exceeded", "title": "Request cannot be satisfied as assigned quota has been exceeded", "status": 429, "detail": "{message}", "violated-policies": ["{POLICY_NAME}"], "retry_after": {retry_after}}}"##
        );
        return answer(StatusCode::TOO_MANY_REQUESTS, PROBLEM, body);
    }
    let body = format!(r#"{{"error": "Too Many Requests", "message": "{message}", "retry_after": {retry_after}}}"#);
    answer(StatusCode::TOO_MANY_REQUESTS, JSON, body)
}

/// The answer to a request that nobody can tell the sender of: it must not pass.
pub(super) fn missing(missing: Missing, request: &HeaderMap) -> Response<String> {
    let (status, code, error, message) = match missing {
        Missing::Peer => (
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Internal,
            "Internal Server Error",
            "the rate limiter was not told the peer's address: see RateLimitLayer::peer_from",
        ),
        Missing::Key => {
            (StatusCode::UNAUTHORIZED, Code::Unauthenticated, "Unauthorized", "the rate limiter finds no key in the request")
        }
    };
    if is_grpc(request) {
        return grpc(code, message);
    }
    answer(status, JSON, format!(r#"{{"error": "{error}", "message": "{message}"}}"#))
}

fn is_grpc(request: &HeaderMap) -> bool {
    request.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(GRPC.as_bytes()))
}

/// An answer of gRPC that has no message: what would be its trailers are its headers.
fn grpc(code: Code, message: &str) -> Response<String> {
    let mut answer = answer(StatusCode::OK, GRPC, String::new());
    answer.headers_mut().insert(GRPC_STATUS, (code as u16).into());
    // Without a % or anything that is not printable, so that it needs no escape.
    if let Ok(message) = HeaderValue::from_str(message) {
        answer.headers_mut().insert(GRPC_MESSAGE, message);
    }
    answer
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<String> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// The answer when nobody knows how many tokens there are: the request must not pass, and that is not the client's fault.
pub(super) fn unavailable(request: &HeaderMap) -> Response<String> {
    let message = "the limits cannot be looked up now";
    if is_grpc(request) {
        return grpc(Code::Unavailable, message);
    }
    answer(StatusCode::SERVICE_UNAVAILABLE, JSON, format!(r#"{{"error": "Service Unavailable", "message": "{message}"}}"#))
}
