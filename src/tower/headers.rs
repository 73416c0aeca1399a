//! Header fields that announce the state of a limit.

mod decimal;
mod draft;
mod x_ratelimit;

use std::time::Duration;

use http::{
    HeaderMap,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};

use self::{
    decimal::{decimal, whole_seconds},
    x_ratelimit::Reset,
};
use super::{media_type::JSON, retry_after::retry_after};
use crate::{DecisionView, Outcome};

/// Name of a policy that has no other.
pub(super) const DEFAULT_POLICY: &str = "default";

/// The header `X-RateLimit-Without-Redis`, on responses that were decided without Redis because it
/// was unavailable. Its value names the fallback policy that decided: `local`, `open` or `closed`.
pub const WITHOUT_REDIS: HeaderName = HeaderName::from_static("x-ratelimit-without-redis");

/// Header fields that announce the limit, the remaining tokens and the time of the next token.
///
/// In every style a refusal carries `Retry-After` in whole seconds: rounded up and never 0, so that
/// a client that waits that long by its own clock is allowed. A request that costs more than the
/// capacity can never pass, and its refusal has no `Retry-After`.
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
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining`, and `X-RateLimit-Reset`: the time until the
    /// bucket is full, in seconds, rounded up.
    #[default]
    XRateLimit,
    /// [`HeaderStyle::XRateLimit`] with `X-RateLimit-Reset` as a Unix time: the second in which the
    /// bucket is full, by the clock of this machine, as [GitHub] sends it.
    ///
    /// [GitHub]: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
    XRateLimitEpoch,
    /// `RateLimit-Policy` and `RateLimit` of [draft-ietf-httpapi-ratelimit-headers-11][draft].
    ///
    /// `RateLimit-Policy` announces `q` tokens in `w` seconds, the time in which an empty bucket
    /// fills. `RateLimit` announces `r` remaining tokens and `t` seconds until the bucket is full,
    /// or in a refusal, until the request is allowed. The field names still changed between drafts:
    /// a later draft gets a variant of its own.
    ///
    /// [draft]: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-11
    Draft11,
    /// Both [`HeaderStyle::XRateLimit`] and [`HeaderStyle::Draft11`], for a migration between them.
    Both,
    /// Only `Retry-After`: allowed responses get no header, which costs least. ([`WITHOUT_REDIS`]
    /// is still added to responses of a fallback policy.)
    RetryAfter,
}

impl HeaderStyle {
    /// Names the policy that the headers announce. [`HeaderStyle::Draft11`] writes the name; the
    /// methods of the style itself write `"default"`.
    ///
    /// ```
    /// # use {http::HeaderMap, std::time::Duration, tollgate::{Bucket, Quota, tower::HeaderStyle}};
    /// let decision = Bucket::new(Quota::per_minute(5)).try_acquire_at(Duration::ZERO, 1);
    /// let mut headers = HeaderMap::new();
    /// HeaderStyle::Draft11.for_policy("login").write(&decision, &mut headers);
    /// assert_eq!(headers["ratelimit-policy"], r#""login";q=5;w=60"#);
    /// ```
    #[must_use]
    pub const fn for_policy(self, name: &str) -> PolicyHeaders<'_> {
        PolicyHeaders {
            style: self,
            name,
            all: &[],
        }
    }

    /// Adds the headers of a decision that `headers` does not contain yet. The fields of the draft are
    /// lists: the policy is added to those of other names.
    ///
    /// When no decision was possible ([`Outcome::Unavailable`]), only `Retry-After` is added, with
    /// one second.
    pub fn write(self, decision: &DecisionView, headers: &mut HeaderMap) {
        self.for_policy(DEFAULT_POLICY).write(decision, headers);
    }

    /// Writes the headers of a decision and replaces existing ones, except `Retry-After`.
    ///
    /// A proxy uses it when the upstream's response has rate limit headers of its own.
    ///
    /// ```
    /// # use {http::HeaderMap, std::time::Duration, tollgate::{Bucket, Quota, tower::HeaderStyle}};
    /// let bucket = Bucket::new(Quota::per_minute(100));
    /// let decision = bucket.try_acquire_at(Duration::ZERO, 1);
    /// let mut upstream = HeaderMap::from_iter([("x-ratelimit-limit".parse()?, "7".parse()?)]);
    /// HeaderStyle::XRateLimit.overwrite(&decision, &mut upstream);
    /// assert_eq!(upstream["x-ratelimit-limit"], "100");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn overwrite(self, decision: &DecisionView, headers: &mut HeaderMap) {
        self.for_policy(DEFAULT_POLICY).overwrite(decision, headers);
    }

    /// Returns all headers of a JSON response: the headers of a decision and `Content-Type`.
    ///
    /// It is cheaper than [`HeaderStyle::write`] to an existing map.
    ///
    /// ```
    /// # use {http::Response, std::time::Duration, tollgate::{Bucket, Quota, tower::HeaderStyle}};
    /// let bucket = Bucket::new(Quota::per_minute(100));
    /// let decision = bucket.try_acquire_at(Duration::ZERO, 1);
    /// let mut response = Response::new(r#"{"message": "hello"}"#);
    /// *response.headers_mut() = HeaderStyle::XRateLimit.with_json(&decision);
    /// assert_eq!(response.headers()["content-type"], "application/json");
    /// assert_eq!(response.headers()["x-ratelimit-remaining"], "99");
    /// ```
    #[must_use]
    pub fn with_json(self, decision: &DecisionView) -> HeaderMap {
        self.for_policy(DEFAULT_POLICY).with_json(decision)
    }

    fn has_x_ratelimit(self) -> bool {
        matches!(
            self,
            HeaderStyle::XRateLimit | HeaderStyle::XRateLimitEpoch | HeaderStyle::Both
        )
    }

    fn reset(self) -> Reset {
        match self {
            HeaderStyle::XRateLimitEpoch => Reset::At,
            _ => Reset::After,
        }
    }

    pub(super) fn has_draft(self) -> bool {
        matches!(self, HeaderStyle::Draft11 | HeaderStyle::Both)
    }
}

