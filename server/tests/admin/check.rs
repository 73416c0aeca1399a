//! `POST /check`: decisions for other services, and access to them.

use serde_json::{Value, json};
use test_support::redis::RedisServer;
use test_support::{Client, Launch, SLOW, Server};

fn check(client: &mut Client, body: &str) -> Value {
    let response = client.post("/check", body);
    assert_eq!(response.status, 200, "{body}: {}", response.text());
    response.json()
}

#[test]
fn response_is_200_for_allowed_and_refused_keys_with_retry_after() {
    let server = Server::with_capacity(10);
    let mut client = server.client();
    let first = check(&mut client, r#"{"key": "alice", "cost": 4}"#);
    let reset_after = first["reset_after"].as_f64().unwrap();
    assert!(
        (3990.0..=4000.0).contains(&reset_after),
        "four tokens refill in 4000 s: {first}"
    );
    let expected = json!({"allowed": true, "limit": 10, "remaining": 6, "retry_after": null, "reset_after": reset_after});
    assert_eq!(first, expected);

    let refused = check(&mut client, r#"{"key": "alice", "cost": 8}"#);
    assert_eq!(
        (&refused["allowed"], &refused["remaining"]),
        (&json!(false), &json!(6))
    );
    let retry_after = refused["retry_after"].as_f64().unwrap();
    assert!(
        (1990.0..2000.2).contains(&retry_after),
        "two tokens are missing: {refused}"
    );

    let never = check(&mut client, r#"{"key": "alice", "cost": 11}"#);
    assert_eq!(
        (&never["allowed"], &never["retry_after"]),
        (&json!(false), &json!(null))
    );
    assert_eq!(
        check(&mut client, r#"{"key": "alice"}"#)["remaining"],
        5,
        "the default cost is 1"
    );
    assert_eq!(
        check(&mut client, r#"{"key": "bob"}"#)["remaining"],
        9,
        "keys have separate buckets"
    );
}

#[test]
fn list_gets_decisions_in_order() {
    let server = Server::with_capacity(10);
    let mut client = server.client();
    let body = r#" [{"key": "alice", "cost": 7}, {"key": "bob"}, {"key": "alice", "cost": 7}, {"key": "alice", "cost": 3}]"#;
    let decisions = check(&mut client, body);
    let summary: Vec<_> = decisions
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["allowed"], &one["remaining"]))
        .collect();
    let expected = [(true, 3), (true, 9), (false, 3), (true, 0)]
        .map(|(allowed, remaining)| (json!(allowed), json!(remaining)));
    assert_eq!(
        summary,
        expected
            .iter()
            .map(|(allowed, remaining)| (allowed, remaining))
            .collect::<Vec<_>>()
    );
    assert_eq!(check(&mut client, "[]"), json!([]));
    let hundred = vec![r#"{"key": "x"}"#; 100].join(",");
    assert_eq!(
        check(&mut client, &format!("[{hundred}]"))
            .as_array()
            .unwrap()
            .len(),
        100
    );
}

#[test]
fn invalid_body_gets_400_with_the_field_and_charges_nothing() {
    let server = Server::with_capacity(10);
    let mut client = server.client();
    let long = format!(r#"{{"key": "{}"}}"#, "x".repeat(1025));
    let many = format!("[{}]", vec![r#"{"key": "alice"}"#; 101].join(","));
    for (body, field) in [
        (r#"{"cost": 4}"#, "key"),
        (r#"{"key": 5}"#, "key"),
        (r#"{"key": null}"#, "key"),
        (r#"{"key": ""}"#, "key"),
        (&long, "key"),
        (r#"{"key": "alice", "cost": 0}"#, "cost"),
        (r#"{"key": "alice", "cost": -1}"#, "cost"),
        (r#"{"key": "alice", "cost": 1.5}"#, "cost"),
        (r#"{"key": "alice", "cost": 4294967296}"#, "cost"),
        (r#"{"key": "alice", "cost": "4"}"#, "cost"),
        (r#"{"key": "alice", "cost": null}"#, "cost"),
        (r#"{"key": "alice", "cost": 1, "cost": 2}"#, "cost"),
        (r#"{"key": "alice", "burst": 4}"#, "burst"),
        (
            r#"[{"key": "alice"}, {"key": "alice", "cost": 0}]"#,
            "[1].cost",
        ),
        (r#"[{"key": "alice"}, {"key": ""}]"#, "[1].key"),
        (r#"[{"key": "alice"}, ["alice", 1]]"#, "[1]"),
        (&many, "101"),
        (r#"["alice", 1]"#, ""),
        (r#""alice""#, ""),
        (r#"{"key": "alice""#, ""),
        (r#"[{"key": "alice"}"#, ""),
        (r#"{"key": "alice"} x"#, ""),
        ("null", ""),
        ("", ""),
    ] {
        let response = client.post("/check", body);
        let (status, text) = (response.status, response.text());
        assert!(
            status == 400 && text.contains(field),
            "{body}: {field:?} is not named in {status} {text}"
        );
    }
    assert_eq!(
        check(&mut client, r#"{"key": "alice"}"#)["remaining"],
        9,
        "no token was taken"
    );
    let huge = format!(r#"[{{"key": "alice"}}{}]"#, " ".repeat(70_000));
    assert_eq!(client.post("/check", &huge).status, 413);
    assert_eq!(
        server.post("/check", r#"{"key": "alice"}"#).json()["remaining"],
        8
    );
}

#[test]
fn key_that_looks_like_an_address_has_its_own_bucket() {
    let server = Server::with_capacity(10);
    let mut client = server.client();
    assert_eq!(
        check(&mut client, r#"{"key": "127.0.0.1", "cost": 10}"#)["remaining"],
        0
    );
    let response = client.get("/");
    assert_eq!(
        (response.status, response.remaining()),
        (200, 9),
        "/check costs its caller nothing, and the address has its own bucket"
    );
}

#[test]
fn rules_apply_to_check_keys() {
    let server = Server::with_capacity(10);
    let mut client = server.client();
    let rule = r#"{"client_id": "check:alice", "capacity": 50, "refill_rate": 0.001}"#;
    assert_eq!(client.post("/admin/update-rule", rule).status, 200);
    assert_eq!(check(&mut client, r#"{"key": "alice"}"#)["limit"], 50);
    assert_eq!(check(&mut client, r#"{"key": "bob"}"#)["limit"], 10);
    assert_eq!(
        client.get("/config").json()["rules"]["check:alice"]["capacity"],
        50
    );
    assert_eq!(client.delete("/admin/rule/check:alice").status, 200);
    assert_eq!(check(&mut client, r#"{"key": "alice"}"#)["limit"], 10);
}

#[test]
fn with_api_keys_a_check_key_is_an_api_key() {
    let file = "capacity = 10\nrefill_rate = 0.001\nclient = { header = 'X-API-Key' }\napi_keys = ['first', 'second']";
    let server = Launch::new().config("tollgate.toml", file).start();
    let mut client = server.client();
    assert_eq!(
        check(&mut client, r#"{"key": "first", "cost": 4}"#)["remaining"],
        6
    );
    assert_eq!(
        client.get_with("/", &[("X-API-Key", "first")]).remaining(),
        5,
        "the bucket is shared with requests of the key"
    );
    let response = client.post("/check", r#"[{"key": "second"}, {"key": "third"}]"#);
    assert!(
        response.status == 400 && response.text().contains("[1].key"),
        "{}",
        response.text()
    );
    assert_eq!(
        check(&mut client, r#"{"key": "second"}"#)["remaining"],
        9,
        "no token was taken"
    );
}

#[test]
fn access_to_check_is_guarded() {
    let body = r#"{"key": "alice"}"#;
    let status = |server: &Server, headers: &[(&str, &str)]| {
        let response = server.client().request("POST", "/check", headers, body);
        assert_eq!(
            response.header("X-RateLimit-Limit"),
            None,
            "/check is never limited"
        );
        response.status
    };
    let (forwarded, origin) = (
        [("X-Forwarded-For", "127.0.0.1")],
        [("Origin", "http://evil.example")],
    );
    let bearer = |token: &'static str| [("Authorization", token)];

    let server = Server::with_capacity(10);
    assert_eq!(
        [
            status(&server, &[]),
            status(&server, &forwarded),
            status(&server, &origin)
        ],
        [200, 403, 403]
    );
    assert_eq!(
        server.post("/check", body).json()["remaining"],
        8,
        "a denied request takes no token"
    );

    let server = Server::start(&["--admin-token", "boss", "--check-token", "checker"]);
    assert_eq!(
        [
            status(&server, &[]),
            status(&server, &bearer("Bearer wrong"))
        ],
        [401, 401]
    );
    assert_eq!(
        [
            status(&server, &bearer("Bearer checker")),
            status(&server, &bearer("Bearer boss"))
        ],
        [200, 200]
    );
    let config = |token| server.client().get_with("/config", &bearer(token)).status;
    assert_eq!(
        [config("Bearer checker"), config("Bearer boss")],
        [401, 200],
        "the check token does not grant access to the admin API"
    );

    let server = Server::start(&["--check", "open", "--admin-token", "boss"]);
    assert_eq!(
        [status(&server, &[]), status(&server, &forwarded)],
        [200, 200]
    );
}

#[test]
fn check_is_never_limited_and_other_methods_are_not_found() {
    let server = Server::with_capacity(5);
    let mut client = server.client();
    for _ in 0..20 {
        check(&mut client, r#"{"key": "alice"}"#);
    }
    let response = client.get("/check");
    assert_eq!((response.status, response.remaining()), (404, 4));
}

#[test]
fn gateway_forwards_the_path_to_its_upstream() {
    let upstream = test_support::Upstream::with_body("mine");
    let server = Server::gateway(&upstream.url());
    assert_eq!(server.post("/check", r#"{"key": "alice"}"#).text(), "mine");
}

#[test]
fn instances_on_one_redis_share_check_buckets() {
    let redis = RedisServer::start();
    let flags = [
        "--redis",
        &redis.url(),
        "--redis-timeout",
        "10s",
        "--capacity",
        "10",
        "--refill-rate",
        SLOW,
    ];
    let (one, other) = (Server::start(&flags), Server::start(&flags));
    assert_eq!(
        one.post("/check", r#"{"key": "alice", "cost": 4}"#).json()["remaining"],
        6
    );
    assert_eq!(
        other
            .post("/check", r#"[{"key": "alice", "cost": 4}]"#)
            .json()[0]["remaining"],
        2
    );
    assert_eq!(
        other
            .post("/check", r#"{"key": "127.0.0.1", "cost": 10}"#)
            .json()["remaining"],
        0
    );
    assert_eq!(one.get("/").remaining(), 9);
}

#[test]
fn invalid_settings_are_rejected_at_start() {
    for (flags, parts) in [
        (
            &["--check", "closed"][..],
            &["--check", "closed", "guarded or open"][..],
        ),
        (&["--check-token", " hush"], &["--check-token", "1024"]),
        (
            &["--check", "open", "--check-token", "x"],
            &["check_token", "guarded"],
        ),
    ] {
        let refusal = Launch::new().args(flags).start_error().unwrap();
        assert_eq!(
            (refusal.code, refusal.stderr.lines().count()),
            (Some(2), 1),
            "{}",
            refusal.stderr
        );
        parts.iter().for_each(|part| {
            assert!(
                refusal.stderr.contains(part),
                "{part} is not in {}",
                refusal.stderr
            )
        });
        assert!(!refusal.stderr.contains("hush"), "stderr contains a secret");
    }
    let file = "[[routes]]\npath = '/check'\ncost = 2";
    let refusal = Launch::new()
        .config("tollgate.toml", file)
        .start_error()
        .unwrap();
    assert!(
        refusal.code == Some(2) && refusal.stderr.contains("/check"),
        "{}",
        refusal.stderr
    );
}
