//! Several limits on one layer: all or nothing, headers, exemptions, shadow limits, observers.

use std::sync::{Arc, Mutex};

use crate::support::{Reached, limiter, request_from, request_with, send, statuses};
use http::{HeaderMap, header::HeaderName};
use serde_json::Value;
use tollgate::{
    KeyedLimiter, Quota,
    tower::{HeaderStyle, Key, Limit, RateLimitLayer, RequestKey},
};
use tower::{Layer, ServiceExt};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("none", |value| value.to_str().unwrap())
}

fn by_ip(name: &'static str, quota: Quota) -> (Limit, Arc<KeyedLimiter<RequestKey<'static>>>) {
    let limiter = limiter(quota).0;
    (
        Limit::with_limiter(name, Arc::clone(&limiter), Key::ip()),
        limiter,
    )
}

#[tokio::test]
async fn refused_request_takes_from_no_limit() {
    let (burst, per_ip) = by_ip("burst", Quota::per_hour(5));
    let per_key = limiter(Quota::per_hour(2)).0;
    let hourly = Limit::with_limiter("hourly", per_key, Key::header(API_KEY));
    let layer = RateLimitLayer::all([burst, hourly]);
    let request = || request_with(&[("x-api-key", "alice")]);
    assert_eq!(
        statuses(&layer, [(); 5].map(|()| request())).await,
        [200, 200, 429, 429, 429]
    );
    let ip = RequestKey::ip("192.0.2.7".parse().unwrap());
    assert_eq!(per_ip.available(&ip), 3);
}

#[tokio::test]
async fn headers_tell_of_the_tightest_limit_and_list_all() {
    let (burst, _) = by_ip("burst", Quota::per_second(10));
    let (hourly, _) = by_ip("hourly", Quota::per_hour(1000));
    let layer = RateLimitLayer::all([hourly.cost(|_| 2), burst]).headers(HeaderStyle::Both);
    let response = send(&layer, request_from("192.0.2.7")).await;
    let headers = response.headers();
    assert_eq!(text(headers, "x-ratelimit-limit"), "10");
    assert_eq!(text(headers, "x-ratelimit-remaining"), "9");
    assert_eq!(
        text(headers, "ratelimit-policy"),
        r#""hourly";q=1000;w=3600, "burst";q=10;w=1"#
    );
    assert_eq!(
        text(headers, "ratelimit"),
        r#""hourly";r=998;t=8, "burst";r=9;t=1"#
    );
    assert_eq!(response.body(), "reached, left: Some(9)");
}

#[tokio::test]
async fn refusal_tells_of_the_limit_that_decides() {
    let (minutely, _) = by_ip("minutely", Quota::per_minute(6));
    let (hourly, _) = by_ip("hourly", Quota::per_hour(6));
    let (daily, _) = by_ip("daily", Quota::per_day(1000));
    let layer = RateLimitLayer::all([minutely, hourly, daily])
        .cost(|_| 6)
        .headers(HeaderStyle::Both);
    send(&layer, request_from("192.0.2.7")).await;
    let mut request = request_from("192.0.2.7");
    let accept = "application/problem+json".parse().unwrap();
    request.headers_mut().insert("accept", accept);
    let refused = send(&layer, request).await;
    assert_eq!(refused.status(), 429);
    let headers = refused.headers();
    assert_eq!(text(headers, "retry-after"), "3600");
    assert_eq!(text(headers, "x-ratelimit-limit"), "6");
    assert_eq!(text(headers, "x-ratelimit-reset"), "3600");
    assert_eq!(
        text(headers, "ratelimit"),
        r#""minutely";r=0;t=60, "hourly";r=0;t=3600, "daily";r=994;t=519"#
    );
    let body: Value = serde_json::from_str(refused.body()).unwrap();
    assert_eq!(
        body["violated-policies"],
        serde_json::json!(["minutely", "hourly"])
    );
    assert_eq!(body["retry_after"], 3600.0);
}

#[tokio::test]
async fn an_exempt_limit_needs_no_key_and_takes_nothing() {
    let (burst, _) = by_ip("burst", Quota::per_hour(3));
    let login = Limit::with_limiter("login", limiter(Quota::per_hour(1)).0, Key::header(API_KEY))
        .exempt(|request| request.uri.path() != "/login");
    let layer = RateLimitLayer::all([burst, login]);
    let to = |path: &'static str| {
        let mut request = request_with(&[("x-api-key", "alice")]);
        *request.uri_mut() = path.parse().unwrap();
        request
    };
    let without_key = request_from("192.0.2.7");
    let requests = [to("/login"), to("/login"), without_key, to("/"), to("/")];
    assert_eq!(statuses(&layer, requests).await, [200, 429, 200, 200, 429]);
    let all_exempt = layer.exempt(|_| true);
    let response = send(&all_exempt, to("/login")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(text(response.headers(), "x-ratelimit-limit"), "none");
}

