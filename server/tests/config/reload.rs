//! Reload on SIGHUP: the file is read again, also under load, and no request is lost.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rustix::process::Signal;
use test_support::redis::RedisServer;
use test_support::reload::Reloaded;
use test_support::{Launch, Server, Upstream, eventually};

const QUOTA: &str = "capacity = 10\nrefill_rate = 0.001\n";

#[test]
fn a_reload_applies_to_the_next_request_on_open_connections() {
    let reloaded = Reloaded::start(QUOTA, &[]);
    let mut client = reloaded.server.client();
    let forwarded = [("X-Forwarded-For", "203.0.113.1")];
    assert_eq!(client.get("/api/data").remaining(), 9);
    assert_eq!(client.get_with("/", &forwarded).from(), "127.0.0.1");
    let line = reloaded.reload(
        "capacity = 20\nrefill_rate = 0.001\ntrust_proxy = ['127.0.0.1']\nadmin_token = 'boss'\n\
         [[routes]]\npath = '/api/data'\ncost = 5\n[[rules]]\nclient_id = '203.0.113.9'\ncapacity = 7\nrefill_rate = 0.001",
    );
    assert!(
        line.contains("configuration reloaded") && !line.contains("ignored"),
        "{line}"
    );
    let data = client.get("/api/data");
    assert_eq!(
        (data.limit(), data.remaining()),
        (20, 15),
        "a new default, and a new cost"
    );
    assert_eq!(
        client.get_with("/", &forwarded).from(),
        "203.0.113.1",
        "the proxy is trusted after the reload"
    );
    assert_eq!(
        client
            .get_with("/", &[("X-Forwarded-For", "203.0.113.9")])
            .limit(),
        7
    );
    assert_eq!(client.get("/config").status, 401);
    assert_eq!(
        client
            .get_with("/config", &[("Authorization", "Bearer boss")])
            .status,
        200
    );

    reloaded.reload("capacity = 20\nrefill_rate = 0.001");
    assert_eq!(
        client.get_with("/", &forwarded).from(),
        "127.0.0.1",
        "the proxy is no longer trusted"
    );
    assert_eq!(client.get("/config").json()["rules"], serde_json::json!({}));
}

#[test]
fn a_reload_changes_the_client_address_header_and_the_allowed_origins() {
    let trusted = format!("{QUOTA}trust_proxy = ['127.0.0.1']\n");
    let reloaded = Reloaded::start(&trusted, &[]);
    let mut client = reloaded.server.client();
    let headers = [
        ("X-Forwarded-For", "203.0.113.1"),
        ("X-Real-IP", "203.0.113.2"),
        ("Origin", "https://app.example"),
    ];
    let before = client.get_with("/", &headers);
    assert_eq!(before.from(), "203.0.113.1");
    assert_eq!(before.header("Access-Control-Allow-Origin"), None);
    let line = reloaded.reload(&format!(
        "{trusted}client_address_header = 'x-real-ip'\ncors = {{ origins = ['https://app.example'] }}"
    ));
    assert!(!line.contains("ignored"), "{line}");
    let after = client.get_with("/", &headers);
    assert_eq!(after.from(), "203.0.113.2");
    assert_eq!(
        after.header("Access-Control-Allow-Origin"),
        Some("https://app.example")
    );
}

#[test]
fn a_reload_adds_and_removes_api_keys() {
    let file = |keys| format!("{QUOTA}client = {{ header = 'X-API-Key' }}\napi_keys = {keys}");
    let reloaded = Reloaded::start(&file("['first', 'second']"), &[]);
    let status = |key| {
        reloaded
            .server
            .client()
            .get_with("/", &[("X-API-Key", key)])
            .status
    };
    assert_eq!(
        [status("first"), status("second"), status("third")],
        [200, 200, 401]
    );
    reloaded.reload(&file("['first', 'third']"));
    assert_eq!(
        [status("first"), status("second"), status("third")],
        [200, 401, 200]
    );
    assert_eq!(
        reloaded
            .server
            .client()
            .get_with("/", &[("X-API-Key", "first")])
            .remaining(),
        7,
        "the key keeps its bucket"
    );
}

