//! Upstreams that are down, stall, disconnect or send invalid responses: 502 and 504, and requests
//! to other upstreams do not wait.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use test_support::upstream::Connection;
use test_support::{Launch, Response, SLOW, Server, TEST_TIMEOUT, Upstream};

/// Starts a gateway with short timeouts and these lines in its table.
fn short_timeouts(url: &str, lines: &str) -> Server {
    let text = format!(
        "capacity = 1000000\nrefill_rate = {SLOW}\nupstream = '{url}'\n\
         [gateway]\nresponse_timeout = '500ms'\nidle_timeout = '500ms'\n{lines}\n"
    );
    Launch::new().config("gateway.toml", &text).start()
}

fn assert_error(response: &Response, status: u16, error: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.json()["error"], error);
    assert!(
        response.json()["message"]
            .as_str()
            .unwrap()
            .contains("upstream"),
        "{response:?}"
    );
    assert_eq!(response.header("Content-Type"), Some("application/json"));
    assert!(response.remaining() < 1_000_000, "the request cost a token");
}

/// Makes the connection close with a reset instead of FIN.
fn reset_on_close(connection: &Connection) {
    let socket = socket2::Socket::from(connection.stream.try_clone().unwrap());
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn an_unavailable_upstream_is_502_until_it_recovers() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut server = short_timeouts(&format!("http://{address}"), "");
    let mut client = server.client();
    for _ in 0..3 {
        assert_error(&client.get("/"), 502, "Bad Gateway");
        // The body of such a request is not read.
        assert_error(&server.post("/", "data"), 502, "Bad Gateway");
    }
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
        }
    });
    assert_eq!(client.get("/").status, 200);
    let log = server.wait_for_log("upstream failed");
    assert_eq!(
        log.matches("upstream failed").count(),
        1,
        "expected one line, not one per request: {log}"
    );
    assert!(log.contains("refused"), "expected the cause: {log}");
    server.assert_healthy();
}

#[test]
fn a_connect_timeout_is_504() {
    // A full backlog silently drops further connection attempts.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let fill = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let fillers: Vec<_> = (0..4)
        .map(|_| {
            let filler = fill();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&address.into());
            filler
        })
        .collect();
    let mut server = short_timeouts(&format!("http://{address}"), "connect_timeout = '300ms'");
    assert_error(&server.get("/"), 504, "Gateway Timeout");
    drop(fillers);
    server.assert_healthy();
}

#[test]
fn an_upstream_without_a_response_is_504() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.wait_for_close()
    });
    let mut server = short_timeouts(&upstream.url(), "");
    let sent = Instant::now();
    assert_error(&server.get("/"), 504, "Gateway Timeout");
    assert!(sent.elapsed() >= Duration::from_millis(490));
    assert_error(&server.post("/", "data"), 504, "Gateway Timeout");
    upstream.wait_for_closed(2);
    server.assert_healthy();
}

#[test]
fn an_upstream_that_stalls_in_the_response_head_is_504() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Le")?;
        connection.wait_for_close()
    });
    let mut server = short_timeouts(&upstream.url(), "");
    assert_error(&server.get("/"), 504, "Gateway Timeout");
    upstream.wait_for_closed(1);
    server.assert_healthy();
}

#[test]
fn an_upstream_that_stalls_in_the_response_body_truncates_the_response() {
    for framing in [
        "Content-Length: 100\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let upstream = Upstream::start(move |connection| {
            connection.request()?;
            connection.send(format!("HTTP/1.1 200 OK\r\n{framing}").as_bytes())?;
            connection.wait_for_close()
        });
        let mut server = short_timeouts(&upstream.url(), "");
        let mut client = server.client();
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(client.head().unwrap().status, 200);
        assert!(client.is_closed_within(TEST_TIMEOUT), "{framing}");
        // The client can detect the truncation: the last chunk is missing, or the body is shorter
        // than its Content-Length.
        assert!(client.unread() > 0 && client.unread() < 20, "{framing}");
        upstream.wait_for_closed(1);
        server.assert_healthy();
    }
}

