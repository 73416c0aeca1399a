//! Connection limits: header, body and idle timeouts, sizes, number, and shutdown.

use std::io::{ErrorKind, Write};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use test_support::http::encode;
use test_support::{Client, Launch, Server, TEST_TIMEOUT};

/// Starts a server with many tokens and these lines in its table `connections`.
pub(super) fn with_limits(lines: &str) -> Server {
    let text = format!("capacity = 1000000\nrefill_rate = 0.001\n[connections]\n{lines}\n");
    Launch::new().config("bounds.toml", &text).start()
}

#[test]
fn an_unfinished_header_is_timed_out_while_others_are_served() {
    let mut server = with_limits("header_timeout = \"1s\"\nidle_timeout = \"20s\"");
    let mut silent = server.client();
    let mut slow = server.client();
    let mut used = server.client();
    assert_eq!(used.get("/").status, 200);
    used.send(b"GET /api/ping HTTP/1.1\r\nHost").unwrap();
    slow.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        .unwrap();
    let mut stream = slow.stream.try_clone().unwrap();
    let started = Instant::now();
    thread::scope(|scope| {
        // A slow stream of bytes without end: the deadline applies to the whole header, not to each
        // read.
        scope.spawn(move || {
            while started.elapsed() < TEST_TIMEOUT && stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let waits = scope.spawn(|| slow.is_closed_within(TEST_TIMEOUT));
        let mut others = server.client();
        while !waits.is_finished() {
            let sent = Instant::now();
            assert_eq!(others.get("/").status, 200);
            assert!(
                sent.elapsed() < Duration::from_secs(5),
                "others wait for the slow client"
            );
            thread::sleep(Duration::from_millis(5));
        }
        assert!(waits.join().unwrap(), "the slow client is still connected");
    });
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "closed before the timeout"
    );
    assert!(
        silent.is_closed_within(TEST_TIMEOUT),
        "a silent client is still connected"
    );
    assert!(
        used.is_closed_within(TEST_TIMEOUT),
        "the timeout applies to later headers too"
    );
    server.assert_healthy();
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_stays() {
    let mut server = with_limits("idle_timeout = \"1s\"\nheader_timeout = \"1s\"");
    let mut idle = server.client();
    let mut busy = server.client();
    assert_eq!(idle.get("/").status, 200);
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(2500) {
        assert_eq!(busy.get("/").status, 200, "after {:?}", started.elapsed());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(idle.is_closed_within(TEST_TIMEOUT));
    server.assert_healthy();
}

#[test]
fn a_body_that_never_arrives_is_timed_out() {
    let mut server = with_limits("body_timeout = \"500ms\"");
    for path in ["/api/submit", "/api/upload", "/config", "/nothing"] {
        let mut client = server.client();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{{");
        client.send(head.as_bytes()).unwrap();
        // The server may respond without the body; the connection must not stay open for it.
        if let Ok(response) = client.read() {
            assert!(response.status < 500, "{path}: {response:?}");
        }
        assert!(client.is_closed_within(TEST_TIMEOUT), "{path}");
    }
    server.assert_healthy();
}

#[test]
fn headers_and_bodies_are_limited_in_size() {
    let mut server = with_limits("max_header_bytes = 8192\nmax_body_bytes = 1000");
    let body = |length: usize| serde_json::json!({"a": "x".repeat(length - 8)}).to_string();
    assert_eq!(server.post("/api/submit", &body(1000)).status, 200);
    assert_eq!(server.post("/api/submit", &body(1001)).status, 413);
    let value = "x".repeat(7000);
    assert_eq!(
        server.client().get_with("/", &[("X-Long", &value)]).status,
        200
    );
    let value = "x".repeat(20_000);
    let mut client = server.client();
    let _ = client.send(&encode("GET", "/", &[("X-Long", &value)], ""));
    assert!(
        client
            .read()
            .map_or(true, |response| response.status == 431)
    );
    server.assert_healthy();
}

#[test]
fn a_connection_beyond_the_maximum_waits_until_another_ends() {
    let mut server = with_limits("max = 4");
    // Idle connections would be closed in favour of the next one.
    let mut held: Vec<_> = (0..4).map(|_| server.client()).collect();
    for client in &mut held {
        let head = "POST /api/submit HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
                    Content-Type: application/json\r\nContent-Length: 8\r\n\r\n";
        client.send(head.as_bytes()).unwrap();
        assert_eq!(client.read().unwrap().status, 100);
    }
    let mut next = server.client();
    next.send(&encode("GET", "/", &[], "")).unwrap();
    next.stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(next.read().is_err(), "a fifth connection is served");
    let log = server.wait_for_log("connection limit reached");
    assert!(log.contains("max=4"), "{log}");
    held.pop();
    next.stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    assert_eq!(next.read().unwrap().status, 200, "a permit is free");
    for client in &mut held {
        client.send(b"{\"a\": 1}").unwrap();
        assert_eq!(client.read().unwrap().status, 200);
    }
    drop((held, next));
    server.assert_healthy();
}

#[test]
fn short_connections_release_their_permits() {
    let mut server = with_limits("max = 4");
    for _ in 0..100 {
        let mut client = server.client();
        assert_eq!(client.get("/").status, 200);
        let mut broken = server.client();
        broken.send(b"GET / HTTP/1.1\r\nbroken").unwrap();
    }
    server.assert_healthy();
}

#[test]
fn requests_in_flight_get_the_shutdown_grace_and_no_more() {
    let mut server =
        with_limits("shutdown_grace = \"1s\"\nbody_timeout = \"1h\"\nheader_timeout = \"1h\"");
    let mut endless = server.client();
    let head = "POST /api/submit HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
                Content-Length: 10\r\n\r\n";
    endless.send(head.as_bytes()).unwrap();
    assert_eq!(endless.read().unwrap().status, 100);
    let mut slow: Client = server.client();
    slow.send(b"GET / HTT").unwrap();
    let started = Instant::now();
    server.signal(Signal::TERM);
    server
        .exit_within(TEST_TIMEOUT)
        .expect("the server exits when the grace period is over");
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "exited before the grace period was over"
    );
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    for second in [Signal::TERM, Signal::INT] {
        let mut server = with_limits("shutdown_grace = \"1h\"\nbody_timeout = \"1h\"");
        let mut endless = server.client();
        endless
            .send(b"POST /api/submit HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
            .unwrap();
        assert_eq!(endless.read().unwrap().status, 100);
        server.signal(Signal::TERM);
        let deadline = Instant::now() + TEST_TIMEOUT;
        while Client::try_connect(server.address, None).is_ok() {
            assert!(
                Instant::now() < deadline,
                "the server still accepts connections"
            );
            thread::sleep(Duration::from_millis(5));
        }
        assert!(
            server.is_running(),
            "the first signal waits for requests in flight"
        );
        server.signal(second);
        assert_eq!(
            server.exit_within(TEST_TIMEOUT).expect("it ends").code(),
            Some(1)
        );
        server.wait_for_log("second signal");
    }
}

#[test]
fn a_client_that_never_reads_is_disconnected() {
    let mut server =
        with_limits("header_timeout = \"1s\"\nidle_timeout = \"1s\"\nbody_timeout = \"1s\"");
    let mut client = server.client();
    client
        .stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let requests = encode("GET", "/", &[], "").repeat(1000);
    let started = Instant::now();
    loop {
        match client.send(&requests) {
            Ok(()) => {}
            // The buffers are full, since the client reads no responses.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        assert!(
            started.elapsed() < TEST_TIMEOUT,
            "a client that never reads is still connected"
        );
    }
    server.assert_healthy();
}
