//! Settings that only the configuration file has: intervals, costs, exemptions and rules.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use test_support::{Launch, SLOW};

#[test]
fn the_settings_file_of_the_api_key_system_is_accepted_unchanged() {
    let text = r#"{"tokens": 100, "time": 3600}"#;
    let server = Launch::new().config("settings.json", text).start();
    let mut client = server.client();
    for remaining in [99, 98, 97] {
        let response = client.get("/");
        assert_eq!((response.limit(), response.remaining()), (100, remaining));
        let reset = response.reset();
        assert!(
            (3500..=3600).contains(&reset),
            "all tokens are back in an hour, not in {reset} s"
        );
    }
    for _ in 97..100 + 97 {
        client.get("/");
    }
    let refused = client.get("/");
    assert_eq!(refused.status, 429);
    let wait = refused.retry_after();
    // The wait includes a margin for the error of the clock, some millionths.
    assert!(
        (3500.0..=3600.0 * 1.0001).contains(&wait),
        "until the window ends, not {wait} s"
    );
}

#[test]
fn an_interval_refills_all_tokens_at_once() {
    let toml = "capacity = 3\nrefill = { every = \"1s\", mode = \"interval\" }\n";
    for (name, text) in [("a.toml", toml), ("a.json", r#"{"tokens": 3, "time": 1}"#)] {
        let server = Launch::new().config(name, text).start();
        let mut client = server.client();
        let refused = loop {
            let response = client.get("/");
            if response.status == 429 {
                break response;
            }
        };
        assert!(refused.retry_after() <= 1.001, "{name}");
        thread::sleep(Duration::from_secs_f64(refused.retry_after()));
        assert_eq!(
            client.get("/").remaining(),
            2,
            "{name}: all tokens are back"
        );
    }
}

#[test]
fn a_flag_takes_precedence_over_the_interval_of_the_file() {
    let text = "capacity = 3\nrefill = { every = \"1h\", mode = \"interval\" }\n";
    let server = Launch::new()
        .config("a.toml", text)
        .args(&["--refill-rate", SLOW])
        .start();
    assert!((990..=1000).contains(&server.get("/").reset()));
    let server = Launch::new()
        .config("a.toml", text)
        .args(&["--capacity", "9"])
        .start();
    let response = server.get("/");
    assert_eq!(response.limit(), 9);
    assert!(response.reset() > 3500, "the interval stays");
}

#[test]
fn costs_and_exemptions_are_set_by_method_and_path() {
    let text = r#"
        capacity = 10
        refill_rate = 0.001
        [[routes]]
        method = "GET"
        path = "/api/data"
        cost = 4
        [[routes]]
        path = "/api/ping"
        exempt = true
    "#;
    let server = Launch::new().config("a.toml", text).start();
    let mut client = server.client();
    assert_eq!(client.get("/api/data").remaining(), 6);
    let exempt = client.get("/api/ping");
    assert_eq!(
        (exempt.status, exempt.header("X-RateLimit-Remaining")),
        (200, None)
    );
    assert_eq!(
        client.get("/").remaining(),
        5,
        "the exempt request took no token"
    );
    let upload = client.request("POST", "/api/upload", &[], "");
    assert_eq!(
        upload.remaining(),
        2,
        "a path without a route keeps its cost"
    );
    assert_eq!(client.get("/api/data").status, 429);
    assert_eq!(client.get("/api/ping").status, 200);
}

#[test]
fn the_file_sets_rules_for_clients() {
    let text = r#"
        capacity = 10
        refill_rate = 0.001
        [[rules]]
        client_id = "127.0.0.2"
        capacity = 20
        refill_rate = 0.01
    "#;
    let server = Launch::new().config("a.toml", text).start();
    let response = server.client_from("127.0.0.2").get("/");
    assert_eq!((response.limit(), response.remaining()), (20, 19));
    assert!((90..=100).contains(&response.reset()));
    assert_eq!(server.get("/").limit(), 10);
    let config: Value = server.get("/config").json();
    assert!(
        config["rules"].to_string().contains("127.0.0.2"),
        "{config}"
    );
    assert_eq!(server.client().delete("/admin/rule/127.0.0.2").status, 200);
    assert_eq!(server.client_from("127.0.0.2").get("/").limit(), 10);
}

#[test]
fn a_change_of_capacity_keeps_the_interval_and_a_change_of_rate_ends_it() {
    let server = Launch::new()
        .config("settings.json", r#"{"tokens": 100, "time": 3600}"#)
        .start();
    assert_eq!(server.post("/config", r#"{"capacity": 5}"#).status, 200);
    let response = server.get("/");
    assert_eq!((response.limit(), response.remaining()), (5, 4));
    assert!((3500..=3600).contains(&response.reset()));
    assert_eq!(
        server.post("/config", r#"{"refill_rate": 0.01}"#).status,
        200
    );
    let response = server.get("/");
    assert_eq!((response.limit(), response.remaining()), (5, 4));
    assert!((90..=100).contains(&response.reset()));
}

#[test]
fn a_flag_takes_precedence_over_the_settings_file_of_the_api_key_system() {
    let launch = || Launch::new().config("settings.json", r#"{"tokens": 100, "time": 3600}"#);
    let response = launch().args(&["--capacity", "5"]).start().get("/");
    assert_eq!(response.limit(), 5);
    assert!(
        (3500..=3600).contains(&response.reset()),
        "the interval stays"
    );
    let response = launch()
        .env("TOLLGATE_REFILL_RATE", "0.01")
        .start()
        .get("/");
    assert_eq!(response.limit(), 100);
    assert!((90..=100).contains(&response.reset()));
}
