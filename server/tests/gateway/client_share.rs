//! A client's share of upstream slots and tunnels, and the stall clock that ends its streams.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::{Request, Response, StatusCode, body::Incoming};
use test_support::http2::{Body, client_without_window};
use test_support::upstream::Connection;
use test_support::{
    ADMIN_TOKEN, AS_ADMIN, Launch, SLOW, Server, TEST_TIMEOUT, Upstream, eventually,
};
use tokio::time::timeout;

/// Address of the client that keeps to the rules; the other one is 127.0.0.1.
const HONEST: &str = "127.0.0.2";

const HANDSHAKE: &str =
    "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Responds by path: a small or a large body, a tunnel, or nothing before the whole request.
fn serve(connection: &mut Connection) -> io::Result<()> {
    loop {
        let head = connection.head()?;
        if head.starts_with("GET /large") {
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")?;
            for _ in 0..100 {
                connection.send(&vec![b'x'; 1_000_000])?;
            }
        } else if head.starts_with("GET /medium") {
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")?;
            connection.send(&vec![b'x'; 200_000])?;
        } else if head.starts_with("GET /tunnel") {
            connection.send(SWITCHING)?;
            return connection.wait_for_close();
        } else if head.starts_with("POST") {
            return connection.wait_for_close();
        } else {
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
    }
}

/// Starts a gateway with these lines in its tables.
fn gateway(upstream: &Upstream, connections: &str, gateway: &str) -> Server {
    let text = format!(
        "capacity = 1000000\nrefill_rate = {SLOW}\nadmin_token = '{ADMIN_TOKEN}'\nupstream = '{}'\n[connections]\n{connections}\n\
         [gateway]\nconnect_timeout = '300ms'\n{gateway}\n",
        upstream.url()
    );
    Launch::new().config("gateway.toml", &text).start()
}

async fn get(sender: &http2::SendRequest<Body>, path: &str) -> hyper::Result<Response<Incoming>> {
    let mut sender = sender.clone();
    let request = Request::get(format!("http://a{path}")).body(Full::default().boxed());
    timeout(TEST_TIMEOUT, sender.send_request(request.unwrap()))
        .await
        .unwrap()
}

#[tokio::test]
async fn streams_without_a_window_hold_no_more_than_the_share_of_their_client() {
    let upstream = Upstream::start(serve);
    let mut server = gateway(&upstream, "idle_timeout = '10m'", "max_requests = 8");
    let sender = client_without_window(&server).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let response = get(&sender, "/medium").await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        held.push(response);
    }
    let others = (0..8).map(|_| {
        let sender = sender.clone();
        tokio::spawn(async move { get(&sender, "/medium").await })
    });
    for other in others.collect::<Vec<_>>() {
        let response = other.await.unwrap().unwrap();
        assert_eq!(
            response.status(),
            StatusCode::TOO_MANY_REQUESTS,
            "a quarter of max_requests is 2"
        );
        assert_eq!(response.headers()["retry-after"], "1");
    }
    let honest = server.client_from(HONEST).get("/").status;
    assert_eq!(honest, 200);
    drop(held);
    server.assert_healthy();
}

