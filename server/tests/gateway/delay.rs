//! Requests to upstreams that wait for their tokens.

use test_support::{ADMIN_TOKEN, AS_ADMIN, Client, Launch, Server, Upstream, eventually};

const HANDSHAKE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Starts a gateway on which a request waits for 20 s.
fn gateway(upstream: &Upstream, gateway: &str) -> Server {
    let text = format!(
        "capacity = 1\nrefill_rate = 0.05\ndelay = '1m'\nadmin_token = '{ADMIN_TOKEN}'\nupstream = '{}'\n\
         [gateway]\nconnect_timeout = '300ms'\n{gateway}\n",
        upstream.url()
    );
    Launch::new().config("gateway.toml", &text).start()
}

/// Sends a request, and returns its connection once the request waits.
fn waiting(server: &Server, request: &[u8]) -> Client {
    let delayed = || server.metric("tollgate_delayed_requests_total ");
    let before = delayed();
    let mut client = server.client();
    client.send(request).unwrap();
    eventually("the request waits", || delayed() > before);
    client
}

#[test]
fn a_waiting_request_holds_no_slot_of_the_upstream() {
    let upstream = Upstream::with_body("mine");
    let server = gateway(&upstream, "max_requests = 1\nmax_concurrent_per_client = 1");
    assert_eq!(server.get("/").text(), "mine");
    let _first = waiting(&server, GET);
    assert_eq!(server.client_from("127.0.0.2").get("/").text(), "mine");
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn a_waiting_request_counts_against_the_share_of_its_client() {
    for (request, settings) in [
        (GET, "max_concurrent_per_client = 1"),
        (HANDSHAKE, "max_tunnels_per_client = 1"),
    ] {
        let upstream = Upstream::with_body("mine");
        let server = gateway(&upstream, settings);
        assert_eq!(server.get("/").text(), "mine");
        let first = waiting(&server, request);
        let mut second = server.client();
        second.send(request).unwrap();
        let refused = second.read().unwrap();
        assert_eq!(refused.status, 429, "{settings}");
        assert_eq!(refused.remaining(), 0, "a refusal by the limit");
        drop(first);
    }
}

#[test]
fn a_request_that_has_waited_takes_one_slot() {
    let upstream = Upstream::with_body("mine");
    let server = gateway(&upstream, "max_concurrent_per_client = 1");
    let mut client = server.client();
    assert_eq!(client.get("/").text(), "mine");
    let mut first = waiting(&server, GET);
    let body = r#"{"capacity": 5}"#;
    let response = server.client().request("POST", "/config", &AS_ADMIN, body);
    assert_eq!(response.status, 200);
    let response = first.read().unwrap();
    assert_eq!((response.status, response.text()), (200, "mine".to_owned()));
    assert_eq!(client.get("/").text(), "mine", "the slot is free");
}
