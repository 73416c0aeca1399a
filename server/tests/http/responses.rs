//! Every endpoint: its response, headers, cost and refusals.

use serde_json::{Value, json};
use test_support::{Response, Server};

#[test]
fn by_default_the_capacity_is_10_and_one_token_is_refilled_each_second() {
    let server = Server::start(&[]);
    let first = server.get("/");
    assert_eq!(
        (first.status, first.limit(), first.remaining()),
        (200, 10, 9)
    );
    assert_eq!(first.reset(), 1, "the refill of one token takes a second");
}

#[test]
fn the_root_shows_the_client_and_that_access_is_granted() {
    let server = Server::with_capacity(10);
    let response = server.get("/");
    assert_eq!(response.status, 200);
    assert!(
        response
            .header("content-type")
            .unwrap()
            .starts_with("application/json")
    );
    assert_eq!(
        response.json(),
        json!({"from": "127.0.0.1", "message": "Access granted"})
    );

    let other = server.client_from("127.0.0.2").get("/");
    assert_eq!(
        other.json(),
        json!({"from": "127.0.0.2", "message": "Access granted"})
    );
}

#[test]
fn ping_and_data_cost_1_and_an_upload_costs_3() {
    let server = Server::with_capacity(10);
    let mut client = server.client();
    for (method, path, remaining) in [
        ("GET", "/api/ping", 9),
        ("GET", "/api/data", 8),
        ("POST", "/api/upload", 5),
    ] {
        let response = client.request(method, path, &[], "");
        assert_eq!(response.status, 200, "{method} {path}");
        assert!(response.json().is_object(), "{method} {path}");
        assert_eq!(response.limit(), 10, "{method} {path}");
        assert_eq!(response.remaining(), remaining, "{method} {path}");
    }
}

#[test]
fn a_submission_is_echoed() {
    let server = Server::with_capacity(10);
    let submitted = json!({"name": "Zoë", "values": [1, 2.5, null, {"deep": true}]});
    let response = server.post("/api/submit", &submitted.to_string());
    assert_eq!((response.status, response.remaining()), (200, 9));
    assert!(
        contains(&response.json(), &submitted),
        "{submitted} is not in {}",
        response.text()
    );

    for odd in ["", "no json at all", "[1,", "\u{1F600}"] {
        let status = server.post("/api/submit", odd).status;
        assert!((200..500).contains(&status), "{odd:?} gets {status}");
    }
}

/// Returns whether `outer` contains `inner` at any depth.
fn contains(outer: &Value, inner: &Value) -> bool {
    outer == inner
        || match outer {
            Value::Array(values) => values.iter().any(|value| contains(value, inner)),
            Value::Object(fields) => fields.values().any(|value| contains(value, inner)),
            _ => false,
        }
}

#[test]
fn the_health_check_is_never_limited_and_costs_nothing() {
    let server = Server::with_capacity(1);
    let mut client = server.client();
    for _ in 0..20 {
        assert_eq!(client.get("/health").status, 200);
    }
    assert_eq!(
        client.get("/").status,
        200,
        "the health checks took no token"
    );
    assert_eq!(client.get("/").status, 429);
    assert_eq!(client.get("/health").status, 200, "also without tokens");
}

#[test]
fn anything_else_is_404_and_costs_a_token() {
    let server = Server::with_capacity(10);
    let mut client = server.client();
    let unknown = [
        ("GET", "/nothing"),
        ("GET", "/api"),
        ("GET", "/api/ping/"),
        ("GET", "/API/ping"),
        ("GET", "/api/upload"),
        ("POST", "/api/ping"),
        ("DELETE", "/"),
        ("PUT", "/api/submit"),
    ];
    for (index, (method, path)) in unknown.into_iter().enumerate() {
        let response = client.request(method, path, &[], "");
        assert_eq!(response.status, 404, "{method} {path}");
        assert_eq!(response.remaining(), 9 - index as u64, "{method} {path}");
        assert_eq!(response.limit(), 10, "{method} {path}");
    }
    assert_eq!(client.get("/").remaining(), 1);
    assert_eq!(client.get("/nothing").status, 404);
    assert_eq!(
        client.get("/nothing").status,
        429,
        "a 404 is limited like any other request"
    );
}

#[test]
fn a_query_does_not_change_the_path() {
    let server = Server::with_capacity(10);
    assert_eq!(server.get("/?a=b").status, 200);
    assert_eq!(server.get("/api/ping?a=b&c").status, 200);
    let upload = server
        .client()
        .request("POST", "/api/upload?name=x", &[], "");
    assert_eq!((upload.status, upload.remaining()), (200, 5));
}

#[test]
fn each_address_has_a_bucket_of_its_own() {
    let server = Server::with_capacity(2);
    let mut first = server.client_from("127.0.0.2");
    let mut second = server.client_from("127.0.0.3");
    for status in [200, 200, 429, 429] {
        assert_eq!(first.get("/").status, status);
    }
    for status in [200, 200, 429] {
        assert_eq!(second.get("/").status, status);
    }
    let again = server.client_from("127.0.0.2").get("/");
    assert_eq!(again.status, 429, "a new connection is the same client");
}

#[test]
fn pipelined_requests_get_responses_in_order() {
    let server = Server::with_capacity(5);
    let mut client = server.client();
    let all: Vec<u8> = (0..8)
        .flat_map(|_| test_support::http::encode("GET", "/api/ping", &[], ""))
        .collect();
    client.send(&all).unwrap();
    let responses: Vec<_> = (0..8).map(|_| client.read().unwrap()).collect();
    let statuses: Vec<_> = responses.iter().map(|response| response.status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
    let remaining: Vec<_> = responses[..5].iter().map(Response::remaining).collect();
    assert_eq!(remaining, [4, 3, 2, 1, 0]);
}

#[test]
fn a_target_may_be_an_absolute_url() {
    let server = Server::with_capacity(10);
    assert_eq!(server.get("http://localhost/api/ping").status, 200);
    assert_eq!(
        server
            .get("http://localhost/health")
            .header("X-RateLimit-Remaining"),
        None
    );
}

#[test]
fn a_response_is_sent_before_connection_close() {
    let server = Server::with_capacity(10);
    let mut client = server.client();
    assert_eq!(client.get_with("/", &[("Connection", "close")]).status, 200);
    assert!(client.is_closed_within(test_support::TEST_TIMEOUT));
    let mut old = server.client();
    old.send(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(old.read().unwrap().status, 200);
    assert!(old.is_closed_within(test_support::TEST_TIMEOUT));
}
