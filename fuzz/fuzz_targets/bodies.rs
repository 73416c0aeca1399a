//! Bodies of the admin API, of `/check` and of `/api/submit`: a 400 changes nothing, a 200 shows the
//! effective values, and a list gets the responses of its items.
//!
//! A case is a list of lines. Each begins with a letter for the endpoint; the rest is the body.
#![no_main]

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tollgate_server::fuzz::{Outcome, Server, Start};

/// Identities of clients: addresses, keys of a list, and any credentials. All but the first have an
/// open `/check`.
const FILES: [&str; 3] = [
    "",
    "client = { header = 'X-API-Key' }\napi_keys = ['alice', 'bob']\ncheck = 'open'",
    "client = { header = 'Authorization' }\ncheck = 'open'",
];

fn start(file: usize) -> Server {
    match Server::start(FILES[file]) {
        Start::Started(server) => *server,
        Start::NotStarted | Start::Refused(_) => panic!("the settings are valid"),
    }
}

/// Returns the status, and the body as JSON. `None`: the path is malformed.
fn send(server: &Server, method: Method, path: &str, body: &[u8]) -> Option<(u16, Value)> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).ok()?;
    match server.send([127, 0, 0, 1].into(), request).outcome {
        Outcome::Forwarded(_) => panic!("there is no upstream"),
        Outcome::Response(response) => {
            let json = serde_json::from_slice(response.body()).expect("all bodies are JSON");
            Some((response.status().as_u16(), json))
        }
    }
}

fn post(server: &Server, path: &str, body: &[u8]) -> (u16, Value) {
    send(server, Method::POST, path, body).expect("the path is valid")
}

fn config(server: &Server) -> Value {
    let (status, config) = send(server, Method::GET, "/config", b"").expect("the path is valid");
    assert_eq!(status, 200);
    config
}

fn without_rules(config: &Value) -> Value {
    let mut config = config.clone();
    config["rules"] = Value::Null;
    config
}

fn assert_quota(quota: &Value) {
    let capacity = quota["capacity"].as_u64();
    assert!(
        capacity.is_some_and(|tokens| (1..=u32::MAX.into()).contains(&tokens)),
        "{quota}"
    );
    let rate = quota["refill_rate"].as_f64();
    assert!(
        rate.is_some_and(|rate| rate > 0.0 && rate <= 1e9),
        "{quota}"
    );
}

fn update_config(server: &Server, body: &[u8]) {
    let before = config(server);
    let (status, updated) = post(server, "/config", body);
    let after = config(server);
    match status {
        200 => {
            assert_eq!(updated, after);
            assert_eq!(before["rules"], after["rules"]);
            assert_quota(&after);
        }
        _ => {
            assert_eq!(status, 400, "{updated}");
            assert_eq!(before, after);
        }
    }
}

fn update_rule(server: &Server, body: &[u8]) {
    let before = config(server);
    let (status, updated) = post(server, "/admin/update-rule", body);
    let after = config(server);
    if status != 200 {
        assert_eq!(status, 400, "{updated}");
        return assert_eq!(before, after);
    }
    assert_quota(&updated);
    assert_eq!(without_rules(&before), without_rules(&after));
    let rules = after["rules"].as_object().expect("rules are a map");
    assert!(
        rules
            .values()
            .any(|rule| rule["capacity"] == updated["capacity"])
    );
    // The client that the response names is the one with the rule.
    assert_eq!(
        post(server, "/admin/update-rule", body),
        (200, updated.clone())
    );
    assert_eq!(config(server), after);
    let client = updated["client_id"].as_str().expect("a client has a name");
    let encoded: String = client.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let removal = send(
        server,
        Method::DELETE,
        &format!("/admin/rule/{encoded}"),
        b"",
    );
    assert_eq!(removal.map(|(status, _)| status), Some(200), "{client}");
    assert_eq!(post(server, "/admin/update-rule", body).0, 200);
    assert_eq!(config(server), after);
}

fn remove_rule(server: &Server, client: &[u8]) {
    let Ok(client) = str::from_utf8(client) else {
        return;
    };
    let before = config(server);
    let path = format!("/admin/rule/{client}");
    let Some((status, removed)) = send(server, Method::DELETE, &path, b"") else {
        return;
    };
    match status {
        200 => assert_ne!(config(server), before),
        _ => {
            assert!([400, 404].contains(&status), "{removed}");
            assert_eq!(config(server), before);
        }
    }
}

fn assert_decision(decision: &Value) {
    let number = |name: &str| decision[name].as_f64().filter(|number| *number >= 0.0);
    let (limit, remaining) = (number("limit"), number("remaining"));
    assert!(
        limit.is_some() && remaining <= limit && remaining.is_some(),
        "{decision}"
    );
    assert!(number("reset_after").is_some(), "{decision}");
    let is_allowed = decision["allowed"].as_bool().expect("a decision says so");
    let retry_after = number("retry_after");
    assert!(
        retry_after.is_some() != decision["retry_after"].is_null(),
        "{decision}"
    );
    assert!(!is_allowed || retry_after.is_none(), "{decision}");
    assert!(retry_after <= number("reset_after"), "{decision}");
}

fn check(server: &Server, file: usize, body: &[u8]) {
    let (status, decisions) = post(server, "/check", body);
    match (status, &decisions) {
        (200, Value::Array(decisions)) => {
            assert!(decisions.len() <= 100);
            decisions.iter().for_each(assert_decision);
        }
        (200, decision) => assert_decision(decision),
        // With an open /check, unknown keys are failures.
        (400, error) | (429, error) if status == 400 || file != 0 => {
            assert!(error["error"].is_string(), "{error}");
        }
        _ => panic!("{status} {decisions}"),
    }
    if body.trim_ascii_start().first() != Some(&b'{') {
        return;
    }
    // A single item takes a shorter way than a list. Both start with full buckets.
    refill(server);
    let alone = post(server, "/check", body);
    refill(server);
    let listed = post(server, "/check", &[b"[", body, b"]"].concat());
    match (&alone, &listed) {
        ((200, decision), (200, decisions)) => {
            let decisions = decisions.as_array().map(Vec::as_slice);
            assert_eq!(decisions, Some(std::slice::from_ref(decision)));
        }
        // The body may be the inside of a list.
        ((400, _), (200, decisions)) => {
            let decisions = decisions.as_array().map(Vec::len);
            assert!(decisions > Some(1), "{decisions:?}");
        }
        ((one, _), (other, _)) => assert!(*one != 200 && *other != 200, "{one} {other}"),
    }
}

/// Sets the capacity to its value, which refills all buckets.
fn refill(server: &Server) {
    let body = format!("{{\"capacity\": {}}}", config(server)["capacity"]);
    assert_eq!(post(server, "/config", body.as_bytes()).0, 200);
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, text)) = data.split_first() else {
        return;
    };
    let file = usize::from(choice) % FILES.len();
    let server = start(file);
    for line in text.split(|byte| *byte == b'\n').take(8) {
        let Some((letter, body)) = line.split_first() else {
            continue;
        };
        match letter {
            b'c' => update_config(&server, body),
            b'r' => update_rule(&server, body),
            b'd' => remove_rule(&server, body),
            b'k' => check(&server, file, body),
            b's' => {
                let (status, response) = post(&server, "/api/submit", body);
                assert!([200, 401, 429].contains(&status), "{response}");
            }
            _ => {}
        }
    }
});
