//! Answers: their texts and headers, exactly as clients of the systems before know them.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE},
};
use serde::Serialize;
use tollgate::{
    Decision,
    tower::{HeaderStyle, Refusal, WITHOUT_REDIS},
};

pub(crate) type Answer = Response<Full<Bytes>>;

/// An answer in JSON that is known beforehand.
pub(crate) fn fixed(status: StatusCode, body: &'static str) -> Answer {
    json(status, Bytes::from_static(body.as_bytes()))
}

pub(crate) fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// An answer to who reads metrics.
pub(crate) fn metrics(text: String) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    let kind =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// An answer in JSON that is made for the occasion.
pub(crate) fn value(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => json(status, body.into()),
        Err(_) => fixed(
            StatusCode::INTERNAL_SERVER_ERROR,
            r#"{"error": "Internal Server Error"}"#,
        ),
    }
}

/// `{"error": …, "message": …}`, with the name of the status as the error.
pub(crate) fn error(status: StatusCode, message: &str) -> Answer {
    #[derive(Serialize)]
    struct Body<'a> {
        error: &'a str,
        message: &'a str,
    }
    value(
        status,
        &Body {
            error: status.canonical_reason().unwrap_or("Error"),
            message,
        },
    )
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
    let mut answer = error(
        StatusCode::UNAUTHORIZED,
        &format!("{what} wants Authorization: Bearer TOKEN"),
    );
    answer
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

/// What `GET /health` says: that this process serves, and how its Redis is, if it has one. A Redis
/// that cannot be asked is no reason to take the process out of service.
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
    tell_without_redis(answer.headers_mut(), policy);
    answer
}

/// Says in headers that their answer was made without Redis.
pub(crate) fn tell_without_redis(headers: &mut HeaderMap, policy: &'static str) {
    headers.insert(WITHOUT_REDIS, HeaderValue::from_static(policy));
}

/// The last answer on a connection whose request was not read to its end.
pub(crate) fn closing(mut answer: Answer) -> Answer {
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// An answer in JSON with what stands on every limited one.
pub(crate) fn limited(
    headers: HeaderStyle,
    status: StatusCode,
    body: Bytes,
    decision: &Decision,
) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers.with_json(decision);
    answer
}

/// 429, with the time after which the same request is allowed, if there is one; or 503, where
/// nobody could decide.
pub(crate) fn refused(headers: HeaderStyle, decision: &Decision, request: &HeaderMap) -> Answer {
    Refusal::new(headers)
        .http_only()
        .response(decision, request)
        .map(|text| Full::new(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_submitted_comes_back_as_it_is() {
        let echo = |data: &[u8]| String::from_utf8(submitted(data).to_vec()).unwrap();
        assert_eq!(
            echo(br#" {"b": 1.50, "a": [null]} "#),
            r#"{"message": "Data submitted", "data": {"b": 1.50, "a": [null]}}"#
        );
        assert_eq!(
            echo(b"no \"json\""),
            r#"{"message": "Data submitted", "data": "no \"json\""}"#
        );
        assert_eq!(echo(b""), r#"{"message": "Data submitted", "data": null}"#);
        assert_eq!(
            echo(b"\xff"),
            "{\"message\": \"Data submitted\", \"data\": \"\u{fffd}\"}"
        );
        assert_eq!(
            echo(b"\"\xff\""),
            "{\"message\": \"Data submitted\", \"data\": \"\u{fffd}\"}"
        );
    }
}
