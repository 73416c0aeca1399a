//! Slow, broken and hostile clients do not affect the others.

use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use test_support::http::encode;
use test_support::{Client, Launch, SLOW, Server};

#[test]
fn an_oversized_header_is_refused() {
    let mut server = Server::with_capacity(100);
    let mut client = server.client();
    let huge = "x".repeat(1 << 20);
    // The server may close before it has read everything. Then the write fails, which is a refusal
    // too.
    let _ = client.send(&encode("GET", "/", &[("X-Huge", &huge)], ""));
    if let Ok(response) = client.read() {
        assert!([400, 413, 431].contains(&response.status), "{response:?}");
    }
    let mut client = server.client();
    let many = "X-Many: y\r\n".repeat(5000);
    let _ = client.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n").as_bytes());
    if let Ok(response) = client.read() {
        assert!([400, 413, 431].contains(&response.status), "{response:?}");
    }
    let mut client = server.client();
    let path = format!("/{}", "a".repeat(1 << 20));
    let _ = client.send(&encode("GET", &path, &[], ""));
    if let Ok(response) = client.read() {
        assert!(
            [400, 413, 414, 431].contains(&response.status),
            "{response:?}"
        );
    }
    server.assert_healthy();
}

#[test]
fn an_oversized_body_is_413() {
    let mut server = Server::with_capacity(100);
    for path in ["/api/submit", "/config", "/admin/update-rule"] {
        let mut client = server.client();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ");
        client
            .send(format!("{head}1000000000000\r\n\r\n{{").as_bytes())
            .unwrap();
        assert_eq!(client.read().unwrap().status, 413, "{path}: announced");

        let mut client = server.client();
        let chunked = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: ");
        client
            .send(format!("{chunked}chunked\r\n\r\n").as_bytes())
            .unwrap();
        assert_eq!(stream_until_refused(client), Some(413), "{path}: in chunks");
    }
    assert_eq!(server.get("/config").json()["capacity"], 100);
    server.assert_healthy();
}

/// Sends chunks while it waits for the response, and returns its status.
fn stream_until_refused(mut client: Client) -> Option<u16> {
    let mut stream = client.stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        (0..4096)
            .take_while(|_| stream.write_all(chunk.as_bytes()).is_ok())
            .count()
    });
    let status = client.read().ok().map(|response| response.status);
    client.stream.shutdown(Shutdown::Both).ok();
    assert!(
        sender.join().unwrap() < 4096,
        "256 MiB were accepted without a response"
    );
    status
}

#[test]
fn a_body_of_ordinary_size_is_accepted() {
    let server = Server::with_capacity(100);
    let body = serde_json::json!({"text": "x".repeat(10_000)}).to_string();
    assert_eq!(server.post("/api/submit", &body).status, 200);
    assert_eq!(server.post("/api/upload", &body).status, 200);
}

#[test]
fn a_truncated_body_does_not_affect_others() {
    let mut server = Server::with_capacity(100);
    let head = "POST /api/submit HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"a\":";
    let mut waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut client = server.client();
            client.send(head.as_bytes()).unwrap();
            client
        })
        .collect();
    assert_eq!(server.get("/").status, 200);
    for (index, client) in waiting.iter_mut().enumerate() {
        let how = if index % 2 == 0 {
            Shutdown::Write
        } else {
            Shutdown::Both
        };
        client.stream.shutdown(how).ok();
    }
    assert_eq!(server.get("/").status, 200);
    drop(waiting);
    server.assert_healthy();
}

#[test]
fn short_lived_connections_do_not_affect_others() {
    let mut server = Server::with_capacity(1000);
    for round in 0..200 {
        let mut client = server.client();
        match round % 4 {
            0 => {}
            1 => client.send(b"GET / HT").unwrap(),
            2 => client.send(&encode("GET", "/", &[], "")).unwrap(),
            _ => {
                client.send(&encode("GET", "/", &[], "")).unwrap();
                // A reset instead of a close.
                let socket = socket2::Socket::from(client.stream.try_clone().unwrap());
                socket.set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
    }
    server.assert_healthy();
}

#[test]
fn malformed_input_gets_an_error_or_a_close() {
    let mut server = Server::with_capacity(100);
    let malformed: [&[u8]; 12] = [
        b"\r\n\r\n\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nthis is no frame at all, whatever it claims",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n",
    ];
    for bytes in malformed {
        let mut client = server.client();
        client.send(bytes).unwrap();
        client.stream.shutdown(Shutdown::Write).ok();
        if let Ok(response) = client.read() {
            assert!((400..500).contains(&response.status), "{response:?}");
        }
        assert_eq!(server.get("/health").status, 200);
    }
    server.assert_healthy();
}

#[test]
fn the_server_recovers_from_exhausted_file_descriptors() {
    let args = ["--capacity", "1000", "--refill-rate", SLOW];
    let mut server = Launch::new().args(&args).open_files(64).start();
    // Of an address of its own: the crowd replaces the connections of its own address.
    let mut first = server.client_from("127.0.0.2");
    assert_eq!(first.get("/").status, 200);
    let crowd: Vec<_> = (0..100).map(|_| server.client()).collect();
    assert_eq!(first.get("/").status, 200, "an open connection is served");
    assert!(server.is_running());
    drop(crowd);
    let mut late = server.client();
    assert_eq!(late.get("/").status, 200, "a later connection is served");
    server.assert_healthy();
}

#[test]
fn the_server_recovers_from_many_idle_connections() {
    let mut server = Server::with_capacity(1000);
    let crowd: Vec<_> = (0..1000)
        .map_while(|_| Client::try_connect(server.address, None).ok())
        .collect();
    assert_eq!(crowd.len(), 1000);
    drop(crowd);
    assert_eq!(server.get("/").status, 200);
    server.assert_healthy();
}
