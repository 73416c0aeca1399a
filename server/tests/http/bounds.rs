//! The bounds on a connection, set short: header, body, idleness, number, and the end.

use std::io::{ErrorKind, Write};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use test_support::http::encode;
use test_support::{Client, Launch, Server, TEST_TIMEOUT};

/// A server of plenty of tokens with these lines in its table of bounds.
fn bounded(lines: &str) -> Server {
    let text = format!("capacity = 1000000\nrefill_rate = 0.001\n[connections]\n{lines}\n");
    Launch::new().config("bounds.toml", &text).start()
}

#[test]
fn a_client_that_never_ends_its_header_is_dropped_while_others_are_served() {
    let mut server = bounded("header_timeout = \"1s\"\nidle_timeout = \"20s\"");
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
        // A byte now and then, for ever: it is the whole header that has a deadline, not each read.
        scope.spawn(move || {
            while started.elapsed() < TEST_TIMEOUT && stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let waits = scope.spawn(|| slow.is_closed_within(TEST_TIMEOUT));
        let mut others = server.client();
        while !waits.is_finished() {
            let asked = Instant::now();
            assert_eq!(others.get("/").status, 200);
            assert!(
                asked.elapsed() < Duration::from_secs(5),
                "others wait for the slow one"
            );
            thread::sleep(Duration::from_millis(5));
        }
        assert!(waits.join().unwrap(), "the slow client is still connected");
    });
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "a second is allowed"
    );
    assert!(
        silent.is_closed_within(TEST_TIMEOUT),
        "a silent client is still connected"
    );
    assert!(
        used.is_closed_within(TEST_TIMEOUT),
        "a later header may not last longer than the first"
    );
    server.assert_healthy();
}

#[test]
fn a_connection_that_says_nothing_more_is_closed_and_a_busy_one_stays() {
    let mut server = bounded("idle_timeout = \"1s\"\nheader_timeout = \"1s\"");
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
fn a_body_that_never_comes_is_given_up() {
    let mut server = bounded("body_timeout = \"500ms\"");
    for path in ["/api/submit", "/api/upload", "/config", "/nothing"] {
        let mut client = server.client();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{{");
        client.send(head.as_bytes()).unwrap();
        // An answer may be given without the body; the connection must not stay open for it.
        if let Ok(response) = client.read() {
            assert!(response.status < 500, "{path}: {response:?}");
        }
        assert!(client.is_closed_within(TEST_TIMEOUT), "{path}");
    }
    server.assert_healthy();
}

#[test]
fn headers_and_bodies_have_a_size() {
    let mut server = bounded("max_header_bytes = 8192\nmax_body_bytes = 1000");
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
fn the_connection_after_the_last_one_waits_until_another_ends() {
    let mut server = bounded("max = 4");
    let mut held: Vec<_> = (0..4).map(|_| server.client()).collect();
    for client in &mut held {
        assert_eq!(client.get("/").status, 200);
    }
    let mut next = server.client();
    next.send(&encode("GET", "/", &[], "")).unwrap();
    next.stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(next.read().is_err(), "a fifth connection is served");
    let log = server.wait_for_log("as many connections are open as may be");
    assert!(log.contains("max=4"), "{log}");
    for client in &mut held {
        assert_eq!(client.get("/").status, 200, "who is in stays in");
    }
    held.pop();
    next.stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    assert_eq!(next.read().unwrap().status, 200, "a place is free");
    drop((held, next));
    server.assert_healthy();
}

#[test]
fn many_short_connections_do_not_use_up_the_places() {
    let mut server = bounded("max = 4");
    for _ in 0..100 {
        let mut client = server.client();
        assert_eq!(client.get("/").status, 200);
        let mut broken = server.client();
        broken.send(b"GET / HTTP/1.1\r\nbroken").unwrap();
    }
    server.assert_healthy();
}

#[test]
fn what_is_in_flight_at_the_end_has_a_grace_and_no_more() {
    let mut server =
        bounded("shutdown_grace = \"1s\"\nbody_timeout = \"1h\"\nheader_timeout = \"1h\"");
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
        .expect("it ends when the grace is over");
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "the grace is given"
    );
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for second in [Signal::TERM, Signal::INT] {
        let mut server = bounded("shutdown_grace = \"1h\"\nbody_timeout = \"1h\"");
        let mut endless = server.client();
        endless
            .send(b"POST /api/submit HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
            .unwrap();
        assert_eq!(endless.read().unwrap().status, 100);
        server.signal(Signal::TERM);
        let deadline = Instant::now() + TEST_TIMEOUT;
        while Client::try_connect(server.address, None).is_ok() {
            assert!(Instant::now() < deadline, "it still takes connections");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(
            server.is_running(),
            "the first one waits for what is in flight"
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
fn a_client_that_never_reads_its_answers_is_dropped() {
    let mut server =
        bounded("header_timeout = \"1s\"\nidle_timeout = \"1s\"\nbody_timeout = \"1s\"");
    let mut deaf = server.client();
    deaf.stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let requests = encode("GET", "/", &[], "").repeat(1000);
    let started = Instant::now();
    loop {
        match deaf.send(&requests) {
            Ok(()) => {}
            // Nothing goes through, since nobody reads the answers.
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