/// Header fields of a [`HeaderStyle`] for a named policy; see [`HeaderStyle::for_policy`].
#[derive(Clone, Copy, Debug)]
pub struct PolicyHeaders<'a> {
    style: HeaderStyle,
    name: &'a str,
    /// Empty: the policy is the only one.
    all: &'a [(&'a str, DecisionView)],
}

impl<'a> PolicyHeaders<'a> {
    /// Lists the decisions of several policies in the fields of [`HeaderStyle::Draft11`], with their
    /// names. Other headers tell of the one policy whose decision is written.
    ///
    /// ```
    /// # use {http::HeaderMap, std::time::Duration, tollgate::{Bucket, Quota, tower::HeaderStyle}};
    /// let buckets = [Quota::per_second(10), Quota::per_hour(1000)].map(Bucket::new);
    /// let decision = tollgate::all(buckets.each_ref().map(|bucket| bucket.ask(1))).try_acquire_at(Duration::ZERO);
    /// let policies: Vec<_> = ["burst", "hourly"].into_iter().zip(decision.parts()).collect();
    /// let (name, tightest) = policies[decision.tightest()];
    /// let mut headers = HeaderMap::new();
    /// HeaderStyle::Both.for_policy(name).among(&policies).write(&tightest, &mut headers);
    /// assert_eq!(headers["x-ratelimit-limit"], "10");
    /// assert_eq!(headers["ratelimit"], r#""burst";r=9;t=1, "hourly";r=999;t=4"#);
    /// ```
    #[must_use]
    pub const fn among(self, all: &'a [(&'a str, DecisionView)]) -> PolicyHeaders<'a> {
        PolicyHeaders { all, ..self }
    }

    /// See [`HeaderStyle::write`].
    pub fn write(self, decision: &DecisionView, headers: &mut HeaderMap) {
        if self.style.has_x_ratelimit() && is_known(decision) {
            x_ratelimit::add(decision, self.style.reset(), headers);
        }
        self.write_draft_and_retry_after(decision, headers);
    }

    /// See [`HeaderStyle::overwrite`].
    pub fn overwrite(self, decision: &DecisionView, headers: &mut HeaderMap) {
        let names = || {
            let x_ratelimit = x_ratelimit::NAMES
                .iter()
                .filter(|_| self.style.has_x_ratelimit());
            x_ratelimit.chain(draft::NAMES.iter().filter(|_| self.style.has_draft()))
        };
        // One scan for all names, since most responses have none of them.
        if headers.keys().any(|name| names().any(|ours| ours == name)) {
            for name in names() {
                headers.remove(name);
            }
        }
        self.write(decision, headers);
    }

    /// See [`HeaderStyle::with_json`].
    #[must_use]
    pub fn with_json(self, decision: &DecisionView) -> HeaderMap {
        let mut headers = if self.style.has_x_ratelimit() && is_known(decision) {
            let retry_after = retry_after_seconds(decision);
            x_ratelimit::with_json(decision, self.style.reset(), retry_after)
        } else {
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(JSON))])
        };
        self.write_draft_and_retry_after(decision, &mut headers);
        headers
    }

    /// Adds the headers that not every style or not every response has.
    fn write_draft_and_retry_after(self, decision: &DecisionView, headers: &mut HeaderMap) {
        let seconds = retry_after_seconds(decision);
        if self.style.has_draft() && is_known(decision) {
            match self.all {
                [] => draft::add(&[(self.name, *decision)], headers),
                all => draft::add(all, headers),
            }
        }
        if let Some(seconds) = seconds {
            headers
                .entry(RETRY_AFTER)
                .or_insert_with(|| decimal(seconds));
        }
    }
}

/// Returns the value of `Retry-After`, or `None` for an allowed request or one that can never pass.
fn retry_after_seconds(decision: &DecisionView) -> Option<u64> {
    let wait = (!decision.is_allowed()).then(|| retry_after(decision));
    wait.flatten().map(announced_seconds)
}

/// Returns a wait as `Retry-After` announces it: in whole seconds, and never 0.
pub(super) fn announced_seconds(wait: Duration) -> u64 {
    whole_seconds(wait).max(1)
}

/// Returns whether a limiter decided, so that the state of the bucket is known.
fn is_known(decision: &DecisionView) -> bool {
    decision.outcome() != Outcome::Unavailable
}