#[test]
fn a_slow_response_body_that_progresses_does_not_time_out() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")?;
        for _ in 0..8 {
            thread::sleep(Duration::from_millis(150));
            connection.send(b"x")?;
        }
        connection.wait_for_close()
    });
    let server = short_timeouts(&upstream.url(), "");
    assert_eq!(server.get("/").text(), "xxxxxxxx");
}

#[test]
fn a_connection_closed_before_the_response_is_502() {
    for (response, resets) in [
        ("", false),
        ("", true),
        ("HTTP/1.1 200 OK\r\nContent-", false),
        ("HTTP/1.1 200 OK\r\nX: ", true),
    ] {
        let upstream = Upstream::start(move |connection| {
            connection.request()?;
            connection.send(response.as_bytes())?;
            if resets {
                reset_on_close(connection);
            }
            Ok(())
        });
        let mut server = short_timeouts(&upstream.url(), "");
        assert_error(&server.post("/", "data"), 502, "Bad Gateway");
        assert_eq!(
            upstream.requests().len(),
            1,
            "an unsafe request is sent once"
        );
        assert_error(&server.get("/"), 502, "Bad Gateway");
        assert_eq!(
            upstream.requests().len(),
            2,
            "a request on a new connection is sent once"
        );
        server.assert_healthy();
    }
}

#[test]
fn a_connection_closed_in_the_response_body_truncates_the_response() {
    for (framing, resets) in [
        ("Content-Length: 100\r\n\r\nhalf", false),
        ("Content-Length: 100\r\n\r\nhalf", true),
        ("Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false),
        (
            "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nZZZ\r\n",
            false,
        ),
    ] {
        let upstream = Upstream::start(move |connection| {
            connection.request()?;
            connection.send(format!("HTTP/1.1 200 OK\r\n{framing}").as_bytes())?;
            if resets {
                reset_on_close(connection);
            }
            Ok(())
        });
        let mut server = short_timeouts(&upstream.url(), "");
        let mut client = server.client();
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        // A reset may overtake data that was sent before it.
        if let Ok(head) = client.head() {
            assert!(
                head.status == 200 || head.status == 502,
                "{framing}: {head:?}"
            );
            assert!(
                head.status == 502 || client.is_closed_within(TEST_TIMEOUT) && client.unread() < 20,
                "{framing}"
            );
        }
        server.assert_healthy();
    }
}

#[test]
fn an_invalid_response_is_502() {
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Many: y\r\n".repeat(5000));
    for invalid in [
        "SSH-2.0-OpenSSH_9.2p1\r\n",
        "\0\0\0\0\0\0\0\0\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX-Folded: one\r\n two\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        // An upgrade that the client did not request.
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &long,
        &many,
    ] {
        let response = invalid.to_owned();
        let upstream = Upstream::start(move |connection| {
            connection.request()?;
            connection.send(response.as_bytes())?;
            connection.wait_for_close()
        });
        let mut server = short_timeouts(&upstream.url(), "");
        let prefix = &invalid[..invalid.len().min(60)];
        let response = server.get("/");
        assert_eq!(response.status, 502, "{prefix:?}: {response:?}");
        assert_error(&response, 502, "Bad Gateway");
        server.assert_healthy();
    }
}

#[test]
fn a_request_on_a_connection_that_the_upstream_just_closed_is_retried() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        // Simulates an idle timeout that expires just when the next request arrives: the request is
        // read, and the connection is closed without a response.
        connection.head().map(drop)
    });
    let mut server = short_timeouts(&upstream.url(), "");
    for _ in 0..20 {
        assert_eq!(server.get("/").status, 200);
    }
    server.assert_healthy();
}