#[test]
fn a_reload_keeps_unchanged_buckets_and_changes_by_an_administrator() {
    let rule = |capacity| {
        format!("[[rules]]\nclient_id = '127.0.0.2'\ncapacity = {capacity}\nrefill_rate = 0.001\n")
    };
    let reloaded = Reloaded::start(&format!("{QUOTA}{}", rule(50)), &[]);
    let (mut client, mut ruled) = (
        reloaded.server.client(),
        reloaded.server.client_from("127.0.0.2"),
    );
    assert_eq!(
        [client.get("/").remaining(), ruled.get("/").remaining()],
        [9, 49]
    );
    let route = "[[routes]]\npath = '/x'\ncost = 2\n";
    reloaded.reload(&format!("{QUOTA}{}{route}", rule(50)));
    assert_eq!(
        [client.get("/").remaining(), ruled.get("/").remaining()],
        [8, 48]
    );
    reloaded.reload(&format!("{QUOTA}{}", rule(60)));
    assert_eq!(
        (client.get("/").remaining(), ruled.get("/").limit()),
        (7, 60)
    );

    assert_eq!(client.post("/config", r#"{"capacity": 30}"#).status, 200);
    let own = r#"{"client_id": "127.0.0.3", "capacity": 5, "refill_rate": 1}"#;
    assert_eq!(client.post("/admin/update-rule", own).status, 200);
    let changed = r#"{"client_id": "127.0.0.2", "capacity": 70, "refill_rate": 1}"#;
    assert_eq!(client.post("/admin/update-rule", changed).status, 200);
    reloaded.reload(QUOTA);
    let config = client.get("/config").json();
    assert_eq!(
        (
            &config["capacity"],
            &config["rules"]["127.0.0.3"]["capacity"]
        ),
        (&30.into(), &5.into()),
        "{config}"
    );
    assert_eq!(
        config["rules"]["127.0.0.2"]["capacity"], 70,
        "the file's rule had been replaced: {config}"
    );
    reloaded.reload("capacity = 15\nrefill_rate = 0.001");
    let response = client.get("/");
    assert_eq!(
        (response.limit(), response.remaining()),
        (15, 14),
        "the file has a new default"
    );
}

/// The file takes over what an administrator has set: the values are in force already.
#[test]
fn a_reload_with_the_administrators_values_keeps_the_buckets() {
    let rule = "[[rules]]\nclient_id = '127.0.0.2'\ncapacity = 50\nrefill_rate = 0.001\n";
    let route = "[[routes]]\npath = '/x'\ncapacity = 5\nrefill_rate = 0.001\n";
    let reloaded = Reloaded::start(&format!("{QUOTA}{route}"), &[]);
    let mut client = reloaded.server.client();
    let own = r#"{"client_id": "127.0.0.2", "capacity": 50, "refill_rate": 0.001}"#;
    assert_eq!(client.post("/config", r#"{"capacity": 30}"#).status, 200);
    assert_eq!(client.post("/admin/update-rule", own).status, 200);
    let mut ruled = reloaded.server.client_from("127.0.0.2");
    let mut remaining = || {
        ["/", "/x"]
            .map(|path| client.get(path).remaining())
            .into_iter()
            .chain([ruled.get("/").remaining()])
            .collect::<Vec<_>>()
    };
    assert_eq!(remaining(), [29, 4, 49]);
    reloaded.reload(&format!(
        "capacity = 30\nrefill_rate = 0.001\n{rule}{route}"
    ));
    assert_eq!(remaining(), [28, 3, 48]);
    reloaded.reload(&format!(
        "capacity = 30\nrefill_rate = 0.001\n{rule}{route}"
    ));
    assert_eq!(remaining(), [27, 2, 47]);
}

#[test]
fn an_invalid_file_changes_nothing_and_is_a_one_line_error() {
    let reloaded = Reloaded::start(QUOTA, &[]);
    let mut client = reloaded.server.client();
    for (number, (text, parts)) in [
        ("capacity = 0", &["capacity", "`0`", "4294967295"][..]),
        ("capacity = 20\nburst = 1", &["burst"]),
        ("capacity = ", &["not TOML", "line 1"]),
        (
            "capacity = 20\n[[rules]]\nclient_id = 'alice'\ncapacity = 1\nrefill_rate = 1",
            &["rules[0].client_id", "alice"],
        ),
        ("capacity = 20\nadmin_token = ' hush'", &["admin_token"]),
        ("capacity = 20\n[[routes]]\npath = '/'", &["routes[0]"]),
    ]
    .into_iter()
    .enumerate()
    {
        let before = client.get("/config").text();
        let line = reloaded.reload(text);
        assert!(
            line.contains("ERROR") && line.contains("nothing changed"),
            "{line}"
        );
        parts
            .iter()
            .for_each(|part| assert!(line.contains(part), "{part:?} is not in: {line}"));
        assert!(!line.contains("hush"), "{line}");
        let response = client.get("/");
        assert_eq!(
            (response.limit(), response.remaining()),
            (10, 9 - number as u64),
            "{text}"
        );
        assert_eq!(client.get("/config").text(), before);
    }
    fs::remove_file(&reloaded.path).unwrap();
    reloaded.server.signal(Signal::HUP);
    eventually("the seventh line", || reloaded.lines().len() == 7);
    assert!(
        reloaded.lines()[6].contains("tollgate.toml"),
        "{:?}",
        reloaded.lines()
    );
    assert!(
        reloaded
            .reload("capacity = 20")
            .contains("configuration reloaded"),
        "a valid file is applied afterwards"
    );
    assert_eq!(client.get("/").limit(), 20);
}

#[test]
fn keys_that_need_a_restart_are_logged_and_the_others_are_applied() {
    let launch = Launch::new().listen(None);
    let path = launch.file("tollgate.toml", &format!("{QUOTA}listen = '127.0.0.1:0'"));
    let server = launch.args(&["--config", path.to_str().unwrap()]).start();
    let reloaded = Reloaded { server, path };
    let line = reloaded.reload(
        "capacity = 20\nlisten = '127.0.0.1:1'\nclient = { header = 'X-API-Key' }\nipv6_prefix = 56\nmax_clients = 5\n\
         redis = 'redis://127.0.0.1:1/'\nconnections = { max = 5 }",
    );
    for key in [
        "listen",
        "client",
        "ipv6_prefix",
        "max_clients",
        "redis",
        "connections",
    ] {
        assert!(line.contains(key), "{key} is not in: {line}");
    }
    assert!(
        line.contains("WARN") && line.contains("restart") && !line.contains("upstream"),
        "{line}"
    );
    assert_eq!(reloaded.server.get("/").limit(), 20);
    let line =
        reloaded.reload("capacity = 20\nlisten = '127.0.0.1:0'\nupstream = 'http://127.0.0.1:1'");
    assert!(
        line.contains("upstream") && !line.contains("connections"),
        "{line}"
    );
    assert_eq!(reloaded.server.get("/").status, 200);
    assert!(
        !reloaded
            .reload("capacity = 20\nlisten = '127.0.0.1:0'")
            .contains("ignored"),
        "no key differs"
    );
}

#[test]
fn flags_keep_precedence_and_without_a_file_sighup_is_ignored() {
    let reloaded = Reloaded::start(QUOTA, &["--capacity", "15"]);
    assert_eq!(reloaded.server.get("/").limit(), 15);
    reloaded.reload("capacity = 20\nrefill_rate = 0.001");
    assert_eq!(reloaded.server.get("/").limit(), 15);

    let mut server = Server::start(&[]);
    server.signal(Signal::HUP);
    server.wait_for_log("no configuration file");
    server.assert_healthy();
}

#[test]
fn a_reload_changes_upstreams_and_unchanged_ones_keep_their_connections() {
    let (one, other) = (Upstream::with_body("one"), Upstream::with_body("other"));
    let file = |upstream: &Upstream, more: &str| {
        format!(
            "capacity = 1000000\nrefill_rate = 0.001\nupstream = '{}'\n{more}",
            upstream.url()
        )
    };
    let reloaded = Reloaded::start(&file(&one, ""), &[]);
    let mut client = reloaded.server.client();
    assert_eq!(client.get("/").text(), "one");
    reloaded.reload(&file(&one, "[[routes]]\npath = '/'\ncost = 2"));
    assert_eq!(client.get("/").remaining(), 999_997);
    assert_eq!(one.connections(), 1, "the connection is reused");
    reloaded.reload(&file(&other, ""));
    assert_eq!(client.get("/").text(), "other");
    one.wait_for_closed(1);
}

#[test]
fn under_load_every_response_uses_one_configuration_and_none_is_lost() {
    let file = |tens: u32| {
        let capacity = 1_000_000 * tens;
        format!(
            "capacity = {capacity}\nrefill_rate = 0.001\n[[routes]]\npath = '/a'\ncost = {tens}\n"
        )
    };
    let reloaded = Reloaded::start(&file(1), &[]);
    let done = AtomicBool::new(false);
    let requests: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let (server, done) = (&reloaded.server, &done);
                scope.spawn(move || {
                    let (mut client, mut requests) =
                        (server.client_from(&format!("127.0.0.{}", number + 2)), 0);
                    while !done.load(Ordering::Relaxed) {
                        let response = client.get("/a");
                        assert_eq!(response.status, 404, "{response:?}");
                        assert!(
                            [1_000_000, 2_000_000].contains(&response.limit()),
                            "{response:?}"
                        );
                        requests += 1;
                    }
                    requests
                })
            })
            .collect();
        for round in 0..20 {
            let line = match round % 3 {
                0 => reloaded.reload(&file(2)),
                1 => reloaded.reload("capacity = oops"),
                _ => reloaded.reload(&file(1)),
            };
            assert_eq!(line.contains("nothing changed"), round % 3 == 1, "{line}");
        }
        done.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum()
    });
    assert!(requests > 20, "only {requests} requests: no load");
    let response = reloaded.server.client_from("127.0.0.99").get("/a");
    assert_eq!(
        (response.limit(), response.remaining()),
        (2_000_000, 1_999_998),
        "round 18 had the last valid file"
    );
}

