//! Response to a refused request.

mod body;

use http::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};

use super::{
    content_negotiation,
    grpc::{self, GrpcStatus},
    headers::{DEFAULT_POLICY, HeaderStyle, PolicyHeaders},
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
        if self.is_http_only || !grpc::is_grpc(request) {
            self.http_response(decision, request)
        } else {
            self.grpc_response(decision)
        }
    }

    fn http_response(self, decision: &DecisionView, request: &HeaderMap) -> Response<String> {
        let is_unavailable = decision.outcome() == Outcome::Unavailable;
        let is_problem = self.style.has_draft()
            && !is_unavailable
            && content_negotiation::prefers(request, PROBLEM_JSON, JSON);
        let body = if is_unavailable {
            body::unavailable()
        } else if is_problem {
            body::problem_json(decision, self.status, self.violated())
        } else {
            body::json(decision, self.status)
        };
        let mut response = Response::new(body);
        *response.status_mut() = if is_unavailable {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            self.status
        };
        *response.headers_mut() = self.headers().with_json(decision);
        if is_problem {
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        }
        response
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
