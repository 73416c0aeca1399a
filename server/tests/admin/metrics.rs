//! `GET /metrics`: counters, labels and access.

use std::collections::BTreeMap;

use rustix::process::Signal;
use test_support::redis::RedisServer;
use test_support::{ADMIN_TOKEN, AS_ADMIN, Launch, SLOW, Server, Upstream, eventually};

/// Samples by name and labels.
#[derive(Debug)]
struct Samples(BTreeMap<String, f64>);

impl Samples {
    fn of(server: &Server) -> Samples {
        let response = server.client().get_with("/metrics", &AS_ADMIN);
        assert_eq!(response.status, 200, "{}", response.text());
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!(
            (
                response.header("content-type"),
                response.header("x-ratelimit-limit")
            ),
            (Some(kind), None)
        );
        Samples::parse(&response.text())
    }

    /// Parses the text and checks that every line is valid OpenMetrics.
    fn parse(text: &str) -> Samples {
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.last(), Some(&"# EOF"), "{text}");
        let (comments, samples): (Vec<&str>, Vec<&str>) =
            lines.into_iter().partition(|line| line.starts_with('#'));
        for comment in comments {
            let known = ["# HELP tollgate_", "# TYPE tollgate_", "# EOF"]
                .iter()
                .any(|start| comment.starts_with(start));
            assert!(known, "{comment}");
        }
        let sample = |line: &str| {
            let (name, value) = line
                .rsplit_once(' ')
                .unwrap_or_else(|| panic!("no sample: {line}"));
            assert!(name.starts_with("tollgate_"), "{line}");
            (
                name.to_owned(),
                value
                    .parse()
                    .unwrap_or_else(|_| panic!("no number: {line}")),
            )
        };
        Samples(samples.into_iter().map(sample).collect())
    }

    fn get(&self, name: &str) -> f64 {
        *self
            .0
            .get(&format!("tollgate_{name}"))
            .unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    fn decisions(&self, route: &str, decision: &str, reason: &str) -> f64 {
        let labels = format!("route=\"{route}\",decision=\"{decision}\",reason=\"{reason}\"");
        self.0
            .get(&format!("tollgate_decisions_total{{{labels}}}"))
            .copied()
            .unwrap_or_default()
    }

    /// Returns the number of all decisions.
    fn total_decisions(&self) -> f64 {
        self.0
            .iter()
            .filter(|(name, _)| name.starts_with("tollgate_decisions_total{"))
            .map(|(_, value)| value)
            .sum()
    }
}