#[test]
fn the_second_attempt_does_not_use_another_stale_connection() {
    let waiting = Arc::new(Barrier::new(4));
    let first = AtomicUsize::new(0);
    let upstream = Upstream::start(move |connection| {
        connection.request()?;
        // The first four requests need four connections.
        if first.fetch_add(1, Ordering::SeqCst) < 4 {
            waiting.wait();
        }
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        connection.head().map(drop)
    });
    let server = short_timeouts(&upstream.url(), "");
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut client = server.client();
            thread::spawn(move || {
                assert_eq!(client.get("/").status, 200);
                client
            })
        })
        .collect();
    let clients = clients.into_iter().map(|client| client.join().unwrap());
    for mut client in clients.collect::<Vec<_>>() {
        assert_eq!(client.get("/").status, 200);
    }
}

#[test]
fn alternating_failures_are_logged_once() {
    let requests = AtomicUsize::new(0);
    let upstream = Upstream::start(move |connection| {
        connection.request()?;
        match requests.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => Ok(()),
            _ => connection
                .send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        }
    });
    let server = short_timeouts(&upstream.url(), "");
    for _ in 0..20 {
        // A POST is not repeated.
        assert_error(&server.post("/", "data"), 502, "Bad Gateway");
        assert_eq!(server.post("/", "data").status, 200);
    }
    let log = server.wait_for_log("upstream recovered");
    for event in ["upstream failed", "upstream recovered"] {
        assert_eq!(log.matches(event).count(), 1, "{log}");
    }
}

#[test]
fn informational_responses_are_skipped_up_to_a_bound() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let upstream = Upstream::responding(&format!(
        "{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        interim.repeat(4)
    ));
    let server = short_timeouts(&upstream.url(), "");
    let mut client = server.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "ok");
    }

    let endless = Upstream::start(|connection| {
        connection.request()?;
        loop {
            connection.send(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(500))?;
        }
    });
    let text = format!(
        "capacity = 1000000\nupstream = '{}'\n[gateway]\nresponse_timeout = '1h'\n",
        endless.url()
    );
    let mut server = Launch::new().config("gateway.toml", &text).start();
    for number in 1..=3 {
        assert_error(&server.get("/"), 502, "Bad Gateway");
        endless.wait_for_closed(number);
    }
    server.assert_healthy();
}

#[test]
fn a_long_head_in_many_pieces_passes() {
    let upstream = Upstream::start(|connection| {
        loop {
            connection.request()?;
            connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n")?;
            for number in 0..58 {
                let header = format!("X-{number}: {}\r\n", "HTTP/1.1 ".repeat(110));
                connection.send(header.as_bytes())?;
                thread::sleep(Duration::from_millis(1));
            }
            connection.send(b"Content-Length: 2\r\n\r\nok")?;
        }
    });
    let server = short_timeouts(&upstream.url(), "");
    let mut client = server.client();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!(response.text(), "ok");
        assert_eq!(response.header("X-57").map(str::len), Some(989));
    }
}

#[test]
fn a_slow_upstream_does_not_delay_requests_to_another() {
    let slow = Upstream::start(|connection| {
        connection.request()?;
        connection.wait_for_close()
    });
    let fast = Upstream::with_body("fast");
    let text = format!(
        "capacity = 1000000\nupstream = '{}'\n[[upstreams]]\nprefix = '/slow'\nurl = '{}'\n\
         [gateway]\nmax_requests = 4\nmax_concurrent_per_client = 100\nconnect_timeout = '300ms'\n",
        fast.url(),
        slow.url()
    );
    let mut server = Launch::new().config("gateway.toml", &text).start();
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let mut client = server.client();
            client
                .send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            client
        })
        .collect();
    while slow.requests().len() < 4 {
        thread::sleep(Duration::from_millis(1));
    }
    let overloaded = server.get("/slow");
    assert_eq!(
        (overloaded.status, overloaded.number("Retry-After")),
        (503, 1),
        "{overloaded:?}"
    );
    for _ in 0..20 {
        assert_eq!(server.get("/").text(), "fast");
    }
    assert_eq!(slow.requests().len(), 4);
    drop(waiting);
    // Requests of clients that disconnected are cancelled.
    slow.wait_for_closed(4);
    server.assert_healthy();
}
