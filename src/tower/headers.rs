//! The headers that tell a client what is left.

mod draft;
mod number;
mod x;

use http::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use number::number;

use super::{
    refusal,
    seconds::{retry_after, whole},
};
use crate::{Decision, Outcome};

/// Which headers tell a client what is left, and how a refusal looks.
///
/// With each, a refusal carries `Retry-After`: whole seconds, rounded up, never 0, so that a client
/// with another clock that waits so long is allowed. It is left out when the request costs more
/// than the capacity and can never pass.
///
/// ```
/// use {http::HeaderMap, std::time::Duration, tollgate::{Bucket, Quota, tower::HeaderStyle}};
///
/// let bucket = Bucket::new(Quota::per_minute(100));
/// let decision = bucket.try_acquire_at(Duration::ZERO, 50);
/// let mut headers = HeaderMap::new();
/// HeaderStyle::XRateLimit.write(&decision, &mut headers);
/// assert_eq!(headers["x-ratelimit-limit"], "100");
/// assert_eq!(headers["x-ratelimit-remaining"], "50");
/// assert_eq!(headers["x-ratelimit-reset"], "30");
///
/// HeaderStyle::Draft11.write(&decision, &mut headers);
/// assert_eq!(headers["ratelimit-policy"], r#""default";q=100;w=60"#);
/// assert_eq!(headers["ratelimit"], r#""default";r=50;t=30"#);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderStyle {
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining`, and `X-RateLimit-Reset`: seconds until the
    /// bucket is full, rounded up. A refusal is a JSON object with `error`, `message` and
    /// `retry_after`, which is in seconds and keeps its fractions.
    #[default]
    XRateLimit,
    /// `RateLimit-Policy` and `RateLimit` of [draft-ietf-httpapi-ratelimit-headers-11][draft]: `q`
    /// tokens in `w` seconds, the time that an empty bucket takes to be full; `r` tokens left, and
    /// full in `t` seconds, or when refused, allowed in `t` seconds. The names were still moving in
    /// the drafts: a later one gets a variant of its own.
    ///
    /// A refusal is `application/problem+json` of the type `quota-exceeded` for clients whose
    /// `Accept` takes that as gladly as JSON, and the same as with [`HeaderStyle::XRateLimit`] for
    /// others.
    ///
    /// [draft]: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-11
    Draft11,
    /// Both: for the time in which some clients know the one and some the other. A refusal is that
    /// of [`HeaderStyle::Draft11`].
    Both,
    /// None but `Retry-After`: nothing is added to what is allowed, which costs least. A refusal is
    /// that of [`HeaderStyle::XRateLimit`] otherwise. (Where Redis should have decided,
    /// [`WITHOUT_REDIS`](super::WITHOUT_REDIS) stays.)
    RetryAfter,
}

impl HeaderStyle {
    /// Adds what this decision has to tell, but for headers that are there already. Of one that
    /// nobody could make ([`Outcome::Unavailable`]) that is `Retry-After` alone, one second.
    pub fn write(self, decision: &Decision, headers: &mut HeaderMap) {
        if self.has_x() && !is_unknown(decision) {
            x::add(decision, headers);
        }
        self.write_rest(decision, headers);
    }

    /// The same, in place of those that are there already: for who answers with what somebody else
    /// has answered, and limits as well. `Retry-After` stays.
    ///
    /// ```
    /// # use {http::HeaderMap, std::time::Duration, tollgate::{Bucket, Quota, tower::HeaderStyle}};
    /// let bucket = Bucket::new(Quota::per_minute(100));
    /// let mut upstreams = HeaderMap::from_iter([("x-ratelimit-limit".parse()?, "7".parse()?)]);
    /// HeaderStyle::XRateLimit.overwrite(&bucket.try_acquire_at(Duration::ZERO, 1), &mut upstreams);
    /// assert_eq!(upstreams["x-ratelimit-limit"], "100");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn overwrite(self, decision: &Decision, headers: &mut HeaderMap) {
        let names = || {
            let x = x::NAMES.iter().filter(|_| self.has_x());
            x.chain(draft::NAMES.iter().filter(|_| self.has_draft()))
        };
        // One look for all of them, since most answers have none.
        if headers.keys().any(|name| names().any(|ours| ours == name)) {
            for name in names() {
                headers.remove(name);
            }
        }
        self.write(decision, headers);
    }

    /// All headers of an answer in JSON that has no others: what this decision has to tell, and
    /// `Content-Type`. Cheaper than [`HeaderStyle::write`].
    ///
    /// ```
    /// # use {http::Response, std::time::Duration, tollgate::{Bucket, Quota, tower::HeaderStyle}};
    /// let bucket = Bucket::new(Quota::per_minute(100));
    /// let mut answer = Response::new(r#"{"message": "hello"}"#);
    /// *answer.headers_mut() = HeaderStyle::XRateLimit.with_json(&bucket.try_acquire_at(Duration::ZERO, 1));
    /// assert_eq!(answer.headers()["content-type"], "application/json");
    /// assert_eq!(answer.headers()["x-ratelimit-remaining"], "99");
    /// ```
    #[must_use]
    pub fn with_json(self, decision: &Decision) -> HeaderMap {
        let mut headers = if self.has_x() && !is_unknown(decision) {
            x::with_json(decision)
        } else {
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(refusal::JSON))])
        };
        self.write_rest(decision, &mut headers);
        headers
    }

    fn has_x(self) -> bool {
        matches!(self, HeaderStyle::XRateLimit | HeaderStyle::Both)
    }

    fn has_draft(self) -> bool {
        matches!(self, HeaderStyle::Draft11 | HeaderStyle::Both)
    }

    /// What not every choice has, and not every answer.
    fn write_rest(self, decision: &Decision, headers: &mut HeaderMap) {
        let retry_after = if decision.is_allowed() {
            None
        } else {
            retry_after(decision)
        };
        let seconds = retry_after.map(|wait| whole(wait).max(1));
        if self.has_draft() && !is_unknown(decision) {
            draft::add(decision, seconds, headers);
        }
        if let Some(seconds) = seconds {
            headers
                .entry(RETRY_AFTER)
                .or_insert_with(|| number(seconds));
        }
    }

    /// The answer to a request that was refused, headers included: 429 and a text about why, in a
    /// format that the `request`'s headers ask for. To a gRPC request it is 200 with the status
    /// `RESOURCE_EXHAUSTED`, as gRPC wants it. Where nobody could decide ([`Outcome::Unavailable`])
    /// it is 503, or gRPC's `UNAVAILABLE`.
    ///
    /// ```
    /// # use {http::HeaderMap, std::time::Duration, tollgate::{Bucket, Quota, tower::HeaderStyle}};
    /// let bucket = Bucket::new(Quota::per_second(1));
    /// let decision = bucket.try_acquire_at(Duration::ZERO, 2);
    /// let answer = HeaderStyle::XRateLimit.refuse(&decision, &HeaderMap::new());
    /// assert_eq!(answer.status(), 429);
    /// assert!(answer.body().starts_with(r#"{"error": "Too Many Requests", "message": "Rate limit exceeded: "#));
    /// ```
    #[must_use]
    pub fn refuse(self, decision: &Decision, request: &HeaderMap) -> Response<String> {
        if !refusal::is_grpc(request) {
            return self.refuse_http(decision, request);
        }
        let mut answer = refusal::grpc_refusal(decision);
        self.write(decision, answer.headers_mut());
        answer
    }

    /// The same, but 429, or 503, to gRPC requests as well: for what stands before a service and
    /// does not speak gRPC itself.
    ///
    /// ```
    /// # use {http::{HeaderMap, header::CONTENT_TYPE}, std::time::Duration, tollgate::{Bucket, Quota, tower::HeaderStyle}};
    /// let decision = Bucket::new(Quota::per_second(1)).try_acquire_at(Duration::ZERO, 2);
    /// let grpc = HeaderMap::from_iter([(CONTENT_TYPE, "application/grpc".parse()?)]);
    /// assert_eq!(HeaderStyle::XRateLimit.refuse(&decision, &grpc).status(), 200);
    /// assert_eq!(HeaderStyle::XRateLimit.refuse_http(&decision, &grpc).status(), 429);
    /// # Ok::<(), http::header::InvalidHeaderValue>(())
    /// ```
    #[must_use]
    pub fn refuse_http(self, decision: &Decision, request: &HeaderMap) -> Response<String> {
        let is_unknown = is_unknown(decision);
        let is_problem = self.has_draft() && !is_unknown && refusal::takes_problem(request);
        let mut answer = Response::new(refusal::text(decision, is_problem));
        *answer.status_mut() = if is_unknown {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::TOO_MANY_REQUESTS
        };
        *answer.headers_mut() = self.with_json(decision);
        if is_problem {
            answer
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(refusal::PROBLEM));
        }
        answer
    }
}

/// Whether nobody knows how many tokens there are.
fn is_unknown(decision: &Decision) -> bool {
    decision.outcome() == Outcome::Unavailable
}
