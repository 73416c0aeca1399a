//! HTTP/2 between client and gateway, and between gateway and upstream.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use test_support::{Launch, SLOW, Server, Upstream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

type Body = BoxBody<Bytes, Infallible>;

fn full(text: &str) -> Body {
    Full::new(Bytes::from(text.to_owned())).boxed()
}

/// Body whose frames are sent through a channel.
fn channel_body() -> (mpsc::UnboundedSender<Frame<Bytes>>, Body) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let frames =
        futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|frame| frame.map(Ok)));
    (sender, BodyExt::boxed(StreamBody::new(frames)))
}

async fn client(server: &Server) -> http2::SendRequest<Body> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
    .unwrap()
}

#[tokio::test]
async fn http_2_requests_are_forwarded_as_http_1_1() {
    let upstream = Upstream::responding(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nX-Own: 1\r\nContent-Length: 5\r\n\r\nhello",
    );
    let server = Server::gateway(&upstream.url());
    let mut sender = client(&server).await;
    let request = Request::post("http://site.example:81/a?b")
        .header("te", "trailers")
        .header("x-own", "2")
        .body(full("data"));
    let response = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        (
            &response.headers()["x-own"],
            &response.headers()["x-ratelimit-limit"]
        ),
        (&"1".parse().unwrap(), &"1000000".parse().unwrap())
    );
    assert!(!response.headers().contains_key("keep-alive"));
    assert_eq!(text(response).await, "hello");
    let request = upstream.single_request();
    assert_eq!(request.request_line(), "POST /a?b HTTP/1.1");
    assert_eq!(
        (request.header("Host"), request.header("X-Forwarded-Host")),
        (Some("site.example:81"), Some("site.example:81"))
    );
    assert_eq!(
        (request.header("Via"), request.header("X-Own")),
        (Some("2.0 tollgate"), Some("2"))
    );
    assert_eq!(request.body, b"data");

    let streams = (0..100).map(|_| {
        let mut sender = sender.clone();
        tokio::spawn(async move {
            sender.ready().await.unwrap();
            let request = Request::get("http://site.example/").body(full("")).unwrap();
            text(sender.send_request(request).await.unwrap()).await
        })
    });
    for stream in streams.collect::<Vec<_>>() {
        assert_eq!(stream.await.unwrap(), "hello");
    }
    assert_eq!(upstream.requests().len(), 101);
}

#[tokio::test]
async fn a_grpc_call_is_refused_with_resource_exhausted() {
    let (address, heads) = http2_upstream().await;
    let text = format!("capacity = 1\nrefill_rate = {SLOW}\nupstream = 'h2c://{address}'\n");
    let mut server = Launch::new().config("gateway.toml", &text).start();
    let mut sender = client(&server).await;
    let call = |content_type: &str, body| {
        Request::post("http://a/grpc.health.v1.Health/Watch")
            .header("content-type", content_type)
            .header("te", "trailers")
            .body(body)
            .unwrap()
    };
    let allowed = sender
        .send_request(call("application/grpc", full("")))
        .await
        .unwrap();
    assert_eq!(allowed.status(), StatusCode::OK);
    assert!(!allowed.headers().contains_key("grpc-status"));
    for content_type in ["application/grpc", "application/grpc+proto"] {
        // The stream of the client stays open: the status must not wait for its end.
        let (frames, body) = channel_body();
        frames.send(Frame::data(Bytes::from("message"))).unwrap();
        let refused = sender.send_request(call(content_type, body)).await.unwrap();
        let headers = refused.headers().clone();
        assert_eq!(refused.status(), StatusCode::OK);
        assert_eq!(
            (&headers["grpc-status"], &headers["content-type"]),
            (&"8".parse().unwrap(), &"application/grpc".parse().unwrap())
        );
        let message = headers["grpc-message"].to_str().unwrap();
        assert!(message.starts_with("Rate limit exceeded"), "{message}");
        assert_eq!(headers["x-ratelimit-remaining"], "0");
        assert!(
            refused
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .is_empty()
        );
    }
    let refused = sender
        .send_request(call("application/json", full("{}")))
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(heads.lock().unwrap().len(), 1);
    server.assert_healthy();
}

#[tokio::test]
async fn a_get_with_a_body_of_unknown_length_reaches_the_upstream() {
    let upstream = Upstream::responding("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let server = Server::gateway(&upstream.url());
    let mut sender = client(&server).await;
    let (frames, body) = channel_body();
    frames.send(Frame::data(Bytes::from("data"))).unwrap();
    drop(frames);
    let request = Request::get("http://a/search").body(body).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(upstream.single_request().body, b"data");
}

#[tokio::test]
async fn a_stream_reset_by_the_client_cancels_the_request_to_the_upstream() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.wait_for_close()
    });
    let mut server = Server::gateway(&upstream.url());
    let mut sender = client(&server).await;
    let response =
        tokio::spawn(sender.send_request(Request::get("http://a/").body(full("")).unwrap()));
    while upstream.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    response.abort();
    let closed = tokio::task::spawn_blocking(move || upstream.wait_for_closed(1));
    closed.await.unwrap();
    server.assert_healthy();
}

