//! Streaming of bodies: frames pass one by one with backpressure, and the gateway buffers no whole
//! body.

use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use test_support::{Launch, SLOW, Server, TEST_TIMEOUT, Upstream};

const MIB: usize = 1 << 20;

/// Starts a gateway with these lines in its `[connections]` table.
fn with_connections(url: &str, lines: &str) -> Server {
    let text = format!(
        "capacity = 1000000\nrefill_rate = {SLOW}\nupstream = '{url}'\n[connections]\n{lines}\n"
    );
    Launch::new().config("gateway.toml", &text).start()
}

/// Peak resident memory of the server, in bytes.
fn peak_memory(server: &Server) -> usize {
    status_bytes(server, "VmHWM:")
}

fn status_bytes(server: &Server, field: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .unwrap();
    kib.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn frames_pass_one_by_one_in_both_directions() {
    let upstream = Upstream::start(|connection| {
        let head = connection.head()?;
        assert!(
            head.to_lowercase().contains("transfer-encoding: chunked"),
            "{head}"
        );
        let first = connection.chunk()?.unwrap();
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let mut next = Some(first);
        while let Some(chunk) = next {
            connection.send(format!("{:x}\r\n", chunk.len()).as_bytes())?;
            connection.send(&[&chunk[..], b"\r\n"].concat())?;
            next = connection.chunk()?;
        }
        connection.send(b"0\r\n\r\n")
    });
    let server = Server::gateway(&upstream.url());
    let mut client = server.client();
    client
        .send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    for number in 0..20 {
        // Each chunk waits for the echo of the previous one, so buffering would deadlock.
        let chunk = format!("chunk {number:03}");
        client.send(format!("9\r\n{chunk}\r\n").as_bytes()).unwrap();
        if number == 0 {
            assert_eq!(client.head().unwrap().status, 200);
        }
        let mut echo = Vec::new();
        while echo.len() < 9 {
            echo.extend(client.chunk().unwrap().unwrap());
        }
        assert_eq!(echo, chunk.as_bytes());
    }
    client.send(b"0\r\n\r\n").unwrap();
    assert_eq!(client.chunk().unwrap(), None);
}

#[test]
fn long_bodies_pass_in_constant_memory() {
    let upstream = Upstream::start(|connection| {
        loop {
            let head = connection.head()?;
            if head.starts_with("POST") {
                let mut length = 0;
                while let Some(chunk) = connection.chunk()? {
                    assert!(chunk.iter().all(|byte| *byte == b'u'));
                    length += chunk.len();
                }
                let text = length.to_string();
                connection.send(
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                        text.len()
                    )
                    .as_bytes(),
                )?;
            } else {
                connection.send(
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 * MIB).as_bytes(),
                )?;
                for _ in 0..64 {
                    connection.send(&vec![b'd'; MIB])?;
                }
            }
        }
    });
    let mut server = with_connections(&upstream.url(), "max_body_bytes = 70000000");
    assert_eq!(server.get("/health").status, 200);
    let before = peak_memory(&server);
    let mut client = server.client();
    client
        .send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = [format!("{MIB:x}\r\n").as_bytes(), &vec![b'u'; MIB], b"\r\n"].concat();
    (0..64).for_each(|_| client.send(&chunk).unwrap());
    client.send(b"0\r\n\r\n").unwrap();
    assert_eq!(client.read().unwrap().text(), (64 * MIB).to_string());

    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let response = client.head().unwrap();
    assert_eq!(response.number("Content-Length"), 64 * MIB as u64);
    // While the client does not read, backpressure must stop the upstream.
    thread::sleep(Duration::from_millis(500));
    for _ in 0..64 {
        assert!(
            client
                .read_exact(MIB)
                .unwrap()
                .iter()
                .all(|byte| *byte == b'd')
        );
    }
    let growth = peak_memory(&server).saturating_sub(before);
    assert!(
        growth < 16 * MIB,
        "128 MiB passed, and memory grew by {} KiB",
        growth / 1024
    );
    server.assert_healthy();
}

#[test]
fn a_request_body_above_the_limit_is_413() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let mut server = with_connections(&upstream.url(), "max_body_bytes = 1000");
    let mut client = server.client();
    client
        .send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
        .unwrap();
    let response = client.read().unwrap();
    assert_eq!(
        (response.status, response.json()["error"].as_str()),
        (413, Some("Payload Too Large"))
    );
    assert_eq!(
        upstream.connections(),
        0,
        "Content-Length above the limit: not forwarded"
    );

    let mut client = server.client();
    let chunk = format!("12c\r\n{}\r\n", "x".repeat(300));
    client
        .send(
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}")
                .as_bytes(),
        )
        .unwrap();
    while upstream.connections() == 0 {
        thread::yield_now();
    }
    for _ in 0..5 {
        let _ = client.send(chunk.as_bytes());
    }
    assert_eq!(client.read().unwrap().status, 413);
    upstream.wait_for_closed(1);
    assert_eq!(
        upstream.requests().len(),
        0,
        "chunked: the upstream received no complete request"
    );

    assert_eq!(server.post("/", &"x".repeat(1000)).status, 200);
    server.assert_healthy();
}

