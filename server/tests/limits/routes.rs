//! Routes with limits of their own: in the server, in the gateway, through `/auth`, and at a
//! reload.

use test_support::redis::RedisServer;
use test_support::reload::Reloaded;
use test_support::{Client, Launch, Response, Server, Upstream};

/// Starts a server with default capacity 10, capacity 6 for `POST /api/upload` at cost 3, and
/// capacity 4 for all paths below `/reports`.
const ROUTES: &str = "capacity = 10\nrefill_rate = 0.001\n\
     [[routes]]\nmethod = 'POST'\npath = '/api/upload'\ncapacity = 6\nrefill_rate = 0.001\ncost = 3\n\
     [[routes]]\npath = '/reports/*'\nquota = '4 per day, all at once'\n";

const PROBLEM: &str = "application/problem+json";

fn server(more: &str) -> Server {
    Launch::new()
        .config("tollgate.toml", &format!("{more}{ROUTES}"))
        .start()
}

/// Returns status, limit and remaining tokens.
fn summary(response: &Response) -> (u16, u64, u64) {
    (response.status, response.limit(), response.remaining())
}

#[test]
fn route_has_a_bucket_per_client_besides_the_default() {
    let server = server("");
    let mut client = server.client();
    assert_eq!(summary(&client.post("/api/upload", "a")), (200, 6, 3));
    assert_eq!(summary(&client.post("/api/upload", "b")), (200, 6, 0));
    let refused = client.post("/api/upload", "c");
    assert_eq!(
        (summary(&refused), refused.json()["error"].as_str()),
        ((429, 6, 0), Some("Too Many Requests"))
    );
    assert!(
        (2990.0..3001.0).contains(&refused.retry_after()),
        "three tokens of the route: {}",
        refused.text()
    );
    assert!(
        (2990..=3001).contains(&refused.number("Retry-After"))
            && (5990..=6001).contains(&refused.reset())
    );
    assert_eq!(
        summary(&client.get("/")),
        (200, 10, 9),
        "the default bucket is unchanged"
    );
    assert_eq!(
        summary(&server.client_from("127.0.0.2").post("/api/upload", "")),
        (200, 6, 3)
    );
    for left in (0..4).rev() {
        assert_eq!(
            summary(&client.get("/reports/a?b")),
            (404, 4, left),
            "unknown paths are charged as well"
        );
    }
    let refused = client.get("/reports");
    assert_eq!(summary(&refused), (429, 4, 0));
    assert!(
        (86_300.0..86_410.0).contains(&refused.retry_after()),
        "the whole capacity refills after a day: {}",
        refused.text()
    );
}

