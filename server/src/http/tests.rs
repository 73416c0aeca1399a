//! Stall clocks and timeouts of whole connections, in virtual time.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::{
    admission::{Admission, Admitted, Origin, PermitLimits},
    connection::{ConnectionService, serve},
    connection_permit::ConnectionPermit,
    listener::Socket,
    timeouts::ConnectionMonitor,
};
use crate::{app::App, config};

const MINUTE: Duration = Duration::from_secs(60);
/// Five minutes, and no multiple of the interval of HTTP/2 pings.
const SILENCE: Duration = Duration::from_secs(307);

/// Starts an upstream and returns its address.
async fn upstream<F: Future<Output = io::Result<()>> + Send + 'static>(
    respond: impl Fn(TcpStream, String) -> F + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let respond = respond.clone();
            tokio::spawn(async move {
                let head = head(&mut stream).await;
                let _ = respond(stream, head).await;
            });
        }
    });
    address
}

/// Reads up to the empty line after a head.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Starts a gateway with the default timeouts in this runtime.
async fn gateway(upstream: SocketAddr) -> SocketAddr {
    let toml = format!("capacity = 100\nupstream = 'http://{upstream}'");
    start(&toml).await
}

/// Starts a server with the default timeouts in this runtime.
async fn start(toml: &str) -> SocketAddr {
    let app = App::new(&config::settings(toml)).await.unwrap();
    let is_gateway = app.gateway.is_some();
    let limits = app.connection_limits;
    let monitor = ConnectionMonitor::new(limits, Arc::clone(&app.metrics));
    let permits = PermitLimits {
        max: 100,
        max_per_address: None,
    };
    let admission = Admission::new(permits, Arc::clone(&app.metrics));
    let current = Arc::new(ArcSwap::from_pointee(app));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn({
        let monitor = Arc::clone(&monitor);
        async move { monitor.run().await }
    });
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let activity = monitor.activity(false);
            let guard = monitor.track(&activity, peer.ip());
            let origin = Origin {
                network: {
                    let app = current.load();
                    app.clients.network(app.clients.peer(peer))
                },
                is_trusted: false,
                is_loopback: true,
            };
            let Admitted::Now(permit) = admission.admit(origin, &activity) else {
                panic!("expected a free permit");
            };
            let permit = ConnectionPermit::new(permit, origin, &activity);
            let service = ConnectionService {
                caller: Arc::new(current.load().caller(peer)),
                current: Arc::clone(&current),
                activity,
                permit: Arc::new(permit),
            };
            let socket = Socket::Tcp(stream.into_std().unwrap());
            tokio::spawn(async move {
                let _guard = guard;
                let _ = serve(&limits, is_gateway, socket, service).await;
            });
        }
    });
    address
}

/// The body of an upload arrives in pieces, so the connection must be woken for each.
#[tokio::test]
async fn a_body_that_arrives_in_pieces_is_read_to_its_end() {
    let address = start("capacity = 100").await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = format!("\"{}\"", "x".repeat(200_000));
    let head = format!(
        "POST /api/submit HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in body.as_bytes().chunks(70_000) {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    expect(&mut stream, b"x\"}").await;
}

const EVENTS: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const HANDSHAKE: &[u8] =
    b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Is silent for five minutes before every event.
async fn silent(mut stream: TcpStream, head: String) -> io::Result<()> {
    let is_tunnel = head.starts_with("GET /tunnel");
    stream
        .write_all(if is_tunnel { SWITCHING } else { EVENTS })
        .await?;
    for _ in 0..2 {
        tokio::time::sleep(SILENCE).await;
        let event: &[u8] = if is_tunnel {
            b"event"
        } else {
            b"5\r\nevent\r\n"
        };
        stream.write_all(event).await?;
    }
    std::future::pending().await
}

/// Reads until the bytes end with `expected`.
async fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut read = Vec::new();
    while !read.ends_with(expected) {
        read.push(stream.read_u8().await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_and_a_tunnel_outlive_minutes_of_silence() {
    let address = gateway(upstream(silent).await).await;
    let begin = Instant::now();
    let mut events = TcpStream::connect(address).await.unwrap();
    events
        .write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut tunnel = TcpStream::connect(address).await.unwrap();
    tunnel.write_all(HANDSHAKE).await.unwrap();
    for stream in [&mut events, &mut tunnel] {
        head(stream).await;
    }
    for number in 1..=2 {
        expect(&mut events, b"event\r\n").await;
        expect(&mut tunnel, b"event").await;
        let elapsed = begin.elapsed();
        assert!(elapsed >= number * SILENCE, "{elapsed:?}");
    }
}

/// Reads an HTTP/2 frame: its type, its flags and its payload.
async fn frame(stream: &mut TcpStream) -> (u8, u8, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut payload).await.unwrap();
    (head[3], head[4], payload)
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_over_http_2_outlives_minutes_of_silence() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // HEADERS of stream 1 with END_STREAM and END_HEADERS: GET http://a/events.
    const HEADERS: &[u8] = b"\0\0\x0e\x01\x05\0\0\0\x01\x82\x86\x04\x07/events\x01\x01a";
    let (ping, data) = (6, 0);
    let address = gateway(upstream(silent).await).await;
    let begin = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(HEADERS).await.unwrap();
    loop {
        let (kind, flags, payload) = frame(&mut stream).await;
        if kind == ping && flags == 0 {
            let pong = [b"\0\0\x08\x06\x01\0\0\0\0", &payload[..]].concat();
            stream.write_all(&pong).await.unwrap();
        } else if kind == data {
            assert_eq!(payload, b"event");
            break;
        }
    }
    let elapsed = begin.elapsed();
    assert!(elapsed >= SILENCE, "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_tunnel_ends_after_the_tunnel_timeout() {
    let address = gateway(
        upstream(|mut stream, _| async move {
            stream.write_all(SWITCHING).await?;
            std::future::pending().await
        })
        .await,
    )
    .await;
    let begin = Instant::now();
    let mut tunnel = TcpStream::connect(address).await.unwrap();
    tunnel.write_all(HANDSHAKE).await.unwrap();
    head(&mut tunnel).await;
    assert_eq!(tunnel.read(&mut [0]).await.unwrap(), 0);
    let elapsed = begin.elapsed();
    assert!(
        (60 * MINUTE..=121 * MINUTE).contains(&elapsed),
        "{elapsed:?}"
    );
}

/// Sends without an end.
async fn flood(mut stream: TcpStream, head: String) -> io::Result<()> {
    let is_tunnel = head.starts_with("GET /tunnel");
    let head: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n";
    stream
        .write_all(if is_tunnel { SWITCHING } else { head })
        .await?;
    loop {
        stream.write_all(&[b'x'; 100_000]).await?;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_loses_its_response_and_its_tunnel() {
    for request in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], HANDSHAKE] {
        let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
        let upstream = upstream(move |stream, head| {
            let ended = ended.clone();
            async move {
                let result = flood(stream, head).await;
                ended.send(()).unwrap();
                result
            }
        })
        .await;
        let address = gateway(upstream).await;
        let begin = Instant::now();
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(request).await.unwrap();
        end.recv().await.unwrap();
        let elapsed = begin.elapsed().as_secs();
        assert!((29..=35).contains(&elapsed), "{elapsed} s");
    }
}
