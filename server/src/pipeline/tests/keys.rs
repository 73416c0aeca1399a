//! Tests of clients with API keys, including the six cases of the API-key system.

use hyper::{Request, StatusCode};

use super::{TestResponse, TestServer};

/// Settings of the API-key system.
const SETTINGS: &str =
    "tokens = 100\ntime = 3600\nclient = { header = 'X-API-Key' }\napi_keys = ['first', 'second']";
const KEYS: [&str; 2] = ["first", "second"];

fn get_with_key(server: &TestServer, key: &str) -> TestResponse {
    server.send(Request::get("/").header("x-api-key", key), "")
}

#[test]
fn six_cases_of_the_api_key_system() {
    let server = TestServer::new(SETTINGS);
    for key in KEYS {
        assert_eq!(get_with_key(&server, key).remaining(), 99, "1: the first");
    }
    server.advance(600.0);
    for key in KEYS {
        (0..98).for_each(|count| {
            assert_eq!(
                get_with_key(&server, key).remaining(),
                98 - count,
                "2: the next 98"
            )
        });
        assert_eq!(get_with_key(&server, key).remaining(), 0, "3: the 100th");
    }
    server.advance(600.0);
    for key in KEYS {
        let refused = get_with_key(&server, key);
        assert_eq!(
            (refused.status, refused.remaining()),
            (StatusCode::TOO_MANY_REQUESTS, 0),
            "4: one more"
        );
        assert!(
            (2400.0..2400.2).contains(&refused.retry_after()),
            "until the window ends: {}",
            refused.text()
        );
    }
    server.advance(2399.999);
    for key in KEYS {
        assert_eq!(
            get_with_key(&server, key).status,
            StatusCode::TOO_MANY_REQUESTS,
            "no refill before the window ends"
        );
    }
    server.advance(0.001);
    for key in KEYS {
        assert_eq!(
            get_with_key(&server, key).remaining(),
            99,
            "5: after the window"
        );
    }
    for key in KEYS {
        assert_eq!(get_with_key(&server, key).remaining(), 98, "6: another");
    }
}

#[test]
fn missing_and_unknown_keys_get_401_without_a_charge() {
    let server = TestServer::new(SETTINGS);
    for round in 0..200 {
        let none = server.get("/");
        assert_eq!(
            (none.status, none.header("x-ratelimit-limit")),
            (StatusCode::UNAUTHORIZED, None)
        );
        let unknown = match round {
            // The failures of an address in a minute.
            ..10 => StatusCode::UNAUTHORIZED,
            _ => StatusCode::TOO_MANY_REQUESTS,
        };
        assert_eq!(get_with_key(&server, "third").status, unknown);
        assert_eq!(server.get("/nothing").status, StatusCode::UNAUTHORIZED);
        assert_eq!(server.get("/health").status, StatusCode::OK);
    }
    assert_eq!(get_with_key(&server, "first").remaining(), 99);
    assert!(
        get_with_key(&server, "second").text().contains("127.0.0.1"),
        "the body contains the address, not the key"
    );
}

#[test]
fn rules_identify_clients_by_key() {
    let server = TestServer::new(SETTINGS);
    get_with_key(&server, "second");
    let rule = r#"{"client_id": "first", "capacity": 5, "refill_rate": 1}"#;
    assert_eq!(
        server.post("/admin/update-rule", rule).status,
        StatusCode::OK
    );
    assert_eq!(
        (
            get_with_key(&server, "first").remaining(),
            get_with_key(&server, "second").remaining()
        ),
        (4, 98)
    );
}

#[test]
fn exempt_requests_and_preflights_need_no_key() {
    let toml = format!(
        "{SETTINGS}\ntrust_proxy = ['127.0.0.1']\nroutes = [{{ path = '/open', exempt = true }}]\n\
         cors = {{ origins = ['https://app.example'] }}"
    );
    let server = TestServer::new(&toml);
    let origin = ("origin", "https://app.example");
    assert_eq!(server.get("/open").status, StatusCode::NOT_FOUND);
    let auth = |method: &str, path: &str| {
        let request = Request::get("/auth")
            .header("x-original-method", method)
            .header("x-original-uri", path)
            .header(origin.0, origin.1)
            .header("access-control-request-method", "PUT");
        server.send(request, "")
    };
    assert_eq!(auth("GET", "/open").status, StatusCode::OK);
    assert_eq!(auth("OPTIONS", "/other").status, StatusCode::OK);
    let refused = auth("GET", "/other");
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        refused.header("access-control-allow-origin"),
        Some(origin.1)
    );
}

#[test]
fn credentials_of_any_characters_may_be_checked_and_ruled() {
    let server = TestServer::new("client = { header = 'Authorization' }");
    let checked = server.post("/check", r#"{"key": "éA b"}"#);
    assert_eq!(checked.json()["remaining"], 9, "{checked:?}");
    let again = server.post("/check", r#"[{"key": " éa  b"}]"#);
    assert_eq!(again.json()[0]["remaining"], 8, "{again:?}");
    let rule = r#"{"client_id": "éA b", "capacity": 5, "refill_rate": 1}"#;
    let ruled = server.post("/admin/update-rule", rule);
    assert_eq!(ruled.json()["client_id"], "éa b", "{ruled:?}");
}
