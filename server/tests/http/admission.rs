//! Admission of connections: a full server serves new clients and its administrators.

use std::time::Duration;

use test_support::http::encode;
use test_support::{Client, Launch, Server, TEST_TIMEOUT, eventually};

use super::connection_limits::with_limits;

/// Opens connections and sends one free request on each.
fn crowd(server: &Server, source: &str, count: usize) -> Vec<Client> {
    let mut crowd: Vec<_> = (0..count).map(|_| server.client_from(source)).collect();
    for client in &mut crowd {
        assert_eq!(client.get("/health").status, 200);
    }
    crowd
}

/// Opens connections with a request in progress: the server waits for its body.
fn busy(server: &Server, source: &str, count: usize) -> Vec<Client> {
    let open = |_| {
        let mut client = server.client_from(source);
        let head = "POST /api/submit HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
                    Content-Type: application/json\r\nContent-Length: 8\r\n\r\n";
        client.send(head.as_bytes()).unwrap();
        assert_eq!(client.read().unwrap().status, 100);
        client
    };
    (0..count).map(open).collect()
}

/// Completes a request in progress.
fn finish(client: &mut Client) {
    client.send(b"{\"a\": 1}").unwrap();
    assert_eq!(client.read().unwrap().status, 200);
}

/// Returns the number of connections that the server has closed.
fn closed(crowd: &mut [Client]) -> usize {
    let wait = Duration::from_millis(10);
    crowd
        .iter_mut()
        .map(|client| usize::from(client.is_closed_within(wait)))
        .sum()
}

#[test]
fn an_address_with_all_connections_does_not_keep_others_out() {
    let mut server = with_limits("max = 20");
    let mut large = crowd(&server, "127.0.0.3", 20);
    let mut others: Vec<_> = (0..5).map(|_| server.client_from("127.0.0.2")).collect();
    for client in &mut others {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(server.get("/health").status, 200);
    for client in &mut others {
        assert_eq!(client.get("/").status, 200, "it stays open");
    }
    assert_eq!(closed(&mut large), 6);
    let log = server.wait_for_log("connection limit reached");
    assert!(log.contains("max=20"), "{log}");
    assert!(log.contains("largest=127.0.0.3 of_largest=20"), "{log}");
    assert_eq!(log.matches("connection limit reached").count(), 1, "{log}");
    server.assert_healthy();
}

#[test]
fn an_address_beyond_the_maximum_replaces_its_own_connections() {
    let mut server = with_limits("max = 10");
    let mut small = crowd(&server, "127.0.0.2", 3);
    let flood: Vec<_> = (0..200).map(|_| server.client_from("127.0.0.3")).collect();
    let mut last = crowd(&server, "127.0.0.3", 1);
    assert_eq!(last[0].get("/").status, 200);
    drop(flood);
    for client in &mut small {
        assert_eq!(client.get("/").status, 200);
    }
    server.assert_healthy();
}

#[test]
fn requests_in_progress_are_finished_on_a_full_server() {
    let server = with_limits("max = 10");
    let mut busy = busy(&server, "127.0.0.3", 7);
    let mut idle = crowd(&server, "127.0.0.3", 3);
    let mut new = crowd(&server, "127.0.0.2", 3);
    assert_eq!(closed(&mut idle), 3);
    busy.iter_mut().for_each(finish);
    for client in &mut new {
        assert_eq!(client.get("/").status, 200);
    }
}

#[test]
fn connections_of_trusted_proxies_are_not_closed() {
    let text = "capacity = 1000000\ntrust_proxy = [\"127.0.0.3\"]\n\
                connections = { max = 10, max_per_address = 7 }";
    let server = Launch::new().config("trusted.toml", text).start();
    let mut proxy = crowd(&server, "127.0.0.3", 8);
    let mut direct = crowd(&server, "127.0.0.4", 2);
    let mut new = crowd(&server, "127.0.0.2", 1);
    assert_eq!(closed(&mut direct), 1);
    for client in proxy.iter_mut().chain(&mut new) {
        assert_eq!(client.get("/").status, 200);
    }
}

#[test]
fn an_address_has_no_more_connections_than_its_bound() {
    let server = with_limits("max_per_address = 3");
    let mut held = crowd(&server, "127.0.0.3", 3);
    let mut beyond = server.client_from("127.0.0.3");
    // Loopback peers reach the administration, and nothing else.
    assert_eq!(beyond.get("/health").status, 200);
    let response = beyond.get("/");
    assert_eq!(response.status, 503, "{response:?}");
    assert_eq!(response.header("Connection"), Some("close"));
    assert!(beyond.is_closed_within(TEST_TIMEOUT));
    assert_eq!(server.client_from("127.0.0.2").get("/").status, 200);
    for client in &mut held {
        assert_eq!(client.get("/").status, 200);
    }
    held.pop();
    eventually("the address may connect again", || {
        server.client_from("127.0.0.3").get("/").status == 200
    });
    let metrics = server.get("/metrics").text();
    assert!(
        !metrics.contains("connections_refused_total 0\n"),
        "{metrics}"
    );
}

#[test]
fn a_full_server_responds_to_its_administrators() {
    let mut server = with_limits("max = 4");
    let mut busy = busy(&server, "127.0.0.3", 4);
    for _ in 0..50 {
        assert_eq!(server.get("/health").status, 200);
    }
    // Idle connections do not use up the reserve. No more than its 8 permits are awaited at a time:
    // a connection whose first request takes a second may be closed in favour of another one.
    let groups = (0..7).map(|_| crowd(&server, "127.0.0.1", 8));
    let mut kept: Vec<_> = groups.flatten().collect();
    assert_eq!(kept[55].get("/metrics").status, 200);
    assert_eq!(server.get("/config").status, 200);
    assert_eq!(server.post("/config", "{\"capacity\": 99}").status, 200);
    finish(&mut busy[0]);
    server.assert_healthy();
}

#[test]
fn reserved_permits_are_given_up_for_other_requests() {
    let server = with_limits("max = 4");
    let mut busy = busy(&server, "127.0.0.3", 4);
    let requests = [
        encode("GET", "/api/ping", &[], ""),
        encode("GET", "/health", &[("X-Forwarded-For", "192.0.2.1")], ""),
    ];
    let open = |request: &Vec<u8>| {
        let mut client = server.client();
        client.send(request).unwrap();
        client
    };
    let mut others: Vec<_> = requests.iter().cycle().take(40).map(open).collect();
    for _ in 0..20 {
        assert_eq!(server.get("/health").status, 200);
    }
    let first = &mut others[0];
    first
        .stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(
        first.read().is_err(),
        "a request without a permit is served"
    );
    // They wait for ordinary permits.
    drop(busy.split_off(1));
    for client in &mut others {
        client.stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        assert_eq!(client.read().unwrap().status, 200);
    }
    finish(&mut busy[0]);
}

#[test]
fn evictions_are_counted() {
    let server = with_limits("max = 2");
    let _large = crowd(&server, "127.0.0.3", 2);
    let _new = crowd(&server, "127.0.0.2", 1);
    let metrics = server.get("/metrics").text();
    assert!(
        metrics.contains("tollgate_connections_evicted_total 2\n"),
        "{metrics}"
    );
}
