//! What is allowed when, and what the answers say of it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{
    Method, Request, StatusCode,
    body::{Body, Frame},
};

use super::{Bench, with_method};
use crate::app;

#[test]
fn retry_after_is_exact_denied_just_before_and_allowed_at_it() {
    for (settings, expected) in [
        ("capacity = 1\nrefill_rate = 0.5", 2.0),
        ("capacity = 1\nrefill_rate = 25", 0.04),
        ("capacity = 1\nrefill_rate = 0.3", 1.0 / 0.3),
        (
            "capacity = 2\nrefill = { every = '200ms', mode = 'interval' }",
            0.2,
        ),
    ] {
        let bench = Bench::new(settings);
        while bench.get("/").status == StatusCode::OK {}
        let refused = bench.get("/");
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let wait = refused.retry_after();
        // 61 in a million for clocks that differ, and a token may be early by less than the
        // resolution.
        assert!(
            wait <= expected * 1.000_062 + 1e-6 && wait > expected - 0.001,
            "{wait} for {expected}"
        );
        bench.advance(expected - 0.001);
        assert_eq!(
            bench.get("/").status,
            StatusCode::TOO_MANY_REQUESTS,
            "{settings}"
        );
        bench.advance(wait - (expected - 0.001));
        assert_eq!(bench.get("/").status, StatusCode::OK, "{settings}");
    }
}

#[test]
fn a_refusal_says_how_long_to_wait_in_its_body_and_in_whole_seconds() {
    let bench = Bench::new("capacity = 1\nrefill_rate = 1");
    assert_eq!(bench.get("/").status, StatusCode::OK);
    bench.advance(0.07);
    let refused = bench.get("/");
    assert_eq!(
        (
            refused.number("retry-after"),
            refused.number("x-ratelimit-reset")
        ),
        (1, 1)
    );
    assert!(refused.text().starts_with(
        r#"{"error": "Too Many Requests", "message": "Rate limit exceeded: retry in 0.93"#
    ));
    assert!(
        (0.93..0.931).contains(&refused.retry_after()),
        "{}",
        refused.text()
    );
}

#[test]
fn reset_is_the_time_until_full_rounded_up() {
    let bench = Bench::new("capacity = 10\nrefill_rate = 0.5");
    for spent in 1..=10 {
        assert_eq!(bench.get("/").number("x-ratelimit-reset"), 2 * spent);
    }
    bench.advance(3.5);
    assert_eq!(
        bench.get("/").number("x-ratelimit-reset"),
        19,
        "18.5 s are missing after one more"
    );
}

