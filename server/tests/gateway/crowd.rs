//! Five thousand connections that do nothing, and those who do something beside them.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use test_support::http::encode;
use test_support::{Client, Launch, PATIENCE, SLOW, Server, Upstream};

const CROWD: usize = 5000;

/// Memory that the process has now, in bytes.
fn memory(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    kib.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Connections that the server has open.
fn sockets(server: &Server) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let is_socket = |path: std::path::PathBuf| {
        std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    };
    files
        .filter(|file| is_socket(file.as_ref().unwrap().path()))
        .count()
}

/// Connections, each of which has had one answer through the gateway.
fn crowd(server: &Server) -> Vec<Client> {
    let mut crowd: Vec<_> = (0..CROWD).map(|_| server.client()).collect();
    for client in &mut crowd {
        client.send(&encode("POST", "/", &[], "data")).unwrap();
        assert_eq!(client.read().unwrap().status, 200);
    }
    crowd
}

/// As many open files as this test and its server need.
fn raise_the_limit() {
    let limit = getrlimit(Resource::Nofile);
    let needed = limit.maximum.map_or(20_000, |maximum| maximum.min(20_000));
    assert!(
        needed > CROWD as u64 + 500,
        "the limit of open files is {needed}: raise it with ulimit -Hn"
    );
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(needed),
            maximum: limit.maximum,
        },
    )
    .unwrap();
}

#[test]
fn a_crowd_of_idle_connections_keeps_nobody_out_and_leaves_nothing_behind() {
    raise_the_limit();
    let upstream = Upstream::saying("hello");
    let text = format!(
        "capacity = 1000000\nrefill_rate = {SLOW}\nupstream = '{}'\n[connections]\nidle_timeout = '10m'\n",
        upstream.url()
    );
    let mut server = Launch::new().config("gateway.toml", &text).start();
    assert_eq!(server.get("/").status, 200);
    let (at_first, before) = (sockets(&server), memory(&server));

    let first = crowd(&server);
    let full = memory(&server);
    assert!(
        full < before + CROWD * 64 * 1024,
        "{} KiB a connection",
        (full - before) / CROWD / 1024
    );
    let mut other = server.client();
    for _ in 0..500 {
        let asked = Instant::now();
        assert_eq!(other.get("/").text(), "hello");
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "others wait for the idle"
        );
    }
    assert!(
        upstream.connections() < 300,
        "idle clients hold no connections to the upstream: {}",
        upstream.connections()
    );
    drop((first, other));

    wait_until("connections end with their clients", || {
        sockets(&server) <= at_first + 2
    });
    // Not all at once, since the next crowd may be on its way.
    wait_until("memory goes back to the system", || {
        memory(&server) < before + (full - before) / 4
    });
    server.assert_healthy();
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}