#[tokio::test]
async fn missing_key_of_a_limit_is_401_and_takes_nothing() {
    let (burst, per_ip) = by_ip("burst", Quota::per_hour(3));
    let keyed = Limit::with_limiter("keyed", limiter(Quota::per_hour(3)).0, Key::header(API_KEY));
    let layer = RateLimitLayer::all([burst, keyed]);
    assert_eq!(send(&layer, request_from("192.0.2.7")).await.status(), 401);
    let ip = RequestKey::ip("192.0.2.7".parse().unwrap());
    assert_eq!(per_ip.available(&ip), 3);
}

#[tokio::test]
async fn shadow_limit_is_observed_and_refuses_nothing() {
    let (burst, _) = by_ip("burst", Quota::per_hour(3));
    let (next, shadow) = by_ip("next", Quota::per_hour(2));
    let keyed = Limit::with_limiter("keyed", limiter(Quota::per_hour(3)).0, Key::header(API_KEY));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let layer = RateLimitLayer::all([next.shadow(), burst, keyed.shadow()])
        .headers(HeaderStyle::Draft11)
        .on_decision(move |limit, decision| {
            log.lock().unwrap().push((limit, decision.is_allowed()));
        });
    for status in [200, 200, 200, 429] {
        let response = send(&layer, request_from("192.0.2.7")).await;
        assert_eq!(response.status(), status);
        assert!(text(response.headers(), "ratelimit").starts_with(r#""burst";r="#));
        assert!(!text(response.headers(), "ratelimit").contains("next"));
    }
    let allowed = [("next", true), ("burst", true)];
    let expected = [
        &allowed[..],
        &allowed,
        &[("next", false), ("burst", true), ("burst", false)],
    ];
    assert_eq!(*seen.lock().unwrap(), expected.concat());
    // The refused request has not touched the shadow limit.
    let ip = RequestKey::ip("192.0.2.7".parse().unwrap());
    assert_eq!(shadow.available(&ip), 0);
}

#[tokio::test]
async fn only_shadow_limits_leave_a_response_without_headers() {
    let (next, _) = by_ip("next", Quota::per_hour(1));
    let layer = RateLimitLayer::all([next.shadow()]);
    for _ in 0..3 {
        let response = send(&layer, request_from("192.0.2.7")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(text(response.headers(), "x-ratelimit-limit"), "none");
    }
}

#[tokio::test]
async fn observer_of_one_limit_gets_its_name() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let layer = RateLimitLayer::with_limiter(limiter(Quota::per_hour(1)).0, Key::ip())
        .name("hourly")
        .on_decision(move |limit, decision| {
            log.lock().unwrap().push((limit, decision.is_allowed()));
        });
    statuses(&layer, [(); 2].map(|()| request_from("192.0.2.7"))).await;
    assert_eq!(*seen.lock().unwrap(), [("hourly", true), ("hourly", false)]);
}

#[tokio::test]
async fn nested_layers_list_both_policies() {
    let inner = limiter(Quota::per_second(10)).0;
    let layer = |name, limiter| {
        RateLimitLayer::with_limiter(limiter, Key::ip())
            .name(name)
            .headers(HeaderStyle::Both)
    };
    let inner = layer("inner", inner);
    let outer = layer("outer", limiter(Quota::per_hour(100)).0);
    let send = async || {
        let service = outer.layer(inner.layer(Reached::default()));
        service.oneshot(request_from("192.0.2.7")).await.unwrap()
    };
    let response = send().await;
    let headers = response.headers();
    assert_eq!(
        text(headers, "ratelimit"),
        r#""inner";r=9;t=1, "outer";r=99;t=36"#
    );
    assert_eq!(
        text(headers, "ratelimit-policy"),
        r#""inner";q=10;w=1, "outer";q=100;w=3600"#
    );
    assert_eq!(text(headers, "x-ratelimit-limit"), "10");
    for _ in 0..10 {
        send().await;
    }
    let refused = send().await;
    assert_eq!(refused.status(), 429);
    assert!(text(refused.headers(), "ratelimit").starts_with(r#""inner";r=0"#));
}

#[tokio::test]
async fn a_field_of_the_service_itself_is_extended() {
    let layer = RateLimitLayer::with_limiter(limiter(Quota::per_hour(5)).0, Key::ip())
        .headers(HeaderStyle::Draft11);
    for (own, expected) in [
        (r#""default";r=7"#, r#""default";r=7"#),
        (r#""other";r=7"#, r#""other";r=7, "default";r=3;t=1440"#),
    ] {
        let service = tower::service_fn(move |_: http::Request<axum::body::Body>| async move {
            let mut response = http::Response::new(axum::body::Body::empty());
            let own = own.parse().unwrap();
            response.headers_mut().insert("ratelimit", own);
            Ok::<_, std::convert::Infallible>(response)
        });
        let response = layer.layer(service);
        let response = response.oneshot(request_from("192.0.2.7")).await.unwrap();
        assert_eq!(text(response.headers(), "ratelimit"), expected);
    }
}
