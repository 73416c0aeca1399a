//! Clients identified by an API key, including the six cases of the API-key system.

use std::thread;
use std::time::{Duration, Instant};

use test_support::http::encode;
use test_support::{Client, Launch, Response, Server};

const LISTED: &str = r#"
    capacity = 3
    refill_rate = 0.001
    client = { header = "X-API-Key" }
    api_keys = ["alice-key", "bob-key"]
"#;

fn with_key(client: &mut Client, key: &str) -> Response {
    client.get_with("/", &[("X-API-Key", key)])
}

#[test]
fn missing_and_unknown_keys_get_401_without_a_charge() {
    let server = Launch::new().config("keys.toml", LISTED).start();
    let mut client = server.client();
    for round in 0..10 {
        // Of an address of its own each round, since one has 10 failures a minute.
        let mut client = server.client_from(&format!("127.0.1.{round}"));
        let none = client.get("/");
        assert_eq!(none.status, 401);
        assert!(none.json().is_object());
        assert_eq!(
            none.header("X-RateLimit-Limit"),
            None,
            "no rate limit headers"
        );
        let wrong_keys = [
            "",
            "mallory",
            "alice-ke",
            "alice-key2",
            "Alice-Key",
            "alice-key, bob-key",
            "\u{e9}",
        ];
        for wrong in wrong_keys {
            assert_eq!(with_key(&mut client, wrong).status, 401, "{wrong:?}");
        }
    }
    assert_eq!(client.get("/nothing").status, 401, "for every path");
    assert_eq!(with_key(&mut client, "alice-key").remaining(), 2);
    assert_eq!(with_key(&mut client, "bob-key").remaining(), 2);
    assert_eq!(
        client.get("/health").status,
        200,
        "a health check needs no key"
    );
}

#[test]
fn keys_have_separate_buckets_independent_of_addresses() {
    let server = Launch::new().config("keys.toml", LISTED).start();
    let mut here = server.client();
    let mut there = server.client_from("127.0.0.2");
    assert_eq!(with_key(&mut here, "alice-key").remaining(), 2);
    assert_eq!(
        with_key(&mut there, "alice-key").remaining(),
        1,
        "one key from several addresses"
    );
    assert_eq!(with_key(&mut here, "alice-key").remaining(), 0);
    assert_eq!(with_key(&mut there, "alice-key").status, 429);
    for remaining in [2, 1, 0] {
        assert_eq!(with_key(&mut here, "bob-key").remaining(), remaining);
    }
    assert_eq!(with_key(&mut here, "bob-key").status, 429);
}

#[test]
fn without_a_list_every_key_is_accepted() {
    let text = "capacity = 3\nrefill_rate = 0.001\nclient = { header = \"x-api-key\" }\n";
    let server = Launch::new().config("keys.toml", text).start();
    let mut client = server.client();
    assert_eq!(client.get("/").status, 401);
    for key in ["one", "two", "three"] {
        assert_eq!(with_key(&mut client, key).remaining(), 2);
        assert_eq!(with_key(&mut client, key).remaining(), 1);
    }
    let other_case = client.get_with("/", &[("X-API-KEY", "one")]);
    assert_eq!(
        other_case.remaining(),
        0,
        "header names are case-insensitive"
    );
    assert_eq!(
        with_key(&mut client, "One").remaining(),
        2,
        "keys are case-sensitive"
    );
}

#[test]
fn rule_applies_to_one_key() {
    let server = Launch::new().config("keys.toml", LISTED).start();
    let mut client = server.client();
    with_key(&mut client, "bob-key");
    let rule = r#"{"client_id": "alice-key", "capacity": 50, "refill_rate": 0.001}"#;
    assert_eq!(client.post("/admin/update-rule", rule).status, 200);
    assert_eq!(with_key(&mut client, "alice-key").remaining(), 49);
    assert_eq!(with_key(&mut client, "bob-key").remaining(), 1);
    assert_eq!(client.delete("/admin/rule/alice-key").status, 200);
    assert_eq!(with_key(&mut client, "alice-key").limit(), 3);
}

