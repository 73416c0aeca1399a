//! Refusals: their body and headers, and that a client that waits `retry_after` is allowed.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use test_support::http::encode;
use test_support::{Client, Launch, Response, SLOW, Server};

const LIMIT_HEADERS: [&str; 3] = [
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
];

#[test]
fn a_refusal_has_the_wait_in_its_body_and_headers() {
    let server = Server::with_capacity(3);
    let mut client = server.client();
    for remaining in [2, 1, 0] {
        let response = client.get("/api/data");
        assert_eq!((response.status, response.remaining()), (200, remaining));
        assert_eq!(response.header("Retry-After"), None, "nothing to wait for");
    }
    for _ in 0..5 {
        let refused = client.get("/api/data");
        assert_eq!(refused.status, 429);
        let body = refused.json();
        assert_eq!(body["error"], "Too Many Requests");
        assert!(
            body["message"]
                .as_str()
                .unwrap()
                .starts_with("Rate limit exceeded"),
            "{body}"
        );
        assert!(
            refused
                .header("content-type")
                .unwrap()
                .starts_with("application/json")
        );
        let wait = refused.retry_after();
        assert!(
            (900.0..=1000.1).contains(&wait),
            "one token takes 1000 s, not {wait}"
        );
        assert_eq!(
            refused.number("Retry-After"),
            wait.ceil() as u64,
            "whole, rounded up"
        );
        assert_eq!((refused.limit(), refused.remaining()), (3, 0));
        assert!(
            (2900..=3000).contains(&refused.reset()),
            "three tokens take 3000 s"
        );
    }
}

#[test]
fn every_limited_response_has_the_limit_headers() {
    let server = Server::with_capacity(3);
    let mut client = server.client();
    for status in [200, 404, 200, 429, 429] {
        let path = if status == 404 { "/nothing" } else { "/" };
        let response = client.get(path);
        assert_eq!(response.status, status);
        for header in LIMIT_HEADERS {
            let count = response
                .headers
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(header));
            assert_eq!(count.count(), 1, "{header} on {status}");
            response.number(header);
        }
    }
}

#[test]
fn the_reset_is_the_time_until_full_rounded_up() {
    let server = Server::with_capacity(5);
    let mut client = server.client();
    for spent in 1..=5 {
        let started = Instant::now();
        let reset = client.get("/").reset();
        let latest = spent * 1000;
        let earliest = latest - 1 - started.elapsed().as_secs() - 30;
        assert!(
            (earliest..=latest).contains(&reset),
            "{spent} spent: {reset}"
        );
    }
}

/// Sends bursts faster than the refill until the last response of one is a refusal.
fn burst_until_refused(client: &mut Client, method: &str, path: &str) -> Response {
    for _ in 0..1000 {
        client
            .send(&encode(method, path, &[], "").repeat(4))
            .unwrap();
        let responses: Vec<_> = (0..4).map(|_| client.read().unwrap()).collect();
        let last = responses.into_iter().next_back().unwrap();
        if last.status == 429 {
            return last;
        }
    }
    panic!("this machine is too slow for the test");
}

fn wait_retry_after(refused: &Response) {
    thread::sleep(Duration::from_secs_f64(refused.retry_after()));
}

#[test]
fn the_wait_has_fractions_in_the_body_and_is_rounded_up_in_the_header() {
    let server = Server::start(&["--capacity", "1", "--refill-rate", "20"]);
    let mut client = server.client();
    for _ in 0..100 {
        let refused = burst_until_refused(&mut client, "GET", "/");
        let wait = refused.retry_after();
        assert!(
            wait > 0.0 && wait <= 0.0501,
            "a token takes 50 ms, not {wait}"
        );
        assert_eq!(refused.number("Retry-After"), 1);
        assert_eq!(refused.reset(), 1);
    }
}

#[test]
fn a_client_that_waits_exactly_retry_after_is_allowed() {
    let server = Server::start(&["--capacity", "1", "--refill-rate", "25"]);
    let mut client = server.client();
    for _ in 0..25 {
        wait_retry_after(&burst_until_refused(&mut client, "GET", "/"));
        assert_eq!(
            client.get("/").status,
            200,
            "refused after waiting retry_after"
        );
    }
}

#[test]
fn a_client_that_waits_for_an_upload_gets_all_three_tokens() {
    let server = Server::start(&["--capacity", "3", "--refill-rate", "30"]);
    let mut client = server.client();
    for _ in 0..10 {
        wait_retry_after(&burst_until_refused(&mut client, "POST", "/api/upload"));
        assert_eq!(client.request("POST", "/api/upload", &[], "").status, 200);
    }
}

#[test]
fn a_client_that_waits_for_the_end_of_an_interval_is_allowed() {
    let text = "capacity = 2\nrefill = { every = \"200ms\", mode = \"interval\" }\n";
    let server = Launch::new().config("interval.toml", text).start();
    let mut client = server.client();
    for _ in 0..4 {
        let refused = burst_until_refused(&mut client, "GET", "/");
        assert!(refused.retry_after() <= 0.2001);
        wait_retry_after(&refused);
        assert_eq!(client.get("/").status, 200);
    }
}

#[test]
fn a_request_before_retry_after_is_refused() {
    let server = Server::start(&["--capacity", "1", "--refill-rate", "0.8"]);
    let mut client = server.client();
    assert_eq!(client.get("/").status, 200);
    let sent = Instant::now();
    let refused = client.get("/");
    assert_eq!(refused.status, 429);
    let wait = refused.retry_after();
    // The server decided after `sent`, so a response that arrives before `sent + wait` was decided
    // too early.
    while sent.elapsed().as_secs_f64() < wait - 0.05 {
        let early = client.get("/");
        let received = sent.elapsed().as_secs_f64();
        if received < wait - 0.01 {
            assert_eq!(
                early.status, 429,
                "allowed after {received} s, with a retry_after of {wait} s"
            );
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_cost_above_the_capacity_is_refused_for_good_and_the_message_says_so() {
    let server = Server::with_capacity(2);
    let mut client = server.client();
    let never = client.request("POST", "/api/upload", &[], "");
    assert_eq!(never.status, 429);
    assert_eq!(never.header("Retry-After"), None, "waiting does not help");
    let body = never.json();
    assert_eq!(body["error"], "Too Many Requests");
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .starts_with("Rate limit exceeded"),
        "{body}"
    );
    assert!(body.get("retry_after").is_none_or(Value::is_null), "{body}");
    assert_eq!(
        (never.limit(), never.remaining()),
        (2, 2),
        "the refusal took no token"
    );

    let plain = Server::start(&["--capacity", "3", "--refill-rate", SLOW]);
    let mut client = plain.client();
    client.get("/");
    let later = client.request("POST", "/api/upload", &[], "");
    assert_eq!(later.status, 429);
    assert_ne!(
        later.json()["message"],
        body["message"],
        "the messages differ"
    );
    assert_eq!(later.remaining(), 2, "a refusal takes no token");
    assert!(later.number("Retry-After") > 0);
}
