//! Deployment files match the binary: the sample configuration contains every key, and every
//! setting in it loads.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;
use test_support::{ADMIN_TOKEN, AS_ADMIN, Launch, Server};

fn file(name: &str) -> String {
    fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn sample() -> String {
    file("deploy/tollgate.toml")
}

fn help(args: &[&str]) -> String {
    // A wide terminal, so that no line is wrapped.
    let mut command = Command::new(test_support::server::binary());
    let output = command
        .args(args)
        .arg("--help")
        .env("COLUMNS", "1000")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the setting or table header of a line, without the `#` of an alternative; `None` for
/// prose and blank lines.
fn statement(line: &str) -> Option<&str> {
    let line = line.strip_prefix('#').unwrap_or(line);
    let key = line.split_once(" = ").is_some_and(|(key, _)| {
        key.bytes()
            .all(|byte| byte.is_ascii_lowercase() || b"_6".contains(&byte))
    });
    (key || line.starts_with('[')).then_some(line)
}

/// Returns all keys with their tables, such as `gateway.max_idle`.
fn keys<'a>(statements: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut table = String::new();
    let mut found = BTreeSet::new();
    for statement in statements {
        match statement.strip_prefix('[') {
            Some(rest) => {
                table = format!(
                    "{}.",
                    rest.trim_matches(['[', ']', ' '])
                        .split(']')
                        .next()
                        .unwrap()
                )
            }
            None => {
                found.insert(format!("{table}{}", statement.split(" = ").next().unwrap()));
            }
        }
    }
    found
}

/// Returns every key that `--help` lists. It mentions `exempt` only in prose.
fn keys_of_help() -> BTreeSet<String> {
    let help = help(&[]);
    let (_, file) = help.split_once("An unknown key is an error.").unwrap();
    let lines = file
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .map(str::trim_start);
    let mut found = keys(lines.filter_map(statement));
    assert!(file.contains("or exempt = true"));
    found.insert("routes.exempt".to_owned());
    found
}

/// Returns the sample with some alternatives enabled: commented lines that start with an element of
/// `enabled` are uncommented, and lines that start with an element of `replaced` are removed. The
/// enabled lines are added to `chosen`.
fn choose(enabled: &[&str], replaced: &[&str], chosen: &mut BTreeSet<String>) -> String {
    let sample = sample();
    let matches =
        |line: &str, prefixes: &[&str]| prefixes.iter().any(|prefix| line.starts_with(prefix));
    let lines = sample
        .lines()
        .filter_map(|line| match line.strip_prefix('#') {
            Some(alternative) if statement(line).is_some() && matches(alternative, enabled) => {
                chosen.insert(line.to_owned());
                Some(alternative)
            }
            None if !matches(line, replaced) => Some(line),
            _ => None,
        });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sample_contains_exactly_the_keys_of_the_help() {
    let sample = sample();
    let found = keys(sample.lines().filter_map(statement));
    assert!(found.len() > 40, "{found:?}");
    assert_eq!(found, keys_of_help());
}

#[test]
fn every_key_of_the_sample_has_a_comment() {
    let sample = sample();
    let lines: Vec<_> = sample.lines().collect();
    for (number, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| statement(line).is_some())
    {
        // Related keys share a comment: the closest prose above, without a blank line between.
        let above = lines[..number]
            .iter()
            .rev()
            .take_while(|line| !line.is_empty());
        assert!(
            above.into_iter().any(|line| statement(line).is_none()),
            "{line}: expected a comment above"
        );
    }
}

#[test]
fn the_unchanged_sample_equals_the_defaults() {
    let effective = |server: Server| -> Value { server.get("/config").json() };
    let sample = Launch::new().config("tollgate.toml", &sample()).start();
    assert_eq!(effective(sample), effective(Server::start(&[])));
}

#[test]
fn every_alternative_in_the_sample_loads() {
    let mut chosen = BTreeSet::new();
    let directory = tempfile::tempdir().unwrap();
    let jwks = directory.path().join("jwks.json");
    let point = "A".repeat(43);
    let key =
        format!(r#"{{"keys": [{{"kty": "EC", "crv": "P-256", "x": "{point}", "y": "{point}"}}]}}"#);
    fs::write(&jwks, key).unwrap();
    let jwks = jwks.display().to_string();
    let rate = &["refill_rate = "][..];
    let both = &["capacity = ", "refill_rate = "][..];
    let variants = [
        choose(&["refill = { every = \"1s\""], rate, &mut chosen),
        choose(&["refill = { every = \"1h\""], rate, &mut chosen),
        choose(&["quota = \"100/hour"], both, &mut chosen),
        choose(&["tokens = ", "time = "], both, &mut chosen),
        choose(
            &[
                "client = ",
                "api_keys = ",
                "[[rules]]",
                "client_id",
                "capacity = 50",
                "refill_rate = 10",
            ],
            &["client = "],
            &mut chosen,
        ),
        choose(
            &["[[routes]]", "method = ", "path = ", "cost = 2"],
            &[],
            &mut chosen,
        ),
        choose(&["[[routes]]", "path = ", "exempt = "], &[], &mut chosen),
        choose(&["headers = "], &["headers = "], &mut chosen),
        choose(
            &[
                "[jwt]",
                "keys = ",
                "algorithms = ",
                "issuer = ",
                "audience = ",
                "leeway = ",
                "cookie = ",
            ],
            &[],
            &mut chosen,
        ),
        choose(
            &[
                "allow = ",
                "deny = ",
                "upstream = ",
                "[[limits]]",
                "name = \"login\"",
                "match = ",
                "header = ",
                "key = ",
                "quota = [",
                "cost = {",
                "delay = \"500ms",
                "ban = ",
                "concurrency = ",
                "shadow = ",
                "instead_of = ",
                "missing = ",
                "refusal = ",
                "max_clients = 50000",
                "ignore_case = ",
            ],
            &[],
            &mut chosen,
        ),
        choose(
            &["max_delayed_per_client = ", "max_delayed = "],
            &[],
            &mut chosen,
        ),
        choose(
            &[
                "[[routes]]",
                "path = ",
                "capacity = 100",
                "refill_rate = 0",
                "name = \"data\"",
                "max_clients = 100000",
            ],
            &[],
            &mut chosen,
        ),
        choose(
            &[
                "trust_proxy = ",
                "client_address_header = ",
                "admin_listen = ",
                "admin_token = ",
                "check_token = ",
                "ipv6_prefix = ",
                "nat64_prefixes = ",
                "max_per_address = ",
                "case_sensitive_paths = ",
            ],
            &[],
            &mut chosen,
        ),
        choose(&["state = ", "state_copy = "], &[], &mut chosen),
        choose(
            &["redis = ", "redis_mode = \"lease", "lease_fraction = "],
            &[],
            &mut chosen,
        ),
        choose(
            &[
                "redis = ",
                "redis_mode = \"exact",
                "redis_prefix",
                "redis_timeout",
                "redis_clock_tolerance",
                "on_redis",
                "local_share",
            ],
            &[],
            &mut chosen,
        ),
        choose(
            &["upstream = ", "[[upstreams]]", "prefix = ", "url = "],
            &[],
            &mut chosen,
        ),
        choose(
            &[
                "upstream = ",
                "[gateway]",
                "connect_timeout",
                "response_timeout",
                "idle_timeout",
                "keep_alive",
                "max_idle",
                "max_requests",
                "max_concurrent_per_client",
                "max_tunnels_per_client",
                "tunnel_",
                "pass_headers",
                "own_prefix",
            ],
            &[],
            &mut chosen,
        ),
        choose(
            &["[cors]", "origins", "preflight", "credentials", "max_age"],
            &[],
            &mut chosen,
        ),
    ];
    let state = tempfile::tempdir().unwrap();
    for text in variants {
        // Port 1 has no server: a Redis of this machine must not be used.
        let text = text.replace("redis://127.0.0.1/", "redis://127.0.0.1:1/");
        let text = text.replace("/etc/tollgate/jwks.json", &jwks);
        let text = text.replace(
            "\"/run/tollgate\"",
            &format!("{:?}", state.path().join("state")),
        );
        let text = text.replace(
            "\"/var/lib/tollgate\"",
            &format!("{:?}", state.path().join("copy")),
        );
        // Another process may listen on the port of the sample.
        let text = text.replace(
            "admin_listen = \"127.0.0.1:9000\"",
            "admin_listen = \"127.0.0.1:0\"",
        );
        let mut server = Launch::new().config("tollgate.toml", &text).start();
        // The prefix moves the health check.
        if text.lines().any(|line| line.starts_with("own_prefix")) {
            assert_eq!(server.get("/_tollgate/health").status, 200);
        } else {
            server.assert_healthy();
        }
    }
    let sample = sample();
    let alternatives = sample
        .lines()
        .filter(|line| line.starts_with('#') && statement(line).is_some());
    assert_eq!(
        chosen,
        alternatives.map(str::to_owned).collect(),
        "every alternative is in a variant"
    );
}

#[test]
fn the_gateway_of_the_compose_file_loads() {
    let server = Launch::new()
        .config("gateway.toml", &file("deploy/gateway.toml"))
        .args(&["--admin-token", ADMIN_TOKEN])
        .start();
    let config = server.client().get_with("/config", &AS_ADMIN);
    assert_eq!(config.json()["capacity"], 20);
}

/// The binary ignores unknown environment variables, so a misspelt one would go unnoticed.
#[test]
fn every_variable_in_deployment_files_is_known() {
    let known = help(&[]) + &help(&["health"]);
    let mut count = 0;
    for name in [
        "Dockerfile",
        "compose.yaml",
        "deploy/tollgate.service",
        "deploy/tollgate.toml",
    ] {
        for variable in file(name)
            .split(|c: char| !c.is_ascii_uppercase() && c != '_')
            .filter(|word| word.starts_with("TOLLGATE_"))
        {
            assert!(
                known.contains(&format!("[env: {variable}")),
                "{name}: {variable}"
            );
            count += 1;
        }
    }
    assert!(count >= 10, "{count}");
}