#[test]
fn rules_updates_and_checks_apply_to_the_default() {
    let server = server("");
    let mut client = server.client();
    client.post("/api/upload", "");
    let rule = r#"{"client_id": "127.0.0.1", "capacity": 50, "refill_rate": 0.001}"#;
    assert_eq!(client.post("/admin/update-rule", rule).status, 200);
    assert_eq!(client.get("/").limit(), 50);
    assert_eq!(summary(&client.get("/reports/")), (404, 4, 3));
    assert_eq!(client.post("/config", r#"{"capacity": 20}"#).status, 200);
    assert_eq!(
        summary(&client.post("/api/upload", "")),
        (200, 6, 0),
        "the bucket of the route is neither reset nor replaced"
    );
    assert_eq!(
        client.post("/check", r#"{"key": "/api/upload"}"#).json()["limit"],
        20
    );
    let shown = client.get("/config").json();
    let upload = serde_json::json!({"capacity": 6, "refill_rate": 0.001, "mode": "greedy"});
    assert_eq!(
        (&shown["capacity"], &shown["routes"]["POST /api/upload"]),
        (&20.into(), &upload),
        "{shown}"
    );
    assert_eq!(shown["routes"]["/reports/*"]["mode"], "interval", "{shown}");
}

#[test]
fn route_limits_apply_to_api_keys() {
    let server = server("client = { header = 'X-API-Key' }\napi_keys = ['first', 'second']\n");
    let mut client = server.client();
    let mut upload = |key: &str| client.request("POST", "/api/upload", &[("X-API-Key", key)], "");
    assert_eq!(
        [
            upload("first").remaining(),
            upload("first").remaining(),
            upload("second").remaining()
        ],
        [3, 0, 3]
    );
    assert_eq!((upload("first").status, upload("third").status), (429, 401));
}

#[test]
fn refused_requests_never_reach_the_upstream_in_any_spelling() {
    let upstream = Upstream::with_body("mine");
    let server = server(&format!("upstream = '{}'\n", upstream.url()));
    let mut client = server.client();
    assert_eq!(summary(&client.post("/api/upload", "a")), (200, 6, 3));
    assert_eq!(summary(&client.post("//api/%75pload/", "b")), (200, 6, 0));
    assert_eq!(
        upstream.requests()[1].request_line(),
        "POST //api/%75pload/ HTTP/1.1",
        "the path is forwarded unchanged"
    );
    for path in [
        "/api/upload",
        "/api/upload/",
        "/api//upload",
        "/API/../api/upload",
        "/api/%2e%2e/api/upload",
        "/reports/../api/upload",
        "/api%2Fupload",
        "/x\\..\\api\\upload",
        "/%zz/../api/upload?q",
    ] {
        assert_eq!(summary(&client.post(path, "c")), (429, 6, 0), "{path}");
    }
    assert_eq!(upstream.requests().len(), 2);
    assert_eq!(summary(&client.get("/reports/x")), (200, 4, 3));
    assert_eq!(client.get("/anything").limit(), 10);
}

#[test]
fn auth_applies_the_route_of_the_original_request() {
    let server = server("trust_proxy = ['127.0.0.1']\n");
    let request_auth = |client: &mut Client, name: &str, headers: &[(&str, &str)]| {
        client.get_with("/auth", &[&[("X-Forwarded-For", name)], headers].concat())
    };
    let mut proxy = server.client();
    let upload = [
        ("X-Original-URI", "/api/upload?x"),
        ("X-Original-Method", "POST"),
    ];
    assert_eq!(
        summary(&request_auth(&mut proxy, "203.0.113.1", &upload)),
        (200, 6, 3)
    );
    assert_eq!(
        summary(&request_auth(&mut proxy, "203.0.113.1", &upload)),
        (200, 6, 0)
    );
    assert_eq!(
        summary(&request_auth(&mut proxy, "203.0.113.1", &upload)),
        (429, 6, 0)
    );
    assert_eq!(
        summary(&request_auth(
            &mut proxy,
            "203.0.113.1",
            &[("X-Original-URI", "/x")]
        )),
        (200, 10, 9)
    );
    assert_eq!(
        summary(&request_auth(
            &mut proxy,
            "203.0.113.2",
            &[("X-Forwarded-Uri", "//reports/%2e/")]
        )),
        (200, 4, 3)
    );

    let forged = [&upload[..], &[("X-Forwarded-Uri", "/x")]].concat();
    assert_eq!(
        summary(&request_auth(&mut proxy, "203.0.113.1", &forged)),
        (429, 6, 0),
        "independent of which header is forged"
    );
    let forged = [
        ("X-Original-URI", "/x"),
        ("X-Forwarded-Uri", "/api/upload"),
        ("X-Forwarded-Method", "POST"),
    ];
    assert_eq!(
        summary(&request_auth(&mut proxy, "203.0.113.1", &forged)),
        (429, 6, 0)
    );
    assert_eq!(
        summary(&request_auth(
            &mut proxy,
            "203.0.113.1",
            &[("X-Original-URI", "/x")]
        )),
        (200, 10, 8),
        "the other bucket was not charged"
    );
}

/// Starts a server with the IETF's headers and three policies: the default, one with a name, and one
/// without.
fn with_policies(flags: &[&str]) -> Server {
    let file = "capacity = 10\nrefill_rate = 0.001\nheaders = 'draft'\n\
         [[routes]]\nmethod = 'POST'\npath = '/login'\nname = 'login'\ncapacity = 2\nrefill_rate = 0.001\n\
         [[routes]]\nmethod = 'GET'\npath = '/data/*'\ncapacity = 5\nrefill_rate = 0.001\n\
         [[routes]]\npath = '/dear'\ncost = 2\n";
    Launch::new()
        .config("tollgate.toml", file)
        .args(flags)
        .start()
}

/// Every policy was named `"default"`, with other values.
#[test]
fn policy_has_the_name_of_its_route() {
    let (upstream, redis) = (Upstream::with_body("hi"), RedisServer::start());
    let (upstream, redis) = (upstream.url(), redis.url());
    let flags: [&[&str]; 3] = [
        &[],
        &["--upstream", &upstream],
        &["--redis", &redis, "--redis-timeout", "10s"],
    ];
    for flags in flags {
        let server = with_policies(flags);
        let mut client = server.client();
        let mut policy = |method, path| {
            let response = client.request(method, path, &[("Accept", PROBLEM)], "");
            let [policy, limit] = ["ratelimit-policy", "ratelimit"].map(|name| {
                let value = response.header(name).unwrap_or_default();
                value
                    .split_once(";t=")
                    .map_or(value, |(name, _)| name)
                    .to_owned()
            });
            (policy, limit, response)
        };
        for (method, path, expected) in [
            (
                "GET",
                "/",
                [r#""default";q=10;w=10000"#, r#""default";r=9"#],
            ),
            (
                "GET",
                "/dear",
                [r#""default";q=10;w=10000"#, r#""default";r=7"#],
            ),
            (
                "POST",
                "/login",
                [r#""login";q=2;w=2000"#, r#""login";r=1"#],
            ),
            (
                "GET",
                "/data/1",
                [r#""GET /data/*";q=5;w=5000"#, r#""GET /data/*";r=4"#],
            ),
            // Both buckets are charged, and the route's is announced.
            (
                "POST",
                "/x/../login",
                [r#""login";q=2;w=2000"#, r#""login";r=0"#],
            ),
        ] {
            let (policy, limit, response) = policy(method, path);
            assert_eq!(
                [policy.as_str(), &limit],
                expected,
                "{flags:?} {path}: {response:?}"
            );
        }
        let (policy, limit, refused) = policy("POST", "/login");
        assert_eq!(
            (refused.status, policy.as_str(), limit.as_str()),
            (429, r#""login";q=2;w=2000"#, r#""login";r=0"#),
            "{flags:?}"
        );
        assert_eq!(refused.json()["violated-policies"][0], "login", "{flags:?}");
    }
}

/// A client with no tokens left for DELETE sent POST with a field that the upstream reads as DELETE.
#[test]
fn method_in_a_header_counts_as_well() {
    let file = "capacity = 10\nrefill_rate = 0.001\ntrust_proxy = ['127.0.0.2']\n\
         [[routes]]\nmethod = 'DELETE'\npath = '/items/*'\ncapacity = 2\nrefill_rate = 0.001\n\
         [[routes]]\nmethod = 'POST'\npath = '/items/*'\nexempt = true\n";
    let upstream = Upstream::with_body("hi");
    let url = upstream.url();
    let flags: [(&str, &[&str]); 2] = [("/items/1", &["--upstream", &url]), ("/auth", &[])];
    for (path, flags) in flags {
        let server = Launch::new()
            .config("tollgate.toml", file)
            .args(flags)
            .start();
        let mut client = server.client_from("127.0.0.2");
        let mut post = |fields: &[(&str, &str)]| {
            let original = [
                ("X-Original-Method", "POST"),
                ("X-Original-URI", "/items/1"),
                ("X-Forwarded-For", "192.0.2.1"),
            ];
            let response = client.request("POST", path, &[&original, fields].concat(), "");
            let limit = response.header("x-ratelimit-limit").map(str::to_owned);
            (response.status, limit)
        };
        let deletes = |status| (status, Some("2".to_owned()));
        assert_eq!(post(&[]), (200, None), "{path}: POST is exempt");
        assert_eq!(
            post(&[("X-HTTP-Method-Override", "DELETE")]),
            deletes(200),
            "{path}"
        );
        assert_eq!(post(&[("X-HTTP-Method", "delete")]), deletes(200), "{path}");
        assert_eq!(
            post(&[("X-Method-Override", "PUT, Delete")]),
            deletes(429),
            "{path}"
        );
        let many = post(&[("X-Method-Override", "A,B,C,D,E")]);
        assert_eq!(many.0, 400, "{path}");
    }
    let seen = upstream.requests();
    assert!(
        seen.iter()
            .any(|request| request.header("x-http-method-override") == Some("DELETE")),
        "the field passes"
    );
}

#[test]
fn metrics_label_tables_by_route_and_contain_no_client() {
    let server = server("max_clients = 5000\n");
    let mut client = server.client();
    client.post("/api/upload", "");
    server.client_from("127.0.0.2").post("/api/upload", "");
    client.get("/");
    let text = server.get("/metrics").text();
    for line in [
        "tollgate_table_live 1",
        "tollgate_table_live{route=\"POST /api/upload\"} 2",
        "tollgate_table_live{route=\"/reports/*\"} 0",
        "tollgate_decisions_total{route=\"POST /api/upload\",decision=\"allowed\",reason=\"tokens\"} 2",
    ] {
        assert!(
            text.lines().any(|known| known == line),
            "{line} is not in {text}"
        );
    }
    assert!(!text.contains("127.0.0"), "{text}");
}

#[test]
fn table_of_a_route_has_the_configured_size() {
    let slots = |file: &str, labels: &str| {
        let text = Launch::new()
            .config("tollgate.toml", file)
            .start()
            .get("/metrics")
            .text();
        let name = format!("tollgate_table_slots{labels} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .parse::<u64>()
            .unwrap()
    };
    let reports = "{route=\"/reports/*\"}";
    assert!(
        (200_000..300_000).contains(&slots(&format!("{ROUTES}max_clients = 150000\n"), reports))
    );
    assert!(
        (160_000..200_000).contains(&slots(ROUTES, reports)),
        "100000 clients"
    );
    let few = format!("max_clients = 600\n{ROUTES}");
    assert_eq!(
        slots(&few, reports),
        slots(&few, ""),
        "limited by the server's max_clients"
    );
}

#[test]
fn reload_keeps_the_buckets_of_unchanged_routes() {
    let route = |path: &str, capacity: u32, more: &str| {
        format!("[[routes]]\npath = '{path}'\ncapacity = {capacity}\nrefill_rate = 0.001\n{more}\n")
    };
    let base = "capacity = 10\nrefill_rate = 0.001\n";
    let reloaded = Reloaded::start(
        &format!("{base}{}{}", route("/a", 5, ""), route("/b", 5, "")),
        &[],
    );
    let mut client = reloaded.server.client();
    let mut limit_and_remaining = |path: &str| {
        let response = client.get(path);
        (response.limit(), response.remaining())
    };
    assert_eq!(
        [
            limit_and_remaining("/a"),
            limit_and_remaining("/b"),
            limit_and_remaining("/c")
        ],
        [(5, 4), (5, 4), (10, 9)]
    );

    let line = reloaded.reload(&format!(
        "{base}{}{}{}",
        route("/a", 5, "cost = 2"),
        route("/b", 6, ""),
        route("/c/*", 7, "")
    ));
    assert!(
        line.contains("configuration reloaded") && !line.contains("ignored"),
        "{line}"
    );
    assert_eq!(
        limit_and_remaining("/a"),
        (5, 2),
        "the same bucket with another cost"
    );
    assert_eq!(
        limit_and_remaining("/b"),
        (6, 5),
        "a new bucket for another quota"
    );
    assert_eq!(limit_and_remaining("/c"), (7, 6), "a new route");
    assert_eq!(
        limit_and_remaining("/d"),
        (10, 8),
        "the default bucket is kept"
    );

    for bad in [
        format!("{base}{}{}", route("/a", 50, ""), route("/b", 0, "")),
        format!(
            "{base}{}{}",
            route("/a", 50, ""),
            route("/b", 1, "cost = 2")
        ),
        format!(
            "{base}{}[[rules]]\nclient_id = 'alice'\ncapacity = 1\nrefill_rate = 1",
            route("/a", 50, "")
        ),
    ] {
        assert!(reloaded.reload(&bad).contains("nothing changed"), "{bad}");
    }
    assert_eq!(
        [
            limit_and_remaining("/a"),
            limit_and_remaining("/b"),
            limit_and_remaining("/c/d")
        ],
        [(5, 0), (6, 4), (7, 5)]
    );

    reloaded.reload(&format!("{base}{}", route("/b", 6, "")));
    assert_eq!(
        [
            limit_and_remaining("/a"),
            limit_and_remaining("/b"),
            limit_and_remaining("/c")
        ],
        [(10, 7), (6, 3), (10, 6)],
        "the default applies to removed routes"
    );
    assert_eq!(
        reloaded.server.get("/config").json()["routes"]
            .as_object()
            .unwrap()
            .len(),
        1
    );
    reloaded.reload(&format!("{base}{}", route("/a", 5, "")));
    assert_eq!(
        limit_and_remaining("/a"),
        (5, 4),
        "a route that returns has a full bucket"
    );
}
