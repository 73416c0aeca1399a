//! WebSocket tunnels, with handshakes and frames in raw bytes.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use test_support::upstream::Connection;
use test_support::{Client, Launch, SLOW, Server, TEST_TIMEOUT, Upstream};

const HANDSHAKE: &str = "GET /chat?x=y HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Accepts the handshake and echoes all bytes.
fn echo(connection: &mut Connection) -> std::io::Result<()> {
    connection.request()?;
    // The first frame may arrive in one packet with the response.
    connection.send(&[ACCEPTED.as_bytes(), b"\x81\x07welcome"].concat())?;
    let mut buffer = [0; 65536];
    loop {
        match connection.stream.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => connection.send(&buffer[..count])?,
        }
    }
}

/// Opens a tunnel.
fn open_tunnel(server: &Server) -> Client {
    let mut client = server.client();
    client.send(HANDSHAKE.as_bytes()).unwrap();
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
    assert_eq!(client.read_exact(9).unwrap(), b"\x81\x07welcome");
    client
}

/// Encodes a masked text frame, as clients must send.
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
fn frames_pass_in_both_directions() {
    let upstream = Upstream::start(echo);
    let mut server = Server::gateway(&upstream.url());
    let mut client = open_tunnel(&server);
    for text in ["hello", "again", ""] {
        client.send(&frame(text)).unwrap();
        assert_eq!(client.read_exact(frame(text).len()).unwrap(), frame(text));
    }
    let long = vec![0x55; 8 << 20];
    let mut stream = client.stream.try_clone().unwrap();
    let sent = long.clone();
    let sender = thread::spawn(move || stream.write_all(&sent).unwrap());
    assert_eq!(client.read_exact(long.len()).unwrap(), long);
    sender.join().unwrap();
    let request = upstream.single_request();
    assert_eq!(request.request_line(), "GET /chat?x=y HTTP/1.1");
    assert_eq!(
        (request.header("Connection"), request.header("Upgrade")),
        (Some("upgrade"), Some("websocket"))
    );
    assert_eq!(
        request.header("Sec-WebSocket-Key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    assert_eq!(request.header("X-Forwarded-For"), Some("127.0.0.1"));
    // Closing one side closes the other.
    client.stream.shutdown(Shutdown::Write).unwrap();
    upstream.wait_for_closed(1);
    assert!(client.is_closed_within(TEST_TIMEOUT));
    server.assert_healthy();
}

#[test]
fn a_refused_handshake_is_not_forwarded() {
    let upstream = Upstream::start(echo);
    let server = Server::start(&[
        "--upstream",
        &upstream.url(),
        "--capacity",
        "1",
        "--refill-rate",
        SLOW,
    ]);
    let _first = open_tunnel(&server);
    let mut client = server.client();
    client.send(HANDSHAKE.as_bytes()).unwrap();
    assert_eq!(client.read().unwrap().status, 429);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_handshake_that_the_upstream_declines_gets_its_response() {
    let upstream = Upstream::responding("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let server = Server::gateway(&upstream.url());
    let mut client = server.client();
    client.send(HANDSHAKE.as_bytes()).unwrap();
    let response = client.read().unwrap();
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
    assert_eq!(
        client.get("/health").status,
        200,
        "the connection stays usable"
    );
}

#[test]
fn other_protocols_are_not_tunnelled() {
    let upstream = Upstream::with_body("hello");
    let server = Server::gateway(&upstream.url());
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
    ] {
        let mut client = server.client();
        client.send(request.as_bytes()).unwrap();
        assert_eq!(client.read().unwrap().text(), "hello", "{request}");
    }
    for request in upstream.requests() {
        assert_eq!(
            (request.header("Upgrade"), request.header("Connection")),
            (None, None),
            "{request:?}"
        );
        assert_eq!(request.header("HTTP2-Settings"), None);
    }
}

#[test]
fn a_tunnel_holds_a_connection_permit_until_it_is_idle_for_too_long() {
    let upstream = Upstream::start(echo);
    let text = format!(
        "capacity = 100\nupstream = '{}'\n[connections]\nmax = 2\nidle_timeout = '300ms'\nheader_timeout = '300ms'\n\
         [gateway]\ntunnel_timeout = '2s'\n",
        upstream.url()
    );
    let mut server = Launch::new().config("gateway.toml", &text).start();
    let mut tunnels = [open_tunnel(&server), open_tunnel(&server)];
    let mut next = server.client();
    // Forwarded: a health check of this machine would get a reserved permit.
    next.send(b"GET /health HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
        .unwrap();
    next.stream
        .set_read_timeout(Some(Duration::from_millis(700)))
        .unwrap();
    assert!(
        next.read().is_err(),
        "tunnels hold both permits for longer than the idle timeout of requests"
    );
    for tunnel in &mut tunnels {
        tunnel.send(b"x").unwrap();
        assert_eq!(
            tunnel.read_exact(1).unwrap(),
            b"x",
            "the tunnel is open before its idle timeout"
        );
    }
    for tunnel in &mut tunnels {
        assert!(
            tunnel.is_closed_within(TEST_TIMEOUT),
            "the tunnel is closed after its idle timeout"
        );
    }
    upstream.wait_for_closed(2);
    next.stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    assert_eq!(next.read().unwrap().status, 200);
    drop(next);
    server.assert_healthy();
}

#[test]
fn tunnels_are_closed_at_shutdown() {
    let upstream = Upstream::start(echo);
    let mut server = Server::gateway(&upstream.url());
    let mut client = open_tunnel(&server);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.exit_within(TEST_TIMEOUT).unwrap().code(), Some(0));
    assert!(client.is_closed_within(TEST_TIMEOUT));
    upstream.wait_for_closed(1);
}
