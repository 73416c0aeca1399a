//! Response to a refused request.

mod body;

use std::{fmt, time::Duration};

use http::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};

use self::body::Details;
use super::{
    content_negotiation,
    grpc::{self, GrpcStatus},
    headers::{DEFAULT_POLICY, HeaderStyle, PolicyHeaders, announced_seconds},
    media_type::{JSON, PROBLEM_JSON},
};
use crate::{DecisionView, Outcome};

/// Builds the response to a refused request: 429, headers and a body.
///
/// The body is a JSON object with `error`, `message` and `retry_after`, in seconds with their
/// fractions. With [`HeaderStyle::Draft11`] and [`HeaderStyle::Both`] it is
/// `application/problem+json` of the type `quota-exceeded` when the client's `Accept` header
/// weights that type at least as high as JSON.
///
/// A gRPC request gets status 200 with `grpc-status: 8` (`RESOURCE_EXHAUSTED`). When no decision
/// was possible ([`Outcome::Unavailable`]), the response is 503, or gRPC's `UNAVAILABLE`.
///
/// ```
/// use http::HeaderMap;
/// use std::time::Duration;
/// use tollgate::{Bucket, Quota, tower::{HeaderStyle, Refusal}};
///
/// let decision = Bucket::new(Quota::per_second(1)).try_acquire_at(Duration::ZERO, 2);
/// let response = Refusal::new(HeaderStyle::XRateLimit).response(&decision, &HeaderMap::new());
/// assert_eq!(response.status(), 429);
/// assert_eq!(response.headers()["x-ratelimit-limit"], "1");
/// let expected = r#"{"error": "Too Many Requests", "message": "Rate limit exceeded: "#;
/// assert!(response.body().starts_with(expected));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    style: HeaderStyle,
    policy: &'a str,
    /// Empty: the policy is the only one.
    all: &'a [(&'a str, DecisionView)],
    status: StatusCode,
    is_http_only: bool,
}

