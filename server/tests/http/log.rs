//! The log: a line for a start, a stop and a change of limits, and at debug level for each request.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use test_support::{Launch, Server, TEST_TIMEOUT};

/// Waits for this many lines in the log, and returns its lines; after the timeout, those present.
fn lines(server: &Server, count: usize) -> Vec<String> {
    let started = Instant::now();
    loop {
        let log = server.stderr();
        if log.lines().count() >= count || started.elapsed() > TEST_TIMEOUT {
            return log.lines().map(str::to_owned).collect();
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn starts_changes_and_stops_log_one_line_and_requests_none() {
    let mut server = Server::with_capacity(3);
    assert_eq!(lines(&server, 1).len(), 1);
    for _ in 0..5 {
        server.get("/");
    }
    server.get("/config");
    assert_eq!(server.post("/config", r#"{"capacity": 77}"#).status, 200);
    let log = lines(&server, 2);
    assert_eq!(log.len(), 2, "{log:#?}");
    assert!(log[1].contains("77"), "{log:#?}");

    let rule = r#"{"client_id": "127.0.0.2", "capacity": 88, "refill_rate": 1}"#;
    assert_eq!(server.post("/admin/update-rule", rule).status, 200);
    let log = lines(&server, 3);
    assert_eq!(log.len(), 3, "{log:#?}");
    assert!(
        log[2].contains("127.0.0.2") && log[2].contains("88"),
        "{log:#?}"
    );

    assert_eq!(server.client().delete("/admin/rule/127.0.0.2").status, 200);
    let log = lines(&server, 4);
    assert_eq!(log.len(), 4, "{log:#?}");
    assert!(log[3].contains("127.0.0.2"), "{log:#?}");

    server.signal(Signal::TERM);
    server.exit_within(TEST_TIMEOUT).expect("the server exits");
    let log = lines(&server, 5);
    assert_eq!(log.len(), 5, "{log:#?}");
}

#[test]
fn at_debug_level_each_request_logs_client_cost_and_outcome() {
    let args = ["--capacity", "4", "--refill-rate", test_support::SLOW];
    let server = Launch::new()
        .args(&args)
        .env("RUST_LOG", "tollgate=debug")
        .start();
    lines(&server, 1);
    let mut client = server.client_from("127.0.0.7");
    assert_eq!(client.request("POST", "/api/upload", &[], "").status, 200);
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.get("/").status, 429);
    let log = lines(&server, 4);
    let requests: Vec<_> = log
        .iter()
        .filter(|line| line.contains("127.0.0.7"))
        .collect();
    assert_eq!(requests.len(), 3, "{log:#?}");
    assert!(requests[0].contains('3'), "the cost: {log:#?}");
    let outcome = |line: &str| -> String {
        let rest = line
            .split_once("outcome")
            .unwrap_or_else(|| panic!("no outcome in {line}"))
            .1;
        rest.chars()
            .filter(|c| c.is_ascii_alphabetic())
            .take(7)
            .collect()
    };
    assert_eq!(outcome(requests[0]), outcome(requests[1]));
    assert_ne!(outcome(requests[1]), outcome(requests[2]));
}

#[test]
fn the_log_does_not_show_the_admin_token_and_api_keys() {
    let text = r#"
        client = { header = "X-API-Key" }
        api_keys = ["key-that-is-secret"]
        admin_token = "token-that-is-secret"
    "#;
    let server = Launch::new()
        .config("a.toml", text)
        .env("RUST_LOG", "info")
        .start();
    let mut client = server.client();
    client.get_with("/", &[("X-API-Key", "key-that-is-secret")]);
    let token = [("Authorization", "Bearer token-that-is-secret")];
    client.request("POST", "/config", &token, r#"{"capacity": 5}"#);
    let log = lines(&server, 2).join("\n");
    assert!(!log.contains("that-is-secret"), "{log}");
    let shown = client.get_with("/config", &token).text();
    assert!(!shown.contains("token-that-is-secret"), "{shown}");
}

#[test]
fn a_request_cannot_forge_log_lines() {
    let server = Launch::new().env("RUST_LOG", "debug").start();
    lines(&server, 1);
    let mut client = server.client();
    client.get("/%0Aforged%20line");
    client.get_with("/", &[("X-Forwarded-For", "1.2.3.4\tforged line")]);
    let rule = r#"{"client_id": "x\nforged line", "capacity": 5, "refill_rate": 1}"#;
    client.post("/admin/update-rule", rule);
    client.get("/last");
    let log = server.wait_for_log("/last");
    assert!(
        !log.lines().any(|line| line.starts_with("forged line")),
        "{log}"
    );
}

#[test]
fn no_level_of_the_log_and_no_configuration_shows_api_keys() {
    let text = r#"
        client = { header = "X-API-Key" }
        api_keys = ["first-secret-key", "second-secret-key"]
        [[rules]]
        client_id = "first-secret-key"
        capacity = 50
        refill_rate = 1
    "#;
    let server = Launch::new()
        .config("a.toml", text)
        .env("TOLLGATE_LOG", "trace")
        .start();
    let mut client = server.client();
    for path in ["/", "/nothing", "/auth"] {
        client.get_with(path, &[("X-API-Key", "first-secret-key")]);
    }
    client.get_with("/", &[("X-API-Key", "third-secret-key")]);
    let rule = r#"{"client_id": "second-secret-key", "capacity": 60, "refill_rate": 1}"#;
    assert_eq!(client.post("/admin/update-rule", rule).status, 200);
    let body = r#"{"key": "second-secret-key"}"#;
    assert_eq!(client.post("/check", body).status, 200);
    let config = client.get("/config").text();
    assert_eq!(
        client.delete("/admin/rule/second-secret-key").status,
        200,
        "a rule is removed by the key itself"
    );
    client.request("PUT", "/admin/rule/second-secret-key", &[], "");
    let changed = client.post("/config", r#"{"capacity": 7}"#).text();
    client.get("/last");
    let log = server.wait_for_log("/last");
    for text in [&log, &config, &changed] {
        assert!(!text.contains("secret-key"), "{text}");
    }
    let rules: serde_json::Value = serde_json::from_str(&config).unwrap();
    let rules = rules["rules"].as_object().unwrap();
    assert_eq!(rules.len(), 2, "{config}");
    for (name, rule) in rules {
        assert!(name.starts_with("key#"), "{config}");
        assert!(
            log.contains(name) || rule["capacity"] == 60,
            "{name}: {log}"
        );
    }
}