#[test]
fn a_request_body_that_trickles_in_is_408() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.wait_for_close()
    });
    let mut server = with_connections(&upstream.url(), "body_timeout = '1s'");
    // No byte of the body arrives: no connection to the upstream.
    let mut silent = server.client();
    silent
        .send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        .unwrap();
    assert_eq!(silent.read().unwrap().status, 408);
    assert_eq!(upstream.connections(), 0);
    // One byte every 50 ms.
    let mut slow = server.client();
    slow.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx")
        .unwrap();
    let mut stream = slow.stream.try_clone().unwrap();
    let started = Instant::now();
    let trickle = thread::spawn(move || {
        while started.elapsed() < TEST_TIMEOUT && stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(slow.read().unwrap().status, 408);
    assert!(started.elapsed() >= Duration::from_millis(900));
    slow.stream.shutdown(std::net::Shutdown::Both).ok();
    trickle.join().unwrap();
    upstream.wait_for_closed(1);
    server.assert_healthy();
}

#[test]
fn waiting_for_a_slow_upstream_does_not_count_against_the_body_timeout() {
    let upstream = Upstream::start(|connection| {
        connection.head()?;
        let mut length = 0;
        // Reading takes at least twice as long as the body timeout.
        let mut buffer = vec![0; 256 * 1024];
        while length < 16 * MIB {
            thread::sleep(Duration::from_millis(50));
            match connection.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => length += count,
            }
            if length > 15 * MIB {
                break;
            }
        }
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let text = format!(
        "capacity = 100\nupstream = '{}'\n[gateway]\nresponse_timeout = '1s'\n[connections]\nbody_timeout = '1s'\n",
        upstream.url()
    );
    let server = Launch::new().config("gateway.toml", &text).start();
    let mut client = server.client();
    client
        .send(
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
                16 * MIB
            )
            .as_bytes(),
        )
        .unwrap();
    let mut stream = client.stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let _ = stream.write_all(&vec![b'x'; 16 * MIB]);
    });
    assert_eq!(client.read().unwrap().status, 200);
    drop(client);
    sender.join().unwrap();
}

#[test]
fn a_client_disconnect_cancels_the_request_to_the_upstream() {
    let upstream = Upstream::start(|connection| {
        let head = connection.head()?;
        if head.starts_with("GET /body") {
            connection
                .send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")?;
        }
        connection.wait_for_close()
    });
    let mut server = Server::gateway(&upstream.url());
    // Before the response.
    let mut client = server.client();
    client
        .send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    while upstream.connections() < 1 {
        thread::yield_now();
    }
    drop(client);
    upstream.wait_for_closed(1);
    // During the request body.
    let mut client = server.client();
    client
        .send(b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        .unwrap();
    while upstream.connections() < 2 {
        thread::yield_now();
    }
    drop(client);
    upstream.wait_for_closed(2);
    // During the response body.
    let mut client = server.client();
    client
        .send(b"GET /body HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap().unwrap(), b"half");
    drop(client);
    upstream.wait_for_closed(3);
    server.assert_healthy();
}

#[test]
fn a_client_that_reads_nothing_times_out_but_one_that_waits_for_the_upstream_does_not() {
    let upstream = Upstream::start(|connection| {
        if connection.head()?.starts_with("GET /flood") {
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                connection.send(&[b"100000\r\n", &[b'x'; MIB][..], b"\r\n"].concat())?;
            }
        }
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")?;
        thread::sleep(Duration::from_millis(2500));
        connection.send(b"half")?;
        connection.wait_for_close()
    });
    let mut server = with_connections(&upstream.url(), "idle_timeout = '1s'");
    let mut stuck = server.client();
    stuck
        .send(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut waiting = server.client();
    assert_eq!(
        waiting.get("/events").text(),
        "halfhalf",
        "the upstream may pause for longer than the idle timeout of clients"
    );
    upstream.wait_for_closed(1);
    server.assert_healthy();
    drop(stuck);
}

#[test]
fn requests_in_progress_complete_at_shutdown() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")?;
        thread::sleep(Duration::from_millis(700));
        connection.send(b"half")
    });
    let mut server = Server::gateway(&upstream.url());
    let mut client = server.client();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(client.read_exact(8).unwrap(), b"halfhalf");
    assert_eq!(server.exit_within(TEST_TIMEOUT).unwrap().code(), Some(0));
}
