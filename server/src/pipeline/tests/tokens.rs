//! Tests of requests without a token that counts: 401 with a challenge, and 429 for guesses.

use std::io::Write;

use hyper::Request;
use serde_json::json;
use tempfile::NamedTempFile;

use super::{TestResponse, TestServer};
use crate::request::jwt::tests::{jwks_of_secret, signed_by_secret};

/// Returns a server whose limit has this key.
fn server(jwt: &str, key: &str) -> TestServer {
    let mut keys = NamedTempFile::new().unwrap();
    keys.write_all(jwks_of_secret().as_bytes()).unwrap();
    TestServer::new(&format!(
        "[jwt]\nkeys = {:?}\nalgorithms = ['HS256']\n{jwt}\n\
         [[limits]]\nname = 'user'\nkey = '{key}'\nquota = '100/hour'",
        keys.path()
    ))
}

fn get_with(server: &TestServer, name: &str, value: &str) -> TestResponse {
    server.send(Request::get("/").header(name, value), "")
}

fn with_token(server: &TestServer, token: &str) -> TestResponse {
    get_with(server, "authorization", &format!("Bearer {token}"))
}

fn forged() -> String {
    let mut token = signed_by_secret(json!({"sub": "alice"}), 60);
    let changed = if token.contains(".A") { ".B" } else { ".A" };
    let dot = token.rfind('.').unwrap();
    token.replace_range(dot..dot + 2, changed);
    token
}

/// Number of failures with 401 and with 429.
fn failures(server: &TestServer) -> (u64, u64) {
    let metrics = server.get("/metrics");
    let text = metrics.text();
    let count = |outcome: &str| {
        let start = format!("credential=\"jwt\",outcome=\"{outcome}\"}} ");
        let (_, rest) = text.split_once(&start).unwrap();
        rest.lines().next().unwrap().parse().unwrap()
    };
    (count("denied"), count("limited"))
}

#[test]
fn guessed_tokens_get_429_after_ten_and_a_correct_one_is_accepted() {
    for wrong in [forged(), "x".to_owned(), "a.b.c".to_owned()] {
        let server = server("", "jwt:sub");
        for _ in 0..10 {
            let denied = with_token(&server, &wrong);
            assert_eq!(denied.status, 401, "{wrong}");
            assert_eq!(
                denied.header("www-authenticate"),
                Some("Bearer error=\"invalid_token\"")
            );
        }
        let limited = with_token(&server, &wrong);
        assert_eq!(limited.status, 429, "{wrong}");
        assert!(limited.retry_after() <= 60.0);
        assert_eq!(failures(&server), (10, 1));

        let correct = signed_by_secret(json!({"sub": "alice"}), 60);
        assert_eq!(with_token(&server, &correct).status, 200);
        let other = Request::get("/").header("authorization", "Bearer x");
        assert_eq!(server.client("192.0.2.7").send(other, "").status, 401);
    }
}

#[test]
fn missing_and_expired_tokens_are_no_guesses() {
    let server = server("issuer = 'https://id.example'", "jwt:sub");
    let claims = json!({"sub": "alice", "iss": "https://id.example"});
    let expired = signed_by_secret(claims.clone(), -600);
    let of_another = signed_by_secret(json!({"sub": "alice", "iss": "https://b.example"}), 60);
    let nameless = signed_by_secret(json!({"iss": "https://id.example"}), 60);
    for _ in 0..20 {
        let missing = server.get("/");
        assert_eq!(missing.status, 401);
        assert_eq!(missing.header("www-authenticate"), Some("Bearer"));
        for token in [&expired, &of_another] {
            let denied = with_token(&server, token);
            assert_eq!(denied.status, 401);
            let challenge = denied.header("www-authenticate");
            assert_eq!(challenge, Some("Bearer error=\"invalid_token\""));
        }
        assert_eq!(with_token(&server, &nameless).status, 401);
    }
    assert_eq!(failures(&server), (0, 0));
    let correct = signed_by_secret(claims, 60);
    assert_eq!(with_token(&server, &correct).status, 200);
}

#[test]
fn a_request_that_another_key_identifies_is_no_guess() {
    let server = server("", "jwt:sub | header:X-API-Key");
    for _ in 0..20 {
        let request = Request::get("/")
            .header("authorization", "Bearer opaque")
            .header("x-api-key", "alice");
        assert_eq!(server.send(request, "").status, 200);
    }
    assert_eq!(failures(&server), (0, 0));
}

#[test]
fn a_token_in_a_cookie_has_no_challenge() {
    let server = server("cookie = 'session'", "jwt:sub");
    let denied = get_with(&server, "cookie", "session=x");
    assert_eq!(
        (denied.status.as_u16(), denied.header("www-authenticate")),
        (401, None)
    );
    assert_eq!(server.get("/").header("www-authenticate"), None);
    assert_eq!(failures(&server), (1, 0));
    let correct = signed_by_secret(json!({"sub": "alice"}), 60);
    assert_eq!(
        get_with(&server, "cookie", &format!("session={correct}")).status,
        200
    );
}
