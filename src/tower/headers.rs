//! The headers that tell a client what is left.

mod draft;
mod number;

use http::{
    HeaderMap, Response,
    header::{HeaderName, HeaderValue, RETRY_AFTER},
};
use number::number;

use super::{
    refusal,
    seconds::{promised, whole},
};
use crate::{Decision, Outcome};

/// Seconds after which it is worth a try to ask a Redis again that could not be asked.
const PROBED_AGAIN: u64 = 1;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Which headers tell a client what is left, and how a refusal looks.
///
/// With either, a refusal carries `Retry-After`: whole seconds, rounded up, never 0, so that a client with another clock that
/// waits so long is allowed. It is left out when the request costs more than the capacity and can never pass.
///
/// ```
/// use {http::HeaderMap, std::time::Duration, tollgate::{Bucket, Quota, tower::Headers}};
///
/// let bucket = Bucket::new(Quota::per_minute(100));
/// let decision = bucket.try_acquire_at(Duration::ZERO, 50);
/// let mut headers = HeaderMap::new();
/// Headers::XRateLimit.write(&decision, &mut headers);
/// assert_eq!(headers["x-ratelimit-limit"], "100");
/// assert_eq!(headers["x-ratelimit-remaining"], "50");
/// assert_eq!(headers["x-ratelimit-reset"], "30");
///
/// Headers::Draft11.write(&decision, &mut headers);
/// assert_eq!(headers["ratelimit-policy"], r#""default";q=100;w=60"#);
/// assert_eq!(headers["ratelimit"], r#""default";r=50;t=30"#);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Headers {
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining`, and `X-RateLimit-Reset`: seconds until the bucket is full, rounded up.
    /// A refusal is a JSON object with `error`, `message` and `retry_after`, which is in seconds and keeps its fractions.
    #[default]
    XRateLimit,
    /// `RateLimit-Policy` and `RateLimit` of [draft-ietf-httpapi-ratelimit-headers-11][draft]: `q` tokens in `w` seconds, the
    /// time that an empty bucket takes to be full; `r` tokens left, and full in `t` seconds, or when refused, allowed in `t`
    /// seconds. The names were still moving in the drafts: a later one gets a variant of its own.
    ///
    /// A refusal is `application/problem+json` of the type `quota-exceeded` for clients whose `Accept` takes that as gladly
    /// as JSON, and the same as with [`Headers::XRateLimit`] for others.
    ///
    /// [draft]: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-11
    Draft11,
}

impl Headers {
    /// Adds what this decision has to tell, but for headers that are there already. Of one that nobody could make
    /// ([`Outcome::Unavailable`]) that is `Retry-After` alone, one second.
    pub fn write(self, decision: &Decision, headers: &mut HeaderMap) {
        if decision.outcome() == Outcome::Unavailable {
            return add(headers, RETRY_AFTER, || number(PROBED_AGAIN));
        }
        let retry_after = decision.retry_after().map(|wait| whole(promised(wait)).max(1));
        match self {
            Headers::XRateLimit => {
                add(headers, LIMIT, || number(decision.limit().into()));
                add(headers, REMAINING, || number(decision.remaining().into()));
                add(headers, RESET, || number(whole(decision.reset_after())));
            }
            Headers::Draft11 => {
                add(headers, draft::POLICY, || draft::policy(decision));
                add(headers, draft::LIMIT, || draft::limit(decision, retry_after));
            }
        }
        if let Some(seconds) = retry_after {
            add(headers, RETRY_AFTER, || number(seconds));
        }
    }

    /// The answer to a request that was refused, headers included: 429 and a text about why, in a format that the `request`'s
    /// headers ask for. To a gRPC request it is 200 with the status `RESOURCE_EXHAUSTED`, as gRPC wants it. Where nobody could
    /// decide ([`Outcome::Unavailable`]) it is 503, or gRPC's `UNAVAILABLE`.
    ///
    /// ```
    /// # use {http::HeaderMap, std::time::Duration, tollgate::{Bucket, Quota, tower::Headers}};
    /// let bucket = Bucket::new(Quota::per_second(1));
    /// let decision = bucket.try_acquire_at(Duration::ZERO, 2);
    /// let answer = Headers::XRateLimit.refuse(&decision, &HeaderMap::new());
    /// assert_eq!(answer.status(), 429);
    /// assert!(answer.body().starts_with(r#"{"error": "Too Many Requests", "message": "Rate limit exceeded: "#));
    /// ```
    #[must_use]
    pub fn refuse(self, decision: &Decision, request: &HeaderMap) -> Response<String> {
        let mut answer = match decision.outcome() {
            Outcome::Unavailable => refusal::unavailable(request),
            _ => refusal::refused(self, decision, request),
        };
        self.write(decision, answer.headers_mut());
        answer
    }
}

fn add(headers: &mut HeaderMap, name: HeaderName, value: impl FnOnce() -> HeaderValue) {
    headers.entry(name).or_insert_with(value);
}
