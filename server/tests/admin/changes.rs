//! Updates of limits through the admin API, and their effect on buckets.

use serde_json::{Value, json};
use test_support::Server;

/// Default capacity and refill rate in `GET /config`.
fn effective_default(server: &Server) -> (u64, f64) {
    let response = server.get("/config");
    assert_eq!(response.status, 200);
    limits(&response.json())
}

fn limits(config: &Value) -> (u64, f64) {
    let capacity = config["capacity"].as_u64();
    let rate = config["refill_rate"].as_f64();
    (
        capacity.unwrap_or_else(|| panic!("no capacity in {config}")),
        rate.unwrap_or_else(|| panic!("no refill_rate in {config}")),
    )
}

fn is_close(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-6 * other
}

#[test]
fn get_config_returns_the_effective_configuration() {
    let server = Server::start(&["--capacity", "12", "--refill-rate", "0.25"]);
    let (capacity, rate) = effective_default(&server);
    assert_eq!(capacity, 12);
    assert!(is_close(rate, 0.25));
}

#[test]
fn updated_default_resets_every_bucket_to_full() {
    let server = Server::with_capacity(3);
    let mut clients: Vec<_> = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        .map(|ip| server.client_from(ip))
        .into();
    for (index, client) in clients.iter_mut().enumerate() {
        for _ in 0..index + 2 {
            client.get("/");
        }
    }
    assert_eq!(clients[2].get("/").status, 429);

    let updated = server.post("/config", r#"{"capacity": 15, "refill_rate": 0.005}"#);
    assert_eq!(updated.status, 200);
    let (capacity, rate) = limits(&updated.json());
    assert_eq!(capacity, 15, "the response contains the effective values");
    assert!(is_close(rate, 0.005));
    assert_eq!(effective_default(&server).0, 15);

    for client in &mut clients {
        let response = client.get("/");
        assert_eq!(
            (response.status, response.limit(), response.remaining()),
            (200, 15, 14)
        );
        assert!(
            (190..=200).contains(&response.reset()),
            "one token takes 200 s now"
        );
    }
}

#[test]
fn update_with_equal_values_resets_buckets_as_well() {
    let server = Server::with_capacity(3);
    let mut client = server.client();
    for status in [200, 200, 200, 429] {
        assert_eq!(client.get("/").status, status);
    }
    assert_eq!(server.post("/config", r#"{"capacity": 3}"#).status, 200);
    assert_eq!(client.get("/").remaining(), 2);
}

#[test]
fn omitted_field_is_kept() {
    let server = Server::start(&["--capacity", "5", "--refill-rate", "0.002"]);
    assert_eq!(server.post("/config", r#"{"capacity": 8}"#).status, 200);
    let (capacity, rate) = effective_default(&server);
    assert_eq!(capacity, 8);
    assert!(is_close(rate, 0.002), "{rate}");

    assert_eq!(
        server.post("/config", r#"{"refill_rate": 0.004}"#).status,
        200
    );
    let (capacity, rate) = effective_default(&server);
    assert_eq!(capacity, 8);
    assert!(is_close(rate, 0.004), "{rate}");
    let response = server.get("/");
    assert_eq!((response.limit(), response.remaining()), (8, 7));
    assert!((240..=250).contains(&response.reset()));
}

#[test]
fn rate_may_be_an_integer() {
    let server = Server::with_capacity(3);
    assert_eq!(
        server
            .post("/config", r#"{"capacity": 15, "refill_rate": 5}"#)
            .status,
        200
    );
    assert_eq!(effective_default(&server), (15, 5.0));
}

#[test]
fn rule_applies_to_one_client_and_others_keep_their_buckets() {
    let server = Server::with_capacity(3);
    let mut ruled = server.client_from("127.0.0.2");
    let mut other = server.client_from("127.0.0.3");
    for status in [200, 200, 200, 429] {
        assert_eq!(ruled.get("/").status, status);
    }
    assert_eq!(other.get("/").remaining(), 2);

    let rule = r#"{"client_id": "127.0.0.2", "capacity": 50, "refill_rate": 10.0}"#;
    let response = server.post("/admin/update-rule", rule);
    assert_eq!(response.status, 200);
    assert!(
        response.text().contains("127.0.0.2") || response.text().contains("50"),
        "{response:?}"
    );

    let response = ruled.get("/");
    assert_eq!(
        (response.status, response.limit(), response.remaining()),
        (200, 50, 49)
    );
    let response = other.get("/");
    assert_eq!(
        (response.limit(), response.remaining()),
        (3, 1),
        "others keep their buckets"
    );
    let response = server.get("/");
    assert_eq!((response.limit(), response.remaining()), (3, 2));
    assert_eq!(effective_default(&server).0, 3, "the default is unchanged");
    let rule = rule_of(&server, "127.0.0.2").expect("rule in GET /config");
    assert_eq!(limits(&rule), (50, 10.0));
}

/// A client's rule in `GET /config`.
fn rule_of(server: &Server, client: &str) -> Option<Value> {
    let config = server.get("/config").json();
    match &config["rules"] {
        Value::Array(rules) => rules
            .iter()
            .find(|rule| rule["client_id"] == client)
            .cloned(),
        Value::Object(rules) => rules.get(client).cloned(),
        other => panic!("rules are {other} in {config}"),
    }
}

#[test]
fn rule_can_be_updated_and_removed() {
    let server = Server::with_capacity(4);
    let mut client = server.client_from("127.0.0.2");
    let rule = |capacity: u32| {
        let rule = json!({"client_id": "127.0.0.2", "capacity": capacity, "refill_rate": 0.001});
        assert_eq!(
            server.post("/admin/update-rule", &rule.to_string()).status,
            200
        );
    };
    rule(50);
    assert_eq!(client.get("/").limit(), 50);
    rule(20);
    assert_eq!(client.get("/").limit(), 20);
    assert_eq!(limits(&rule_of(&server, "127.0.0.2").unwrap()).0, 20);

    assert_eq!(server.client().delete("/admin/rule/127.0.0.2").status, 200);
    let response = client.get("/");
    assert_eq!(response.limit(), 4, "the default applies again");
    assert!(response.remaining() < 4);
    assert_eq!(rule_of(&server, "127.0.0.2"), None);

    let again = server.client().delete("/admin/rule/127.0.0.2").status;
    assert!(
        (200..500).contains(&again),
        "the rule is already removed: {again}"
    );
}

/// A job that applied its rules again and again handed out full buckets.
#[test]
fn a_rule_in_force_is_reapplied_without_a_reset() {
    let server = Server::with_capacity(4);
    let mut client = server.client_from("127.0.0.2");
    let rule = |refill_rate: &str| {
        let rule =
            format!(r#"{{"client_id": "127.0.0.2", "capacity": 7, "refill_rate": {refill_rate}}}"#);
        let response = server.post("/admin/update-rule", &rule);
        assert_eq!((response.status, limits(&response.json()).0), (200, 7));
    };
    rule("0.001");
    client.get("/");
    rule("0.001");
    rule("1e-3");
    assert_eq!(client.get("/").remaining(), 5);
    rule("0.002");
    assert_eq!(
        client.get("/").remaining(),
        6,
        "another rate is another rule"
    );
}

#[test]
fn updated_default_keeps_rules_and_resets_their_buckets() {
    let server = Server::with_capacity(4);
    let rule = r#"{"client_id": "127.0.0.2", "capacity": 7, "refill_rate": 0.001}"#;
    assert_eq!(server.post("/admin/update-rule", rule).status, 200);
    let mut ruled = server.client_from("127.0.0.2");
    ruled.get("/");
    assert_eq!(ruled.get("/").remaining(), 5);
    assert_eq!(server.post("/config", r#"{"capacity": 9}"#).status, 200);
    let response = ruled.get("/");
    assert_eq!(
        (response.limit(), response.remaining()),
        (7, 6),
        "every bucket is full again"
    );
    assert_eq!(server.get("/").limit(), 9);
}

#[test]
fn admin_api_is_never_limited_and_costs_no_tokens() {
    let server = Server::with_capacity(2);
    let mut client = server.client();
    for _ in 0..10 {
        assert_eq!(client.get("/config").status, 200);
        assert_eq!(client.post("/config", "nonsense").status, 400);
        assert_eq!(
            client
                .get_with("/config", &[("X-Forwarded-For", "127.0.0.1")])
                .status,
            403
        );
    }
    assert_eq!(client.get("/").remaining(), 1);
    client.get("/");
    assert_eq!(client.get("/").status, 429);
    assert_eq!(
        client.get("/config").status,
        200,
        "also while the bucket is empty"
    );
    assert_eq!(client.post("/config", r#"{"capacity": 2}"#).status, 200);
    assert_eq!(client.get("/").remaining(), 1);
}

#[test]
fn smallest_and_largest_values_are_accepted() {
    let server = Server::with_capacity(3);
    let extremes = [
        (u32::MAX, 1e9),
        (u32::MAX, 1e-9),
        (1, 1e9),
        (1, 1e-9),
        (10, 1.0 / 3.0),
    ];
    for (capacity, rate) in extremes {
        let change = json!({"capacity": capacity, "refill_rate": rate});
        assert_eq!(
            server.post("/config", &change.to_string()).status,
            200,
            "{change}"
        );
        let response = server.get("/");
        assert_eq!(
            (response.status, response.limit()),
            (200, capacity.into()),
            "{change}"
        );
        assert!(is_close(effective_default(&server).1, rate), "{change}");
    }
}