#[test]
fn upload_cost_applies_to_keys() {
    let server = Launch::new().config("keys.toml", LISTED).start();
    let key = [("X-API-Key", "alice-key")];
    let mut client = server.client();
    assert_eq!(
        client.request("POST", "/api/upload", &key, "").remaining(),
        0
    );
    assert_eq!(client.get_with("/", &key).status, 429);
}

const KEYS: [&str; 2] = ["first-key", "second-key"];
const WINDOW: Duration = Duration::from_secs(3);

/// Starts a server with the API-key system's settings, and a window short enough for a test.
fn api_key_system() -> Server {
    let text = format!(
        r#"{{"tokens": 100, "time": {}, "client": {{"header": "X-API-Key"}}, "api_keys": {KEYS:?}}}"#,
        WINDOW.as_secs()
    );
    Launch::new().config("settings.json", &text).start()
}

/// Sends pipelined requests, so that a slow machine stays within the window.
fn send_many(client: &mut Client, key: &str, count: usize) -> Vec<Response> {
    client
        .send(&encode("GET", "/", &[("X-API-Key", key)], "").repeat(count))
        .unwrap();
    (0..count).map(|_| client.read().unwrap()).collect()
}

#[test]
fn six_cases_of_the_api_key_system() {
    let server = api_key_system();
    let mut client = server.client();
    let started = Instant::now();

    for key in KEYS {
        let first = with_key(&mut client, key);
        assert_eq!(
            (first.status, first.remaining()),
            (200, 99),
            "1: the first of {key}"
        );
    }
    for key in KEYS {
        for (index, response) in send_many(&mut client, key, 98).into_iter().enumerate() {
            let expected = (200, 98 - index as u64);
            assert_eq!(
                (response.status, response.remaining()),
                expected,
                "2: the next 98 of {key}"
            );
        }
    }
    for key in KEYS {
        let hundredth = with_key(&mut client, key);
        assert_eq!(
            (hundredth.status, hundredth.remaining()),
            (200, 0),
            "3: the 100th of {key}"
        );
    }
    let refused = KEYS.map(|key| {
        let refused = with_key(&mut client, key);
        assert_eq!(refused.status, 429, "4: one more of {key}");
        let wait = refused.retry_after();
        let ends = started.elapsed().as_secs_f64() + wait;
        assert!(
            ends >= WINDOW.as_secs_f64(),
            "the window ends {ends} s after the first request"
        );
        assert!(
            wait <= WINDOW.as_secs_f64() + 0.001,
            "exceeds the window: {wait}"
        );
        assert_eq!(refused.number("Retry-After"), wait.ceil() as u64);
        (Instant::now(), wait)
    });
    assert!(
        started.elapsed() < WINDOW,
        "this machine is too slow for the test"
    );
    for (at, wait) in refused {
        thread::sleep(
            (at + Duration::from_secs_f64(wait)).saturating_duration_since(Instant::now()),
        );
    }
    for key in KEYS {
        let after = with_key(&mut client, key);
        assert_eq!(
            (after.status, after.remaining()),
            (200, 99),
            "5: after the window, {key}"
        );
    }
    for key in KEYS {
        let another = with_key(&mut client, key);
        assert_eq!(
            (another.status, another.remaining()),
            (200, 98),
            "6: another of {key}"
        );
    }
}

#[test]
fn window_begins_with_the_first_request_of_each_key() {
    let server = api_key_system();
    let mut client = server.client();
    let started = Instant::now();
    with_key(&mut client, KEYS[0]);
    thread::sleep(Duration::from_millis(1200));
    let later = started.elapsed().as_secs_f64();
    send_many(&mut client, KEYS[1], 100);
    send_many(&mut client, KEYS[0], 99);
    let first = with_key(&mut client, KEYS[0]);
    let second = with_key(&mut client, KEYS[1]);
    assert!(
        started.elapsed() < WINDOW,
        "this machine is too slow for the test"
    );
    assert_eq!((first.status, second.status), (429, 429));
    let apart = second.retry_after() - first.retry_after();
    assert!(
        apart > 0.5 && apart < later + 1.0,
        "the windows end {apart} s apart"
    );
}

