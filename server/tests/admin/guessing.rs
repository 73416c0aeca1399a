//! Guesses of tokens and API keys are limited by client address.

use test_support::{ADMIN_TOKEN, AS_ADMIN, Launch, Response, Server};

const KEYS: &str = "client = { header = 'X-API-Key' }\napi_keys = ['right']\ncapacity = 1000\n";

fn guess(server: &Server, source: &str, number: usize) -> Response {
    let value = format!("Bearer guess {number}");
    server
        .client_from(source)
        .get_with("/config", &[("Authorization", &value)])
}

/// Value of a sample of the failure counter.
fn failures(server: &Server, credential: &str, outcome: &str) -> f64 {
    let text = server.client().get_with("/metrics", &AS_ADMIN).text();
    let start = format!(
        "tollgate_credential_failures_total{{credential=\"{credential}\",outcome=\"{outcome}\"}} "
    );
    text.lines()
        .find_map(|line| line.strip_prefix(&start)?.parse().ok())
        .unwrap_or_else(|| panic!("no {start} in {text}"))
}

#[test]
fn ten_wrong_tokens_a_minute_get_401_and_more_get_429() {
    let server = Server::start(&["--admin-token", ADMIN_TOKEN]);
    for number in 0..10 {
        assert_eq!(guess(&server, "127.0.0.2", number).status, 401, "{number}");
    }
    for number in 10..15 {
        let refused = guess(&server, "127.0.0.2", number);
        assert_eq!(refused.status, 429);
        let text = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(text.starts_with("Rate limit exceeded"), "{text}");
        assert!((1..=60).contains(&refused.number("Retry-After")));
        assert!(refused.retry_after() > 0.0);
    }
    assert_eq!(
        server
            .client_from("127.0.0.2")
            .get_with("/config", &AS_ADMIN)
            .status,
        200,
        "a correct token is always accepted"
    );
    assert_eq!(
        server.client_from("127.0.0.2").get("/config").status,
        401,
        "a request without a token is no guess"
    );
    assert_eq!(
        guess(&server, "127.0.0.3", 0).status,
        401,
        "other addresses have failures of their own"
    );
    let counted = ["denied", "limited"].map(|outcome| failures(&server, "admin_token", outcome));
    assert_eq!(counted, [11.0, 5.0]);
    let log = server.wait_for_log("127.0.0.2");
    assert!(log.contains("WARN") && !log.contains("guess 1"), "{log}");
}

#[test]
fn wrong_check_tokens_cost_as_much() {
    let server = Server::start(&[
        "--admin-token",
        ADMIN_TOKEN,
        "--check-token",
        "token of the check tests",
    ]);
    let check = |token: &str| {
        let value = format!("Bearer {token}");
        let mut client = server.client_from("127.0.0.2");
        let body = r#"{"key": "alice"}"#;
        client
            .request("POST", "/check", &[("Authorization", &value)], body)
            .status
    };
    let statuses: Vec<u16> = (0..12).map(|_| check("wrong")).collect();
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 2]].concat());
    assert_eq!(
        [check("token of the check tests"), check(ADMIN_TOKEN)],
        [200, 200]
    );
    assert_eq!(failures(&server, "check_token", "limited"), 2.0);
}

#[test]
fn unknown_api_keys_cost_as_much_and_missing_ones_nothing() {
    let text = format!("{KEYS}admin_token = '{ADMIN_TOKEN}'\ntrust_proxy = ['127.0.0.9']\n");
    let server = Launch::new().config("keys.toml", &text).start();
    let mut client = server.client();
    (0..20).for_each(|_| assert_eq!(client.get("/").status, 401));
    let with_key = |source: &str, path: &str, headers: &[(&str, &str)]| {
        server.client_from(source).get_with(path, headers).status
    };
    let wrong = [("X-API-Key", "wrong")];
    let statuses: Vec<u16> = ["/", "/auth", "/nothing"]
        .into_iter()
        .cycle()
        .take(12)
        .map(|path| with_key("127.0.0.2", path, &wrong))
        .collect();
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 2]].concat());
    assert_eq!(with_key("127.0.0.2", "/", &[("X-API-Key", "right")]), 200);

    let behind = |client: &str| {
        let headers = [wrong[0], ("X-Forwarded-For", client)];
        with_key("127.0.0.9", "/", &headers)
    };
    let statuses: Vec<u16> = (0..11).map(|_| behind("192.0.2.1")).collect();
    assert_eq!(statuses[10], 429, "{statuses:?}");
    assert_eq!(
        behind("192.0.2.2"),
        401,
        "clients of a trusted proxy have failures of their own"
    );
    assert_eq!(
        ["denied", "limited"].map(|outcome| failures(&server, "api_key", outcome)),
        [21.0, 3.0]
    );
}

#[test]
fn open_check_is_no_way_to_guess_api_keys() {
    let server = Launch::new()
        .config("keys.toml", &format!("{KEYS}check = 'open'\n"))
        .start();
    let check = |key: &str| {
        let body = format!(r#"[{{"key": "{key}"}}]"#);
        server.client_from("127.0.0.2").post("/check", &body).status
    };
    let statuses: Vec<u16> = (0..12).map(|_| check("wrong")).collect();
    assert_eq!(statuses, [[400; 10].as_slice(), &[429; 2]].concat());
    assert_eq!(check("right"), 200);

    let server = Launch::new().config("keys.toml", KEYS).start();
    let mut client = server.client();
    for _ in 0..20 {
        let response = client.post("/check", r#"{"key": "wrong"}"#);
        assert_eq!(response.status, 400, "a caller with access does not guess");
    }
}
