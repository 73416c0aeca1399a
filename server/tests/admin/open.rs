//! Servers whose admin endpoints are open without a token: the plain demo alone.

use test_support::{ADMIN_TOKEN, AS_ADMIN, Client, Launch, Server, Upstream, nginx::Nginx};

const GUARDED: [(&str, &str); 5] = [
    ("GET", "/metrics"),
    ("GET", "/config"),
    ("POST", "/config"),
    ("POST", "/admin/update-rule"),
    ("DELETE", "/admin/rule/127.0.0.9"),
];

/// Returns the statuses of all admin endpoints and of `/check`, as a local proxy would send the
/// requests: from a loopback address, with the host of the proxied address.
fn statuses(server: &Server, headers: &[(&str, &str)]) -> Vec<u16> {
    let mut client = server.client();
    GUARDED
        .into_iter()
        .chain([("POST", "/check")])
        .map(|(method, path)| client.request(method, path, headers, "").status)
        .collect()
}

#[test]
fn the_plain_demo_is_open_to_this_machine() {
    let server = Server::start(&[]);
    assert_eq!(statuses(&server, &[]), [200, 200, 400, 400, 404, 400]);
    assert!(
        server
            .start_line
            .contains("(admin API: this machine, no token)"),
        "{}",
        server.start_line
    );
}

#[test]
fn a_gateway_without_a_token_is_closed() {
    let upstream = Upstream::with_body("mine");
    let server = Server::gateway(&upstream.url());
    assert_eq!(statuses(&server, &[])[..5], [403; 5]);
    assert_eq!(server.get("/health").status, 200);
    assert!(
        server.start_line.contains("(admin API: closed"),
        "{}",
        server.start_line
    );
    let text = server.get("/config").text();
    assert!(
        text.contains("--admin-token") && text.contains("--admin-listen"),
        "{text}"
    );
}

#[test]
fn a_server_with_trusted_proxies_or_a_public_address_is_closed_without_a_token() {
    for launch in [
        Launch::new().args(&["--trust-proxy", "192.0.2.1"]),
        Launch::new().listen(Some("0.0.0.0:0")),
        Launch::new().listen(Some("[::]:0")),
    ] {
        let server = launch.start();
        assert_eq!(statuses(&server, &[]), [403; 6], "{}", server.start_line);
        assert!(
            server.start_line.contains("(admin API: closed"),
            "{}",
            server.start_line
        );
    }
}

#[test]
fn a_token_opens_every_server() {
    let upstream = Upstream::with_body("mine");
    for args in [
        &["--upstream", &upstream.url()][..],
        &["--trust-proxy", "127.0.0.1"],
        &[],
    ] {
        let server = Launch::new()
            .args(args)
            .args(&["--admin-token", ADMIN_TOKEN])
            .start();
        assert_eq!(statuses(&server, &[])[..5], [401; 5]);
        assert_eq!(statuses(&server, &AS_ADMIN)[..5], [200, 200, 400, 400, 404]);
        assert!(
            server.start_line.contains("(admin API: token"),
            "{}",
            server.start_line
        );
    }
}

#[test]
fn a_check_token_opens_check_alone() {
    let server = Server::start(&[
        "--trust-proxy",
        "192.0.2.1",
        "--check-token",
        "token of the check tests",
    ]);
    let token = [("Authorization", "Bearer token of the check tests")];
    assert_eq!(statuses(&server, &token), [403, 403, 403, 403, 403, 400]);
    assert_eq!(statuses(&server, &[])[5], 401);
    let line = &server.start_line;
    assert!(line.contains("/check: token"), "{line}");
}

