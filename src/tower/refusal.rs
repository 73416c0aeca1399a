//! The answers of the gate itself: to what is refused, and to what has no key.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use http::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};

use super::{
    accept,
    key::Missing,
    seconds::{Seconds, retry_after},
};
use crate::{Decision, Outcome};

/// The name of the one policy there is, in the draft's fields and in its problems. Plain, so that
/// it needs no escape.
pub(super) const POLICY_NAME: &str = "default";

pub(super) const JSON: &str = "application/json";
pub(super) const PROBLEM: &str = "application/problem+json";
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

/// Whether a problem is for who sent this request.
pub(super) fn takes_problem(request: &HeaderMap) -> bool {
    accept::prefers(request, PROBLEM, JSON)
}

/// That nobody knows how many tokens there are: the request must not pass, and that is not the
/// client's fault.
const UNKNOWN: &str = "the limits cannot be looked up now";

/// A refusal for people and programs, in JSON.
pub(super) fn text(decision: &Decision, is_problem: bool) -> String {
    if decision.outcome() == Outcome::Unavailable {
        return format!(r#"{{"error": "Service Unavailable", "message": "{UNKNOWN}"}}"#);
    }
    let wait = Wait(retry_after(decision));
    let message = Message { decision, wait };
    let mut body = String::with_capacity(128);
    // No text here needs an escape in JSON, and writing to a String cannot fail.
    let _ = if is_problem {
        write!(
            body,
            r##"{{"type": "https://iana.org/assignments/http-problem-types#quota-exceeded", "title": "Request cannot be satisfied as assigned quota has been exceeded", "status": 429, "detail": "{message}", "violated-policies": ["{POLICY_NAME}"], "retry_after": {wait}}}"##
        )
    } else {
        write!(
            body,
            r#"{{"error": "Too Many Requests", "message": "{message}", "retry_after": {wait}}}"#
        )
    };
    body
}

/// The same in gRPC's way, without the headers that tell what is left.
pub(super) fn grpc_refusal(decision: &Decision) -> Response<String> {
    if decision.outcome() == Outcome::Unavailable {
        return grpc(Code::Unavailable, UNKNOWN);
    }
    grpc(
        Code::ResourceExhausted,
        &Message {
            decision,
            wait: Wait(retry_after(decision)),
        }
        .to_string(),
    )
}

/// In seconds, as JSON.
#[derive(Clone, Copy)]
struct Wait(Option<Duration>);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(wait) => Seconds(wait).fmt(f),
            None => f.write_str("null"),
        }
    }
}

/// Why a request was refused.
struct Message<'a> {
    decision: &'a Decision,
    wait: Wait,
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Message { decision, wait } = *self;
        f.write_str("Rate limit exceeded: ")?;
        match (decision.outcome(), wait) {
            (_, Wait(None)) => write!(
                f,
                "this request costs {} tokens, more than the capacity of {}, so it can never pass",
                decision.cost(),
                decision.limit()
            ),
            (Outcome::TableFull, wait) => write!(f, "too many clients at once, retry in {wait} s"),
            (_, wait) => write!(f, "retry in {wait} s"),
        }
    }
}

/// The answer to a request that nobody can tell the sender of: it must not pass.
pub(super) fn missing(missing: Missing, request: &HeaderMap) -> Response<String> {
    let (status, code, error, message) = match missing {
        Missing::Peer => (
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Internal,
            "Internal Server Error",
            "the rate limiter finds no address of the peer: see RateLimitLayer::peer_from, and whether the server leaves what it looks for",
        ),
        Missing::Key => (
            StatusCode::UNAUTHORIZED,
            Code::Unauthenticated,
            "Unauthorized",
            "the rate limiter finds no key in the request, or none that it can use",
        ),
    };
    if is_grpc(request) {
        return grpc(code, message);
    }
    answer(
        status,
        JSON,
        format!(r#"{{"error": "{error}", "message": "{message}"}}"#),
    )
}

pub(super) fn is_grpc(request: &HeaderMap) -> bool {
    request
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(GRPC.as_bytes()))
}

/// An answer of gRPC that has no message: what would be its trailers are its headers.
fn grpc(code: Code, message: &str) -> Response<String> {
    let mut answer = answer(StatusCode::OK, GRPC, String::new());
    answer
        .headers_mut()
        .insert(GRPC_STATUS, (code as u16).into());
    // Without a % or anything that is not printable, so that it needs no escape.
    if let Ok(message) = HeaderValue::from_str(message) {
        answer.headers_mut().insert(GRPC_MESSAGE, message);
    }
    answer
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<String> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
