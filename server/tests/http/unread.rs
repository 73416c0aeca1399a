//! Memory that unread responses hold.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use test_support::http2::{Body, client_without_window};
use test_support::{Launch, SLOW, Server, TEST_TIMEOUT, eventually};
use tokio::net::TcpStream;
use tokio::time::timeout;

const MIB: usize = 1 << 20;

fn start(connections: &str) -> Server {
    let text = format!("capacity = 1000000\nrefill_rate = {SLOW}\n[connections]\n{connections}\n");
    Launch::new().config("unread.toml", &text).start()
}

/// Submits a body whose response is six times as long.
async fn submit(sender: &http2::SendRequest<Body>, length: usize) -> Response<Incoming> {
    let mut sender = sender.clone();
    let body = Full::new(Bytes::from(vec![0; length])).boxed();
    let request = Request::post("http://a/api/submit").body(body).unwrap();
    timeout(TEST_TIMEOUT, sender.send_request(request))
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn unread_responses_of_a_connection_are_bounded_and_end() {
    let mut server = start("idle_timeout = '2s'");
    let before = server.resident_memory();
    let sender = client_without_window(&server).await;
    let (mut held, mut refused) = (Vec::new(), 0);
    for _ in 0..15 {
        let response = submit(&sender, MIB).await;
        match response.status() {
            StatusCode::OK => held.push(response),
            status => {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                refused += 1;
            }
        }
    }
    let growth = server.resident_memory().saturating_sub(before);
    assert!(growth < 60 * MIB, "{} MiB for 15 requests", growth / MIB);
    assert!(!held.is_empty() && refused >= 10, "{refused} refused");
    let health = tokio::spawn({
        let mut sender = sender.clone();
        async move {
            loop {
                let body = Full::default().boxed();
                let request = Request::get("http://a/health").body(body).unwrap();
                let _ = sender.send_request(request).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    for response in held {
        let body = timeout(TEST_TIMEOUT, response.into_body().collect()).await;
        assert!(body.expect("the stall clock ends the stream").is_err());
    }
    let next = submit(&sender, MIB).await;
    assert_eq!(next.status(), StatusCode::OK, "the memory is free again");
    health.abort();
    server.assert_healthy();
}

#[tokio::test]
async fn unread_responses_are_bounded_in_total() {
    let mut server = start(
        "max_body_bytes = 200000\nmax_unread_bytes_per_connection = 2500000\n\
         max_unread_bytes = 8000000\nidle_timeout = '1h'",
    );
    let mut connections = Vec::new();
    for _ in 0..15 {
        let sender = client_without_window(&server).await;
        // 1.2 MB each.
        let response = submit(&sender, 200_000).await;
        connections.push((sender, response));
    }
    let held = |(sender, response): &(http2::SendRequest<Body>, Response<Incoming>)| {
        !sender.is_closed() && response.status() == StatusCode::OK
    };
    let count = connections
        .iter()
        .filter(|connection| held(connection))
        .count();
    assert!(
        (1..=6).contains(&count),
        "{count} responses of 1.2 MB are held"
    );
    let honest = server.client_from("127.0.0.2").post("/api/submit", "{}");
    assert_eq!(honest.status, 200);
    server.assert_healthy();
}

#[test]
fn a_client_that_reads_gets_a_long_response_whole() {
    let mut server = start("");
    let body = "\0".repeat(MIB);
    for _ in 0..3 {
        let response = server.post("/api/submit", &body);
        assert_eq!(response.status, 200);
        let text = response.json();
        assert_eq!(text["data"].as_str().map(str::len), Some(MIB));
    }
    server.assert_healthy();
}

#[tokio::test]
async fn a_client_that_reads_over_http_2_gets_a_long_response_whole() {
    let server = start("");
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) =
        http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let response = submit(&sender, MIB).await;
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["data"].as_str().map(str::len), Some(MIB));
    }
}

#[test]
fn pipelined_requests_without_reading_end_the_connection() {
    let mut server = start("idle_timeout = '1s'");
    let mut client = server.client();
    let requests = "HEAD /api/ping HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    eventually("the connection is closed", || {
        match client.send(requests.as_bytes()) {
            Ok(()) => false,
            Err(error) => {
                assert_ne!(error.kind(), io::ErrorKind::InvalidInput);
                true
            }
        }
    });
    assert!(server.resident_memory() < 100 * MIB);
    server.assert_healthy();
}