#[tokio::test]
async fn a_truncated_response_resets_the_stream() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    });
    let server = Server::gateway(&upstream.url());
    let mut sender = client(&server).await;
    // A reset may overtake data that was sent before it.
    if let Ok(response) = sender
        .send_request(Request::get("http://a/").body(full("")).unwrap())
        .await
    {
        assert_eq!(response.status(), StatusCode::OK);
        assert!(
            response.into_body().collect().await.is_err(),
            "the stream must be reset"
        );
    }
    let health = sender
        .send_request(Request::get("http://a/health").body(full("")).unwrap())
        .await
        .unwrap();
    assert_eq!(
        health.status(),
        StatusCode::OK,
        "other streams are not affected"
    );
}

#[tokio::test]
async fn a_body_longer_than_its_content_length_is_refused() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let mut server = Server::gateway(&upstream.url());
    let mut sender = client(&server).await;
    let request = Request::post("http://a/")
        .header("content-length", "3")
        .body(full("too long"))
        .unwrap();
    let response = sender.send_request(request).await;
    assert!(response.is_err() || response.unwrap().status() == StatusCode::BAD_REQUEST);
    assert_eq!(
        upstream.requests().len(),
        0,
        "the upstream receives no such request"
    );
    server.assert_healthy();
}

type Heads = Arc<Mutex<Vec<(String, Version, HeaderMap)>>>;

/// Starts an upstream that speaks only HTTP/2 and echoes the body frame by frame, followed by a
/// trailer. Returns its address and the request heads that it receives.
async fn http2_upstream() -> (SocketAddr, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Heads::default();
    let recorded = Arc::clone(&heads);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let recorded = Arc::clone(&recorded);
            let echo = service_fn(move |request: Request<Incoming>| {
                let (parts, body) = request.into_parts();
                recorded.lock().unwrap().push((
                    parts.uri.to_string(),
                    parts.version,
                    parts.headers,
                ));
                let trailers =
                    HeaderMap::from_iter([("x-end".parse().unwrap(), "1".parse().unwrap())]);
                let body = body.with_trailers(async move { Some(Ok(trailers)) });
                async move { Ok::<_, Infallible>(Response::new(body)) }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(async move { builder.serve_connection(TokioIo::new(stream), echo).await });
        }
    });
    (address, heads)
}

#[tokio::test]
async fn h2c_upstreams_get_http_2_with_concurrent_bodies_in_both_directions() {
    let (address, heads) = http2_upstream().await;
    let server = Server::gateway(&format!("h2c://{address}"));
    let mut sender = client(&server).await;
    let (frames, body) = channel_body();
    // As in gRPC, the client waits for the response head before it sends any data.
    let request = Request::post("http://site.example/call")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().contains_key("x-ratelimit-remaining"));
    let mut response_body = response.into_body();
    for text in ["one", "two", "three"] {
        frames.send(Frame::data(Bytes::from(text))).unwrap();
        assert_eq!(
            response_body
                .frame()
                .await
                .unwrap()
                .unwrap()
                .into_data()
                .unwrap(),
            text
        );
    }
    drop(frames);
    let trailers = loop {
        match response_body
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_trailers()
        {
            Ok(trailers) => break trailers,
            Err(data) => assert!(data.data_ref().unwrap().is_empty()),
        }
    };
    assert_eq!(trailers["x-end"], "1");
    let (uri, version, headers) = heads.lock().unwrap()[0].clone();
    assert_eq!(
        (uri, version),
        (format!("http://{address}/call"), Version::HTTP_2)
    );
    assert_eq!(
        (&headers["te"], &headers["x-forwarded-host"]),
        (
            &"trailers".parse().unwrap(),
            &"site.example".parse().unwrap()
        )
    );
    assert!(!headers.contains_key("host"));
    // Requests over HTTP/1.1 are forwarded as HTTP/2, too.
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::post("/")
        .header("host", "a")
        .body(full("data"))
        .unwrap();
    assert_eq!(
        text(sender.send_request(request).await.unwrap()).await,
        "data"
    );
}

#[tokio::test]
async fn request_bodies_over_http_2_are_limited_in_size_and_time() {
    let (address, _) = http2_upstream().await;
    let text = format!(
        "capacity = 100\nrefill_rate = {SLOW}\nupstream = 'h2c://{address}'\n[connections]\nmax_body_bytes = 100\nbody_timeout = '500ms'\n"
    );
    let mut server = Launch::new().config("gateway.toml", &text).start();
    let mut sender = client(&server).await;
    let (frames, body) = channel_body();
    let response = sender
        .send_request(Request::post("http://a/").body(body).unwrap())
        .await
        .unwrap();
    let mut response_body = response.into_body();
    frames
        .send(Frame::data(Bytes::from(vec![b'x'; 100])))
        .unwrap();
    assert_eq!(
        response_body
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap()
            .len(),
        100
    );
    let _ = frames.send(Frame::data(Bytes::from("x")));
    assert!(
        response_body.frame().await.unwrap().is_err(),
        "a body above the limit resets the stream"
    );
    let (_silent, body) = channel_body();
    let response = sender
        .send_request(Request::post("http://a/").body(body).unwrap())
        .await
        .unwrap();
    assert!(
        response.into_body().collect().await.is_err(),
        "a body that never arrives resets the stream"
    );
    server.assert_healthy();
}
