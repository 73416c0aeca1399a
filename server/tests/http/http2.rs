//! HTTP/2 without TLS on the same port: the same responses, buckets and limits.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use test_support::{Client, Launch, Server, TEST_TIMEOUT};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

type Body = BoxBody<Bytes, Infallible>;

async fn http2_client(server: &Server) -> http2::SendRequest<Body> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn get(path: &str) -> Request<Body> {
    Request::get(format!("http://localhost{path}"))
        .body(Empty::new().boxed())
        .unwrap()
}

fn post(path: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://localhost{path}"))
        .body(body)
        .unwrap()
}

/// A body whose sender decides when each chunk is sent.
struct Held(UnboundedReceiver<Bytes>);

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn held_body() -> (UnboundedSender<Bytes>, Body) {
    let (sender, receiver) = unbounded_channel();
    (sender, Held(receiver).boxed())
}

#[tokio::test]
async fn http_2_is_served_on_the_same_port() {
    let server = Server::with_capacity(100);
    let mut sender = http2_client(&server).await;
    let response = sender.send_request(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-ratelimit-limit"], "100");
    assert_eq!(response.headers()["x-ratelimit-remaining"], "99");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        &body[..],
        server.get("/").body,
        "the same response as over HTTP/1.1"
    );

    let streams = (0..150).map(|_| {
        let mut sender = sender.clone();
        tokio::spawn(async move {
            sender.ready().await.unwrap();
            sender
                .send_request(get("/api/ping"))
                .await
                .unwrap()
                .status()
        })
    });
    let streams: Vec<_> = streams.collect();
    let mut allowed = 0;
    for stream in streams {
        match stream.await.unwrap() {
            StatusCode::OK => allowed += 1,
            status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
    }
    assert_eq!(
        allowed, 98,
        "all streams and both protocols share the client's bucket"
    );
    let refused = sender.send_request(get("/")).await.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    let health = sender.send_request(get("/health")).await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
}

#[tokio::test]
async fn bodies_over_http_2_are_limited_in_size() {
    let server = Server::with_capacity(100);
    let mut sender = http2_client(&server).await;
    let body = |text: String| Full::new(Bytes::from(text)).boxed();
    let change = post("/config", body(r#"{"capacity": 50}"#.to_owned()));
    assert_eq!(
        sender.send_request(change).await.unwrap().status(),
        StatusCode::OK
    );
    let upload = sender
        .send_request(post("/api/upload", body("x".repeat(10_000))))
        .await
        .unwrap();
    assert_eq!(upload.headers()["x-ratelimit-limit"], "50");
    assert_eq!(upload.headers()["x-ratelimit-remaining"], "47");
    let huge = post("/api/submit", body("x".repeat(1 << 26)));
    let refused = timeout(TEST_TIMEOUT, sender.send_request(huge))
        .await
        .unwrap();
    assert_eq!(refused.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    let next = sender.send_request(get("/api/ping")).await.unwrap();
    assert_eq!(next.status(), StatusCode::OK, "the connection stays open");
}

#[tokio::test]
async fn a_stream_in_flight_is_finished_at_shutdown() {
    let mut server = Server::with_capacity(100);
    let mut sender = http2_client(&server).await;
    assert_eq!(
        sender.send_request(get("/")).await.unwrap().status(),
        StatusCode::OK
    );
    let (chunks, body) = held_body();
    chunks.send(Bytes::from_static(b"{\"a\":")).unwrap();
    let response = tokio::spawn(sender.send_request(post("/api/submit", body)));
    // The response to a later stream shows that the server has accepted the earlier one.
    sender.ready().await.unwrap();
    assert_eq!(
        sender.send_request(get("/")).await.unwrap().status(),
        StatusCode::OK
    );
    server.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(server.is_running(), "a stream is in flight");
    chunks.send(Bytes::from_static(b" 1}")).unwrap();
    drop(chunks);
    let response = timeout(TEST_TIMEOUT, response)
        .await
        .unwrap()
        .unwrap()
        .expect("the stream gets a response");
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("\"a\""));
    let status = server
        .exit_within(TEST_TIMEOUT)
        .expect("the server exits after the last response");
    assert_eq!(status.code(), Some(0));
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn short_timeouts() -> Server {
    let text =
        "[connections]\nheader_timeout = \"1s\"\nidle_timeout = \"1s\"\nbody_timeout = \"1s\"\n";
    Launch::new().config("bounds.toml", text).start()
}

#[test]
fn a_connection_without_a_complete_header_is_closed() {
    let mut server = short_timeouts();
    let mut silent: Client = server.client();
    silent.send(PREFACE).unwrap();
    let mut half = server.client();
    half.send(&PREFACE[..10]).unwrap();
    let mut frame = server.client();
    // A HEADERS frame that announces 100 bytes and contains 3.
    frame
        .send(&[PREFACE, b"\0\0\x64\x01\x04\0\0\0\x01abc"].concat())
        .unwrap();
    for client in [&mut silent, &mut half, &mut frame] {
        assert!(client.is_closed_within(TEST_TIMEOUT));
    }
    server.assert_healthy();
}

#[tokio::test]
async fn a_body_that_never_arrives_is_timed_out() {
    let mut server = short_timeouts();
    let mut sender = http2_client(&server).await;
    let (chunks, body) = held_body();
    let result = timeout(TEST_TIMEOUT, sender.send_request(post("/api/submit", body))).await;
    if let Ok(response) = result.expect("the request times out") {
        assert!(response.status().is_client_error(), "{response:?}");
    }
    drop(chunks);
    server.assert_healthy();
}
