//! Settings of a gateway, and the one-line errors of invalid ones.

use test_support::{Launch, SLOW, Server, Upstream};

/// Asserts that a start with this file fails with one line that contains all of `parts`.
fn assert_refused(text: &str, parts: &[&str]) {
    refused(Launch::new().config("gateway.toml", text), text, parts);
}

fn refused(launch: Launch, shown: &str, parts: &[&str]) {
    let refusal = launch
        .start_error()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert_eq!(refusal.code, Some(2), "{shown}: {}", refusal.stderr);
    assert_eq!(
        refusal.stderr.trim_end().lines().count(),
        1,
        "{shown}: {}",
        refusal.stderr
    );
    parts.iter().for_each(|part| {
        assert!(
            refusal.stderr.contains(part),
            "{shown}: {part:?} is not in: {}",
            refusal.stderr
        )
    });
}

const BAD_URLS: [&str; 14] = [
    "127.0.0.1:9000",
    "localhost",
    "",
    "/",
    "ftp://127.0.0.1/",
    "http://",
    "http://:9000",
    "http://127.0.0.1:",
    "http://127.0.0.1:0",
    "http://127.0.0.1:99999",
    "http://127.0.0.1/path",
    "http://127.0.0.1/?query",
    "http://user:password@127.0.0.1/",
    "http://127.0.0.1/#part",
];

#[test]
fn an_invalid_url_ends_the_start_and_the_error_shows_the_allowed_form() {
    for url in BAD_URLS {
        refused(
            Launch::new().args(&[&format!("--upstream={url}")]),
            url,
            &["--upstream", url, "http://host[:port]", "h2c://"],
        );
    }
    refused(
        Launch::new().env("TOLLGATE_UPSTREAM", "nowhere"),
        "environment",
        &["TOLLGATE_UPSTREAM", "nowhere", "https://"],
    );
    assert_refused(
        "upstream = 'nowhere'",
        &["upstream", "nowhere", "http://host[:port]"],
    );
    assert_refused(
        "upstream = 9000",
        &["upstream", "9000", "http://host[:port]"],
    );
}

#[test]
fn the_error_of_an_invalid_file_names_the_key_and_the_allowed_values() {
    let with = |lines: &str| format!("upstream = 'http://127.0.0.1:1'\n{lines}");
    let upstream =
        |prefix: &str| format!("[[upstreams]]\nprefix = '{prefix}'\nurl = 'http://127.0.0.1:2'\n");
    assert_refused(
        &upstream("api"),
        &["upstreams[0].prefix", "api", "begins with /"],
    );
    assert_refused(&upstream("/api?x"), &["upstreams[0].prefix", "/api?x"]);
    assert_refused(
        &upstream("/health"),
        &["upstreams[0].prefix", "/health", "own"],
    );
    assert_refused(
        &upstream("/admin/x"),
        &["upstreams[0].prefix", "/admin/x", "own"],
    );
    assert_refused(
        &with(&upstream("/")),
        &["upstreams[0].prefix", "each prefix once"],
    );
    assert_refused(
        &(upstream("/a") + &upstream("/a")),
        &["upstreams[1].prefix", "/a", "each prefix once"],
    );
    assert_refused(
        "[[upstreams]]\nprefix = '/a'\nurl = 'x'",
        &["upstreams[0].url", "x", "http://host[:port]"],
    );
    assert_refused("[[upstreams]]\nprefix = '/a'", &["upstreams[0]", "url"]);
    assert_refused(
        "[[upstreams]]\nprefix = '/a'\nurl = 'http://a'\nport = 1",
        &["upstreams[0].port", "prefix"],
    );
    assert_refused("[gateway]\nmax_idle = 1", &["gateway", "upstream"]);
    for (line, parts) in [
        (
            "connect_timeout = 0",
            &["gateway.connect_timeout", "`0`", "1 ms"][..],
        ),
        (
            "response_timeout = 'soon'",
            &["gateway.response_timeout", "soon", "a day"],
        ),
        ("idle_timeout = -1", &["gateway.idle_timeout", "`-1`"]),
        (
            "keep_alive = '2 days'",
            &["gateway.keep_alive", "2 days", "a day"],
        ),
        (
            "max_idle = -1",
            &["gateway.max_idle", "`-1`", "from 0 to 1000000"],
        ),
        (
            "max_requests = 0",
            &["gateway.max_requests", "`0`", "from 1 to 1000000"],
        ),
        (
            "max_concurrent_per_client = 0",
            &["gateway.max_concurrent_per_client", "`0`", "from 1"],
        ),
        (
            "max_tunnels_per_client = -1",
            &["gateway.max_tunnels_per_client", "`-1`", "from 0"],
        ),
        (
            "tunnel_timeout = '1ms'",
            &["gateway.tunnel_timeout", "1ms", "100 ms"],
        ),
        ("retries = 3", &["gateway.retries", "connect_timeout"]),
    ] {
        assert_refused(&with(&format!("[gateway]\n{line}")), parts);
    }
}

#[test]
fn the_flag_takes_precedence_over_the_environment_and_that_over_the_file() {
    let (flag, environment, file) = (
        Upstream::with_body("flag"),
        Upstream::with_body("environment"),
        Upstream::with_body("file"),
    );
    let launch = || Launch::new().config("gateway.toml", &format!("upstream = '{}'", file.url()));
    let of = |launch: Launch| launch.start().get("/").text();
    assert_eq!(of(launch()), "file");
    assert_eq!(
        of(launch().env("TOLLGATE_UPSTREAM", &environment.url())),
        "environment"
    );
    assert_eq!(
        of(launch()
            .env("TOLLGATE_UPSTREAM", &environment.url())
            .args(&["--upstream", &flag.url()])),
        "flag"
    );
    let json = format!(
        r#"{{"upstreams": [{{"prefix": "/", "url": "{}"}}]}}"#,
        file.url()
    );
    assert_eq!(of(Launch::new().config("gateway.json", &json)), "file");
}

#[test]
fn bodies_may_be_longer_with_an_upstream_unless_the_file_limits_them() {
    let upstream = Upstream::with_body("hello");
    let long = "x".repeat(2 << 20);
    assert_eq!(
        Server::with_capacity(10).post("/api/submit", &long).status,
        413
    );
    assert_eq!(
        Server::gateway(&upstream.url()).post("/", &long).status,
        200
    );
    let text = format!(
        "refill_rate = {SLOW}\nupstream = '{}'\n[connections]\nmax_body_bytes = 1000000\n",
        upstream.url()
    );
    assert_eq!(
        Launch::new()
            .config("gateway.toml", &text)
            .start()
            .post("/", &long)
            .status,
        413
    );
}

#[test]
fn idle_upstream_connections_are_kept_as_the_file_sets() {
    let upstream = Upstream::with_body("hello");
    for (line, connections) in [
        ("max_idle = 0", 3),
        ("keep_alive = 0", 3),
        ("max_idle = 1", 1),
    ] {
        let before = upstream.connections();
        let text = format!("upstream = '{}'\n[gateway]\n{line}\n", upstream.url());
        let server = Launch::new().config("gateway.toml", &text).start();
        (0..3).for_each(|_| assert_eq!(server.get("/").status, 200));
        assert_eq!(upstream.connections() - before, connections, "{line}");
    }
}
