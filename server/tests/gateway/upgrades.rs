//! WebSockets through the gateway, with a handshake and frames written by hand.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use test_support::upstream::Connection;
use test_support::{Client, Launch, PATIENCE, SLOW, Server, Upstream};

const ASKS: &str = "GET /chat?x=y HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Agrees, and sends back what comes.
fn echo(connection: &mut Connection) -> std::io::Result<()> {
    connection.request()?;
    // The first frame may come in one piece with the answer.
    connection.send(&[SWITCHES.as_bytes(), b"\x81\x07welcome"].concat())?;
    let mut piece = [0; 65536];
    loop {
        match connection.stream.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => connection.send(&piece[..count])?,
        }
    }
}

/// A connection through which frames pass.
fn open(server: &Server) -> Client {
    let mut client = server.client();
    client.send(ASKS.as_bytes()).unwrap();
    let head = client.head().unwrap();
    assert_eq!(head.status, 101, "{head:?}");
    assert!(
        head.header("Upgrade")
            .unwrap()
            .eq_ignore_ascii_case("websocket")
    );
    assert!(
        head.header("Connection")
            .unwrap()
            .eq_ignore_ascii_case("upgrade")
    );
    assert_eq!(
        head.header("Sec-WebSocket-Accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert!(head.limit() > 0);
    assert_eq!(client.exactly(9).unwrap(), b"\x81\x07welcome");
    client
}

/// A masked text frame, as clients must send them.
fn frame(text: &str) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let masked = text
        .bytes()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask);
    [&[0x81, 0x80 | u8::try_from(text.len()).unwrap()][..], &mask]
        .concat()
        .into_iter()
        .chain(masked)
        .collect()
}

#[test]
fn frames_pass_both_ways() {
    let upstream = Upstream::start(echo);
    let mut server = Server::gateway(&upstream.url());
    let mut client = open(&server);
    for text in ["hello", "again", ""] {
        client.send(&frame(text)).unwrap();
        assert_eq!(client.exactly(frame(text).len()).unwrap(), frame(text));
    }
    let long = vec![0x55; 8 << 20];
    let mut stream = client.stream.try_clone().unwrap();
    let sent = long.clone();
    let sender = thread::spawn(move || stream.write_all(&sent).unwrap());
    assert_eq!(client.exactly(long.len()).unwrap(), long);
    sender.join().unwrap();
    let seen = upstream.only();
    assert_eq!(seen.request_line(), "GET /chat?x=y HTTP/1.1");
    assert_eq!(
        (seen.header("Connection"), seen.header("Upgrade")),
        (Some("upgrade"), Some("websocket"))
    );
    assert_eq!(
        seen.header("Sec-WebSocket-Key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    assert_eq!(seen.header("X-Forwarded-For"), Some("127.0.0.1"));
    // One side's end is the other's.
    client.stream.shutdown(Shutdown::Write).unwrap();
    upstream.wait_for_ends(1);
    assert!(client.is_closed_within(PATIENCE));
    server.assert_healthy();
}

#[test]
fn a_refused_handshake_never_reaches_the_upstream() {
    let upstream = Upstream::start(echo);
    let server = Server::start(&[
        "--upstream",
        &upstream.url(),
        "--capacity",
        "1",
        "--refill-rate",
        SLOW,
    ]);
    let _first = open(&server);
    let mut client = server.client();
    client.send(ASKS.as_bytes()).unwrap();
    assert_eq!(client.read().unwrap().status, 429);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_upstream_may_decline() {
    let upstream = Upstream::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let server = Server::gateway(&upstream.url());
    let mut client = server.client();
    client.send(ASKS.as_bytes()).unwrap();
    let response = client.read().unwrap();
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
    assert_eq!(client.get("/health").status, 200, "the connection goes on");
}

#[test]
fn no_other_protocol_is_tunnelled() {
    let upstream = Upstream::saying("hello");
    let server = Server::gateway(&upstream.url());
    for asks in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
    ] {
        let mut client = server.client();
        client.send(asks.as_bytes()).unwrap();
        assert_eq!(client.read().unwrap().text(), "hello", "{asks}");
    }
    for seen in upstream.requests() {
        assert_eq!(
            (seen.header("Upgrade"), seen.header("Connection")),
            (None, None),
            "{seen:?}"
        );
        assert_eq!(seen.header("HTTP2-Settings"), None);
    }
}

#[test]
fn a_tunnel_takes_a_place_and_an_idle_one_gives_it_back() {
    let upstream = Upstream::start(echo);
    let text = format!(
        "capacity = 100\nupstream = '{}'\n[connections]\nmax = 2\nidle_timeout = '300ms'\nheader_timeout = '300ms'\n\
         [gateway]\ntunnel_timeout = '2s'\n",
        upstream.url()
    );
    let mut server = Launch::new().config("gateway.toml", &text).start();
    let mut tunnels = [open(&server), open(&server)];
    let mut next = server.client();
    next.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    next.stream
        .set_read_timeout(Some(Duration::from_millis(700)))
        .unwrap();
    assert!(
        next.read().is_err(),
        "both places are taken, and longer than a request may idle"
    );
    for tunnel in &mut tunnels {
        tunnel.send(b"x").unwrap();
        assert_eq!(
            tunnel.exactly(1).unwrap(),
            b"x",
            "tunnels may be quiet for a while"
        );
    }
    for tunnel in &mut tunnels {
        assert!(tunnel.is_closed_within(PATIENCE), "but not for ever");
    }
    upstream.wait_for_ends(2);
    next.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(next.read().unwrap().status, 200);
    drop(next);
    server.assert_healthy();
}

#[test]
fn the_end_of_the_server_ends_tunnels() {
    let upstream = Upstream::start(echo);
    let mut server = Server::gateway(&upstream.url());
    let mut client = open(&server);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.exit_within(PATIENCE).unwrap().code(), Some(0));
    assert!(client.is_closed_within(PATIENCE));
    upstream.wait_for_ends(1);
}
