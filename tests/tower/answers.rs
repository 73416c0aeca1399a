//! What clients see: headers, refusals, the IETF draft, gRPC.

use std::time::Duration;

use crate::support::{Reached, ask, from, limiter, with};
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

fn is(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn json(answer: &Response<String>) -> Value {
    serde_json::from_str(answer.body()).unwrap()
}

/// 10 at once, one back in a second and a half.
fn slow() -> RateLimitLayer {
    RateLimitLayer::with_limiter(limiter("2/3s, capacity 10".parse().unwrap()).0, Key::ip())
}

#[tokio::test]
async fn every_limited_answer_says_what_is_left() {
    let layer = slow().cost(|_| 4);
    let answer = ask(&layer, from("192.0.2.7")).await;
    let told = |answer: &Response<String>| {
        ["limit", "remaining", "reset"]
            .map(|name| text(answer.headers(), &format!("x-ratelimit-{name}")).unwrap())
    };
    assert_eq!(told(&answer), ["10", "6", "6"]);
    assert_eq!(text(answer.headers(), "retry-after"), None);
    ask(&layer, from("192.0.2.7")).await;
    let refused = ask(&layer, from("192.0.2.7")).await;
    assert_eq!(told(&refused), ["10", "2", "12"]);
    // Two tokens, three seconds; and a little more, since the client's clock is another.
    assert_eq!(text(refused.headers(), "retry-after"), is("4"));
}

#[tokio::test]
async fn a_refusal_is_429_with_json() {
    let layer = slow().cost(|_| 10);
    ask(&layer, from("192.0.2.7")).await;
    let refused = ask(&layer, from("192.0.2.7")).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(
        text(refused.headers(), "content-type"),
        is("application/json")
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
async fn who_waits_as_long_as_told_is_allowed() {
    let (limiter, clock) = limiter("3/7s, capacity 3".parse().unwrap());
    let layer = RateLimitLayer::with_limiter(limiter, Key::ip()).cost(|_| 3);
    for _ in 0..5 {
        assert_eq!(ask(&layer, from("192.0.2.7")).await.status(), 200);
        let refused = ask(&layer, from("192.0.2.7")).await;
        assert_eq!(refused.status(), 429);
        clock.advance(Duration::from_secs_f64(
            json(&refused)["retry_after"].as_f64().unwrap(),
        ));
    }
}

#[tokio::test]
async fn what_can_never_pass_is_told_so_without_a_time() {
    let refused = ask(&slow().cost(|_| 11), from("192.0.2.7")).await;
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
async fn the_draft_has_its_own_fields_and_its_own_problem() {
    let (limiter, _) = limiter(Quota::per_minute(100));
    let layer = RateLimitLayer::with_limiter(limiter, Key::ip())
        .headers(HeaderStyle::Draft11)
        .cost(|_| 60);
    let allowed = ask(&layer, from("192.0.2.7")).await;
    assert_eq!(
        text(allowed.headers(), "ratelimit-policy"),
        is(r#""default";q=100;w=60"#)
    );
    assert_eq!(
        text(allowed.headers(), "ratelimit"),
        is(r#""default";r=40;t=36"#)
    );
    assert_eq!(text(allowed.headers(), "x-ratelimit-limit"), None);

    let refused = ask(
        &layer,
        with(&[("accept", "text/html, application/problem+json")]),
    )
    .await;
    assert_eq!(refused.status(), 429);
    assert_eq!(
        text(refused.headers(), "content-type"),
        is("application/problem+json")
    );
    // `t` is no later than Retry-After, as the draft wants it.
    assert_eq!(
        text(refused.headers(), "ratelimit"),
        is(r#""default";r=40;t=13"#)
    );
    assert_eq!(text(refused.headers(), "retry-after"), is("13"));
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
async fn both_are_all_headers_and_the_drafts_problem() {
    let layer = slow().headers(HeaderStyle::Both).cost(|_| 6);
    for (status, r) in [(200, r#""default";r=4;t=9"#), (429, r#""default";r=4;t=4"#)] {
        let answer = ask(&layer, from("192.0.2.7")).await;
        assert_eq!(answer.status(), status);
        assert_eq!(
            text(answer.headers(), "ratelimit-policy"),
            is(r#""default";q=10;w=15"#)
        );
        assert_eq!(text(answer.headers(), "ratelimit"), is(r));
        let x = ["limit", "remaining", "reset"]
            .map(|name| text(answer.headers(), &format!("x-ratelimit-{name}")).unwrap());
        assert_eq!(x, ["10", "4", "9"]);
        assert_eq!(
            text(answer.headers(), "content-type"),
            (status == 429).then(|| "application/problem+json".to_owned())
        );
    }
}

#[tokio::test]
async fn by_choice_a_refusal_alone_has_a_header_and_that_is_retry_after() {
    let layer = slow().headers(HeaderStyle::RetryAfter).cost(|_| 6);
    let allowed = ask(&layer, from("192.0.2.7")).await;
    assert_eq!(
        (allowed.status(), allowed.headers()),
        (StatusCode::OK, &HeaderMap::new())
    );
    let refused = ask(&layer, from("192.0.2.7")).await;
    assert_eq!(
        (refused.status(), refused.headers().len()),
        (StatusCode::TOO_MANY_REQUESTS, 2)
    );
    assert_eq!(
        text(refused.headers(), "content-type"),
        is("application/json")
    );
    assert_eq!(text(refused.headers(), "retry-after"), is("4"));
    assert_eq!(json(&refused)["error"], "Too Many Requests");
}

#[tokio::test]
async fn the_drafts_window_is_the_intervals() {
    let (limiter, _) = limiter(Quota::interval(100, Duration::from_secs(3600)));
    let layer = RateLimitLayer::with_limiter(limiter, Key::ip()).headers(HeaderStyle::Draft11);
    let allowed = ask(&layer, from("192.0.2.7")).await;
    assert_eq!(
        text(allowed.headers(), "ratelimit-policy"),
        is(r#""default";q=100;w=3600"#)
    );
    assert_eq!(
        text(allowed.headers(), "ratelimit"),
        is(r#""default";r=99;t=3600"#)
    );
}

#[tokio::test]
async fn a_client_that_wants_json_gets_no_problem() {
    for (headers, accept, kind) in [
        (HeaderStyle::Draft11, "application/json", "application/json"),
        (HeaderStyle::Draft11, "*/*", "application/problem+json"),
        (
            HeaderStyle::XRateLimit,
            "application/problem+json",
            "application/json",
        ),
    ] {
        let layer = slow().headers(headers).cost(|_| 11);
        let refused = ask(&layer, with(&[("accept", accept)])).await;
        assert_eq!(
            text(refused.headers(), "content-type"),
            is(kind),
            "{headers:?} {accept}"
        );
        assert_eq!(
            text(refused.headers(), "ratelimit").is_some(),
            headers == HeaderStyle::Draft11
        );
    }
}

#[tokio::test]
async fn grpc_is_refused_in_its_own_way() {
    let grpc = ("content-type", "application/grpc+proto");
    let refused = ask(&slow().cost(|_| 11), with(&[grpc])).await;
    assert_eq!(
        (refused.status().as_u16(), refused.body().as_str()),
        (200, "")
    );
    assert_eq!(
        text(refused.headers(), "content-type"),
        is("application/grpc")
    );
    assert_eq!(text(refused.headers(), "grpc-status"), is("8"));
    assert!(
        text(refused.headers(), "grpc-message")
            .unwrap()
            .starts_with("Rate limit exceeded")
    );
    assert_eq!(text(refused.headers(), "x-ratelimit-remaining"), is("10"));

    // The same in a refusal of one's own, for what does not speak gRPC.
    let plain = slow().cost(|_| 11).refusal(|decision, request| {
        Refusal::new(HeaderStyle::default())
            .http_only()
            .response(decision, &request.headers)
    });
    let refused = ask(&plain, with(&[grpc])).await;
    assert_eq!(
        (
            refused.status().as_u16(),
            text(refused.headers(), "grpc-status")
        ),
        (429, None)
    );
    assert_eq!(
        text(refused.headers(), "content-type"),
        is("application/json")
    );

    let keyless = RateLimitLayer::new(Quota::per_second(1), Key::from_fn(|_| None::<String>));
    let refused = ask(&keyless, with(&[grpc])).await;
    assert_eq!(
        (
            refused.status().as_u16(),
            text(refused.headers(), "grpc-status")
        ),
        (200, is("16"))
    );
}

#[tokio::test]
async fn a_refusal_of_the_users_own_keeps_what_it_says_and_gets_the_rest() {
    let layer = slow().cost(|_| 11).refusal(|decision, request| {
        let mut answer = Response::new(format!("{} {}", request.uri.path(), decision.limit()));
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer
            .headers_mut()
            .insert("x-ratelimit-limit", "plenty".parse().unwrap());
        answer
    });
    let refused = ask(&layer, from("192.0.2.7")).await;
    assert_eq!(
        (refused.status().as_u16(), refused.body().as_str()),
        (503, "/ 10")
    );
    assert_eq!(text(refused.headers(), "x-ratelimit-limit"), is("plenty"));
    assert_eq!(text(refused.headers(), "x-ratelimit-remaining"), is("10"));
}

#[tokio::test]
async fn headers_of_the_service_behind_stay_as_they_are() {
    // A second, tighter limit behind the first: what it says of itself is what the client has to
    // know.
    let tight = RateLimitLayer::with_limiter(limiter(Quota::per_hour(1)).0, Key::ip());
    let both = slow().layer(tight.layer(Reached::default()));
    for (status, remaining) in [(200, "0"), (429, "0")] {
        let answer = both.clone().oneshot(from("192.0.2.7")).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(text(answer.headers(), "x-ratelimit-limit"), is("1"));
        assert_eq!(
            text(answer.headers(), "x-ratelimit-remaining"),
            is(remaining)
        );
    }
}
