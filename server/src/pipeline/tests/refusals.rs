//! Tests of responses to refused requests as the configuration wants them.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use serde_json::json;

use super::{TestResponse, TestServer};
use crate::{
    config,
    pipeline::{self, HeadResult},
};

fn refused(server: &TestServer, path: &str, accept: Option<&str>) -> TestResponse {
    let request = Request::get(path);
    let request = match accept {
        Some(accept) => request.header("accept", accept),
        None => request,
    };
    server.send(request, "")
}

const SEVERAL: &str = r#"
[[limits]]
name = "api"
quota = "1/minute"
[limits.refusal]
status = 503
json = '{"code": "slow_down", "limit": "{limit}", "in": {retry_after}, "of": {capacity}}'
html = "<p>Come back in {retry_after} seconds.</p>"
headers = { "X-Docs" = "https://docs.example/limits" }
"#;

#[test]
fn body_follows_the_accept_header() {
    let server = TestServer::new(SEVERAL);
    assert_eq!(server.get("/").status, 200);
    let json = refused(&server, "/", None);
    assert_eq!(json.status, 503);
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(json.header("x-docs"), Some("https://docs.example/limits"));
    assert_eq!(json.header("vary"), Some("accept"));
    assert_eq!(json.header("retry-after"), Some("60"));
    assert_eq!(json.header("x-ratelimit-limit"), Some("1"));
    let body = json.json();
    assert_eq!(
        body,
        serde_json::json!({"code": "slow_down", "limit": "api", "in": 60, "of": 1})
    );
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let html = refused(&server, "/", Some(browser));
    assert_eq!(
        html.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(html.text(), "<p>Come back in 60 seconds.</p>");
    // What is not offered gets the first.
    let image = refused(&server, "/", Some("image/png"));
    assert_eq!(image.header("content-type"), Some("application/json"));
}

#[test]
fn the_limit_that_refuses_has_its_own_response() {
    let server = TestServer::new(
        "[refusal]\ntext = 'all: {limit}'\n\
         [[limits]]\nname = 'login'\nmatch = '/login'\nquota = ['9/s', '1/hour']\nrefusal = { text = 'own: {limit}' }\n\
         [[limits]]\nname = 'ip'\nquota = '2/hour'",
    );
    assert_eq!(server.get("/login").status, 404);
    // Of the second quota.
    assert_eq!(server.get("/login").text(), "own: login-2");
    assert_eq!(server.get("/").status, 200);
    let other = server.get("/");
    assert_eq!((other.status.as_u16(), other.text()), (429, "all: ip"));
}

#[test]
fn without_limits_the_default_limit_has_the_response_too() {
    let server = TestServer::new(
        "capacity = 1\nrefill_rate = 0.001\n[refusal]\nstatus = 420\nheaders = { 'X-A' = '1' }",
    );
    assert_eq!(server.get("/").status, 200);
    let refused = server.get("/");
    assert_eq!(refused.status.as_u16(), 420);
    assert_eq!(refused.header("x-a"), Some("1"));
    assert!(
        refused
            .text()
            .starts_with(r#"{"error": "Refused", "message": "Rate limit exceeded"#)
    );
    // A service reads the usual response.
    let check = |server: &TestServer| server.post("/check", r#"{"key": "a"}"#);
    assert_eq!(check(&server).json()["allowed"], true);
    let refused = check(&server);
    assert_eq!(
        (refused.status.as_u16(), refused.header("x-a")),
        (200, None)
    );
    assert_eq!(refused.json()["allowed"], false);
    // gRPC has a status of its own.
    let grpc = Request::post("/").header("content-type", "application/grpc");
    assert_eq!(
        server.send(grpc, "").status.as_u16(),
        420,
        "no gateway, so no gRPC"
    );
}

#[test]
fn problem_details_have_the_status() {
    let server = TestServer::new(
        "headers = 'draft'\n[refusal]\nstatus = 503\n[[limits]]\nname = 'a'\nquota = '1/hour'",
    );
    assert_eq!(server.get("/").status, 200);
    let refused = server.get("/");
    assert_eq!(
        refused.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(refused.json()["status"], 503);
}

#[test]
fn reset_may_be_a_unix_time_and_headers_may_be_absent() {
    let server = TestServer::new("headers = 'x-epoch'\ncapacity = 5\nrefill_rate = 0.01");
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
    };
    let before = now();
    let reset = server.get("/").number("x-ratelimit-reset");
    // One token, rounded up.
    assert!((before + 100..=now() + 102).contains(&reset), "{reset}");

    let server = TestServer::new("headers = 'none'\ncapacity = 1\nrefill_rate = 0.01");
    let allowed = server.get("/");
    let refused = server.get("/");
    for response in [&allowed, &refused] {
        let names = response.headers.keys();
        assert_eq!(
            names
                .filter(|name| name.as_str().contains("ratelimit"))
                .count(),
            0
        );
    }
    assert_eq!(allowed.header("retry-after"), None);
    assert_eq!(refused.header("retry-after"), Some("100"));
}

#[test]
fn invalid_refusals_end_the_start() {
    let error = |keys: &str| config::settings_error(&format!("[refusal]\n{keys}"));
    for (given, expected) in [
        (error("json = '{'"), "refusal.json: expected JSON, got EOF"),
        (
            error("text = '{wait}'"),
            "refusal.text: expected the placeholders {limit}, {capacity}, {remaining}, {cost}, {retry_after}, got {wait}",
        ),
        (
            error("headers = { 'Retry-After' = '1' }"),
            "refusal.headers: expected headers that this server does not write itself, got \"Retry-After\"",
        ),
        (
            error("headers = { 'a b' = '1' }"),
            "refusal.headers: expected the name of a header",
        ),
        (
            error("html = { file = '/nowhere' }"),
            "refusal.html: /nowhere: No such file",
        ),
    ] {
        assert!(given.starts_with(expected), "{given}");
    }
    let own =
        config::settings_error("[[limits]]\nname = 'a'\nquota = '5/s'\nrefusal = { json = '}' }");
    assert!(
        own.starts_with("limits[0].refusal.json: expected JSON"),
        "{own}"
    );
    let error = config::settings_error("[refusal]\nstatus = 200");
    assert!(error.contains("status"), "{error}");
}

/// The tokens are there only after the time that a bucket can tell. *Caught:* the wait of such a
/// refusal without a value, and its reset.
#[test]
fn a_quota_of_decades_refuses_until_its_window() {
    for (quota, seconds) in [
        ("1/35years", 35 * 31_536_000),
        ("1/100years", 3_153_600_000_u64),
    ] {
        let server = TestServer::new(&format!("quota = '{quota}'"));
        assert_eq!(server.get("/").number("x-ratelimit-reset"), seconds);
        let refused = server.get("/");
        assert_eq!(refused.status, 429);
        assert_eq!(refused.number("retry-after"), seconds);
        assert_eq!(refused.number("x-ratelimit-reset"), seconds);
        let expected = format!("Rate limit exceeded: retry in {seconds}.0 s");
        assert_eq!(refused.json()["message"], expected);
        let item = r#"{"key": "127.0.0.1"}"#;
        let [_, check] = [(); 2].map(|()| server.post("/check", item).json());
        assert_eq!(check["retry_after"], seconds as f64, "{check}");
        assert_eq!(check["reset_after"], seconds as f64, "{check}");
    }
}

/// *Caught:* JSON whatever the request accepts; a list without limits of concurrent requests; a plain
/// 429 for gRPC.
#[test]
fn refusals_of_concurrent_requests_have_the_form_of_others() {
    let start = |more: &str| {
        TestServer::new(&format!(
            "upstream = 'http://127.0.0.1:1'\nheaders = 'draft'\n\
             [[limits]]\nname = 'few'\nkey = 'global'\nconcurrency = 1\n{more}"
        ))
    };
    let send = |server: &TestServer, headers: &[(&str, &str)]| {
        let request = Request::get("/").header("host", "a");
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let (request, caller) = (
            request.body(Empty::<Bytes>::new()),
            server.app.caller(server.peer),
        );
        match pipeline::process(&server.app, &request.unwrap(), &caller) {
            HeadResult::Done(outcome) => outcome,
            HeadResult::Pending(_) => panic!("decisions in memory are at once"),
        }
    };
    let refuse = |server: &TestServer, headers: &[(&str, &str)]| {
        let held = send(server, &[]);
        let refused = send(server, headers).response;
        drop(held);
        super::block_on(super::with_body(refused))
    };
    let server = start("");
    let problem = refuse(&server, &[("accept", "application/problem+json")]);
    assert_eq!(problem.status, 429);
    assert_eq!(
        problem.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(
        problem.json(),
        json!({
            "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "title": "Request cannot be satisfied as assigned quota has been exceeded",
            "status": 429,
            "detail": "too many concurrent requests of this client",
            "violated-policies": ["few"],
            "retry_after": 1.0,
        })
    );
    let plain = refuse(&server, &[("accept", "application/json")]);
    assert_eq!(plain.header("content-type"), Some("application/json"));
    assert_eq!(
        plain.json()["message"],
        "too many concurrent requests of this client"
    );
    let grpc_request = [("content-type", "application/grpc+proto")];
    let grpc = refuse(&server, &grpc_request);
    let expected = ["grpc-status", "grpc-message", "content-type", "retry-after"];
    assert_eq!(
        (grpc.status.as_u16(), expected.map(|name| grpc.header(name))),
        (
            200,
            [
                Some("8"),
                Some("too many concurrent requests of this client"),
                Some("application/grpc"),
                Some("1")
            ]
        )
    );
    let config = server.app.effective_config();
    let config = serde_json::to_value(config).unwrap();
    assert_eq!(config["limits"], json!({"few": {"concurrency": 1}}));

    let own = start("refusal = { status = 503, text = '{limit}: {retry_after}' }\n");
    let text = refuse(&own, &[("accept", "text/plain")]);
    assert_eq!((text.status.as_u16(), text.text()), (503, "few: 1"));
    assert_eq!(
        text.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    let grpc = refuse(&own, &grpc_request);
    assert_eq!((grpc.status.as_u16(), grpc.text()), (200, ""));
}
