//! Pages of other origins: preflights need no API key, and pages can read refusals.

use test_support::{Client, Launch, Response, SLOW, Server, Upstream};

const ORIGIN: (&str, &str) = ("Origin", "https://app.example");
const REQUESTED: (&str, &str) = ("Access-Control-Request-Method", "PUT");

fn gateway(url: &str, cors: &str) -> Server {
    let text = format!(
        "upstream = '{url}'\ncapacity = 1\nrefill_rate = {SLOW}\nclient = {{ header = 'X-API-Key' }}\n\
         [cors]\norigins = ['https://app.example', 'https://other.example:8443']\n{cors}\n"
    );
    Launch::new().config("cors.toml", &text).start()
}

fn preflight(client: &mut Client, headers: &[(&str, &str)]) -> Response {
    client.request("OPTIONS", "/items", headers, "")
}

/// Asserts that a page of the origin can read the response and its rate limit headers.
fn assert_readable(response: &Response) {
    assert_eq!(
        response.header("Access-Control-Allow-Origin"),
        Some(ORIGIN.1),
        "{response:?}"
    );
    let exposed = response.header("Access-Control-Expose-Headers").unwrap();
    for name in ["Retry-After", "X-RateLimit-Remaining"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    let vary = ("vary".to_owned(), "origin".to_owned());
    let is_vary =
        |(name, value): &(String, String)| *name.to_lowercase() == vary.0 && *value == vary.1;
    assert!(response.headers.iter().any(is_vary), "{response:?}");
}

#[test]
fn preflights_are_answered_without_a_key_and_without_a_token() {
    let upstream = Upstream::with_body("hello");
    let server = gateway(&upstream.url(), "");
    let mut client = server.client();
    for _ in 0..5 {
        let headers = [
            ORIGIN,
            REQUESTED,
            ("Access-Control-Request-Headers", "x-api-key, content-type"),
        ];
        let response = preflight(&mut client, &headers);
        assert_eq!(response.status, 204);
        assert_readable(&response);
        for (name, expected) in [
            ("Access-Control-Allow-Methods", "PUT"),
            ("Access-Control-Allow-Headers", "x-api-key, content-type"),
            ("Access-Control-Max-Age", "600"),
        ] {
            assert_eq!(response.header(name), Some(expected), "{name}");
        }
        assert_eq!(response.header("Access-Control-Allow-Credentials"), None);
    }
    assert_eq!(upstream.requests().len(), 0);
    let key = [("X-API-Key", "a"), ORIGIN];
    let allowed = client.get_with("/items", &key);
    assert_eq!((allowed.status, allowed.remaining()), (200, 0));
    assert_readable(&allowed);
}

#[test]
fn pages_read_refusals() {
    let upstream = Upstream::with_body("hello");
    for cors in ["", "preflight = 'pass'"] {
        let server = gateway(&upstream.url(), cors);
        let mut client = server.client();
        let missing = client.get_with("/", &[ORIGIN]);
        assert_eq!(missing.status, 401);
        assert_readable(&missing);
        let key = [("X-API-Key", "a"), ORIGIN];
        assert_eq!(client.get_with("/", &key).status, 200);
        let refused = client.get_with("/", &key);
        assert_eq!(refused.status, 429);
        assert!(refused.number("Retry-After") > 0);
        assert_readable(&refused);
    }
}

#[test]
fn other_origins_get_no_headers_and_need_a_key() {
    let upstream = Upstream::with_body("hello");
    let server = gateway(&upstream.url(), "");
    let mut client = server.client();
    for headers in [
        &[("Origin", "https://evil.example"), REQUESTED][..],
        &[("Origin", "null"), REQUESTED],
        &[("Origin", "https://app.example.evil"), REQUESTED],
        &[("Origin", "https://APP.example"), REQUESTED],
        &[ORIGIN, ORIGIN, REQUESTED],
        &[REQUESTED],
        &[ORIGIN],
    ] {
        let response = preflight(&mut client, headers);
        assert_eq!(response.status, 401, "{headers:?}");
        if headers != [ORIGIN] {
            let allowed = response.header("Access-Control-Allow-Origin");
            assert_eq!(allowed, None, "{headers:?}");
        }
    }
    let body = client.request("OPTIONS", "/", &[ORIGIN, REQUESTED], "data");
    assert_eq!(body.status, 401, "a preflight has no body");
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn preflights_pass_to_the_upstream() {
    let upstream = Upstream::responding(
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://app.example\r\n\
         Access-Control-Expose-Headers: X-Own\r\nContent-Length: 0\r\n\r\n",
    );
    let server = gateway(&upstream.url(), "preflight = 'pass'");
    let mut client = server.client();
    for _ in 0..3 {
        let response = preflight(&mut client, &[ORIGIN, REQUESTED]);
        assert_eq!(response.status, 200);
        assert_eq!(
            response.header("Access-Control-Allow-Origin"),
            Some(ORIGIN.1)
        );
    }
    assert_eq!(upstream.requests().len(), 3);
    let key = [("X-API-Key", "a"), ORIGIN];
    let response = client.get_with("/", &key);
    let exposed: Vec<_> = response
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("Access-Control-Expose-Headers"))
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(exposed.len(), 2, "{response:?}");
    assert!(exposed[1].contains("X-RateLimit-Remaining"));
    let with_key = [("X-API-Key", "a"), ORIGIN, ("Connection", "Origin")];
    assert_eq!(
        client.get_with("/", &with_key).status,
        400,
        "the upstream would not recognize the preflight"
    );
}

#[test]
fn credentials_and_every_origin() {
    let upstream = Upstream::with_body("hello");
    let server = gateway(&upstream.url(), "credentials = true\nmax_age = '1m'");
    let response = preflight(&mut server.client(), &[ORIGIN, REQUESTED]);
    for (name, expected) in [
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Max-Age", "60"),
    ] {
        assert_eq!(response.header(name), Some(expected), "{name}");
    }
    let text = format!("capacity = 1\nrefill_rate = {SLOW}\ncors = {{ origins = ['*'] }}\n");
    let server = Launch::new().config("any.toml", &text).start();
    let mut client = server.client();
    for status in [200, 429] {
        let response = client.get_with("/", &[("Origin", "https://any.example")]);
        assert_eq!(response.status, status);
        assert_eq!(response.header("Access-Control-Allow-Origin"), Some("*"));
        assert_eq!(response.header("Vary"), None);
    }
}

#[test]
fn admin_api_and_health_are_not_for_pages() {
    let upstream = Upstream::with_body("hello");
    let server = gateway(&upstream.url(), "");
    let mut client = server.client();
    for path in ["/health", "/config", "/metrics"] {
        let response = client.get_with(path, &[ORIGIN]);
        let allowed = response.header("Access-Control-Allow-Origin");
        assert_eq!(allowed, None, "{path}");
    }
}
