//! Answers: their texts and headers, exactly as clients of the systems before know them.

use std::{fmt::Write, net::IpAddr, sync::LazyLock, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use tollgate::{Decision, Outcome};

pub(crate) type Answer = Response<Full<Bytes>>;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Part of a wait by which it is lengthened, 61 in a million: our clock and the client's may differ by some.
const CLOCK_MARGIN: u128 = 1 << 14;

/// On answers that were made without Redis, though it should have been asked: by what policy.
const WITHOUT_REDIS: HeaderName = HeaderName::from_static("x-ratelimit-without-redis");

/// Seconds after which it is worth a try to ask a Redis again that could not be asked.
pub(crate) const PROBED_AGAIN: u64 = 1;

/// An answer in JSON that is known beforehand.
pub(crate) fn fixed(status: StatusCode, body: &'static str) -> Answer {
    json(status, Bytes::from_static(body.as_bytes()))
}

pub(crate) fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// An answer to who reads metrics.
pub(crate) fn metrics(text: String) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// An answer in JSON that is made for the occasion.
pub(crate) fn value(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => json(status, body.into()),
        Err(_) => fixed(StatusCode::INTERNAL_SERVER_ERROR, r#"{"error": "Internal Server Error"}"#),
    }
}

/// `{"error": …, "message": …}`, with the name of the status as the error.
pub(crate) fn error(status: StatusCode, message: &str) -> Answer {
    #[derive(Serialize)]
    struct Body<'a> {
        error: &'a str,
        message: &'a str,
    }
    value(status, &Body { error: status.canonical_reason().unwrap_or("Error"), message })
}

