//! Requests that the admin API rejects without any change: access and invalid values.

use test_support::{Client, SLOW, Server};

/// Posts bodies that must be rejected. Failures are collected in `faults`, so that one run reports
/// all of them.
struct Refusals<'a> {
    server: &'a Server,
    path: &'a str,
    config: String,
    remaining: u64,
    faults: Vec<String>,
}

impl<'a> Refusals<'a> {
    fn new(server: &'a Server, path: &'a str) -> Refusals<'a> {
        let config = server.get("/config").text();
        let remaining = server.get("/").remaining();
        Refusals {
            server,
            path,
            config,
            remaining,
            faults: Vec::new(),
        }
    }

    fn expect(&mut self, body: impl AsRef<[u8]>, field: Option<&str>) {
        let body = body.as_ref();
        let shown = String::from_utf8_lossy(body).into_owned();
        let mut client = self.server.client();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            self.path,
            body.len()
        );
        client.send(&[head.as_bytes(), body].concat()).unwrap();
        let response = client.read().unwrap();
        let text = response.text();
        if response.status != 400 {
            self.faults
                .push(format!("{shown}: {} {text}", response.status));
        } else if field.is_some_and(|field| !text.contains(field)) {
            self.faults
                .push(format!("{shown}: {field:?} is not named in {text}"));
        }
        if self.server.get("/config").text() != self.config {
            self.faults
                .push(format!("{shown}: changed the effective configuration"));
            self.config = self.server.get("/config").text();
        }
        let remaining = self.server.get("/").remaining();
        if remaining + 1 != self.remaining {
            self.faults
                .push(format!("{shown}: a bucket changed, {remaining} remaining"));
        }
        self.remaining = remaining;
    }

    fn assert_none_accepted(self) {
        assert!(
            self.faults.is_empty(),
            "{}:\n{}",
            self.path,
            self.faults.join("\n")
        );
    }
}

/// Values that are neither a valid capacity nor a valid refill rate.
const BAD_CAPACITIES: [&str; 14] = [
    "0",
    "-1",
    "-0.5",
    "1.5",
    "4294967296",
    "1e30",
    "1e400",
    "NaN",
    "Infinity",
    "null",
    "\"15\"",
    "true",
    "[]",
    "{}",
];
const BAD_RATES: [&str; 14] = [
    "0",
    "0.0",
    "-1",
    "-0.001",
    "1e10",
    "1e300",
    "1e400",
    "-1e400",
    "NaN",
    "Infinity",
    "-Infinity",
    "\"5\"",
    "true",
    "[1]",
];

const BAD_JSON: [&str; 9] = [
    "",
    " ",
    "{",
    "capacity=5",
    "{\"capacity\": 5",
    "{\"capacity\": 5} x",
    "\"text\"",
    "15",
    "null",
];

#[test]
fn invalid_default_gets_400_with_the_field_and_changes_nothing() {
    let server = Server::with_capacity(100_000);
    let mut refusals = Refusals::new(&server, "/config");
    for capacity in BAD_CAPACITIES {
        refusals.expect(format!("{{\"capacity\": {capacity}}}"), Some("capacity"));
        let both = format!("{{\"refill_rate\": 5, \"capacity\": {capacity}}}");
        refusals.expect(both, Some("capacity"));
    }
    for rate in BAD_RATES {
        refusals.expect(format!("{{\"refill_rate\": {rate}}}"), Some("refill_rate"));
        let both = format!("{{\"capacity\": 5, \"refill_rate\": {rate}}}");
        refusals.expect(both, Some("refill_rate"));
    }
    refusals.expect("{\"refill_rate\": 1e-300}", Some("refill_rate"));
    refusals.expect("{\"capacity\": 5, \"burst\": 7}", Some("burst"));
    refusals.expect("{\"Capacity\": 5}", Some("Capacity"));
    refusals.expect("{}", Some("capacity"));
    for text in BAD_JSON {
        refusals.expect(text, None);
    }
    refusals.expect("[15, 5]", None);
    refusals.expect(b"{\"capacity\": \"\xff\xfe\"}", None);
    refusals.expect("[".repeat(2000), None);
    refusals.assert_none_accepted();
}