#[test]
fn rule_of_a_key_with_special_characters_is_removed_by_its_encoded_name() {
    let text = "capacity = 3\nrefill_rate = 0.001\nclient = { header = \"X-API-Key\" }\n";
    let server = Launch::new().config("keys.toml", text).start();
    let mut client = server.client();
    let rule = r#"{"client_id": "team/one 100%", "capacity": 50, "refill_rate": 0.001}"#;
    assert_eq!(client.post("/admin/update-rule", rule).status, 200);
    assert_eq!(with_key(&mut client, "team/one 100%").limit(), 50);
    let path = "/admin/rule/team%2Fone%20100%25";
    assert_eq!(client.delete(path).status, 200);
    assert_eq!(with_key(&mut client, "team/one 100%").limit(), 3);
}

#[test]
fn spellings_of_authorization_share_a_bucket() {
    for list in ["", "api_keys = ['bearer abc', 'Basic YTpi']\n"] {
        let text = format!(
            "capacity = 10\nrefill_rate = 0.001\nclient = {{ header = 'Authorization' }}\n{list}"
        );
        let server = Launch::new().config("keys.toml", &text).start();
        let mut client = server.client();
        let spellings = ["Bearer abc", "bearer abc", "Bearer  abc", "BEARER\tabc"];
        for (count, value) in spellings.into_iter().enumerate() {
            let response = client.get_with("/", &[("Authorization", value)]);
            assert_eq!(response.status, 200, "{value:?}");
            assert_eq!(response.remaining(), 9 - count as u64, "{value:?}");
        }
        for value in ["Bearer abc def", "Basic YTp!i", "Basic YTpi="] {
            let response = client.get_with("/", &[("Authorization", value)]);
            assert_eq!(response.status, 401, "{value:?}");
        }
        let rule = r#"{"client_id": "BEARER abc", "capacity": 50, "refill_rate": 0.001}"#;
        assert_eq!(client.post("/admin/update-rule", rule).status, 200);
        let response = client.get_with("/", &[("Authorization", "bearer abc")]);
        assert_eq!(response.limit(), 50);
    }
}

#[test]
fn keys_above_1024_bytes_get_401() {
    let text = "capacity = 3\nrefill_rate = 0.001\nclient = { header = \"X-API-Key\" }\n";
    let server = Launch::new().config("keys.toml", text).start();
    let mut client = server.client();
    assert_eq!(with_key(&mut client, &"k".repeat(1024)).status, 200);
    for length in [1025, 15_000] {
        let response = with_key(&mut client, &"k".repeat(length));
        assert_eq!(response.status, 401, "{length}");
        assert!(response.text().contains("1024"), "{}", response.text());
    }
    let id = "k".repeat(1025);
    let rule = format!(r#"{{"client_id": "{id}", "capacity": 5, "refill_rate": 1}}"#);
    assert_eq!(client.post("/admin/update-rule", &rule).status, 400);
}

#[test]
fn exempt_routes_need_no_key() {
    let text = format!(
        "{LISTED}\n[[routes]]\npath = '/public/*'\nexempt = true\n[[routes]]\npath = '/'\nexempt = true\n"
    );
    let server = Launch::new().config("keys.toml", &text).start();
    let mut client = server.client();
    for _ in 0..5 {
        assert_eq!(
            client.get("/public/a").status,
            404,
            "allowed, and not found"
        );
        let root = client.get("/");
        assert_eq!((root.status, root.from().as_str()), (200, "127.0.0.1"));
        assert_eq!(root.header("X-RateLimit-Limit"), None);
        assert_eq!(with_key(&mut client, "mallory").status, 200);
    }
    assert_eq!(client.get("/api/data").status, 401);
}
