//! Load on many connections: an exact count of allowed requests, and graceful shutdown.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use test_support::http::encode;
use test_support::{Client, Response, Server, TEST_TIMEOUT};

#[test]
fn of_10_000_requests_from_64_connections_exactly_the_capacity_is_allowed() {
    let server = Server::with_capacity(1000);
    let (allowed, refused) = (AtomicU32::new(0), AtomicU32::new(0));
    let remaining = Mutex::new(Vec::new());
    let start = Barrier::new(64);
    thread::scope(|scope| {
        for connection in 0..64 {
            let (server, start, allowed, refused) = (&server, &start, &allowed, &refused);
            let remaining = &remaining;
            scope.spawn(move || {
                let mut client = server.client();
                let share = 10_000 / 64 + u32::from(connection < 10_000 % 64);
                start.wait();
                for _ in 0..share {
                    let response = client.get("/");
                    match response.status {
                        200 => {
                            remaining.lock().unwrap().push(response.remaining());
                            allowed.fetch_add(1, Ordering::Relaxed)
                        }
                        429 => refused.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{other}"),
                    };
                }
            });
        }
    });
    assert_eq!((allowed.into_inner(), refused.into_inner()), (1000, 9000));
    let mut remaining = remaining.into_inner().unwrap();
    remaining.sort_unstable();
    assert!(
        remaining.into_iter().eq(0..1000),
        "each token was spent once"
    );
}

#[test]
fn each_of_eight_addresses_gets_exactly_its_own_capacity() {
    let server = Server::with_capacity(300);
    let start = Barrier::new(64);
    let allowed: [AtomicU32; 8] = Default::default();
    thread::scope(|scope| {
        for connection in 0..64 {
            let (server, start, allowed) = (&server, &start, &allowed[connection % 8]);
            scope.spawn(move || {
                let mut client = server.client_from(&format!("127.0.0.{}", 2 + connection % 8));
                start.wait();
                for _ in 0..100 {
                    allowed.fetch_add(u32::from(client.get("/").status == 200), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(allowed.map(AtomicU32::into_inner), [300; 8]);
}

#[test]
fn uploads_and_pings_together_take_exactly_the_capacity() {
    let server = Server::with_capacity(2000);
    let start = Barrier::new(16);
    let taken = AtomicU32::new(0);
    thread::scope(|scope| {
        for connection in 0..16 {
            let (server, start, taken) = (&server, &start, &taken);
            scope.spawn(move || {
                let mut client = server.client();
                start.wait();
                // Until a request for one token is refused: then the bucket is empty.
                for number in connection.. {
                    let (method, path, cost) = if number % 2 == 0 {
                        ("POST", "/api/upload", 3)
                    } else {
                        ("GET", "/api/ping", 1)
                    };
                    match client.request(method, path, &[], "").status {
                        200 => taken.fetch_add(cost, Ordering::Relaxed),
                        429 if cost == 1 => break,
                        429 => 0,
                        other => panic!("{other}"),
                    };
                }
            });
        }
    });
    assert_eq!(taken.into_inner(), 2000);
}

/// Sends a request whose head the server has read, and whose body the server waits for.
fn in_flight(server: &Server) -> Client {
    let mut client = server.client();
    let head = "POST /api/submit HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
                Content-Type: application/json\r\nContent-Length: 8\r\n\r\n";
    client.send(head.as_bytes()).unwrap();
    assert_eq!(client.read().unwrap().status, 100);
    client
}

fn finish(mut client: Client) -> Response {
    client.send(b"{\"a\": 1}").unwrap();
    client
        .read()
        .expect("a request in flight gets its response")
}

#[test]
fn a_signal_ends_the_server_after_the_requests_in_flight() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::with_capacity(100);
        let idle = server.client();
        let mut used = server.client();
        assert_eq!(used.get("/").status, 200);
        let waiting: Vec<_> = (0..10).map(|_| in_flight(&server)).collect();
        server.signal(signal);
        assert!(
            used.is_closed_within(TEST_TIMEOUT),
            "an idle connection is closed"
        );
        assert!(server.is_running(), "requests are in flight");
        let late = Client::try_connect(server.address, None);
        assert!(late.is_err(), "no new connection is accepted");
        for client in waiting {
            let response = finish(client);
            assert_eq!(response.status, 200);
            assert!(response.text().contains("\"a\""), "{response:?}");
        }
        let status = server
            .exit_within(TEST_TIMEOUT)
            .expect("the server exits after the last response");
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(!server.stderr().contains("panicked"));
        drop(idle);
    }
}

#[test]
fn at_shutdown_under_load_no_response_is_truncated() {
    let mut server = Server::with_capacity(u32::MAX);
    let stopped = Mutex::new(None::<Instant>);
    let loaded = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..16 {
            let (address, stopped, loaded) = (server.address, &stopped, &loaded);
            scope.spawn(move || {
                let mut client = Client::connect(address, None);
                for responses in 0.. {
                    let sent = Instant::now();
                    let outcome = client
                        .send(&encode("GET", "/", &[], ""))
                        .and_then(|()| client.read());
                    match outcome {
                        Ok(response) => assert_eq!(response.status, 200),
                        Err(_) => {
                            // Only a request that crossed the close on the wire gets no response.
                            let stopped =
                                stopped.lock().unwrap().expect("the server was not stopped");
                            assert!(sent + Duration::from_millis(500) > stopped, "{responses}");
                            assert_eq!(client.unread(), 0, "a response was truncated");
                            break;
                        }
                    }
                    if responses == 100 {
                        loaded.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
        while !loaded.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        *stopped.lock().unwrap() = Some(Instant::now());
        server.signal(Signal::TERM);
        let status = server
            .exit_within(TEST_TIMEOUT)
            .expect("the server exits under load");
        assert_eq!(status.code(), Some(0));
    });
    assert!(!server.stderr().contains("panicked"));
}
