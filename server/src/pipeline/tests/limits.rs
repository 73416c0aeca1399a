//! Tests of decisions over time, and of the responses.

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

use super::{TestServer, with_method};
use crate::pipeline::{self, HeadResult};

#[test]
fn request_is_refused_just_before_retry_after_and_allowed_at_it() {
    for (settings, expected) in [
        ("capacity = 1\nrefill_rate = 0.5", 2.0),
        ("capacity = 1\nrefill_rate = 25", 0.04),
        ("capacity = 1\nrefill_rate = 0.3", 1.0 / 0.3),
        (
            "capacity = 2\nrefill = { every = '200ms', mode = 'interval' }",
            0.2,
        ),
    ] {
        let server = TestServer::new(settings);
        while server.get("/").status == StatusCode::OK {}
        let refused = server.get("/");
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let wait = refused.retry_after();
        // A token may be early by less than the resolution.
        assert!(
            wait <= expected + 1e-6 && wait > expected - 0.001,
            "{wait} for {expected}"
        );
        server.advance(expected - 0.001);
        assert_eq!(
            server.get("/").status,
            StatusCode::TOO_MANY_REQUESTS,
            "{settings}"
        );
        server.advance(wait - (expected - 0.001));
        assert_eq!(server.get("/").status, StatusCode::OK, "{settings}");
    }
}

#[test]
fn retry_after_is_at_most_the_window_and_equals_reset() {
    for (every, window) in [("60s", 60), ("1d", 86_400), ("30d", 2_592_000)] {
        for mode in ["greedy", "interval"] {
            let server = TestServer::new(&format!(
                "capacity = 1\nrefill = {{ every = '{every}', mode = '{mode}' }}"
            ));
            assert_eq!(server.get("/").status, StatusCode::OK);
            let refused = server.get("/");
            for name in ["retry-after", "x-ratelimit-reset"] {
                assert_eq!(refused.number(name), window, "{every} {mode} {name}");
            }
            server.advance(window as f64);
            assert_eq!(server.get("/").status, StatusCode::OK, "{every} {mode}");
        }
    }
}

#[test]
fn refusal_has_fractional_seconds_in_the_body_and_whole_seconds_in_the_header() {
    let server = TestServer::new("capacity = 1\nrefill_rate = 1");
    assert_eq!(server.get("/").status, StatusCode::OK);
    server.advance(0.07);
    let refused = server.get("/");
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
    let server = TestServer::new("capacity = 10\nrefill_rate = 0.5");
    for spent in 1..=10 {
        assert_eq!(server.get("/").number("x-ratelimit-reset"), 2 * spent);
    }
    server.advance(3.5);
    assert_eq!(
        server.get("/").number("x-ratelimit-reset"),
        19,
        "18.5 s are missing after one more"
    );
}

#[test]
fn every_endpoint_has_its_default_cost() {
    let server = TestServer::new("refill_rate = 0.001");
    assert_eq!(
        server.get("/").text(),
        r#"{"from": "127.0.0.1", "message": "Access granted"}"#
    );
    assert_eq!(server.get("/api/ping?x=1").remaining(), 8);
    assert_eq!(server.post("/api/upload", "0123").remaining(), 5);
    assert_eq!(
        server
            .send(with_method(Method::HEAD, "/api/data"), "")
            .remaining(),
        4
    );
    let missing = server.get("/api/upload");
    assert_eq!(
        (missing.status, missing.remaining()),
        (StatusCode::NOT_FOUND, 3)
    );
    let echo = server.post("/api/submit", r#"{"a": [1, 2.50]}"#);
    assert_eq!(
        (echo.text(), echo.remaining()),
        (
            r#"{"message": "Data submitted", "data": {"a": [1, 2.50]}}"#,
            2
        )
    );
    for _ in 0..5 {
        let health = server.get("/health");
        assert_eq!(
            (health.status, health.header("x-ratelimit-limit")),
            (StatusCode::OK, None)
        );
    }
    let upload = server.post("/api/upload", "");
    assert_eq!(
        (upload.status, upload.remaining()),
        (StatusCode::TOO_MANY_REQUESTS, 2)
    );
}

#[test]
fn cost_above_capacity_is_refused_without_retry_after() {
    let server = TestServer::new("capacity = 2");
    let never = server.post("/api/upload", "");
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
fn costs_and_exemptions_match_method_and_path() {
    let server = TestServer::new(
        "refill_rate = 0.001\n[[routes]]\npath = '/api/data'\ncost = 2\n[[routes]]\nmethod = 'GET'\npath = '/api/data'\ncost = 4\n\
         [[routes]]\npath = '/api/ping'\nexempt = true\n[[routes]]\nmethod = 'POST'\npath = '/api/upload'\nexempt = true",
    );
    assert_eq!(server.get("/api/data").remaining(), 6);
    assert_eq!(
        server
            .send(with_method(Method::HEAD, "/api/data"), "")
            .remaining(),
        2
    );
    assert_eq!(
        server
            .send(with_method(Method::PUT, "/api/data"), "")
            .remaining(),
        0
    );
    for _ in 0..3 {
        assert_eq!(server.get("/api/ping").header("x-ratelimit-limit"), None);
        assert_eq!(server.post("/api/upload", "").status, StatusCode::OK);
    }
}

#[test]
fn clients_have_separate_buckets_and_ipv6_networks_share_one() {
    let server = TestServer::new("refill_rate = 0.001");
    let remaining = |peer: &str| server.client(peer).send(Request::get("/"), "").remaining();
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
        "the same client on a dual-stack socket"
    );
}

#[test]
fn oversized_body_gets_413_with_rate_limit_headers() {
    let server = TestServer::new("refill_rate = 0.001\nconnections = { max_body_bytes = 10 }");
    assert_eq!(
        server.post("/api/submit", "0123456789").status,
        StatusCode::OK
    );
    let large = server.post("/api/submit", "0123456789x");
    assert_eq!(
        (large.status, large.remaining()),
        (StatusCode::PAYLOAD_TOO_LARGE, 8)
    );
    assert_eq!(large.header("connection"), Some("close"));
    while server.post("/api/submit", "").status == StatusCode::OK {}
    assert_eq!(
        server.post("/api/submit", "0123456789x").status,
        StatusCode::TOO_MANY_REQUESTS,
        "the refusal is kept"
    );
}

/// Body of unknown length.
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
fn size_limit_applies_to_bodies_of_unknown_length() {
    let server = TestServer::new("refill_rate = 0.001\nconnections = { max_body_bytes = 10 }");
    for (chunks, status) in [
        (vec!["56789", "01234"], StatusCode::OK),
        (vec!["5678901", "1234"], StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        for path in ["/api/submit", "/api/upload"] {
            let request = Request::post(path).body(Chunks(chunks.clone())).unwrap();
            let caller = server.app.caller(server.peer);
            let HeadResult::Done(outcome) = pipeline::process(&server.app, &request, &caller)
            else {
                panic!("a decision in memory is pending");
            };
            let (body, memory) = (request.into_body(), super::unbounded_memory());
            let finished = pipeline::finish(&server.app, outcome, body, false, &memory);
            let (response, is_read) = super::block_on(finished);
            assert_eq!(
                (response.status(), is_read),
                (status, status == StatusCode::OK),
                "{path} {chunks:?}"
            );
        }
    }
}
