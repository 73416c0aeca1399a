//! `--admin-listen`: the admin endpoints on an address or a Unix socket of their own.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::Command,
};

use rustix::process::Signal;
use test_support::http::encode;
use test_support::{ADMIN_TOKEN, AS_ADMIN, Launch, Server, TEST_TIMEOUT, Upstream};

const LISTEN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];
const OWN: [&str; 3] = ["/metrics", "/config", "/admin/rule/127.0.0.1"];

#[test]
fn endpoints_leave_the_public_port() {
    let server = Launch::new()
        .args(&["--capacity", "100", "--refill-rate", "0.001"])
        .args(&LISTEN)
        .start();
    let mut public = server.client();
    for path in OWN {
        let response = public.get(path);
        assert_eq!(
            (response.status, response.limit()),
            (404, 100),
            "{path} is as unknown as any other path"
        );
    }
    assert_eq!(public.post("/config", "{}").status, 404);
    assert_eq!(public.post("/check", r#"{"key": "alice"}"#).status, 404);
    assert_eq!(public.get("/health").status, 200);
    assert_eq!(public.get("/auth").status, 200, "/auth stays public");
    assert_eq!(public.get("/").remaining(), 93, "404 costs a token");

    let mut admin = server.admin();
    assert_eq!(admin.get("/health").status, 200);
    assert_eq!(admin.get("/metrics").status, 200);
    assert_eq!(admin.post("/config", r#"{"capacity": 50}"#).status, 200);
    assert_eq!(admin.get("/config").json()["capacity"], 50);
    let rule = r#"{"client_id": "127.0.0.1", "capacity": 7, "refill_rate": 1}"#;
    assert_eq!(admin.post("/admin/update-rule", rule).status, 200);
    assert_eq!(admin.delete("/admin/rule/127.0.0.1").status, 200);
    assert_eq!(admin.post("/check", r#"{"key": "alice"}"#).status, 200);
    for path in ["/", "/api/data", "/auth", "/nothing"] {
        let response = admin.get(path);
        assert_eq!(
            (response.status, response.header("X-RateLimit-Limit")),
            (404, None),
            "{path}"
        );
    }
    assert_eq!(public.get("/").limit(), 50);
    let line = &server.start_line;
    let address = server.admin_address.unwrap();
    assert!(
        line.ends_with(&format!("(admin API: http://{address}, no token)")),
        "{line}"
    );
}

#[test]
fn an_upstream_gets_all_paths_of_the_public_port() {
    let upstream = Upstream::with_body("mine");
    let server = Launch::new()
        .args(&["--upstream", &upstream.url()])
        .args(&LISTEN)
        .start();
    let mut public = server.client();
    for path in ["/health", "/auth", "/check", "/admin/", "/admin/login"]
        .iter()
        .chain(&OWN)
    {
        assert_eq!(public.get(path).text(), "mine", "{path}");
    }
    assert_eq!(public.post("/config", "{}").text(), "mine");
    let passed = upstream.requests().len();
    let mut admin = server.admin();
    for path in ["/health", "/metrics", "/config"] {
        assert_eq!(admin.get(path).status, 200, "{path}");
    }
    assert_eq!(admin.post("/check", r#"{"key": "alice"}"#).status, 200);
    assert_eq!(admin.get("/").status, 404);
    assert_eq!(upstream.requests().len(), passed);
}

#[test]
fn routes_and_upstreams_may_have_the_paths_that_left() {
    let upstream = Upstream::with_body("mine");
    let file = format!(
        "admin_listen = '127.0.0.1:0'\ncapacity = 100\nrefill_rate = 0.001\n\
         [[routes]]\npath = '/admin/*'\ncost = 5\n\
         [[upstreams]]\nprefix = '/admin'\nurl = '{}'\n",
        upstream.url()
    );
    let server = Launch::new().config("gateway.toml", &file).start();
    assert_eq!(server.get("/admin/login").remaining(), 95);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn requests_that_a_local_proxy_or_a_web_page_sends_are_refused() {
    let server = Launch::new().args(&LISTEN).start();
    let mut admin = server.admin();
    for header in [
        ("X-Forwarded-For", "192.0.2.1"),
        ("Forwarded", "for=192.0.2.1"),
        ("Via", "1.1 proxy"),
        ("Origin", "http://127.0.0.1"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        assert_eq!(admin.get_with("/metrics", &[header]).status, 403);
    }
}

#[test]
fn open_check_stays_on_the_public_port() {
    let server = Launch::new()
        .args(&["--check", "open"])
        .args(&LISTEN)
        .start();
    let body = r#"{"key": "alice"}"#;
    assert_eq!(server.post("/check", body).json()["remaining"], 9);
    assert_eq!(server.admin().post("/check", body).json()["allowed"], true);
    assert!(
        server.start_line.ends_with("no token; /check: open)"),
        "{}",
        server.start_line
    );
}

#[test]
fn tokens_count_on_the_admin_port() {
    let server = Launch::new()
        .args(&["--admin-token", ADMIN_TOKEN])
        .args(&["--check-token", "token of the check tests"])
        .args(&["--admin-listen", "0.0.0.0:0"])
        .start();
    let line = &server.start_line;
    assert!(line.ends_with(", token)"), "{line}");
    let mut admin = test_support::Client::connect(
        ([127, 0, 0, 1], server.admin_address.unwrap().port()).into(),
        None,
    );
    assert_eq!(admin.get("/config").status, 401);
    assert_eq!(admin.get_with("/config", &AS_ADMIN).status, 200);
    let token = [("Authorization", "Bearer token of the check tests")];
    let body = r#"{"key": "alice"}"#;
    assert_eq!(admin.request("POST", "/check", &token, body).status, 200);
    assert_eq!(admin.get_with("/config", &token).status, 401);
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9000"] {
        let refusal = Launch::new()
            .args(&["--admin-listen", address])
            .start_error()
            .unwrap();
        assert_eq!(refusal.code, Some(2), "{}", refusal.stderr);
        for part in ["admin_listen", address, "admin_token", "loopback"] {
            assert!(refusal.stderr.contains(part), "{part}: {}", refusal.stderr);
        }
    }
    for (flags, parts) in [
        (
            &["--admin-listen", "nowhere"][..],
            &["--admin-listen", "nowhere", "unix:/"][..],
        ),
        (
            &["--admin-listen", "unix:relative"],
            &["--admin-listen", "unix:relative"],
        ),
    ] {
        let refusal = Launch::new().args(flags).start_error().unwrap();
        assert_eq!(refusal.code, Some(2), "{}", refusal.stderr);
        for part in parts {
            assert!(refusal.stderr.contains(part), "{part}: {}", refusal.stderr);
        }
    }
    let refusal = Launch::new()
        .listen(Some("127.0.0.1:18999"))
        .args(&["--admin-listen", "127.0.0.1:18999"])
        .start_error()
        .unwrap();
    assert_eq!(refusal.code, Some(2), "{}", refusal.stderr);
    let file = "upstream = 'http://127.0.0.1:1'\nadmin_listen = '127.0.0.1:0'\n\
                [gateway]\nown_prefix = '/_t'";
    let refusal = Launch::new().config("a.toml", file).start_error().unwrap();
    assert_eq!(refusal.code, Some(2), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("gateway.own_prefix"));
}

/// Sends a request to a Unix socket and returns the whole response.
fn exchange(socket: &Path, path: &str, headers: &[(&str, &str)]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let headers = [headers, &[("Connection", "close")]].concat();
    stream
        .write_all(&encode("GET", path, &headers, ""))
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_unix_socket_serves_its_owner_and_is_removed_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let flag = format!("--admin-listen=unix:{}", socket.display());
    let upstream = Upstream::with_body("mine");
    let mut server = Launch::new()
        .args(&["--upstream", &upstream.url(), &flag])
        .start();
    let line = &server.start_line;
    assert!(
        line.ends_with(&format!("(admin API: unix:{}, no token)", socket.display())),
        "{line}"
    );
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for (path, start) in [
        ("/health", "HTTP/1.1 200"),
        ("/metrics", "HTTP/1.1 200"),
        ("/config", "HTTP/1.1 200"),
        ("/", "HTTP/1.1 404"),
    ] {
        let text = exchange(&socket, path, &[]);
        assert!(text.starts_with(start), "{path}: {text}");
    }
    let proxied = exchange(&socket, "/config", &[("X-Forwarded-For", "192.0.2.1")]);
    assert!(proxied.starts_with("HTTP/1.1 403"), "{proxied}");

    let output = Command::new(test_support::server::binary())
        .args(["health", "--url", &format!("unix:{}", socket.display())])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");

    let second = Launch::new().args(&[&flag]).start_error().unwrap();
    assert!(second.stderr.contains("in use"), "{}", second.stderr);
    assert!(
        exchange(&socket, "/health", &[]).contains("200"),
        "the first server keeps its socket"
    );

    server.signal(Signal::TERM);
    server.exit_within(TEST_TIMEOUT).expect("the server exits");
    assert!(!socket.exists());
}

#[test]
fn a_socket_that_a_crash_left_behind_is_replaced_and_other_files_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let flag = format!("--admin-listen=unix:{}", socket.display());
    let mut crashed = Launch::new().args(&[&flag]).start();
    crashed.signal(Signal::KILL);
    crashed.exit_within(TEST_TIMEOUT).expect("killed");
    assert!(socket.exists());
    let _server = Launch::new().args(&[&flag]).start();
    assert!(exchange(&socket, "/health", &[]).starts_with("HTTP/1.1 200"));

    let file = directory.path().join("file");
    fs::write(&file, "text").unwrap();
    let flag = format!("--admin-listen=unix:{}", file.display());
    let refusal = Launch::new().args(&[&flag]).start_error().unwrap();
    assert!(
        refusal.stderr.contains("admin-listen"),
        "{}",
        refusal.stderr
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
}

#[test]
fn the_admin_listener_serves_while_the_public_port_is_full() {
    let server: Server = Launch::new()
        .config("full.toml", "[connections]\nmax = 2\n")
        .args(&LISTEN)
        .start();
    let mut holders: Vec<_> = (0..2).map(|_| server.client()).collect();
    for holder in &mut holders {
        assert_eq!(holder.get("/health").status, 200);
    }
    assert_eq!(server.admin().get("/health").status, 200);
    assert_eq!(server.admin().get("/config").status, 200);
}

#[test]
fn a_change_of_the_listener_needs_a_restart() {
    let reloaded =
        test_support::reload::Reloaded::start("capacity = 5\nadmin_listen = '127.0.0.1:0'", &[]);
    let line = reloaded.reload("capacity = 6");
    assert!(line.contains("admin_listen"), "{line}");
    assert_eq!(reloaded.server.get("/config").status, 404);
    let mut admin = reloaded.server.admin();
    assert_eq!(admin.get("/config").json()["capacity"], 6);
}
