//! Responses of the server: bodies, and headers of rate limits.

mod cors;

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE},
};
use serde::Serialize;
use tollgate::{
    DecisionView,
    tower::{HeaderStyle, PolicyHeaders, Refusal, WITHOUT_REDIS},
};

use crate::{limit::PolicyDecision, values::PolicyName};

pub(crate) use self::cors::{Cors, CorsHeaders, PREFLIGHT_HEADERS};

/// Returns the name of a policy in headers. `None`: the default.
#[inline]
pub(crate) fn policy_name(policy: Option<&Arc<str>>) -> &str {
    policy.map_or(PolicyName::DEFAULT, |name| name)
}

/// Response whose body is in memory.
pub(crate) type Response = hyper::Response<Full<Bytes>>;

/// Rate limit headers of a response that an upstream sends, which exempt requests lack, and its CORS
/// headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitHeaders {
    decision: Option<(HeaderStyle, DecisionView)>,
    /// `None`: the default.
    policy: Option<Arc<str>>,
    /// With several limits, all of them.
    all: Box<[(Option<Arc<str>>, DecisionView)]>,
    fallback: Option<&'static str>,
    /// Boxed, since most servers have no CORS settings.
    cors: Option<Box<CorsHeaders>>,
}

impl LimitHeaders {
    /// Creates the headers of a decision. `fallback` is the policy that made the decision without
    /// Redis.
    #[inline]
    pub(crate) fn new(
        style: HeaderStyle,
        acquired: &PolicyDecision<'_>,
        fallback: Option<&'static str>,
    ) -> LimitHeaders {
        let all = acquired.all.iter();
        LimitHeaders {
            decision: Some((style, acquired.decision)),
            policy: acquired.policy.cloned(),
            all: all.map(|(policy, view)| (policy.cloned(), *view)).collect(),
            fallback,
            cors: None,
        }
    }

    /// Adds CORS headers.
    pub(crate) fn set_cors(&mut self, cors: CorsHeaders) {
        self.cors = Some(Box::new(cors));
    }

    /// Writes the headers of a response of this server.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        self.write_limits(headers);
        if let Some(cors) = &self.cors {
            cors.write(headers);
        }
    }

    /// Writes the headers of the upstream's response. They replace its rate limit headers.
    pub(crate) fn write_upstream(&self, headers: &mut HeaderMap) {
        self.write_limits(headers);
        if let Some(cors) = &self.cors {
            cors.write_upstream(headers);
        }
    }

    fn write_limits(&self, headers: &mut HeaderMap) {
        if let Some((style, decision)) = &self.decision {
            let policy = policy_name(self.policy.as_ref());
            let all = self.all.iter();
            let all: Vec<_> = all
                .map(|(policy, view)| (policy_name(policy.as_ref()), *view))
                .collect();
            style
                .for_policy(policy)
                .among(&all)
                .overwrite(decision, headers);
        }
        if let Some(policy) = self.fallback {
            headers.insert(WITHOUT_REDIS, HeaderValue::from_static(policy));
        }
    }
}

/// JSON response with a constant body.
pub(crate) fn fixed(status: StatusCode, body: &'static str) -> Response {
    json(status, Bytes::from_static(body.as_bytes()))
}

/// Body of 404 for an unknown endpoint.
pub(crate) const NOT_FOUND: &[u8] = br#"{"error": "Not Found"}"#;

/// 404 for an unknown endpoint.
pub(crate) fn not_found() -> Response {
    json(StatusCode::NOT_FOUND, Bytes::from_static(NOT_FOUND))
}

/// JSON response.
pub(crate) fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Response in the OpenMetrics text format.
pub(crate) fn metrics(text: String) -> Response {
    let mut response = Response::new(Full::new(text.into()));
    let content_type =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// JSON response with a serialized value.
pub(crate) fn value(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => json(status, body.into()),
        Err(_) => fixed(
            StatusCode::INTERNAL_SERVER_ERROR,
            r#"{"error": "Internal Server Error"}"#,
        ),
    }
}

/// `{"error": …, "message": …}`, where the error is the reason phrase of the status.
pub(crate) fn error(status: StatusCode, message: &str) -> Response {
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

/// 400 that names the field. An empty field stands for the whole body.
pub(crate) fn bad_request(field: &str, message: &str) -> Response {
    if field.is_empty() {
        error(StatusCode::BAD_REQUEST, message)
    } else {
        error(StatusCode::BAD_REQUEST, &format!("{field}: {message}"))
    }
}

/// Body of `GET /`.
pub(crate) fn granted(address: IpAddr) -> Bytes {
    format!(r#"{{"from": "{address}", "message": "Access granted"}}"#).into()
}

/// Body of `POST /api/submit`: the request body, unchanged if it is JSON, else as a JSON string.
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

/// 401 for a missing or unknown API key.
pub(crate) fn unauthorized_client(message: &'static str) -> Response {
    error(StatusCode::UNAUTHORIZED, message)
}

/// 401 for a missing or wrong bearer token. `resource` names the protected resource.
pub(crate) fn unauthorized(resource: &str) -> Response {
    let mut response = error(
        StatusCode::UNAUTHORIZED,
        &format!("{resource} requires Authorization: Bearer TOKEN"),
    );
    add_bearer_challenge(&mut response, false);
    response
}

/// Adds the challenge of a bearer token to a 401 (RFC 6750, section 3): with the error code when the
/// request had a token.
pub(crate) fn add_bearer_challenge(response: &mut Response, has_token: bool) {
    let challenge = if has_token {
        r#"Bearer error="invalid_token""#
    } else {
        "Bearer"
    };
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
}

/// Adds the header that names the fallback policy of a decision made without Redis.
pub(crate) fn add_fallback(response: &mut Response, policy: &'static str) {
    response
        .headers_mut()
        .insert(WITHOUT_REDIS, HeaderValue::from_static(policy));
}

/// Adds `Connection: close`. The connection cannot be reused while the rest of the request is
/// unread.
pub(crate) fn closing(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// JSON response with rate limit headers.
#[inline]
pub(crate) fn limited(
    headers: PolicyHeaders<'_>,
    status: StatusCode,
    body: Bytes,
    decision: &DecisionView,
) -> Response {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers.with_json(decision);
    response
}

/// Response to a refused request: 429 with the time until the same request is allowed, if there is
/// one, or 503 when the decision was unavailable; or the status of gRPC for both.
pub(crate) fn refused(
    refusal: Refusal<'_>,
    decision: &DecisionView,
    request: &HeaderMap,
) -> Response {
    in_memory(refusal.response(decision, request))
}

/// Response to a request of a client with too many requests at the same time.
pub(crate) fn too_many_at_once(refusal: Refusal<'_>, request: &HeaderMap) -> Response {
    let message = "too many concurrent requests of this client";
    in_memory(refusal.response_with_message(message, Duration::from_secs(1), request))
}

fn in_memory(response: hyper::Response<String>) -> Response {
    response.map(|text| Full::new(text.into()))
}

/// Returns true if the response carries a status of gRPC.
pub(crate) fn is_grpc(response: &Response) -> bool {
    response.headers().contains_key("grpc-status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submitted_data_is_echoed_unchanged() {
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
