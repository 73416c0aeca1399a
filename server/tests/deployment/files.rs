//! What is deployed says what the binary understands: the sample configuration has every key, and
//! each one loads.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;
use test_support::{Launch, Server};

fn file(name: &str) -> String {
    fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn sample() -> String {
    file("deploy/tollgate.toml")
}

fn help(args: &[&str]) -> String {
    // Wide, so that no line of it is wrapped.
    let mut command = Command::new(test_support::server::binary());
    let output = command
        .args(args)
        .arg("--help")
        .env("COLUMNS", "1000")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The line without the mark that makes it another choice; `None` when it is prose or blank.
fn statement(line: &str) -> Option<&str> {
    let line = line.strip_prefix('#').unwrap_or(line);
    let key = line.split_once(" = ").is_some_and(|(key, _)| {
        key.bytes()
            .all(|byte| byte.is_ascii_lowercase() || b"_6".contains(&byte))
    });
    (key || line.starts_with('[')).then_some(line)
}

/// All keys, each with its table: `gateway.max_idle`.
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

/// Every key that `--help` tells of, one of them in words.
fn keys_of_help() -> BTreeSet<String> {
    let help = help(&[]);
    let (_, file) = help
        .split_once("may say all of the above and more")
        .unwrap();
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

/// The sample with the lines that begin so, without those that `stood` in their place, and without
/// all else that is not said as it stands. `chosen` gathers the lines.
fn choose(begin: &[&str], stood: &[&str], chosen: &mut BTreeSet<String>) -> String {
    let sample = sample();
    let begins = |line: &str, words: &[&str]| words.iter().any(|word| line.starts_with(word));
    let lines = sample
        .lines()
        .filter_map(|line| match line.strip_prefix('#') {
            Some(other) if statement(line).is_some() && begins(other, begin) => {
                chosen.insert(line.to_owned());
                Some(other)
            }
            None if !begins(line, stood) => Some(line),
            _ => None,
        });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sample_has_every_key_and_no_other() {
    let sample = sample();
    let found = keys(sample.lines().filter_map(statement));
    assert!(found.len() > 40, "{found:?}");
    assert_eq!(found, keys_of_help());
}

#[test]
fn every_key_is_explained() {
    let sample = sample();
    let lines: Vec<_> = sample.lines().collect();
    for (number, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| statement(line).is_some())
    {
        // What belongs together shares its words: the last prose above it, with no blank line
        // between.
        let above = lines[..number]
            .iter()
            .rev()
            .take_while(|line| !line.is_empty());
        assert!(
            above.into_iter().any(|line| statement(line).is_none()),
            "{line}: no word about it"
        );
    }
}

#[test]
fn as_it_stands_it_says_what_holds_without_it() {
    let shown = |server: Server| -> Value { server.get("/config").json() };
    let with = Launch::new().config("tollgate.toml", &sample()).start();
    assert_eq!(shown(with), shown(Server::start(&[])));
}

#[test]
fn every_other_choice_in_it_loads() {
    let mut chosen = BTreeSet::new();
    let rate = &["refill_rate = "][..];
    let both = &["capacity = ", "refill_rate = "][..];
    let variants = [
        choose(&["refill = { every = \"1s\""], rate, &mut chosen),
        choose(&["refill = { every = \"1h\""], rate, &mut chosen),
        choose(&["quota = "], both, &mut chosen),
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
            &["[[routes]]", "method = ", "path = ", "cost = "],
            &[],
            &mut chosen,
        ),
        choose(&["[[routes]]", "path = ", "exempt = "], &[], &mut chosen),
        choose(&["headers = "], &["headers = "], &mut chosen),
        choose(
            &[
                "[[routes]]",
                "path = ",
                "capacity = 100",
                "refill_rate = 0",
                "max_clients = ",
            ],
            &[],
            &mut chosen,
        ),
        choose(
            &[
                "trust_proxy = ",
                "admin_token = ",
                "check_token = ",
                "ipv6_prefix = ",
            ],
            &[],
            &mut chosen,
        ),
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
                "tunnel_",
            ],
            &[],
            &mut chosen,
        ),
    ];
    for text in variants {
        // Nobody is there, and nobody of this machine is asked.
        let text = text.replace("redis://127.0.0.1/", "redis://127.0.0.1:1/");
        Launch::new()
            .config("tollgate.toml", &text)
            .start()
            .assert_healthy();
    }
    let sample = sample();
    let others = sample
        .lines()
        .filter(|line| line.starts_with('#') && statement(line).is_some());
    assert_eq!(
        chosen,
        others.map(str::to_owned).collect(),
        "each choice is in a variant"
    );
}

#[test]
fn the_gateway_of_the_compose_file_loads() {
    let server = Launch::new()
        .config("gateway.toml", &file("deploy/gateway.toml"))
        .start();
    assert_eq!(server.get("/config").json()["capacity"], 20);
}

/// Names are only known to the binary: one that is misspelt would change nothing, and nobody would
/// say so.
#[test]
fn variables_that_are_set_are_variables_that_are_read() {
    let known = help(&[]) + &help(&["health"]);
    let mut seen = 0;
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
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
}