#[test]
fn a_web_page_on_the_same_machine_is_refused() {
    let server = Server::start(&[]);
    for header in [
        ("Origin", "http://127.0.0.1:8000"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Sec-Fetch-Site", "same-origin"),
    ] {
        assert_eq!(statuses(&server, &[header]), [403; 6], "{header:?}");
    }
    assert_eq!(
        statuses(&server, &[("Sec-Fetch-Site", "none")]),
        [200, 200, 400, 400, 404, 400],
        "an address that a user typed"
    );
}

#[test]
fn a_reload_closes_the_admin_api_when_the_demo_ends() {
    let reloaded = test_support::reload::Reloaded::start("capacity = 5", &[]);
    assert_eq!(reloaded.server.get("/config").status, 200);
    reloaded.reload("capacity = 5\ntrust_proxy = ['192.0.2.1']");
    assert_eq!(statuses(&reloaded.server, &[]), [403; 6]);
    reloaded.reload("capacity = 5");
    assert_eq!(reloaded.server.get("/config").status, 200);
}

#[test]
fn own_prefix_moves_the_endpoints_of_a_gateway() {
    let upstream = Upstream::with_body("mine");
    let file = format!(
        "upstream = '{}'\nadmin_token = '{ADMIN_TOKEN}'\n[gateway]\nown_prefix = '/_tollgate'\n",
        upstream.url()
    );
    let server = Launch::new().config("gateway.toml", &file).start();
    let mut client = server.client();
    for path in [
        "/health",
        "/metrics",
        "/config",
        "/admin/",
        "/admin/login",
        "/_tollgateway",
    ] {
        assert_eq!(client.get(path).text(), "mine", "{path}");
    }
    let passed = upstream.requests().len();
    assert_eq!(client.get("/_tollgate/health").status, 200);
    assert_eq!(client.get("/_tollgate/config").status, 401);
    for (method, path, body, status) in [
        ("GET", "/metrics", "", 200),
        ("GET", "/config", "", 200),
        ("POST", "/config", r#"{"capacity": 50}"#, 200),
        (
            "POST",
            "/admin/update-rule",
            r#"{"client_id": "192.0.2.7", "capacity": 5, "refill_rate": 1}"#,
            200,
        ),
        ("DELETE", "/admin/rule/192.0.2.7", "", 200),
        ("POST", "/check", r#"{"key": "alice"}"#, 200),
        ("GET", "/", "", 404),
        ("GET", "", "", 404),
        ("GET", "/auth", "", 404),
        ("GET", "/api/data", "", 404),
        ("GET", "/unknown", "", 404),
    ] {
        let response = client.request(method, &format!("/_tollgate{path}"), &AS_ADMIN, body);
        assert_eq!(response.status, status, "{method} {path}");
    }
    assert_eq!(
        upstream.requests().len(),
        passed,
        "nothing below the prefix is forwarded"
    );
}

#[test]
fn tokens_are_long_unless_the_server_is_local() {
    let short = "fifteen letters";
    assert_eq!(short.len(), 15);
    for (flag, key) in [
        ("--admin-token", "admin_token"),
        ("--check-token", "check_token"),
    ] {
        let server = Server::start(&[flag, short]);
        let log = server.wait_for_log("16 characters");
        assert!(log.contains("WARN") && log.contains(key), "{log}");
        assert!(!log.contains(short), "{log}");
        for launch in [
            Launch::new().listen(Some("0.0.0.0:0")),
            Launch::new().args(&["--upstream", "http://127.0.0.1:1"]),
            Launch::new().args(&["--admin-listen", "0.0.0.0:0", "--admin-token", ADMIN_TOKEN]),
        ] {
            let Ok(refusal) = launch.args(&[flag, short]).start_error() else {
                panic!("{flag}: the server started");
            };
            if refusal.stderr.contains("cannot be used multiple times") {
                continue;
            }
            assert_eq!(refusal.code, Some(2), "{}", refusal.stderr);
            assert!(
                refusal.stderr.contains(key) && refusal.stderr.contains("at least 16 characters"),
                "{}",
                refusal.stderr
            );
            assert!(!refusal.stderr.contains(short), "{}", refusal.stderr);
        }
        let long = "sixteen letters.";
        let server = Launch::new()
            .args(&["--upstream", "http://127.0.0.1:1", flag, long])
            .start();
        assert!(!server.stderr().contains("WARN"), "{}", server.stderr());
    }
}

/// The proxy adds no forwarding header and sends the upstream's address as the host.
#[test]
fn strangers_behind_a_bare_local_proxy_are_refused() {
    let upstream = Upstream::with_body("mine");
    let server = Server::gateway(&upstream.url());
    let nginx = Nginx::start(&format!(
        "server {{ listen 127.0.0.1:8080; location / {{ proxy_pass {}; }} }}",
        server.url()
    ));
    let mut stranger = Client::connect(nginx.address, None);
    assert_eq!(stranger.get("/").text(), "mine");
    for (method, path) in GUARDED {
        let response = stranger.request(method, path, &[], r#"{"capacity": 99}"#);
        assert_eq!(response.status, 403, "{method} {path}");
    }
    assert_eq!(stranger.get("/").limit(), 1_000_000, "nothing changed");
}