#[test]
fn invalid_rule_gets_400_with_the_field_and_changes_nothing() {
    let server = Server::with_capacity(100_000);
    let mut refusals = Refusals::new(&server, "/admin/update-rule");
    for capacity in BAD_CAPACITIES {
        let rule =
            format!(r#"{{"client_id": "127.0.0.1", "capacity": {capacity}, "refill_rate": 5}}"#);
        refusals.expect(rule, Some("capacity"));
    }
    for rate in BAD_RATES {
        let rule =
            format!(r#"{{"client_id": "127.0.0.1", "capacity": 50, "refill_rate": {rate}}}"#);
        refusals.expect(rule, Some("refill_rate"));
    }
    for client in ["1", "null", "true", "[\"127.0.0.1\"]", "{}"] {
        let rule = format!(r#"{{"client_id": {client}, "capacity": 50, "refill_rate": 5}}"#);
        refusals.expect(rule, Some("client_id"));
    }
    refusals.expect(r#"{"capacity": 50, "refill_rate": 5}"#, Some("client_id"));
    refusals.expect(r#"{"client_id": "127.0.0.1"}"#, Some("capacity"));
    refusals.expect(
        r#"{"client_id": "127.0.0.1", "capacity": 50}"#,
        Some("refill_rate"),
    );
    refusals.expect(
        r#"{"client_id": "127.0.0.1", "refill_rate": 5}"#,
        Some("capacity"),
    );
    refusals.expect(
        r#"{"client_id": "", "capacity": 50, "refill_rate": 5}"#,
        Some("client_id"),
    );
    let unknown = r#"{"client_id": "127.0.0.1", "capacity": 50, "refill_rate": 5, "burst": 1}"#;
    refusals.expect(unknown, Some("burst"));
    refusals.expect("{}", Some("client_id"));
    for text in BAD_JSON {
        refusals.expect(text, None);
    }
    refusals.expect(r#"["127.0.0.1", 50, 5]"#, None);
    refusals.assert_none_accepted();
}

#[test]
fn without_a_token_forwarded_requests_get_403_and_change_nothing() {
    let server = Server::with_capacity(5);
    let mut client = server.client();
    let forwarding = [
        ("X-Forwarded-For", "127.0.0.1"),
        ("x-forwarded-for", "203.0.113.9"),
        ("X-Forwarded-For", ""),
        ("Forwarded", "for=127.0.0.1"),
        ("forwarded", "nonsense"),
    ];
    for header in forwarding {
        assert_all_refused(&mut client, &[header], 403);
    }
    assert_eq!(client.get("/").limit(), 5, "nothing changed");
    assert_eq!(
        client.get("/config").status,
        200,
        "a direct request has access"
    );
}

#[test]
fn forwarded_requests_of_a_trusted_proxy_get_403() {
    let server = Server::start(&["--trust-proxy", "127.0.0.0/8"]);
    assert_all_refused(
        &mut server.client(),
        &[("X-Forwarded-For", "127.0.0.1")],
        403,
    );
    assert_all_refused(&mut server.client(), &[("Forwarded", "for=127.0.0.1")], 403);
}

#[test]
fn with_a_token_other_credentials_get_401_and_change_nothing() {
    let args = [
        "--admin-token",
        "correct horse",
        "--capacity",
        "5",
        "--refill-rate",
        SLOW,
    ];
    let server = Server::start(&args);
    let mut client = server.client();
    let wrong = [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Bearer correct hors",
        "Bearer correct horses",
        "Bearer Correct horse",
        "Bearer correct horse correct horse",
        "correct horse",
        "Basic correct horse",
        "Bearer\u{e9}",
    ];
    assert_all_refused(&mut client, &[], 401);
    // Of an address of its own each, since one has 10 failures a minute.
    for (number, value) in wrong.into_iter().enumerate() {
        let mut client = server.client_from(&format!("127.0.1.{number}"));
        assert_all_refused(&mut client, &[("Authorization", value)], 401);
    }
    let right = [("Authorization", "Bearer correct horse")];
    let response = client.request("POST", "/config", &right, r#"{"capacity": 7}"#);
    assert_eq!(response.status, 200);
    assert_eq!(client.get("/").limit(), 7);
    assert_eq!(client.get_with("/config", &right).status, 200);

    let forwarded = [right[0], ("X-Forwarded-For", "203.0.113.9")];
    assert_eq!(
        client.get_with("/config", &forwarded).status,
        200,
        "only the token counts"
    );
    assert_eq!(client.get("/").remaining(), 5, "no request was charged");
}

/// Asserts that every admin endpoint refuses the request.
fn assert_all_refused(client: &mut Client, headers: &[(&str, &str)], status: u16) {
    let rule = r#"{"client_id": "127.0.0.1", "capacity": 50, "refill_rate": 5}"#;
    for (method, path, body) in [
        ("GET", "/config", ""),
        ("POST", "/config", r#"{"capacity": 15}"#),
        ("POST", "/config", "nonsense"),
        ("POST", "/admin/update-rule", rule),
        ("DELETE", "/admin/rule/127.0.0.1", ""),
    ] {
        let response = client.request(method, path, headers, body);
        assert_eq!(response.status, status, "{method} {path} with {headers:?}");
        assert!(
            response.text().len() < 1000,
            "a refusal does not contain settings"
        );
    }
}