#[tokio::test]
async fn a_stream_without_a_window_is_reset_and_its_connection_stays_open() {
    let upstream = Upstream::start(serve);
    let mut server = gateway(&upstream, "idle_timeout = '1s'", "");
    let sender = client_without_window(&server).await;
    let mut bodies = Vec::new();
    for path in ["/medium", "/small", "/large"] {
        let response = get(&sender, path).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        bodies.push((path, response.into_body().collect()));
    }
    let requests = tokio::spawn({
        let sender = sender.clone();
        async move {
            // Free requests on the same connection.
            while get(&sender, "/health").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    for (path, body) in bodies {
        let ended = timeout(TEST_TIMEOUT, body).await;
        assert!(
            ended.expect("the stall clock ends the stream").is_err(),
            "{path}"
        );
    }
    upstream.wait_for_closed(2);
    requests.abort();
    let health = get(&sender, "/health").await.unwrap();
    assert_eq!(
        health.status(),
        StatusCode::OK,
        "only the streams are reset"
    );
    server.assert_healthy();
}

#[test]
fn slow_uploads_unread_responses_and_idle_tunnels_count_against_the_share() {
    let upload = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000000\r\n\r\nx";
    let unread = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
    for request in [upload, unread, HANDSHAKE] {
        let upstream = Upstream::start(serve);
        let mut server = gateway(&upstream, "", "max_requests = 4");
        let mut clients: Vec<_> = (0..4).map(|_| server.client()).collect();
        for client in &mut clients {
            client.send(request.as_bytes()).unwrap();
        }
        for _ in 0..3 {
            let honest = server.client_from(HONEST).get("/");
            assert_eq!(honest.status, 200, "{request:?}");
        }
        let refused = server.client().get("/");
        assert_eq!(
            (refused.status, refused.number("Retry-After")),
            (429, 1),
            "{request:?}: a quarter of max_requests is 1"
        );
        drop(clients);
        server.assert_healthy();
    }
}

#[test]
fn the_share_of_slots_and_of_tunnels_is_a_setting() {
    let upstream = Upstream::start(serve);
    let mut server = gateway(
        &upstream,
        "",
        "max_requests = 4\nmax_concurrent_per_client = 3\nmax_tunnels_per_client = 2",
    );
    let mut tunnels: Vec<_> = (0..3).map(|_| server.client()).collect();
    let statuses = tunnels.iter_mut().map(|tunnel| {
        tunnel.send(HANDSHAKE.as_bytes()).unwrap();
        tunnel.head().unwrap().status
    });
    assert_eq!(statuses.collect::<Vec<_>>(), [101, 101, 429]);
    assert_eq!(server.client().get("/").status, 200, "the third slot");
    assert_eq!(server.client_from(HONEST).get("/").status, 200);
    let mut upload = server.client();
    upload
        .send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx")
        .unwrap();
    eventually("the upload takes the third slot", || {
        server.client().get("/").status == 429
    });
    let metrics = server.client().get_with("/metrics", &AS_ADMIN).text();
    for (kind, least) in [("request", 1), ("tunnel", 1)] {
        let name = format!("tollgate_client_share_refusals_total{{kind=\"{kind}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        let count: u64 = line.expect(&name).parse().unwrap();
        assert!(count >= least, "{name}{count}");
    }
    drop(tunnels);
    upstream.wait_for_closed(2);
    assert_eq!(server.client().get("/").status, 200, "slots are released");
    server.assert_healthy();
}

#[test]
fn clients_of_a_trusted_proxy_have_shares_of_their_own() {
    let upstream = Upstream::start(serve);
    let text = format!(
        "capacity = 100\nupstream = '{}'\ntrust_proxy = ['127.0.0.1']\n[gateway]\nconnect_timeout = '300ms'\n\
         max_requests = 4\n",
        upstream.url()
    );
    let mut server = Launch::new().config("gateway.toml", &text).start();
    let status = |address: &str| {
        let mut client = server.client();
        let response = client.get_with("/", &[("X-Forwarded-For", address)]);
        response.status
    };
    let mut upload = server.client();
    upload
        .send(b"POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 2001:db8::1\r\nContent-Length: 9\r\n\r\nx")
        .unwrap();
    while upstream.connections() == 0 {
        std::thread::yield_now();
    }
    assert_eq!(status("2001:db8::2"), 429, "the same /64");
    assert_eq!(status("2001:db8:0:1::1"), 200);
    assert_eq!(status("192.0.2.1"), 200);
    server.assert_healthy();
}

#[test]
fn a_fast_start_of_an_upload_does_not_pay_for_a_silence_later() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.wait_for_close()
    });
    let mut server = gateway(&upstream, "body_timeout = '1s'", "");
    let mut client = server.client();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n";
    client
        .send(&[head.as_bytes(), &[b'x'; 1_000_000]].concat())
        .unwrap();
    // 1 MB at 1 KB/s would take 1000 s.
    assert_eq!(client.read().unwrap().status, 408);
    server.assert_healthy();
}
