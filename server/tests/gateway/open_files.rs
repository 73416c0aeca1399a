//! Limit of open files: raised at start, and never exhausted by idle clients.

use std::fs;

use test_support::{Launch, SLOW, Server, Upstream};

use super::idle_clients::raise_open_files_limit;

/// Soft limit of the server's open files.
fn soft_limit(server: &Server) -> String {
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<_> = line.unwrap().split_whitespace().collect();
    words[3].to_owned()
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_limit() {
    let server = Launch::new().soft_open_files(200).start();
    let log = server.wait_for_log("started");
    let limit = soft_limit(&server);
    assert!(
        log.contains(&format!("open_files={limit} raised_from=200")),
        "{log}"
    );
    assert_ne!(limit, "200");
}

#[test]
fn idle_clients_leave_descriptors_for_upstream_connections() {
    raise_open_files_limit();
    let upstream = Upstream::with_body("hello");
    let text = format!(
        "capacity = 1000000\nrefill_rate = {SLOW}\nupstream = '{}'\n",
        upstream.url()
    );
    let mut server = Launch::new()
        .config("gateway.toml", &text)
        .open_files(1024)
        .start();
    let log = server.wait_for_log("connections.max reduced");
    assert!(log.contains("open_files=1024"), "{log}");
    assert!(log.contains("upstream_connections=1256"), "{log}");
    let mut connected = server.client_from("127.0.0.2");
    assert_eq!(connected.get("/health").status, 200);
    let mut crowd: Vec<_> = (0..1100).map(|_| server.client()).collect();
    assert_eq!(connected.get("/").text(), "hello");
    assert_eq!(server.client_from("127.0.0.4").get("/").text(), "hello");
    assert_eq!(crowd[1099].get("/").text(), "hello");
    assert!(!server.stderr().contains("accept failed"));
    server.assert_healthy();
}