impl<'a> Refusal<'a> {
    /// Creates a builder of responses with headers of this style.
    #[must_use]
    pub const fn new(style: HeaderStyle) -> Refusal<'a> {
        Refusal {
            style,
            policy: DEFAULT_POLICY,
            all: &[],
            status: StatusCode::TOO_MANY_REQUESTS,
            is_http_only: false,
        }
    }

    /// Sets the status of a refusal by a limit, and its name in the body: 429 by default. gRPC
    /// requests, and those without a decision, get their own status.
    ///
    /// ```
    /// # use {http::{HeaderMap, StatusCode}, std::time::Duration};
    /// # use tollgate::{Bucket, Quota, tower::{HeaderStyle, Refusal}};
    /// let decision = Bucket::new(Quota::per_second(1)).try_acquire_at(Duration::ZERO, 2);
    /// let refusal = Refusal::new(HeaderStyle::XRateLimit).status(StatusCode::SERVICE_UNAVAILABLE);
    /// let response = refusal.response(&decision, &HeaderMap::new());
    /// assert_eq!(response.status(), 503);
    /// assert!(response.body().starts_with(r#"{"error": "Service Unavailable", "#));
    /// ```
    #[must_use]
    pub const fn status(self, status: StatusCode) -> Refusal<'a> {
        Refusal { status, ..self }
    }

    /// Sets the name of the policy that was violated: `"default"` by default.
    #[must_use]
    pub const fn policy(self, policy: &'a str) -> Refusal<'a> {
        Refusal { policy, ..self }
    }

    /// Adds the decisions of several policies, with their names, to headers and problem details; see
    /// [`PolicyHeaders::among`](super::PolicyHeaders::among).
    #[must_use]
    pub const fn among(self, all: &'a [(&'a str, DecisionView)]) -> Refusal<'a> {
        Refusal { all, ..self }
    }

    /// Answers gRPC requests with 429 or 503 too, for a proxy that does not speak gRPC itself.
    ///
    /// ```
    /// # use {http::{HeaderMap, header::CONTENT_TYPE}, std::time::Duration};
    /// # use tollgate::{Bucket, Quota, tower::{HeaderStyle, Refusal}};
    /// let decision = Bucket::new(Quota::per_second(1)).try_acquire_at(Duration::ZERO, 2);
    /// let grpc = HeaderMap::from_iter([(CONTENT_TYPE, "application/grpc".parse()?)]);
    /// let refusal = Refusal::new(HeaderStyle::XRateLimit);
    /// assert_eq!(refusal.response(&decision, &grpc).status(), 200);
    /// assert_eq!(refusal.http_only().response(&decision, &grpc).status(), 429);
    /// # Ok::<(), http::header::InvalidHeaderValue>(())
    /// ```
    #[must_use]
    pub const fn http_only(self) -> Refusal<'a> {
        Refusal {
            is_http_only: true,
            ..self
        }
    }

    /// Builds the response to a request with the given headers.
    #[must_use]
    pub fn response(self, decision: &DecisionView, request: &HeaderMap) -> Response<String> {
        if self.is_grpc(request) {
            self.grpc_response(decision)
        } else {
            self.http_response(decision, request)
        }
    }

    /// Builds the response to a request that something else than tokens refuses, such as a bound of
    /// concurrent requests. Of the headers of a limit it has only `Retry-After`.
    ///
    /// Characters of the message that are not printable ASCII become `_`.
    ///
    /// ```
    /// # use {http::{HeaderMap, header::CONTENT_TYPE}, std::time::Duration};
    /// # use tollgate::tower::{HeaderStyle, Refusal};
    /// let refusal = Refusal::new(HeaderStyle::XRateLimit);
    /// let second = Duration::from_secs(1);
    /// let busy = refusal.response_with_message("busy", second, &HeaderMap::new());
    /// let body = r#"{"error": "Too Many Requests", "message": "busy", "retry_after": 1.0}"#;
    /// assert_eq!((busy.status().as_u16(), &**busy.body()), (429, body));
    /// assert_eq!(busy.headers()["retry-after"], "1");
    ///
    /// let grpc = HeaderMap::from_iter([(CONTENT_TYPE, "application/grpc".parse()?)]);
    /// let busy = refusal.response_with_message("busy", second, &grpc);
    /// assert_eq!(busy.headers()["grpc-status"], "8");
    /// # Ok::<(), http::header::InvalidHeaderValue>(())
    /// ```
    #[must_use]
    pub fn response_with_message(
        self,
        message: &str,
        retry_after: Duration,
        request: &HeaderMap,
    ) -> Response<String> {
        let mut response = if self.is_grpc(request) {
            // gRPC percent-encodes its message.
            let message = body::printable(message).replace('%', "%25");
            grpc::response(GrpcStatus::ResourceExhausted, &message)
        } else {
            let (body, media_type) = self.body(Details::new(message, retry_after), request);
            let mut response = Response::new(body);
            *response.status_mut() = self.status;
            let media_type = HeaderValue::from_static(media_type);
            response.headers_mut().insert(CONTENT_TYPE, media_type);
            response
        };
        let seconds = announced_seconds(retry_after);
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
        response
    }

    fn is_grpc(&self, request: &HeaderMap) -> bool {
        !self.is_http_only && grpc::is_grpc(request)
    }

    fn http_response(self, decision: &DecisionView, request: &HeaderMap) -> Response<String> {
        let (status, body, media_type) = if decision.outcome() == Outcome::Unavailable {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            (status, body::unavailable(), JSON)
        } else {
            let (body, media_type) = self.body(Details::of_decision(decision), request);
            (self.status, body, media_type)
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = self.headers().with_json(decision);
        if media_type != JSON {
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        response
    }

    /// Returns the body of a refusal, with its media type.
    fn body<M: fmt::Display>(
        &self,
        details: Details<M>,
        request: &HeaderMap,
    ) -> (String, &'static str) {
        if self.style.has_draft() && content_negotiation::prefers(request, PROBLEM_JSON, JSON) {
            let body = body::problem_json(details, self.status, self.violated());
            (body, PROBLEM_JSON)
        } else {
            (body::json(details, self.status), JSON)
        }
    }

    fn grpc_response(self, decision: &DecisionView) -> Response<String> {
        let mut response = if decision.outcome() == Outcome::Unavailable {
            grpc::response(GrpcStatus::Unavailable, body::UNAVAILABLE)
        } else {
            grpc::response(GrpcStatus::ResourceExhausted, &body::message(decision))
        };
        self.headers().write(decision, response.headers_mut());
        response
    }

    fn headers(self) -> PolicyHeaders<'a> {
        self.style.for_policy(self.policy).among(self.all)
    }

    /// Returns the names of the policies that refuse.
    fn violated(&self) -> impl Iterator<Item = &'a str> {
        let refusing = self.all.iter().filter(|(_, part)| part.is_refused());
        let only = self.all.is_empty().then_some(self.policy);
        refusing.map(|(name, _)| *name).chain(only)
    }
}
