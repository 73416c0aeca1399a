//! Response headers and refusals: X-RateLimit, the IETF draft, problem details, gRPC.

use std::time::Duration;

use crate::support::{Reached, limiter, request_from, request_with, send};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};
use tollgate::{
    Quota,
    tower::{HeaderStyle, Key, RateLimitLayer, Refusal},
};
use tower::{Layer, ServiceExt};

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .map(|value| value.to_str().unwrap().to_owned())
}

fn some(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn json(response: &Response<String>) -> Value {
    serde_json::from_str(response.body()).unwrap()
}

/// Layer with a burst of 10 requests, refilled by one token per 1.5 s.
fn slow() -> RateLimitLayer {
    RateLimitLayer::with_limiter(limiter("2/3s, capacity 10".parse().unwrap()).0, Key::ip())
}

#[tokio::test]
async fn every_limited_response_has_x_ratelimit_headers() {
    let layer = slow().cost(|_| 4);
    let response = send(&layer, request_from("192.0.2.7")).await;
    let x_ratelimit = |response: &Response<String>| {
        ["limit", "remaining", "reset"]
            .map(|name| text(response.headers(), &format!("x-ratelimit-{name}")).unwrap())
    };
    assert_eq!(x_ratelimit(&response), ["10", "6", "6"]);
    assert_eq!(text(response.headers(), "retry-after"), None);
    send(&layer, request_from("192.0.2.7")).await;
    let refused = send(&layer, request_from("192.0.2.7")).await;
    assert_eq!(x_ratelimit(&refused), ["10", "2", "12"]);
    // Two tokens take three seconds; the margin for the client's clock makes it four.
    assert_eq!(text(refused.headers(), "retry-after"), some("3"));
}

#[tokio::test]
async fn refusal_is_429_with_json() {
    let layer = slow().cost(|_| 10);
    send(&layer, request_from("192.0.2.7")).await;
    let refused = send(&layer, request_from("192.0.2.7")).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(
        text(refused.headers(), "content-type"),
        some("application/json")
    );
    let body = json(&refused);
    assert_eq!(body["error"], "Too Many Requests");
    assert_eq!(
        body["message"],
        format!("Rate limit exceeded: retry in {} s", body["retry_after"])
    );
    let wait = body["retry_after"].as_f64().unwrap();
    assert!((15.0..15.01).contains(&wait), "{wait}");
}

#[tokio::test]
async fn client_that_waits_retry_after_is_allowed() {
    let (limiter, clock) = limiter("3/7s, capacity 3".parse().unwrap());
    let layer = RateLimitLayer::with_limiter(limiter, Key::ip()).cost(|_| 3);
    for _ in 0..5 {
        assert_eq!(send(&layer, request_from("192.0.2.7")).await.status(), 200);
        let refused = send(&layer, request_from("192.0.2.7")).await;
        assert_eq!(refused.status(), 429);
        clock.advance(Duration::from_secs_f64(
            json(&refused)["retry_after"].as_f64().unwrap(),
        ));
    }
}

#[tokio::test]
async fn cost_above_capacity_is_refused_without_retry_after() {
    let refused = send(&slow().cost(|_| 11), request_from("192.0.2.7")).await;
    assert_eq!(
        (
            refused.status().as_u16(),
            text(refused.headers(), "retry-after")
        ),
        (429, None)
    );
    let body = json(&refused);
    assert_eq!(body["retry_after"], Value::Null);
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .ends_with("so it can never pass"),
        "{body}"
    );
}

