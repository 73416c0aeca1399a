//! Five thousand idle client connections beside active ones.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use test_support::http::encode;
use test_support::{Client, Launch, SLOW, Server, Upstream, eventually};

const CLIENTS: usize = 5000;

/// Number of sockets that the server has open.
fn sockets(server: &Server) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let is_socket = |path: std::path::PathBuf| {
        std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    };
    files
        .filter(|file| is_socket(file.as_ref().unwrap().path()))
        .count()
}

/// Opens the connections and sends one request through the gateway on each.
fn connect_clients(server: &Server) -> Vec<Client> {
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send(&encode("POST", "/", &[], "data")).unwrap();
        assert_eq!(client.read().unwrap().status, 200);
    }
    clients
}

/// Raises the limit of open files to what this test and its server need.
pub(super) fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    let needed = limit.maximum.map_or(20_000, |maximum| maximum.min(20_000));
    assert!(
        needed > CLIENTS as u64 + 500,
        "limit of open files: expected more than {}, got {needed}: raise it with ulimit -Hn",
        CLIENTS + 500
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
fn idle_clients_do_not_delay_others_and_their_resources_are_released() {
    raise_open_files_limit();
    let upstream = Upstream::with_body("hello");
    let text = format!(
        "capacity = 1000000\nrefill_rate = {SLOW}\nupstream = '{}'\n[connections]\nidle_timeout = '10m'\nheader_timeout = '10m'\n",
        upstream.url()
    );
    let mut server = Launch::new().config("gateway.toml", &text).start();
    assert_eq!(server.get("/").status, 200);
    let (sockets_before, memory_before) = (sockets(&server), server.resident_memory());

    let clients = connect_clients(&server);
    let memory_with_clients = server.resident_memory();
    assert!(
        memory_with_clients < memory_before + CLIENTS * 64 * 1024,
        "{} KiB per connection",
        (memory_with_clients - memory_before) / CLIENTS / 1024
    );
    let mut active = server.client();
    for _ in 0..500 {
        let sent = Instant::now();
        assert_eq!(active.get("/").text(), "hello");
        assert!(
            sent.elapsed() < Duration::from_secs(5),
            "an active client waits for idle ones"
        );
    }
    assert!(
        upstream.connections() < 300,
        "idle clients hold no connections to the upstream: {}",
        upstream.connections()
    );
    drop((clients, active));

    eventually("sockets are closed with their clients", || {
        sockets(&server) <= sockets_before + 2
    });
    // The allocator returns memory gradually, in case the next clients need it.
    eventually("memory is returned to the system", || {
        server.resident_memory() < memory_before + (memory_with_clients - memory_before) / 4
    });
    server.assert_healthy();
}