#[test]
fn with_redis_a_reload_does_not_override_the_administrator() {
    let redis = RedisServer::start();
    let rule = |client: &str, capacity: u32| {
        format!("[[rules]]\nclient_id = '{client}'\ncapacity = {capacity}\nrefill_rate = 0.001\n")
    };
    let url = redis.url();
    let flags = ["--redis", &url, "--redis-timeout", "10s"];
    let reloaded = Reloaded::start(&format!("{QUOTA}{}", rule("127.0.0.2", 50)), &flags);
    let mut client = reloaded.server.client();
    assert_eq!(client.post("/config", r#"{"capacity": 30}"#).status, 200);
    let more = format!(
        "{}{}[[routes]]\npath = '/a'\ncost = 5",
        rule("127.0.0.2", 60),
        rule("127.0.0.3", 70)
    );
    let line = reloaded.reload(&format!("capacity = 20\nrefill_rate = 0.001\n{more}"));
    assert!(
        line.contains("capacity") && line.contains("POST /config"),
        "{line}"
    );
    let response = client.get("/a");
    assert_eq!(
        (response.limit(), response.remaining()),
        (30, 25),
        "routes are local to this instance"
    );
    let config = client.get("/config").json();
    assert_eq!(
        config["rules"]["127.0.0.2"]["capacity"], 60,
        "the file changed the rule: {config}"
    );
    assert_eq!(config["rules"]["127.0.0.3"]["capacity"], 70, "{config}");

    let mine = r#"{"client_id": "127.0.0.3", "capacity": 80, "refill_rate": 0.001}"#;
    assert_eq!(client.post("/admin/update-rule", mine).status, 200);
    reloaded.reload(QUOTA);
    let rules = client.get("/config").json()["rules"].clone();
    assert_eq!(
        rules["127.0.0.2"].as_object(),
        None,
        "the file no longer has the rule: {rules}"
    );
    assert_eq!(
        rules["127.0.0.3"]["capacity"], 80,
        "the administrator's rule stays: {rules}"
    );
}

#[test]
fn a_start_does_not_override_redis_and_logs_the_difference() {
    let redis = RedisServer::start();
    let url = redis.url();
    let rule = |capacity: u32| {
        format!(
            "{QUOTA}[[rules]]\nclient_id = '127.0.0.2'\ncapacity = {capacity}\nrefill_rate = 0.001\n"
        )
    };
    let start = |text: &str| {
        Launch::new()
            .config("tollgate.toml", text)
            .args(&["--redis", &url, "--redis-timeout", "10s"])
            .start()
    };
    let first = start(&rule(50));
    assert_eq!(
        first.client().post("/config", r#"{"capacity": 30}"#).status,
        200
    );
    let second = start(&rule(60));
    let log = second.wait_for_log("started");
    assert!(
        log.contains("rules=1") && log.contains("POST /admin/update-rule"),
        "{log}"
    );
    assert!(
        log.contains("default quota in Redis differs") && log.contains("capacity 30"),
        "{log}"
    );
    assert_eq!(second.client_from("127.0.0.2").get("/").limit(), 50);
    assert!(!first.stderr().contains("WARN"), "{}", first.stderr());
}

/// *Caught:* without a warning.
#[test]
fn a_cost_above_the_capacity_of_the_administrator_is_logged() {
    let route = "[[routes]]\npath = '/x'\ncost = 5\n";
    let reloaded = Reloaded::start(&format!("{QUOTA}{route}"), &[]);
    let mut client = reloaded.server.client();
    assert!(!reloaded.server.stderr().contains("WARN"));
    assert_eq!(client.post("/config", r#"{"capacity": 3}"#).status, 200);
    let log = reloaded.server.wait_for_log("cost above the capacity");
    assert!(log.contains("route=/x cost=5 capacity=3"), "{log}");
    assert!(!log.contains("upload"), "{log}");
    assert_eq!(client.post("/config", r#"{"capacity": 2}"#).status, 200);
    let upload = "route=POST /api/upload cost=3 capacity=2";
    reloaded.server.wait_for_log(upload);
    let start = Launch::new().args(&["--capacity", "2"]).start();
    start.wait_for_log(upload);
}

/// *Caught:* the quota of Redis kept at a reload with a changed file, and without a warning at the start.
#[test]
fn with_redis_the_quota_of_an_administrator_stays_until_a_reload_changes_it() {
    let redis = RedisServer::start();
    let url = redis.url();
    let flags = ["--redis", &url, "--redis-timeout", "10s"];
    let file = |quota: &str, cost: u32| {
        format!("[[limits]]\nname = 'q'\nkey = 'global'\nquota = '{quota}'\ncost = {cost}\n")
    };
    let set = |server: &Server, quota: &str| {
        let body = format!(r#"{{"quota": "{quota}"}}"#);
        let put = server
            .client()
            .request("PUT", "/admin/limits/q", &[], &body);
        assert_eq!(put.status, 200);
    };
    let limit = |server: &Server| server.client().get("/").limit();
    let first = Reloaded::start(&file("20/day", 1), &flags);
    set(&first.server, "3/day");

    let second = Reloaded::start(&file("4/day", 4), &flags);
    let log = second.server.wait_for_log("cost above the capacity");
    assert!(
        log.contains("quota in Redis differs")
            && log.contains("limit=q effective=3/day of_file=4/day"),
        "{log}"
    );
    assert!(log.contains("limit=q cost=4 effective=3/day"), "{log}");
    assert_eq!(limit(&second.server), 3);

    first.reload(&file("20/day", 1));
    assert_eq!(limit(&first.server), 3, "the file says nothing new");
    first.reload(&file("30/day", 1));
    assert_eq!(limit(&first.server), 30);
    eventually("the other instance follows", || limit(&second.server) == 30);
}

#[test]
fn an_empty_file_changes_nothing() {
    let reloaded = Reloaded::start(&format!("admin_token = 'secret'\n{QUOTA}"), &[]);
    let line = reloaded.reload("");
    assert!(
        line.contains("got an empty one") && line.contains("nothing changed"),
        "{line}"
    );
    assert_eq!(reloaded.server.get("/config").status, 401);
    reloaded.reload(QUOTA);
    let log = reloaded.server.wait_for_log("token removed");
    assert!(log.contains("WARN") && log.contains("admin_token"), "{log}");
    assert_eq!(reloaded.server.get("/config").status, 200);
}
