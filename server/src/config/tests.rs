//! Keys of the file, precedence of the sources, and one-line errors.

use std::time::Duration;

use clap::Parser;
use tollgate::Quota;

use super::{
    file,
    settings::{Settings, settings},
};
use crate::{
    cli::{Cli, one_line},
    values::Client,
};

fn error(toml: &str) -> String {
    match file::from_toml(toml)
        .and_then(|file| Settings::merge(Cli::parse_from(["tollgate"]).serve, file))
    {
        Ok(settings) => panic!("{toml} gives {settings:?}"),
        Err(line) => line,
    }
}

fn with_flags(toml: &str, flags: &[&str]) -> Settings {
    let serve = Cli::try_parse_from([&["tollgate"], flags].concat())
        .unwrap()
        .serve;
    Settings::merge(serve, file::from_toml(toml).unwrap()).unwrap()
}

/// Returns the one-line error of invalid flags.
fn flag_error(flags: &[&str]) -> String {
    let error = Cli::try_parse_from([&["tollgate"], flags].concat()).unwrap_err();
    one_line(&error, flags.iter().map(Into::into))
}

#[test]
fn the_defaults_match_the_replaced_systems() {
    let settings = settings("");
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(settings.quota, Quota::per_second(1).with_capacity(10));
    assert_eq!(
        (settings.client, settings.ipv6_prefix, settings.max_clients),
        (Client::Ip, 64, 1_000_000)
    );
}

