//! Tests of the admin API: access, updates and rejected updates.

use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{TestServer, with_method};
use crate::{
    app::App,
    config,
    handlers::{BodyHandler, HandlerResponse},
    response::Response,
};

fn effective_config(server: &TestServer) -> Value {
    server.get("/config").json()
}

#[test]
fn updated_default_applies_at_once_and_resets_all_buckets() {
    let server = TestServer::new("refill_rate = 0.001");
    while server.get("/").status == StatusCode::OK {}
    let updated = server.post("/config", r#"{"capacity": 15, "refill_rate": 5}"#);
    assert_eq!(
        updated.json(),
        json!({"capacity": 15, "refill_rate": 5.0, "mode": "greedy", "rules": {}})
    );
    assert_eq!(server.get("/").remaining(), 14);
    assert_eq!(
        server.post("/config", r#"{"capacity": 20}"#).json()["refill_rate"],
        5.0
    );
    assert_eq!(
        server.post("/config", r#"{"refill_rate": 0.5}"#).json()["capacity"],
        20
    );
    assert_eq!(server.get("/").remaining(), 19);
}

#[test]
fn interval_is_kept_until_a_rate_replaces_it() {
    let server = TestServer::new("tokens = 100\ntime = 50");
    assert_eq!(
        effective_config(&server),
        json!({"capacity": 100, "refill_rate": 2.0, "mode": "interval", "every": 50.0, "rules": {}})
    );
    let wider = server.post("/config", r#"{"capacity": 200}"#).json();
    assert_eq!(
        (&wider["mode"], &wider["every"], &wider["refill_rate"]),
        (&json!("interval"), &json!(50.0), &json!(4.0))
    );
    let greedy = server.post("/config", r#"{"refill_rate": 3}"#).json();
    assert_eq!(
        greedy,
        json!({"capacity": 200, "refill_rate": 3.0, "mode": "greedy", "rules": {}})
    );
}

#[test]
fn rule_applies_to_one_client_and_can_be_removed() {
    let server = TestServer::new(
        "refill_rate = 0.001\n[[rules]]\nclient_id = '2001:db8::7'\ncapacity = 3\nrefill_rate = 1",
    );
    assert_eq!(
        effective_config(&server)["rules"]["2001:db8::"]["capacity"],
        3
    );
    let set = server.post(
        "/admin/update-rule",
        r#"{"client_id": "::ffff:192.0.2.1", "capacity": 50, "refill_rate": 10}"#,
    );
    assert_eq!(
        set.json(),
        json!({"client_id": "192.0.2.1", "capacity": 50, "refill_rate": 10.0, "mode": "greedy"})
    );
    let client = server.client("192.0.2.1");
    assert_eq!(client.send(Request::get("/"), "").remaining(), 49);
    assert_eq!(server.get("/").remaining(), 9);
    assert_eq!(
        server.post("/config", r#"{"capacity": 7}"#).status,
        StatusCode::OK
    );
    assert_eq!(
        client.send(Request::get("/"), "").remaining(),
        49,
        "the rule is kept, and its bucket is full again"
    );
    let remove = |path: &str| server.send(with_method(Method::DELETE, path), "").status;
    assert_eq!(remove("/admin/rule/192%2E0.2.1"), StatusCode::OK);
    assert_eq!(
        client
            .send(Request::get("/"), "")
            .number("x-ratelimit-limit"),
        7
    );
    assert_eq!(remove("/admin/rule/192.0.2.1"), StatusCode::NOT_FOUND);
    assert_eq!(
        remove("/admin/rule/2001%3adb8%3A%3a9"),
        StatusCode::OK,
        "any address of the network"
    );
    for bad in [
        "/admin/rule/alice",
        "/admin/rule/",
        "/admin/rule/%",
        "/admin/rule/%zz",
        "/admin/rule/%ff",
    ] {
        assert_eq!(remove(bad), StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(effective_config(&server)["rules"], json!({}));
}

#[test]
fn invalid_update_gets_400_with_the_field_and_changes_nothing() {
    let server = TestServer::new("");
    let before = effective_config(&server);
    let rule = |field: &str| {
        format!(r#"{{"client_id": "192.0.2.1", "capacity": 5, "refill_rate": 1, {field}}}"#)
    };
    let mut cases: Vec<(&str, String, &str)> = [
        "0",
        "-1",
        "1.5",
        "4294967296",
        "1e400",
        "NaN",
        "null",
        "\"15\"",
        "[]",
    ]
    .iter()
    .flat_map(|bad| {
        [
            ("/config", format!("{{\"capacity\": {bad}}}"), "capacity"),
            (
                "/config",
                format!("{{\"refill_rate\": 1, \"capacity\": {bad}}}"),
                "capacity",
            ),
            (
                "/admin/update-rule",
                format!(r#"{{"client_id": "::1", "capacity": {bad}, "refill_rate": 1}}"#),
                "capacity",
            ),
        ]
    })
    .chain(
        [
            "0", "-0.5", "1e10", "1e-300", "1e400", "Infinity", "NaN", "null", "true",
        ]
        .iter()
        .flat_map(|bad| {
            [
                (
                    "/config",
                    format!("{{\"capacity\": 5, \"refill_rate\": {bad}}}"),
                    "refill_rate",
                ),
                (
                    "/admin/update-rule",
                    format!(r#"{{"client_id": "::1", "capacity": 1, "refill_rate": {bad}}}"#),
                    "refill_rate",
                ),
            ]
        }),
    )
    .collect();
    cases.extend([
        ("/config", "{}".to_owned(), "capacity"),
        ("/config", r#"{"burst": 5}"#.to_owned(), "burst"),
        (
            "/config",
            r#"{"capacity": 5, "capacity": 6}"#.to_owned(),
            "capacity",
        ),
        ("/config", "[15, 5]".to_owned(), ""),
        ("/config", r#"{"capacity": 5} x"#.to_owned(), ""),
        ("/config", String::new(), ""),
        ("/config", "[".repeat(5000), ""),
        ("/admin/update-rule", rule("\"x\": 1"), "x"),
        (
            "/admin/update-rule",
            r#"{"client_id": "192.0.2.1", "refill_rate": 1}"#.to_owned(),
            "capacity",
        ),
        (
            "/admin/update-rule",
            r#"{"client_id": "192.0.2.1", "capacity": 1}"#.to_owned(),
            "refill_rate",
        ),
        (
            "/admin/update-rule",
            r#"{"capacity": 1, "refill_rate": 1}"#.to_owned(),
            "client_id",
        ),
        (
            "/admin/update-rule",
            r#"{"client_id": "alice", "capacity": 1, "refill_rate": 1}"#.to_owned(),
            "client_id",
        ),
        (
            "/admin/update-rule",
            r#"{"client_id": 7, "capacity": 1, "refill_rate": 1}"#.to_owned(),
            "client_id",
        ),
    ]);
    for (path, body, field) in cases {
        let refused = server.post(path, &body);
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{path} {body}");
        assert!(
            refused.json()["message"].as_str().unwrap().contains(field),
            "{body}: {}",
            refused.text()
        );
    }
    assert_eq!(
        server.post("/config", &" ".repeat(65_537)).status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(effective_config(&server), before);
}

#[test]
fn without_a_token_only_direct_loopback_requests_have_access() {
    let server = TestServer::new("");
    let send = |name: &str, value: &str| {
        server
            .send(Request::get("/config").header(name, value), "")
            .status
    };
    for header in [
        "x-forwarded-for",
        "forwarded",
        "x-real-ip",
        "via",
        "x-forwarded-host",
        "origin",
        "x-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "forwarded-for",
        "x-original-url",
    ] {
        assert_eq!(send(header, ""), StatusCode::FORBIDDEN, "{header}");
    }
    for host in [
        "localhost",
        "LOCALHOST:8000",
        "127.0.0.1:8000",
        "[::1]:8000",
        "192.0.2.1",
    ] {
        assert_eq!(send("host", host), StatusCode::OK, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example:8000",
        "127.0.0.1.evil.example",
        "?",
    ] {
        assert_eq!(send("host", host), StatusCode::FORBIDDEN, "{host}");
    }
    for peer in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"] {
        assert_eq!(
            server.client(peer).send(Request::get("/config"), "").status,
            StatusCode::FORBIDDEN,
            "{peer}"
        );
    }
    for peer in ["127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(
            server.client(peer).send(Request::get("/config"), "").status,
            StatusCode::OK,
            "{peer}"
        );
    }
}

#[test]
fn with_a_token_only_the_token_grants_access() {
    let server = TestServer::new("admin_token = 'correct horse'");
    let send = |value: &str| {
        server
            .client("192.0.2.1")
            .send(Request::get("/config").header("authorization", value), "")
    };
    for value in ["Bearer correct horse", "bearer correct horse"] {
        assert_eq!(send(value).status, StatusCode::OK);
    }
    for value in [
        "",
        "Bearer",
        "Bearer correct hors",
        "Bearer correct horses",
        "Basic correct horse",
        "correct horse",
    ] {
        let refused = send(value);
        assert_eq!(
            (refused.status, refused.header("www-authenticate")),
            (StatusCode::UNAUTHORIZED, Some("Bearer")),
            "{value}"
        );
    }
    assert_eq!(
        server.get("/config").status,
        StatusCode::UNAUTHORIZED,
        "also from loopback"
    );
}

#[test]
fn metrics_scan_the_tables_on_a_thread_of_their_own() {
    let server = TestServer::new("");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        // The only other thread is busy until the sender is dropped.
        let (release, busy) = std::sync::mpsc::channel::<()>();
        let thread = tokio::task::spawn_blocking(move || busy.recv());
        let response = BodyHandler::Metrics.respond(&server.app, Response::default(), b"");
        let HandlerResponse::Pending(mut response) = response else {
            panic!("expected a response that waits for the thread");
        };
        assert!(
            (&mut response).now_or_never().is_none(),
            "the tables were scanned on this thread"
        );
        drop(release);
        assert!(thread.await.unwrap().is_err());
        let body = response.await.into_body().collect().await.unwrap();
        let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        assert!(text.contains("tollgate_table_live 0"), "{text}");
    });
}

#[test]
fn rules_in_a_file_have_valid_and_distinct_clients() {
    let rules = |ids: [&str; 2]| {
        let rule = |id| format!("[[rules]]\nclient_id = '{id}'\ncapacity = 1\nrefill_rate = 1\n");
        super::block_on(App::new(&config::settings(&ids.map(rule).concat()))).map(drop)
    };
    assert_eq!(rules(["192.0.2.1", "192.0.2.2"]), Ok(()));
    assert!(
        rules(["192.0.2.1", "alice"])
            .unwrap_err()
            .contains("rules[1].client_id: expected an IP address")
    );
    assert!(
        rules(["2001:db8::1", "2001:db8::2"])
            .unwrap_err()
            .contains("once"),
        "one network"
    );
}

const ONLY_LIMITS: &str = "[[limits]]\nname = 'api'\nquota = '5/hour'";

#[test]
fn without_a_default_limit_the_configuration_shows_none() {
    let server = TestServer::new(ONLY_LIMITS);
    assert_eq!(
        effective_config(&server),
        json!({
            "rules": {},
            "limits": {"api": {"capacity": 5, "refill_rate": 5.0 / 3600.0, "mode": "greedy"}}
        })
    );
}

#[test]
fn changes_of_a_default_limit_that_does_not_exist_are_a_conflict() {
    let server = TestServer::new(ONLY_LIMITS);
    let with_quota = r#"{"quota": "50/hour"}"#;
    for (request, body, status) in [
        (Request::post("/config"), r#"{"capacity": 15}"#, 409),
        (
            Request::post("/admin/update-rule"),
            r#"{"client_id": "192.0.2.7", "capacity": 50, "refill_rate": 10}"#,
            409,
        ),
        (Request::delete("/admin/rule/192.0.2.7"), "", 409),
        (Request::put("/admin/limits/default"), with_quota, 404),
    ] {
        let before = effective_config(&server);
        let refused = server.send(request, body);
        assert_eq!(refused.status.as_u16(), status, "{}", refused.text());
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with("there is no "), "{message}");
        assert_eq!(effective_config(&server), before);
    }
    // A malformed body is named as ever.
    assert_eq!(server.post("/config", r#"{"capacity": 0}"#).status, 400);
}

#[test]
fn quota_of_the_default_limit_is_changed_by_its_name() {
    let other = "[[limits]]\nname = 'other'\nmatch = '/other'\nquota = '1/hour'";
    for more in ["", other] {
        let server = TestServer::new(&format!("quota = '3/hour'\n{more}"));
        let put = |quota: &str| {
            let body = json!({"quota": quota}).to_string();
            server.send(Request::put("/admin/limits/default"), &body)
        };
        assert_eq!(server.get("/").remaining(), 2);
        assert_eq!(put("3/hour").status, StatusCode::OK);
        assert_eq!(server.get("/").remaining(), 1, "the quota in force");
        let changed = put("4/hour");
        let expected = json!({"name": "default", "capacity": 4, "refill_rate": 4.0 / 3600.0, "mode": "greedy"});
        assert_eq!(changed.json(), expected);
        assert_eq!(server.get("/").remaining(), 3, "every bucket is full");
        assert_eq!(effective_config(&server)["capacity"], 4);
    }
}