#[test]
fn decisions_are_counted_by_route_and_reason() {
    let file = "capacity = 10\nrefill_rate = 0.001\n[[routes]]\nmethod = 'POST'\npath = '/import'\ncost = 11\n\
         [[routes]]\npath = '/re\"port\\'\ncost = 1\n[[routes]]\npath = '/api/ping'\nexempt = true\n\
         [[rules]]\nclient_id = '203.0.113.9'\nquota = '11/day'\n";
    let server = Launch::new().config("tollgate.toml", file).start();
    let mut client = server.client();
    for _ in 0..12 {
        client.get("/");
    }
    client.post("/import", "");
    client.get("/import");
    (0..3).for_each(|_| drop(client.get("/api/ping")));
    server.client_from("127.0.0.2").get("/re\"port\\");
    server.client_from("127.0.0.3").post("/api/upload", "");
    server.client_from("127.0.0.3").get("/nothing/of/the/kind");
    server.client_from("127.0.0.3").get("/auth");
    client.post(
        "/check",
        r#"[{"key": "alice", "cost": 6}, {"key": "alice", "cost": 6}]"#,
    );
    client.post("/check", r#"{"key": ""}"#);
    (0..3).for_each(|_| drop(client.get("/health")));

    let samples = Samples::of(&server);
    for (route, decision, reason, count) in [
        ("/", "allowed", "tokens", 10.0),
        ("/", "refused", "no_tokens", 2.0),
        ("POST /import", "refused", "cost_above_capacity", 1.0),
        ("/api/ping", "allowed", "exempt", 3.0),
        ("/re\\\"port\\\\", "allowed", "tokens", 1.0),
        ("/api/upload", "allowed", "tokens", 1.0),
        ("other", "refused", "no_tokens", 1.0),
        ("other", "allowed", "tokens", 1.0),
        ("/auth", "allowed", "tokens", 1.0),
        ("/check", "allowed", "tokens", 1.0),
        ("/check", "refused", "no_tokens", 1.0),
    ] {
        assert_eq!(
            samples.decisions(route, decision, reason),
            count,
            "{route} {decision} {reason} in {samples:#?}"
        );
    }
    assert_eq!(
        samples.total_decisions(),
        23.0,
        "no other decisions: {samples:#?}"
    );
    assert_eq!(samples.get("table_live"), 4.0, "three addresses and alice");
    assert!(
        samples.get("table_slots") >= 1_000_000.0
            && samples.get("table_bytes") > samples.get("table_slots")
    );
}

#[test]
fn labels_never_contain_client_values() {
    let file = "client = { header = 'X-API-Key' }\napi_keys = ['secret-key']";
    let server = Launch::new().config("tollgate.toml", file).start();
    let mut client = server.client();
    for number in 0..50 {
        let path = format!("/path-{number}?query-{number}");
        client.get_with(
            &path,
            &[("X-API-Key", "secret-key"), ("User-Agent", "some-agent")],
        );
        client.get_with(&path, &[("X-API-Key", &format!("guess-{number}"))]);
        client.request(&format!("METHOD{number}"), &path, &[], "");
    }
    client.post("/check", r#"{"key": "secret-key"}"#);
    let text = server.get("/metrics").text();
    for part in [
        "secret-key",
        "guess-",
        "path-",
        "query-",
        "METHOD",
        "agent",
        "127.0.0.1",
    ] {
        assert!(!text.contains(part), "{part} is in {text}");
    }
    let samples = Samples::parse(&text);
    let counts = [
        ("refused", "unknown_key"),
        ("refused", "no_key"),
        ("allowed", "tokens"),
        ("refused", "no_tokens"),
    ]
    .map(|(decision, reason)| samples.decisions("other", decision, reason));
    assert_eq!(
        (counts[0], counts[1], counts[2] + counts[3]),
        (50.0, 50.0, 50.0),
        "{samples:#?}"
    );
}

#[test]
fn latency_is_a_histogram_of_sampled_decisions() {
    let server = Server::with_capacity(10);
    let mut client = server.client();
    (0..5000).for_each(|_| drop(client.get("/")));
    let samples = Samples::of(&server);
    let count = samples.get("decision_seconds_count");
    assert!(
        (1.0..=5000.0 / 64.0).contains(&count),
        "one decision in 64 per thread: {samples:#?}"
    );
    assert_eq!(samples.get("decision_seconds_bucket{le=\"+Inf\"}"), count);
    let sum = samples.get("decision_seconds_sum");
    assert!(sum > 0.0 && sum < 30.0, "{samples:#?}");
    let mut buckets: Vec<(f64, f64)> = samples.0.iter().filter_map(bucket).collect();
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    assert!(
        buckets.len() > 10 && buckets.is_sorted_by_key(|(_, count)| *count),
        "buckets are cumulative: {buckets:?}"
    );
}

fn bucket((name, count): (&String, &f64)) -> Option<(f64, f64)> {
    let bound = name
        .strip_prefix("tollgate_decision_seconds_bucket{le=\"")?
        .strip_suffix("\"}")?;
    Some((
        if bound == "+Inf" {
            f64::INFINITY
        } else {
            bound.parse().unwrap()
        },
        *count,
    ))
}

#[test]
fn open_connections_are_counted() {
    let server = Server::with_capacity(10);
    let clients: Vec<_> = (0..5)
        .map(|_| {
            let mut client = server.client();
            client.get("/health");
            client
        })
        .collect();
    let samples = Samples::of(&server);
    assert_eq!(
        (
            samples.get("connections_open"),
            samples.get("connections_accepted_total")
        ),
        (6.0, 6.0),
        "including this connection"
    );
    drop(clients);
    eventually("the connections are closed", || {
        Samples::of(&server).get("connections_open") == 1.0
    });
}

#[test]
fn evictions_from_a_full_table_are_counted() {
    let file = "capacity = 10\nrefill_rate = 0.001\nmax_clients = 8\ncheck = 'open'";
    let server = Launch::new().config("tollgate.toml", file).start();
    let mut client = server.client();
    for number in 0..200 {
        client.post("/check", &format!(r#"{{"key": "{number}"}}"#));
    }
    let samples = Samples::of(&server);
    let (live, slots) = (samples.get("table_live"), samples.get("table_slots"));
    assert!(live > 0.0 && live <= slots && slots < 200.0, "{samples:#?}");
    assert!(
        samples.get("table_evicted_early_total") >= 200.0 - slots,
        "{samples:#?}"
    );
}

#[test]
fn access_is_that_of_the_admin_api() {
    let server = Server::with_capacity(10);
    let status = |server: &Server, headers: &[(&str, &str)]| {
        server.client().get_with("/metrics", headers).status
    };
    assert_eq!(
        [
            status(&server, &[]),
            status(&server, &[("X-Forwarded-For", "127.0.0.1")])
        ],
        [200, 403]
    );
    let server = Server::start(&["--admin-token", "boss"]);
    assert_eq!(
        [
            status(&server, &[]),
            status(&server, &[("Authorization", "Bearer boss")])
        ],
        [401, 200]
    );
}

#[test]
fn redis_state_and_fallback_decisions_are_reported() {
    let mut redis = RedisServer::start();
    let flags = [
        "--redis",
        &redis.url(),
        "--redis-timeout",
        "10s",
        "--capacity",
        "100",
        "--refill-rate",
        SLOW,
    ];
    let server = Server::start(&flags);
    (0..5).for_each(|_| drop(server.get("/")));
    let samples = Samples::of(&server);
    assert_eq!(
        [
            samples.get("redis_up"),
            samples.get("redis_decisions_total")
        ],
        [1.0, 5.0]
    );
    assert_eq!(
        [
            samples.get("redis_fallback_decisions_total"),
            samples.get("decision_seconds_count")
        ],
        [0.0, 5.0]
    );
    assert!(
        !samples.0.contains_key("tollgate_table_live"),
        "the buckets are in Redis"
    );

    redis.kill();
    eventually("Redis is considered down", || {
        server.get("/");
        Samples::of(&server).get("redis_up") == 0.0
    });
    server.get("/");
    let samples = Samples::of(&server);
    assert!(
        samples.get("redis_fallback_decisions_total") >= 1.0
            && samples.get("redis_outages_total") == 1.0,
        "{samples:#?}"
    );
}

#[test]
fn gateway_serves_metrics_itself_and_counts_by_upstream() {
    let upstream = Upstream::with_body("mine");
    let file = format!(
        "admin_token = '{ADMIN_TOKEN}'\nupstream = '{0}'\nupstreams = [{{ prefix = '/api', url = '{0}' }}]",
        upstream.url()
    );
    let server = Launch::new().config("tollgate.toml", &file).start();
    let mut client = server.client();
    ["/", "/a", "/api/x", "/auth", "/check"]
        .iter()
        .for_each(|path| assert_eq!(client.get(path).text(), "mine"));
    let samples = Samples::of(&server);
    let counts =
        ["/", "/api", "/auth", "other"].map(|route| samples.decisions(route, "allowed", "tokens"));
    assert_eq!(counts, [4.0, 1.0, 0.0, 0.0]);
    assert_eq!(upstream.requests().len(), 5);
}

#[test]
fn counters_survive_a_configuration_reload() {
    let text = |cost| {
        format!("capacity = 1000\nrefill_rate = 0.001\n[[routes]]\npath = '/a'\ncost = {cost}")
    };
    let launch = Launch::new();
    let path = launch.file("tollgate.toml", &text(1));
    let server = launch.args(&["--config", path.to_str().unwrap()]).start();
    let mut client = server.client();
    (0..3).for_each(|_| drop(client.get("/a")));
    std::fs::write(&path, text(2)).unwrap();
    server.signal(Signal::HUP);
    eventually("the new cost", || {
        let before = client.get("/b").remaining();
        before == client.get("/a").remaining() + 2
    });
    let samples = Samples::of(&server);
    assert!(
        samples.decisions("/a", "allowed", "tokens") >= 4.0,
        "{samples:#?}"
    );
}
