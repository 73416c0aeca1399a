//! Bodies pass piece by piece, as long as they like and as fast as both sides are, and the gateway
//! holds none of them.

use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use test_support::{Launch, PATIENCE, SLOW, Server, Upstream};

const MIB: usize = 1 << 20;

/// A gateway with these lines in its table of bounds.
fn bounded(url: &str, lines: &str) -> Server {
    let text = format!(
        "capacity = 1000000\nrefill_rate = {SLOW}\nupstream = '{url}'\n[connections]\n{lines}\n"
    );
    Launch::new().config("gateway.toml", &text).start()
}

/// The most memory that the process has had, in bytes.
fn peak(server: &Server) -> usize {
    memory(server, "VmHWM:")
}

fn memory(server: &Server, line: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let kib = status
        .lines()
        .find_map(|found| found.strip_prefix(line))
        .unwrap();
    kib.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn pieces_arrive_one_by_one_in_both_directions() {
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
        // Each waits for the echo of the one before it: nothing on the way may gather them.
        let piece = format!("piece {number:03}");
        client.send(format!("9\r\n{piece}\r\n").as_bytes()).unwrap();
        if number == 0 {
            assert_eq!(client.head().unwrap().status, 200);
        }
        let mut echo = Vec::new();
        while echo.len() < 9 {
            echo.extend(client.chunk().unwrap().unwrap());
        }
        assert_eq!(echo, piece.as_bytes());
    }
    client.send(b"0\r\n\r\n").unwrap();
    assert_eq!(client.chunk().unwrap(), None);
}

#[test]
fn long_bodies_pass_in_flat_memory() {
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
    let mut server = bounded(&upstream.url(), "max_body_bytes = 70000000");
    assert_eq!(server.get("/health").status, 200);
    let before = peak(&server);
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
    // For a while nobody reads: the upstream has to wait, not the gateway's memory.
    thread::sleep(Duration::from_millis(500));
    for _ in 0..64 {
        assert!(
            client
                .exactly(MIB)
                .unwrap()
                .iter()
                .all(|byte| *byte == b'd')
        );
    }
    let more = peak(&server).saturating_sub(before);
    assert!(
        more < 16 * MIB,
        "128 MiB passed, and took {} KiB",
        more / 1024
    );
    server.assert_healthy();
}

#[test]
fn a_body_that_is_too_long_is_413_and_not_begun_or_cut_off() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let mut server = bounded(&upstream.url(), "max_body_bytes = 1000");
    let mut client = server.client();
    client
        .send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
        .unwrap();
    let response = client.read().unwrap();
    assert_eq!(
        (response.status, response.json()["error"].as_str()),
        (413, Some("Payload Too Large"))
    );
    assert_eq!(upstream.connections(), 0, "announced: never begun");

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
    upstream.wait_for_ends(1);
    assert_eq!(upstream.requests().len(), 0, "in chunks: never ended");

    assert_eq!(server.post("/", &"x".repeat(1000)).status, 200);
    server.assert_healthy();
}

#[test]
fn a_body_that_trickles_in_for_ever_is_given_up() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.wait_for_end()
    });
    let mut server = bounded(&upstream.url(), "body_timeout = '1s'");
    // Not a byte of it: the upstream hears nothing.
    let mut silent = server.client();
    silent
        .send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        .unwrap();
    assert_eq!(silent.read().unwrap().status, 408);
    assert_eq!(upstream.connections(), 0);
    // A byte now and then.
    let mut slow = server.client();
    slow.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx")
        .unwrap();
    let mut stream = slow.stream.try_clone().unwrap();
    let began = Instant::now();
    let trickle = thread::spawn(move || {
        while began.elapsed() < PATIENCE && stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(slow.read().unwrap().status, 408);
    assert!(began.elapsed() >= Duration::from_millis(900));
    slow.stream.shutdown(std::net::Shutdown::Both).ok();
    trickle.join().unwrap();
    upstream.wait_for_ends(1);
    server.assert_healthy();
}

#[test]
fn a_body_waits_for_an_upstream_that_is_slow_to_take_it() {
    let upstream = Upstream::start(|connection| {
        connection.head()?;
        let mut length = 0;
        // It takes twice as long as any client may wait for.
        let mut piece = vec![0; 256 * 1024];
        while length < 16 * MIB {
            thread::sleep(Duration::from_millis(50));
            match connection.stream.read(&mut piece)? {
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
fn a_client_that_goes_away_ends_the_request_to_the_upstream() {
    let upstream = Upstream::start(|connection| {
        let head = connection.head()?;
        if head.starts_with("GET /body") {
            connection
                .send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")?;
        }
        connection.wait_for_end()
    });
    let mut server = Server::gateway(&upstream.url());
    // Before the answer.
    let mut client = server.client();
    client
        .send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    while upstream.connections() < 1 {
        thread::yield_now();
    }
    drop(client);
    upstream.wait_for_ends(1);
    // In the middle of its own body.
    let mut client = server.client();
    client
        .send(b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        .unwrap();
    while upstream.connections() < 2 {
        thread::yield_now();
    }
    drop(client);
    upstream.wait_for_ends(2);
    // In the middle of the answer.
    let mut client = server.client();
    client
        .send(b"GET /body HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap().unwrap(), b"half");
    drop(client);
    upstream.wait_for_ends(3);
    server.assert_healthy();
}

#[test]
fn a_client_that_takes_nothing_is_closed_and_one_that_waits_with_the_upstream_is_not() {
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
        connection.wait_for_end()
    });
    let mut server = bounded(&upstream.url(), "idle_timeout = '1s'");
    let mut stuck = server.client();
    stuck
        .send(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut patient = server.client();
    assert_eq!(
        patient.get("/events").text(),
        "halfhalf",
        "the upstream may think for longer than a client may idle"
    );
    upstream.wait_for_ends(1);
    server.assert_healthy();
    drop(stuck);
}

#[test]
fn what_is_in_flight_is_finished_at_the_end() {
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
    assert_eq!(client.exactly(8).unwrap(), b"halfhalf");
    assert_eq!(server.exit_within(PATIENCE).unwrap().code(), Some(0));
}