#[tokio::test]
async fn draft_style_has_ratelimit_fields_and_problem_json() {
    let (limiter, _) = limiter(Quota::per_minute(100));
    let layer = RateLimitLayer::with_limiter(limiter, Key::ip())
        .headers(HeaderStyle::Draft11)
        .cost(|_| 60);
    let allowed = send(&layer, request_from("192.0.2.7")).await;
    assert_eq!(
        text(allowed.headers(), "ratelimit-policy"),
        some(r#""default";q=100;w=60"#)
    );
    assert_eq!(
        text(allowed.headers(), "ratelimit"),
        some(r#""default";r=40;t=36"#)
    );
    assert_eq!(text(allowed.headers(), "x-ratelimit-limit"), None);

    let refused = send(
        &layer,
        request_with(&[("accept", "text/html, application/problem+json")]),
    )
    .await;
    assert_eq!(refused.status(), 429);
    assert_eq!(
        text(refused.headers(), "content-type"),
        some("application/problem+json")
    );
    // The draft requires that `t` is not later than Retry-After.
    assert_eq!(
        text(refused.headers(), "ratelimit"),
        some(r#""default";r=40;t=12"#)
    );
    assert_eq!(text(refused.headers(), "retry-after"), some("12"));
    let mut body = json(&refused);
    assert!(body["retry_after"].take().as_f64().unwrap() >= 12.0);
    let detail = body["detail"].take();
    assert!(
        detail
            .as_str()
            .unwrap()
            .starts_with("Rate limit exceeded: retry in 12.0"),
        "{detail}"
    );
    assert_eq!(
        body,
        json!({
            "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "title": "Request cannot be satisfied as assigned quota has been exceeded",
            "status": 429,
            "detail": null,
            "violated-policies": ["default"],
            "retry_after": null,
        })
    );
}

#[tokio::test]
async fn both_style_has_all_headers_and_problem_json() {
    let layer = slow().headers(HeaderStyle::Both).cost(|_| 6);
    for (status, r) in [(200, r#""default";r=4;t=9"#), (429, r#""default";r=4;t=3"#)] {
        let response = send(&layer, request_from("192.0.2.7")).await;
        assert_eq!(response.status(), status);
        assert_eq!(
            text(response.headers(), "ratelimit-policy"),
            some(r#""default";q=10;w=15"#)
        );
        assert_eq!(text(response.headers(), "ratelimit"), some(r));
        let x = ["limit", "remaining", "reset"]
            .map(|name| text(response.headers(), &format!("x-ratelimit-{name}")).unwrap());
        assert_eq!(x, ["10", "4", "9"]);
        assert_eq!(
            text(response.headers(), "content-type"),
            (status == 429).then(|| "application/problem+json".to_owned())
        );
    }
}

#[tokio::test]
async fn retry_after_style_has_no_header_but_retry_after_on_refusals() {
    let layer = slow().headers(HeaderStyle::RetryAfter).cost(|_| 6);
    let allowed = send(&layer, request_from("192.0.2.7")).await;
    assert_eq!(
        (allowed.status(), allowed.headers()),
        (StatusCode::OK, &HeaderMap::new())
    );
    let refused = send(&layer, request_from("192.0.2.7")).await;
    assert_eq!(
        (refused.status(), refused.headers().len()),
        (StatusCode::TOO_MANY_REQUESTS, 2)
    );
    assert_eq!(
        text(refused.headers(), "content-type"),
        some("application/json")
    );
    assert_eq!(text(refused.headers(), "retry-after"), some("3"));
    assert_eq!(json(&refused)["error"], "Too Many Requests");
}

#[tokio::test]
async fn draft_window_of_an_interval_quota_is_its_interval() {
    let (limiter, _) = limiter(Quota::interval(100, Duration::from_secs(3600)));
    let layer = RateLimitLayer::with_limiter(limiter, Key::ip()).headers(HeaderStyle::Draft11);
    let allowed = send(&layer, request_from("192.0.2.7")).await;
    assert_eq!(
        text(allowed.headers(), "ratelimit-policy"),
        some(r#""default";q=100;w=3600"#)
    );
    assert_eq!(
        text(allowed.headers(), "ratelimit"),
        some(r#""default";r=99;t=3600"#)
    );
}

#[tokio::test]
async fn client_that_accepts_json_gets_no_problem_json() {
    for (headers, accept, content_type) in [
        (HeaderStyle::Draft11, "application/json", "application/json"),
        (HeaderStyle::Draft11, "*/*", "application/problem+json"),
        (
            HeaderStyle::XRateLimit,
            "application/problem+json",
            "application/json",
        ),
    ] {
        let layer = slow().headers(headers).cost(|_| 11);
        let refused = send(&layer, request_with(&[("accept", accept)])).await;
        assert_eq!(
            text(refused.headers(), "content-type"),
            some(content_type),
            "{headers:?} {accept}"
        );
        assert_eq!(
            text(refused.headers(), "ratelimit").is_some(),
            headers == HeaderStyle::Draft11
        );
    }
}

#[tokio::test]
async fn grpc_refusal_is_trailers_only_with_resource_exhausted() {
    let grpc = ("content-type", "application/grpc+proto");
    let refused = send(&slow().cost(|_| 11), request_with(&[grpc])).await;
    assert_eq!(
        (refused.status().as_u16(), refused.body().as_str()),
        (200, "")
    );
    assert_eq!(
        text(refused.headers(), "content-type"),
        some("application/grpc")
    );
    assert_eq!(text(refused.headers(), "grpc-status"), some("8"));
    assert!(
        text(refused.headers(), "grpc-message")
            .unwrap()
            .starts_with("Rate limit exceeded")
    );
    assert_eq!(text(refused.headers(), "x-ratelimit-remaining"), some("10"));

    // A custom refusal with the HTTP-only response.
    let plain = slow().cost(|_| 11).refusal(|decision, request| {
        Refusal::new(HeaderStyle::default())
            .http_only()
            .response(decision, &request.headers)
    });
    let refused = send(&plain, request_with(&[grpc])).await;
    assert_eq!(
        (
            refused.status().as_u16(),
            text(refused.headers(), "grpc-status")
        ),
        (429, None)
    );
    assert_eq!(
        text(refused.headers(), "content-type"),
        some("application/json")
    );

    let keyless = RateLimitLayer::new(Quota::per_second(1), Key::from_fn(|_| None::<String>));
    let refused = send(&keyless, request_with(&[grpc])).await;
    assert_eq!(
        (
            refused.status().as_u16(),
            text(refused.headers(), "grpc-status")
        ),
        (200, some("16"))
    );
}

#[test]
fn refusal_for_another_reason_has_the_same_forms() {
    let refusal = Refusal::new(HeaderStyle::Draft11).policy("few");
    let (message, wait) = ("at most \"50 %\"\n", Duration::from_millis(1500));
    let refused = |headers: &[(&'static str, &'static str)]| {
        let request = request_with(headers);
        refusal.response_with_message(message, wait, request.headers())
    };
    let plain = refused(&[("accept", "application/json")]);
    assert_eq!(
        json(&plain),
        json!({
            "error": "Too Many Requests",
            "message": "at most \"50 %\"_",
            "retry_after": 1.5,
        })
    );
    let problem = refused(&[]);
    let content_type = text(problem.headers(), "content-type");
    assert_eq!(content_type, some("application/problem+json"));
    assert_eq!(json(&problem)["detail"], "at most \"50 %\"_");
    assert_eq!(json(&problem)["violated-policies"], json!(["few"]));
    let grpc = refused(&[("content-type", "application/grpc")]);
    assert_eq!(text(grpc.headers(), "grpc-status"), some("8"));
    let grpc_message = text(grpc.headers(), "grpc-message");
    assert_eq!(grpc_message, some("at most \"50 %25\"_"));
    for response in [plain, problem, grpc] {
        assert_eq!(text(response.headers(), "retry-after"), some("2"));
        assert_eq!(text(response.headers(), "ratelimit"), None);
    }
}

#[tokio::test]
async fn custom_refusal_keeps_its_headers_and_gets_the_missing_ones() {
    let layer = slow().cost(|_| 11).refusal(|decision, request| {
        let mut response = Response::new(format!("{} {}", request.uri.path(), decision.limit()));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
            .headers_mut()
            .insert("x-ratelimit-limit", "plenty".parse().unwrap());
        response
    });
    let refused = send(&layer, request_from("192.0.2.7")).await;
    assert_eq!(
        (refused.status().as_u16(), refused.body().as_str()),
        (503, "/ 10")
    );
    assert_eq!(text(refused.headers(), "x-ratelimit-limit"), some("plenty"));
    assert_eq!(text(refused.headers(), "x-ratelimit-remaining"), some("10"));
}

#[tokio::test]
async fn headers_of_the_inner_service_are_kept() {
    // The inner limit is tighter, so the client needs its headers and not the outer limit's.
    let tight = RateLimitLayer::with_limiter(limiter(Quota::per_hour(1)).0, Key::ip());
    let both = slow().layer(tight.layer(Reached::default()));
    for (status, remaining) in [(200, "0"), (429, "0")] {
        let response = both
            .clone()
            .oneshot(request_from("192.0.2.7"))
            .await
            .unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(text(response.headers(), "x-ratelimit-limit"), some("1"));
        assert_eq!(
            text(response.headers(), "x-ratelimit-remaining"),
            some(remaining)
        );
    }
}