/// The body of `GET /`.
pub(crate) fn granted(address: IpAddr) -> Bytes {
    format!(r#"{{"from": "{address}", "message": "Access granted"}}"#).into()
}

/// The body of `POST /api/submit`: what was submitted, as JSON if it is JSON, else as a text.
pub(crate) fn submitted(data: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(data);
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
    let data = match text.trim() {
        "" => "null".to_owned(),
        json if is_json => json.to_owned(),
        _ => serde_json::Value::from(text).to_string(),
    };
    format!(r#"{{"message": "Data submitted", "data": {data}}}"#).into()
}

pub(crate) fn unauthorized_client(message: &'static str) -> Answer {
    error(StatusCode::UNAUTHORIZED, message)
}

/// `what` answers to a token alone.
pub(crate) fn unauthorized(what: &str) -> Answer {
    let mut answer = error(StatusCode::UNAUTHORIZED, &format!("{what} wants Authorization: Bearer TOKEN"));
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

/// What `GET /health` says: that this process serves, and how its Redis is, if it has one. A Redis that cannot be asked is no
/// reason to take the process out of service.
pub(crate) fn health(redis_is_up: Option<bool>) -> Answer {
    let body = match redis_is_up {
        None => r#"{"status": "ok", "backend": "memory"}"#,
        Some(true) => r#"{"status": "ok", "backend": "redis", "redis": "up"}"#,
        Some(false) => r#"{"status": "ok", "backend": "redis", "redis": "down"}"#,
    };
    fixed(StatusCode::OK, body)
}

/// An answer that says that it was made without Redis.
pub(crate) fn without_redis(mut answer: Answer, policy: &'static str) -> Answer {
    answer.headers_mut().insert(WITHOUT_REDIS, HeaderValue::from_static(policy));
    answer
}

/// The last answer on a connection whose request was not read to its end.
pub(crate) fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// An answer in JSON with what stands on every limited one.
pub(crate) fn limited(status: StatusCode, body: Bytes, decision: &Decision) -> Answer {
    // To copy a map of headers and fill in its values costs a quarter of what hashing their names does.
    static HEADERS: LazyLock<HeaderMap> = LazyLock::new(|| {
        let empty = HeaderValue::from_static("");
        let limits = [LIMIT, REMAINING, RESET].map(|name| (name, empty.clone()));
        limits.into_iter().chain([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]).collect()
    });
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    *answer.headers_mut() = HEADERS.clone();
    let numbers = [decision.limit().into(), decision.remaining().into(), whole_seconds(decision.reset_after())];
    // They come in the order in which they were put in.
    for (value, given) in answer.headers_mut().values_mut().zip(numbers) {
        *value = number(given);
    }
    answer
}

/// Small numbers are printed once and for all, which saves most answers three allocations.
fn number(number: u64) -> HeaderValue {
    static SMALL: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
        // Never freed, so that a copy needs no count of its users, which all threads would write to.
        let digits: &'static str = (0..1000).map(|number| format!("{number:03}")).collect::<String>().leak();
        let without_zeros =
            |number: usize| &digits[3 * number + usize::from(number < 100) + usize::from(number < 10)..3 * number + 3];
        (0..1000).map(|number| HeaderValue::from_static(without_zeros(number))).collect()
    });
    usize::try_from(number).ok().and_then(|small| SMALL.get(small)).cloned().unwrap_or_else(|| number.into())
}

/// 503: nobody knows how many tokens there are.
fn unavailable() -> Answer {
    let mut answer = error(StatusCode::SERVICE_UNAVAILABLE, "the limits cannot be looked up now");
    answer.headers_mut().insert(RETRY_AFTER, PROBED_AGAIN.into());
    answer
}

/// 429, with the time after which the same request is allowed, if there is one.
pub(crate) fn refused(decision: &Decision) -> Answer {
    if decision.outcome() == Outcome::Unavailable {
        return unavailable();
    }
    let mut body = String::with_capacity(128);
    body.push_str(r#"{"error": "Too Many Requests", "message": "Rate limit exceeded: "#);
    let retry_after = decision.retry_after().map(promised);
    // Writing to a String cannot fail.
    let _ = match (decision.outcome(), retry_after) {
        (_, None) => write!(
            body,
            r#"this request costs {} tokens, more than the capacity of {}, so it can never pass", "retry_after": null}}"#,
            decision.cost(),
            decision.limit()
        ),
        (Outcome::TableFull, Some(wait)) => {
            write!(body, r#"too many clients at once, retry in {0} s", "retry_after": {0}}}"#, Seconds(wait))
        }
        (_, Some(wait)) => write!(body, r#"retry in {0} s", "retry_after": {0}}}"#, Seconds(wait)),
    };
    let mut answer = limited(StatusCode::TOO_MANY_REQUESTS, body.into(), decision);
    if let Some(wait) = retry_after {
        answer.headers_mut().insert(RETRY_AFTER, whole_seconds(wait).max(1).into());
    }
    answer
}

/// A wait as it may be promised to a client with another clock: a little longer, in whole microseconds.
pub(crate) fn promised(wait: Duration) -> Duration {
    let nanos = wait.as_nanos();
    let micros = (nanos + nanos / CLOCK_MARGIN + 1).div_ceil(1000);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Seconds with as many decimals as there are, down to microseconds: `0.93`, `2.0`.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mut decimals, mut digits) = (self.0.subsec_micros(), 6);
        while digits > 1 && decimals % 10 == 0 {
            (decimals, digits) = (decimals / 10, digits - 1);
        }
        write!(f, "{}.{decimals:0digits$}", self.0.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_their_fractions() {
        for (micros, text) in [(930_000, "0.93"), (2_000_000, "2.0"), (1, "0.000001"), (1_000_010, "1.00001")] {
            assert_eq!(Seconds(Duration::from_micros(micros)).to_string(), text);
        }
    }

    #[test]
    fn numbers_are_printed_without_zeros_in_front() {
        for given in [0, 7, 10, 99, 100, 999, 1000, u64::MAX] {
            assert_eq!(number(given), given.to_string().as_str());
        }
    }

    #[test]
    fn a_promised_wait_is_longer_by_61_parts_in_a_million() {
        assert_eq!(promised(Duration::from_secs(1000)), Duration::from_micros(1_000_061_036));
        assert_eq!(promised(Duration::from_nanos(1)), Duration::from_micros(1));
        assert!(promised(Duration::MAX) > Duration::from_secs(86_400 * 365));
    }

    #[test]
    fn what_was_submitted_comes_back_as_it_is() {
        let echo = |data: &[u8]| String::from_utf8(submitted(data).to_vec()).unwrap();
        assert_eq!(
            echo(br#" {"b": 1.50, "a": [null]} "#),
            r#"{"message": "Data submitted", "data": {"b": 1.50, "a": [null]}}"#
        );
        assert_eq!(echo(b"no \"json\""), r#"{"message": "Data submitted", "data": "no \"json\""}"#);
        assert_eq!(echo(b""), r#"{"message": "Data submitted", "data": null}"#);
        assert_eq!(echo(b"\xff"), "{\"message\": \"Data submitted\", \"data\": \"\u{fffd}\"}");
        assert_eq!(echo(b"\"\xff\""), "{\"message\": \"Data submitted\", \"data\": \"\u{fffd}\"}");
    }
}
