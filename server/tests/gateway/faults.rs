//! Upstreams that are gone, stall, break off or talk nonsense: 502 and 504, and nobody else waits.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use test_support::upstream::Connection;
use test_support::{Launch, PATIENCE, Response, SLOW, Server, Upstream};

/// A gateway with short times and these lines in its table.
fn impatient(url: &str, lines: &str) -> Server {
    let text = format!(
        "capacity = 1000000\nrefill_rate = {SLOW}\nupstream = '{url}'\n\
         [gateway]\nresponse_timeout = '500ms'\nidle_timeout = '500ms'\n{lines}\n"
    );
    Launch::new().config("gateway.toml", &text).start()
}

fn assert_fault(response: &Response, status: u16, error: &str) {
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
    assert!(response.remaining() < 1_000_000, "it has cost a token");
}

/// Closes with a reset in place of an end.
fn reset(connection: &Connection) {
    let socket = socket2::Socket::from(connection.stream.try_clone().unwrap());
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn an_upstream_that_is_not_there_is_502_and_found_when_it_is_back() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut server = impatient(&format!("http://{address}"), "");
    let mut client = server.client();
    for _ in 0..3 {
        assert_fault(&client.get("/"), 502, "Bad Gateway");
        // With a body, too, and then the body is not read.
        assert_fault(&server.post("/", "data"), 502, "Bad Gateway");
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
    let log = server.logged("upstream failed");
    assert_eq!(
        log.matches("upstream failed").count(),
        1,
        "once, not for every request: {log}"
    );
    assert!(log.contains("refused"), "and why: {log}");
    server.assert_healthy();
}

#[test]
fn an_upstream_that_cannot_be_reached_in_time_is_504() {
    // A full backlog takes no more connections, and says nothing.
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
    let mut server = impatient(&format!("http://{address}"), "connect_timeout = '300ms'");
    assert_fault(&server.get("/"), 504, "Gateway Timeout");
    drop(fillers);
    server.assert_healthy();
}

#[test]
fn an_upstream_that_says_nothing_is_504() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.wait_for_end()
    });
    let mut server = impatient(&upstream.url(), "");
    let asked = Instant::now();
    assert_fault(&server.get("/"), 504, "Gateway Timeout");
    assert!(asked.elapsed() >= Duration::from_millis(490));
    assert_fault(&server.post("/", "data"), 504, "Gateway Timeout");
    upstream.wait_for_ends(2);
    server.assert_healthy();
}

#[test]
fn an_upstream_that_stalls_in_its_header_is_504() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Le")?;
        connection.wait_for_end()
    });
    let mut server = impatient(&upstream.url(), "");
    assert_fault(&server.get("/"), 504, "Gateway Timeout");
    upstream.wait_for_ends(1);
    server.assert_healthy();
}

#[test]
fn an_upstream_that_stalls_in_its_body_cuts_the_answer() {
    for framing in [
        "Content-Length: 100\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let upstream = Upstream::start(move |connection| {
            connection.request()?;
            connection.send(format!("HTTP/1.1 200 OK\r\n{framing}").as_bytes())?;
            connection.wait_for_end()
        });
        let mut server = impatient(&upstream.url(), "");
        let mut client = server.client();
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(client.head().unwrap().status, 200);
        assert!(client.is_closed_within(PATIENCE), "{framing}");
        // Whoever reads it can tell that it is not all: the last chunk is missing, or what the
        // length promised.
        assert!(client.unread() > 0 && client.unread() < 20, "{framing}");
        upstream.wait_for_ends(1);
        server.assert_healthy();
    }
}

#[test]
fn an_upstream_that_is_slow_but_moves_is_waited_for() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")?;
        for _ in 0..8 {
            thread::sleep(Duration::from_millis(150));
            connection.send(b"x")?;
        }
        connection.wait_for_end()
    });
    let server = impatient(&upstream.url(), "");
    assert_eq!(server.get("/").text(), "xxxxxxxx");
}

#[test]
fn an_upstream_that_breaks_off_is_502() {
    for (answer, resets) in [
        ("", false),
        ("", true),
        ("HTTP/1.1 200 OK\r\nContent-", false),
        ("HTTP/1.1 200 OK\r\nX: ", true),
    ] {
        let upstream = Upstream::start(move |connection| {
            connection.request()?;
            connection.send(answer.as_bytes())?;
            if resets {
                reset(connection);
            }
            Ok(())
        });
        let mut server = impatient(&upstream.url(), "");
        assert_fault(&server.post("/", "data"), 502, "Bad Gateway");
        assert_eq!(
            upstream.requests().len(),
            1,
            "what may change something is sent once"
        );
        assert_fault(&server.get("/"), 502, "Bad Gateway");
        assert!(
            upstream.requests().len() <= 3,
            "and what does not, twice at most"
        );
        server.assert_healthy();
    }
}

#[test]
fn an_upstream_that_breaks_off_in_its_body_cuts_the_answer() {
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
                reset(connection);
            }
            Ok(())
        });
        let mut server = impatient(&upstream.url(), "");
        let mut client = server.client();
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        // A reset may overtake what was sent before it.
        if let Ok(head) = client.head() {
            assert!(
                head.status == 200 || head.status == 502,
                "{framing}: {head:?}"
            );
            assert!(
                head.status == 502 || client.is_closed_within(PATIENCE) && client.unread() < 20,
                "{framing}"
            );
        }
        server.assert_healthy();
    }
}

#[test]
fn an_answer_that_is_none_is_502() {
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Many: y\r\n".repeat(5000));
    for garbage in [
        "SSH-2.0-OpenSSH_9.2p1\r\n",
        "\0\0\0\0\0\0\0\0\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX-Folded: one\r\n two\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        // A protocol that nobody asked for.
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &long,
        &many,
    ] {
        let answer = garbage.to_owned();
        let upstream = Upstream::start(move |connection| {
            connection.request()?;
            connection.send(answer.as_bytes())?;
            connection.wait_for_end()
        });
        let mut server = impatient(&upstream.url(), "");
        let shown = &garbage[..garbage.len().min(60)];
        let response = server.get("/");
        assert_eq!(response.status, 502, "{shown:?}: {response:?}");
        assert_fault(&response, 502, "Bad Gateway");
        server.assert_healthy();
    }
}

#[test]
fn a_connection_that_the_upstream_closed_meanwhile_is_no_fault() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        // As if its time between requests were over just when the next one comes: that is read, and
        // not answered.
        connection.head().map(drop)
    });
    let mut server = impatient(&upstream.url(), "");
    for _ in 0..20 {
        assert_eq!(server.get("/").status, 200);
    }
    server.assert_healthy();
}

#[test]
fn a_slow_upstream_keeps_nobody_from_another() {
    let slow = Upstream::start(|connection| {
        connection.request()?;
        connection.wait_for_end()
    });
    let quick = Upstream::saying("quick");
    let text = format!(
        "capacity = 1000000\nupstream = '{}'\n[[upstreams]]\nprefix = '/slow'\nurl = '{}'\n\
         [gateway]\nmax_requests = 4\nconnect_timeout = '300ms'\n",
        quick.url(),
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
    let busy = server.get("/slow");
    assert_eq!(
        (busy.status, busy.number("Retry-After")),
        (503, 1),
        "{busy:?}"
    );
    for _ in 0..20 {
        assert_eq!(server.get("/").text(), "quick");
    }
    assert_eq!(slow.requests().len(), 4);
    drop(waiting);
    // Who has gone is not waited for any longer.
    slow.wait_for_ends(4);
    server.assert_healthy();
}