#[test]
fn a_quota_is_defined_in_one_of_several_ways() {
    let hourly = Quota::interval(100, Duration::from_secs(3600));
    for (toml, quota) in [
        ("capacity = 5", Quota::per_second(1).with_capacity(5)),
        ("refill_rate = 0.5", "1/2s, capacity 10".parse().unwrap()),
        ("refill-rate = 2", Quota::per_second(2).with_capacity(10)),
        (
            "capacity = 100\nrefill = { every = '1h', mode = 'interval' }",
            hourly,
        ),
        (
            "capacity = 100\nrefill = { every = '1h' }",
            Quota::per_hour(100),
        ),
        (
            "capacity = 9\nrefill = { tokens = 5, every = 1, mode = 'greedy' }",
            Quota::per_second(5).with_capacity(9),
        ),
        (
            "quota = '100/hour, capacity 20'",
            Quota::per_hour(100).with_capacity(20),
        ),
        ("tokens = 100\ntime = 3600", hourly),
        (
            "quota = '10r/s burst 20'",
            Quota::per_second(10).with_capacity(20),
        ),
        ("quota = '10MB/s'", Quota::per_second(10_000_000)),
        (
            "capacity = 9\nrefill = { every = '1month' }",
            "9/30d".parse().unwrap(),
        ),
        (
            "capacity = 9\nrefill = { every = '1h 30min' }",
            "9/90min".parse().unwrap(),
        ),
        (
            "tokens = 100\ntime = 0.5",
            Quota::interval(100, Duration::from_millis(500)),
        ),
    ] {
        assert_eq!(settings(toml).quota, quota, "{toml}");
    }
    assert_eq!(
        file::from_json(r#"{"tokens": 100, "time": 3600}"#)
            .unwrap()
            .time
            .unwrap()
            .get(),
        Duration::from_secs(3600)
    );
}

#[test]
fn a_rule_and_a_route_take_every_quota_that_the_default_takes() {
    for keys in [
        "capacity = 100\nrefill_rate = 0.5",
        "capacity = 100\nrefill-rate = 0.5",
        "capacity = 100\nrefill = { every = '1h', mode = 'interval' }",
        "capacity = 9\nrefill = { tokens = 5, every = 1 }",
        "quota = '100/hour, capacity 20'",
        "quota = { capacity = 10, refill_rate = 0.5 }",
        "tokens = 100\ntime = 3600",
    ] {
        let rule = settings(&format!("[[rules]]\nclient_id = '192.0.2.7'\n{keys}")).rules;
        let route = settings(&format!("[[routes]]\npath = '/'\n{keys}")).routes;
        let default = settings(keys).quota;
        assert_eq!(rule[0].quota, default, "{keys}");
        assert_eq!(route[0].own_quota.unwrap().quota, default, "{keys}");
    }
}

#[test]
fn quota_client_and_api_keys_have_flags() {
    for toml in [
        "",
        "capacity = 3\nrefill_rate = 2",
        "quota = '9/day'",
        "tokens = 5\ntime = 60",
    ] {
        assert_eq!(
            with_flags(toml, &["--quota", "10r/s burst=20"]).quota,
            Quota::per_second(10).with_capacity(20),
            "{toml}"
        );
    }
    let keyed = with_flags(
        "client = 'ip'",
        &[
            "--client",
            "header:X-API-Key",
            "--api-keys",
            "a b, c",
            "--api-keys=d",
        ],
    );
    assert_eq!(
        keyed.client,
        settings("client = { header = 'x-api-key' }").client
    );
    assert_eq!(keyed.client, settings("client = 'header:X-API-Key'").client);
    let keys = ["a b", "c", "d"].map(str::to_owned);
    assert_eq!(keyed.api_keys, Some(keys.into_iter().collect()));
    let by_address = with_flags("client = { header = 'X-API-Key' }", &["--client", "ip"]);
    assert_eq!(by_address.client, Client::Ip);

    let beside = |flag| {
        let serve = Cli::parse_from(["tollgate", "--quota", "5/s", flag, "1"]).serve;
        Settings::merge(serve, file::File::default()).unwrap_err()
    };
    assert_eq!(
        beside("--capacity"),
        "quota: expected no other flag or variable of the default quota, got capacity beside it"
    );
    assert!(beside("--refill-rate").ends_with("got refill_rate beside it"));
}

#[test]
fn a_cost_that_no_bucket_can_pay_is_refused() {
    let fits = |toml: &str| assert_eq!(settings(toml).routes.len(), 1, "{toml}");
    let route = "[[routes]]\npath = '/a'\ncost = 11";
    fits(&format!("capacity = 11\n{route}"));
    fits(&format!("quota = '11/day'\n{route}"));
    // One client can use the route.
    fits(&format!(
        "{route}\n[[rules]]\nclient_id = '192.0.2.7'\nquota = '11/day'"
    ));
    let line = error(route);
    assert_eq!(
        line,
        "routes[0].cost: expected at most 10, the largest capacity of the default quota and the rules, got 11; or give the route a quota of its own"
    );
    let line = error(&format!(
        "[[routes]]\npath = '/'\nexempt = true\n{route}\n[[rules]]\nclient_id = '192.0.2.7'\nquota = '5/s'"
    ));
    assert!(
        line.starts_with("routes[1].cost: expected at most 10,"),
        "{line}"
    );
    let error = with_capacity_flag(route, "5");
    assert!(
        error.starts_with("routes[0].cost: expected at most 5,"),
        "{error}"
    );
}

/// Returns the error of a file with `--capacity`.
fn with_capacity_flag(toml: &str, capacity: &str) -> String {
    let serve = Cli::parse_from(["tollgate", "--capacity", capacity]).serve;
    Settings::merge(serve, file::from_toml(toml).unwrap()).unwrap_err()
}

#[test]
fn flags_take_precedence_over_the_file() {
    let interval = "capacity = 3\nrefill = { every = '1h', mode = 'interval' }";
    assert_eq!(
        with_flags(interval, &["--capacity", "9"]).quota,
        Quota::interval(9, Duration::from_secs(3600))
    );
    assert_eq!(
        with_flags(interval, &["--refill-rate", "2"]).quota,
        Quota::per_second(2).with_capacity(3)
    );
    assert_eq!(
        with_flags("quota = '5/s'", &["--capacity", "9"]).quota,
        Quota::per_second(5).with_capacity(9)
    );
    assert_eq!(
        with_flags("tokens = 5\ntime = 60", &["--capacity", "9"]).quota,
        Quota::interval(9, Duration::from_secs(60))
    );
    let proxies = with_flags(
        "trust_proxy = ['10.0.0.0/8']",
        &["--trust-proxy", "192.0.2.1,2001:db8::/32"],
    )
    .trust_proxy;
    assert_eq!(
        proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["192.0.2.1/32", "2001:db8::/32"]
    );
}

#[test]
fn an_error_names_the_key_the_value_and_what_is_allowed() {
    for (toml, parts) in [
        (
            "capacity = 0",
            &["capacity", "`0`", "from 1 to 4294967295"][..],
        ),
        ("capacity = 1.5", &["capacity", "`1.5`", "whole number"]),
        ("refill_rate = nan", &["refill_rate", "NaN", "1000000000"]),
        ("refill_rate = -1", &["refill_rate", "`-1`"]),
        ("burst = 5", &["burst", "capacity"]),
        ("client = 'name'", &["client", "name", "\"ip\""]),
        (
            "client = { cookie = 'id' }",
            &["client", "cookie", "header"],
        ),
        (
            "refill = { every = 'soon', mode = 'interval' }",
            &["refill.every", "soon", "century"],
        ),
        (
            "refill = { every = '1h', mode = 'interval', tokens = 5 }",
            &["refill.tokens", "greedy"],
        ),
        (
            "capacity = 4000000000\nrefill = { every = '1s', mode = 'interval' }",
            &["refill.every", "1000000000"],
        ),
        (
            "[[routes]]\npath = '/'\ncost = 0",
            &["routes[0].cost", "`0`", "from 1"],
        ),
        ("[[routes]]\npath = '/'", &["routes[0]", "cost", "exempt"]),
        (
            "[[routes]]\npath = 'x'\ncost = 1",
            &["routes[0].path", "x", "/"],
        ),
        (
            "[[routes]]\npath = '/health'\ncost = 1",
            &["routes[0].path", "/health"],
        ),
        (
            "[[routes]]\npath = '/api/*/x'\ncost = 1",
            &["routes[0].path", "/api/*/x", "as in /api/*"],
        ),
        (
            "[[routes]]\npath = '/api*'\ncost = 1",
            &["routes[0].path", "/api*", "as in /api/*"],
        ),
        (
            "[[routes]]\npath = '/users/{id}'\ncost = 1",
            &["routes[0].path", "{id}", "/*", "/users/{id}"],
        ),
        (
            "[[routes]]\npath = '/v1/{a}/x-{b:[0-9]+}/*'\ncost = 1",
            &["routes[0].path", "placeholder {a}"],
        ),
        (
            "[[routes]]\npath = '/users/:id/posts'\ncost = 1",
            &["routes[0].path", "placeholder :id", "/users/:id/posts"],
        ),
        (
            "[[routes]]\npath = '/users/<int:id>'\ncost = 1",
            &["routes[0].path", "placeholder <int:id>"],
        ),
        (
            "[[routes]]\npath = '/a/..;/%2e%2e//..%2f..%5cb'\ncost = 1",
            &["routes[0].path", "at most 8 ways", "%5cb"],
        ),
        (
            "case_sensitive_paths = 'no'",
            &["case_sensitive_paths", "no", "boolean"],
        ),
        (
            "[[routes]]\npath = '/admin/*'\ncost = 1",
            &["routes[0].path", "/admin/*", "limited"],
        ),
        (
            "[[routes]]\npath = '/'\ncapacity = 0\nrefill_rate = 1",
            &["routes[0].capacity", "`0`", "4294967295"],
        ),
        (
            "[[routes]]\npath = '/'\ncapacity = 1\nrefill_rate = 0",
            &["routes[0].refill_rate", "`0`", "1000000000"],
        ),
        (
            "[[routes]]\npath = '/'\ncapacity = 5",
            &["routes[0].capacity", "refill_rate"],
        ),
        (
            "[[routes]]\npath = '/'\nrefill = { every = '1h' }",
            &["routes[0].refill", "capacity"],
        ),
        (
            "[[routes]]\npath = '/'\ncapacity = 5\nquota = '5/day'",
            &["routes[0].capacity, quota", "or quota"],
        ),
        (
            "[[routes]]\npath = '/'\nquota = '5/fortnight'",
            &["routes[0].quota", "5/fortnight", "unit"],
        ),
        (
            "[[routes]]\npath = '/'\ncapacity = 4294967295\nrefill = { every = '1s', mode = 'interval' }",
            &["routes[0].refill.every", "1000000000"],
        ),
        (
            "[[routes]]\npath = '/'\nquota = '5/day'\ncost = 6",
            &["routes[0].cost", "6", "capacity, 5"],
        ),
        (
            "[[routes]]\npath = '/api/upload'\nquota = '2/day'",
            &["routes[0].capacity", "2", "at least 3", "cost"],
        ),
        (
            "[[routes]]\npath = '/*'\nquota = '9/day'\n[[routes]]\npath = '/api/*'\nquota = '2/day'",
            &["routes[1].capacity", "2", "at least 3", "cost"],
        ),
        (
            "[[routes]]\npath = '/'\nquota = '5/day'\nexempt = true",
            &["routes[0]", "exempt", "got both"],
        ),
        (
            "[[routes]]\npath = '/'\nquota = '5/day'\nmax_clients = 0",
            &["routes[0].max_clients", "`0`", "from 1"],
        ),
        (
            "[[routes]]\npath = '/'\ncost = 1\nmax_clients = 5",
            &["routes[0].max_clients", "quota"],
        ),
        (
            "[[routes]]\npath = '/'\ncost = 1\n[[routes]]\npath = '/'\ncost = 2",
            &["routes[1]", "once"],
        ),
        (
            "[[rules]]\nclient_id = 'x'\ncapacity = 0\nrefill_rate = 1",
            &["rules[0].capacity", "`0`"],
        ),
        (
            "[[rules]]\nclient_id = 'x'",
            &["rules[0].quota", "one definition"],
        ),
        (
            "[[rules]]\nclient_id = 'x'\ncapacity = 5",
            &["rules[0].capacity", "refill_rate"],
        ),
        (
            "[[rules]]\nclient_id = 'x'\nquota = '5/fortnight'",
            &["rules[0].quota", "5/fortnight", "unit"],
        ),
        ("client = 'header:'", &["client", "header:", "X-API-Key"]),
        (
            "capacity = 1\ntokens = 1\ntime = 1",
            &["capacity, tokens, time", "one definition"],
        ),
        (
            "refill_rate = 1\nrefill = { every = '1s' }",
            &["refill_rate, refill", "one definition"],
        ),
        ("tokens = 1", &["time", "got none"]),
        ("tokens = 1\ntime = 0", &["time", "`0`", "seconds"]),
        ("api_keys = ['a']", &["api_keys", "header"]),
        ("ipv6_prefix = 129", &["ipv6_prefix", "129", "128"]),
        (
            "nat64_prefixes = ['2001:db8::/95']",
            &["nat64_prefixes[0]", "2001:db8::/95", "96 bits"],
        ),
        (
            "trust_proxy = ['10.0.0.0/33']",
            &["trust_proxy[0]", "10.0.0.0/33"],
        ),
        (
            "connections = { max = 0 }",
            &["connections.max", "`0`", "1000000"],
        ),
        (
            "connections = { header_timeout = '1ms' }",
            &["connections.header_timeout", "1ms", "100 ms"],
        ),
        ("quota = '5/fortnight'", &["quota", "5/fortnight", "unit"]),
        ("quota = 5", &["quota", "`5`", "100/hour"]),
        ("capacity = 5\ncapacity = 6", &["capacity", "line 2"]),
        ("capacity = ", &["not TOML", "line 1"]),
    ] {
        let line = error(toml);
        assert_eq!(line.lines().count(), 1, "{line}");
        parts
            .iter()
            .for_each(|part| assert!(line.contains(part), "{part:?} is not in: {line}"));
    }
    for json in [
        "",
        "[]",
        "[10, 1]",
        "null",
        r#"{"capacity": 5"#,
        r#"{"capacity": 5} x"#,
        r#"{"refill": ["greedy", 1, "1s"]}"#,
    ] {
        assert!(file::from_json(json).is_err(), "{json}");
    }
}

#[test]
fn a_colon_may_stand_in_a_path() {
    for path in ["/v1/users:batchGet", "/b:1", "/a/:", "/a/:1/x"] {
        let routes = settings(&format!("[[routes]]\npath = '{path}'\ncost = 2")).routes;
        assert_eq!(routes[0].path, path);
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    for file in [
        file::from_json("\u{feff}{\"capacity\": 5}"),
        file::from_toml("\u{feff}capacity = 5"),
    ] {
        assert_eq!(file.unwrap().capacity.unwrap().get(), 5);
    }
}

/// *Caught:* the built-in cost of an upload is not counted, or counted where a route says otherwise.
#[test]
fn an_upload_is_among_the_costs_of_the_default_buckets() {
    let costs = |toml: &str| settings(toml).default_costs();
    let upload = [("POST /api/upload".to_owned(), 3)];
    let limit = "[[limits]]\nname = 'a'\nquota = '5/s'\n";
    let get = "[[routes]]\npath = '/api/*'\nmethod = 'GET'\ncost = 1\n";
    assert_eq!(costs(""), upload);
    assert_eq!(costs(get)[1..], upload);
    assert_eq!(costs(&format!("capacity = 1\n{limit}")), upload);
    for other in [
        "upstream = 'http://127.0.0.1:1'",
        limit,
        &format!("capacity = 1\n{limit}instead_of = 'default'"),
        "[[routes]]\npath = '/api/*'\nexempt = true",
        "[[routes]]\npath = '/*'\nquota = '5/s'",
    ] {
        assert_eq!(costs(other), [], "{other}");
    }
    let cheap =
        "[[routes]]\npath = '/*'\nquota = '1/s'\n[[routes]]\npath = '/api/upload'\ncost = 1";
    assert_eq!(costs(cheap), [("/api/upload".to_owned(), 1)]);
}

#[test]
fn errors_and_debug_do_not_show_secrets() {
    let line = error("admin_token = ' hush'");
    assert!(
        line.contains("admin_token") && line.contains("1024") && !line.contains("hush"),
        "{line}"
    );
    let line = flag_error(&["--admin-token", " hush"]);
    assert!(
        line.contains("--admin-token") && !line.contains("hush"),
        "{line}"
    );
    let line = flag_error(&["--api-keys", "good,hu\tsh"]);
    assert!(
        line.contains("--api-keys") && !line.contains("sh,") && !line.contains("hu\\t"),
        "{line}"
    );
    let debug = format!("{:?}", settings("admin_token = 'hush'").admin);
    assert!(!debug.contains("hush"), "{debug}");
}

#[test]
fn an_invalid_flag_is_a_one_line_error() {
    for (flags, parts) in [
        (
            &["--capacity", "0"][..],
            &["--capacity", "0", "4294967295"][..],
        ),
        (&["--capacity=-1"], &["--capacity", "-1"]),
        (&["--capacity="], &["--capacity", "4294967295"]),
        (
            &["--refill-rate=NaN"],
            &["--refill-rate", "NaN", "1000000000"],
        ),
        (
            &["--listen", "127.0.0.1"],
            &["--listen", "127.0.0.1", "port"],
        ),
        (&["--burst", "5"], &["--burst"]),
        (
            &["--quota", "5"],
            &["--quota: expected '/' or 'per'", "\"5\""],
        ),
        (&["--quota=0/s"], &["--quota", "tokens", "at least 1"]),
        (
            &["--client", "cookie:id"],
            &["--client", "ip or header:", "cookie:id"],
        ),
        (&["--capacity"], &["--capacity"]),
        (&["stray"], &["stray"]),
        (&["stress", "--interval=-1"], &["--interval", "-1"]),
        (
            &["stress", "--url=nonsense"],
            &["--url", "nonsense", "http://"],
        ),
    ] {
        let line = flag_error(flags);
        assert_eq!(line.lines().count(), 1, "{line}");
        parts
            .iter()
            .for_each(|part| assert!(line.contains(part), "{part:?} is not in: {line}"));
    }
    for flag in ["--redis", "--upstream"] {
        assert!(Cli::try_parse_from(["tollgate", flag, "x"]).is_err());
    }
}

#[test]
fn the_examples_of_the_guide_to_policies_are_valid() {
    let guide = include_str!("../../../docs/policies.md");
    let examples = guide.split("```toml\n").skip(1);
    let examples = examples.map(|rest| rest.split("```").next().unwrap());
    let mut count = 0;
    let names_a_file = |example: &str| {
        ["deny.txt", "jwks.json"]
            .iter()
            .any(|file| example.contains(file))
    };
    for example in examples.filter(|example| !names_a_file(example)) {
        settings(example);
        count += 1;
    }
    assert!(count >= 15, "{count} examples");
}

#[test]
fn unsupported_keys_are_not_suggested() {
    for (toml, suggested, unsupported) in [
        ("plan = 1", "`quota`", "`plans`"),
        (
            "[[limits]]\nname = 'a'\nstrikt = true",
            "`refusal`",
            "`strict`",
        ),
        (
            "[[limits]]\nname = 'a'\ncharge = 1",
            "`refusal`",
            "`charge_on`",
        ),
    ] {
        let line = error(toml);
        assert!(line.contains(suggested), "{line}");
        assert!(!line.contains(unsupported), "{line}");
    }
}