#[test]
fn every_path_costs_what_it_says() {
    let bench = Bench::new("refill_rate = 0.001");
    assert_eq!(
        bench.get("/").text(),
        r#"{"from": "127.0.0.1", "message": "Access granted"}"#
    );
    assert_eq!(bench.get("/api/ping?x=1").remaining(), 8);
    assert_eq!(bench.post("/api/upload", "0123").remaining(), 5);
    assert_eq!(
        bench
            .ask(with_method(Method::HEAD, "/api/data"), "")
            .remaining(),
        4
    );
    let missing = bench.get("/api/upload");
    assert_eq!(
        (missing.status, missing.remaining()),
        (StatusCode::NOT_FOUND, 3)
    );
    let echo = bench.post("/api/submit", r#"{"a": [1, 2.50]}"#);
    assert_eq!(
        (echo.text(), echo.remaining()),
        (
            r#"{"message": "Data submitted", "data": {"a": [1, 2.50]}}"#,
            2
        )
    );
    for _ in 0..5 {
        let health = bench.get("/health");
        assert_eq!(
            (health.status, health.header("x-ratelimit-limit")),
            (StatusCode::OK, None)
        );
    }
    let upload = bench.post("/api/upload", "");
    assert_eq!(
        (upload.status, upload.remaining()),
        (StatusCode::TOO_MANY_REQUESTS, 2)
    );
}

#[test]
fn what_can_never_pass_says_so_and_names_no_time() {
    let bench = Bench::new("capacity = 2");
    let never = bench.post("/api/upload", "");
    assert_eq!(
        (never.status, never.header("retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, None)
    );
    assert!(
        never.json()["message"]
            .as_str()
            .unwrap()
            .starts_with("Rate limit exceeded: this request costs 3")
    );
    assert!(never.json()["retry_after"].is_null());
    assert_eq!(never.remaining(), 2);
}

#[test]
fn costs_and_exemptions_go_by_method_and_path() {
    let bench = Bench::new(
        "refill_rate = 0.001\n[[routes]]\npath = '/api/data'\ncost = 2\n[[routes]]\nmethod = 'GET'\npath = '/api/data'\ncost = 4\n\
         [[routes]]\npath = '/api/ping'\nexempt = true\n[[routes]]\nmethod = 'POST'\npath = '/api/upload'\nexempt = true",
    );
    assert_eq!(bench.get("/api/data").remaining(), 6);
    assert_eq!(
        bench
            .ask(with_method(Method::HEAD, "/api/data"), "")
            .remaining(),
        2
    );
    assert_eq!(
        bench
            .ask(with_method(Method::PUT, "/api/data"), "")
            .remaining(),
        0
    );
    for _ in 0..3 {
        assert_eq!(bench.get("/api/ping").header("x-ratelimit-limit"), None);
        assert_eq!(bench.post("/api/upload", "").status, StatusCode::OK);
    }
}

#[test]
fn clients_do_not_share_buckets_but_an_ipv6_network_does() {
    let bench = Bench::new("refill_rate = 0.001");
    let remaining = |peer: &str| bench.from(peer).ask(Request::get("/"), "").remaining();
    assert_eq!(
        [
            remaining("192.0.2.1"),
            remaining("192.0.2.2"),
            remaining("192.0.2.1")
        ],
        [9, 9, 8]
    );
    assert_eq!(
        [
            remaining("2001:db8::1"),
            remaining("2001:db8::2"),
            remaining("2001:db8:0:1::1")
        ],
        [9, 8, 9]
    );
    assert_eq!(
        remaining("::ffff:192.0.2.1"),
        7,
        "the same client on a socket of both families"
    );
}

#[test]
fn a_body_that_is_too_large_is_413_with_the_headers_of_the_limit() {
    let bench = Bench::new("refill_rate = 0.001\nconnections = { max_body_bytes = 10 }");
    assert_eq!(
        bench.post("/api/submit", "0123456789").status,
        StatusCode::OK
    );
    let large = bench.post("/api/submit", "0123456789x");
    assert_eq!(
        (large.status, large.remaining()),
        (StatusCode::PAYLOAD_TOO_LARGE, 8)
    );
    assert_eq!(large.header("connection"), Some("close"));
    while bench.post("/api/submit", "").status == StatusCode::OK {}
    assert_eq!(
        bench.post("/api/submit", "0123456789x").status,
        StatusCode::TOO_MANY_REQUESTS,
        "a refusal stays one"
    );
}

/// A body that does not say how long it is.
struct Chunks(Vec<&'static str>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(|chunk| Ok(Frame::data(chunk.into()))))
    }
}

#[test]
fn a_body_that_does_not_say_its_length_has_the_same_bound() {
    let bench = Bench::new("refill_rate = 0.001\nconnections = { max_body_bytes = 10 }");
    for (chunks, status) in [
        (vec!["56789", "01234"], StatusCode::OK),
        (vec!["5678901", "1234"], StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        for path in ["/api/submit", "/api/upload"] {
            let request = Request::post(path).body(Chunks(chunks.clone())).unwrap();
            let handled = bench.app.handle(&request, &bench.app.caller(bench.peer));
            let finished = app::finish(&bench.app, handled.unwrap(), request.into_body(), false);
            let (answer, unread) = super::block_on(finished);
            assert_eq!(
                (answer.status(), unread.is_none()),
                (status, status == StatusCode::OK),
                "{path} {chunks:?}"
            );
        }
    }
}
