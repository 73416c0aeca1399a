//! Tests of requests that wait for their tokens.

use std::{future::poll_fn, pin::Pin, task::Poll};

use hyper::{Request, StatusCode};

use super::{TestResponse, TestServer, block_on, respond};
use crate::config;

/// A token every half second, of which a request waits for two.
const SETTINGS: &str = "capacity = 1\nrefill_rate = 2\ndelay = '1100ms'\n";

type Responding<'a> = Pin<Box<dyn Future<Output = TestResponse> + 'a>>;

/// Sends a request from an address.
fn get<'a>(server: &'a TestServer, address: &str, path: &'static str) -> Responding<'a> {
    let peer = (address.parse::<std::net::IpAddr>().unwrap(), 4711).into();
    Box::pin(respond(&server.app, peer, Request::get(path), ""))
}

/// Polls the response once, and returns its status if it is there.
async fn status(responding: &mut Responding<'_>) -> Option<u16> {
    poll_fn(|cx| match responding.as_mut().poll(cx) {
        Poll::Ready(response) => Poll::Ready(Some(response.status.as_u16())),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Sends two requests, and asserts that they wait.
async fn two_waiting<'a>(
    server: &'a TestServer,
    address: &str,
    path: &'static str,
) -> [Responding<'a>; 2] {
    let mut sent = [(); 2].map(|()| get(server, address, path));
    for responding in &mut sent {
        assert_eq!(status(responding).await, None);
    }
    sent
}

#[test]
fn requests_wait_in_the_order_of_arrival_and_those_beyond_the_delay_are_refused() {
    let server = TestServer::new(SETTINGS);
    block_on(async {
        let client = "192.0.2.1";
        assert_eq!(status(&mut get(&server, client, "/")).await, Some(200));
        let [mut first, mut second, third] = [(); 3].map(|()| get(&server, client, "/"));
        assert_eq!(status(&mut first).await, None);
        assert_eq!(status(&mut second).await, None);
        let refused = third.await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(
            (0.99..1.01).contains(&refused.retry_after()),
            "the reservation of the first one counts: {}",
            refused.text()
        );
        assert_eq!(
            status(&mut get(&server, "192.0.2.2", "/")).await,
            Some(200),
            "other clients do not wait"
        );
        server.advance(0.499);
        assert_eq!(status(&mut first).await, None);
        server.advance(0.001);
        // The one that came later is polled first.
        assert_eq!(status(&mut second).await, None);
        assert_eq!(status(&mut first).await, Some(200));
        assert_eq!(status(&mut second).await, None);
        server.advance(0.5);
        assert_eq!(status(&mut second).await, Some(200));
    });
}

#[test]
fn a_request_does_not_overtake_those_that_wait() {
    let server = TestServer::new(SETTINGS);
    block_on(async {
        let client = "192.0.2.1";
        assert_eq!(status(&mut get(&server, client, "/")).await, Some(200));
        let [mut first, mut second, mut later] = [(); 3].map(|()| get(&server, client, "/"));
        assert_eq!(status(&mut first).await, None);
        assert_eq!(status(&mut second).await, None);
        server.advance(0.5);
        assert_eq!(status(&mut first).await, Some(200));
        server.advance(0.5);
        // A token is available, and the second request has not reserved it yet.
        assert_eq!(status(&mut later).await, None);
        assert_eq!(status(&mut second).await, Some(200));
    });
}

#[test]
fn a_request_that_is_given_up_leaves_its_tokens_to_the_next() {
    let server = TestServer::new(SETTINGS);
    block_on(async {
        let client = "192.0.2.1";
        assert_eq!(status(&mut get(&server, client, "/")).await, Some(200));
        let [first, mut second] = two_waiting(&server, client, "/").await;
        drop(first);
        assert_eq!(status(&mut second).await, None);
        server.advance(0.5);
        assert_eq!(status(&mut second).await, Some(200));
    });
}

#[test]
fn waiting_requests_of_a_client_are_bounded_whatever_keys_it_invents() {
    let text = format!("{SETTINGS}max_delayed_per_client = 1\nclient = {{ header = 'X-API-Key' }}");
    let server = TestServer::new(&text);
    let get = |address: &str, key: &str| {
        let peer = (address.parse::<std::net::IpAddr>().unwrap(), 4711).into();
        let request = Request::get("/").header("x-api-key", key);
        Box::pin(respond(&server.app, peer, request, "")) as Responding<'_>
    };
    block_on(async {
        for key in ["a", "b", "c"] {
            assert_eq!(status(&mut get("192.0.2.1", key)).await, Some(200));
        }
        let mut waiting = get("192.0.2.1", "a");
        assert_eq!(status(&mut waiting).await, None);
        assert_eq!(status(&mut get("192.0.2.1", "b")).await, Some(429));
        assert_eq!(status(&mut get("192.0.2.1", "a")).await, Some(429));
        let mut other = get("192.0.2.2", "c");
        assert_eq!(status(&mut other).await, None);
        server.advance(0.5);
        assert_eq!(status(&mut waiting).await, Some(200));
        let mut next = get("192.0.2.1", "a");
        assert_eq!(status(&mut next).await, None, "a place is free again");
    });
}

#[test]
fn waiting_requests_are_bounded_in_total() {
    let server = TestServer::new(&format!("{SETTINGS}max_delayed = 1"));
    block_on(async {
        for client in ["192.0.2.1", "192.0.2.2"] {
            assert_eq!(status(&mut get(&server, client, "/")).await, Some(200));
        }
        let mut waiting = get(&server, "192.0.2.1", "/");
        assert_eq!(status(&mut waiting).await, None);
        assert_eq!(status(&mut get(&server, "192.0.2.2", "/")).await, Some(429));
    });
}

/// A path with several readings is charged to several buckets. Were tokens of one held during the wait
/// for another, they would be used long after their turn, and those of several requests at once.
#[test]
fn a_request_that_is_charged_to_several_buckets_does_not_wait() {
    let routes = "[[routes]]\npath = '/a/*'\ncapacity = 1\nrefill_rate = 1\n\
                  [[routes]]\npath = '/b/*'\ncapacity = 9\nrefill_rate = 1\n";
    let server = TestServer::new(&format!("delay = '1m'\n{routes}"));
    assert_eq!(server.get("/a/../b/x").status, StatusCode::NOT_FOUND);
    let refused = server.get("/a/../b/x");
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(server.get("/b/x").remaining(), 7);
}

/// Two limits that requests wait for, and one that refuses at once.
const LIMITS: &str = "headers = 'both'\n\
    [[limits]]\nname = 'smooth'\nquota = '2/s burst 1'\ndelay = '1100ms'\n\
    [[limits]]\nname = 'slow'\nmatch = '/slow'\nquota = '1/s burst 1'\ndelay = '2s'\n\
    [[limits]]\nname = 'strict'\nmatch = '/slow'\nquota = '3/hour'";

#[test]
fn requests_wait_for_several_limits_in_their_order() {
    let server = TestServer::new(LIMITS);
    block_on(async {
        let client = "192.0.2.1";
        assert_eq!(status(&mut get(&server, client, "/slow")).await, Some(404));
        let [mut first, mut second] = two_waiting(&server, client, "/slow").await;
        server.advance(0.999);
        assert_eq!(status(&mut first).await, None);
        server.advance(0.001);
        assert_eq!(status(&mut second).await, None);
        assert_eq!(status(&mut first).await, Some(404));
        server.advance(1.0);
        assert_eq!(status(&mut second).await, Some(404));
        // The strict limit has no token left, and no request waits for it.
        server.advance(5.0);
        let refused = get(&server, client, "/slow").await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let fields = refused.header("ratelimit").unwrap();
        assert!(
            fields.contains("\"smooth\";r=1;") && fields.contains("\"strict\";r=0;"),
            "{fields}"
        );
        for _ in 0..2 {
            assert_eq!(status(&mut get(&server, client, "/")).await, Some(200));
            // One limit refuses for less than its delay, the other one for longer.
            let refused = get(&server, client, "/slow").await;
            assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
            server.advance(0.5);
        }
    });
    let metrics = server.get("/metrics");
    metrics.assert_counted(["slow", "enforced", "allowed", "tokens"], 3);
    metrics.assert_counted(["smooth", "enforced", "allowed", "tokens"], 5);
    metrics.assert_counted(["strict", "enforced", "refused", "no_tokens"], 3);
    assert!(metrics.text().contains("tollgate_delayed_requests_total 2"));
}

#[test]
fn a_wait_longer_than_the_delay_of_a_limit_is_refused_at_once() {
    let server = TestServer::new(LIMITS);
    block_on(async {
        let client = "192.0.2.1";
        assert_eq!(status(&mut get(&server, client, "/")).await, Some(200));
        let mut waiting = two_waiting(&server, client, "/").await;
        let refused = get(&server, client, "/").await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "1.5 s");
        server.advance(0.5);
        assert_eq!(status(&mut waiting[0]).await, Some(200));
        server.advance(0.5);
        // A token is there, and the next one in the line has not been polled yet.
        let mut later: Vec<_> = (0..2).map(|_| get(&server, client, "/")).collect();
        for responding in &mut later {
            assert_eq!(status(responding).await, None);
        }
        let refused = get(&server, client, "/").await;
        assert_eq!(
            refused.status,
            StatusCode::TOO_MANY_REQUESTS,
            "behind three"
        );
        assert_eq!(status(&mut waiting[1]).await, Some(200));
        // Clients that give up take nothing.
        drop(later);
        server.advance(0.5);
        assert_eq!(status(&mut get(&server, client, "/")).await, Some(200));
    });
}

#[test]
fn the_default_limit_has_the_delay_of_the_file() {
    let server = TestServer::new(
        "capacity = 1\nrefill_rate = 1\ndelay = '1s'\n[[limits]]\nname = 'wide'\nquota = '9/s'",
    );
    block_on(async {
        let client = "192.0.2.1";
        assert_eq!(status(&mut get(&server, client, "/")).await, Some(200));
        let mut waiting = get(&server, client, "/");
        assert_eq!(status(&mut waiting).await, None);
        server.advance(1.0);
        assert_eq!(status(&mut waiting).await, Some(200));
    });
    assert_eq!(server.get("/config").json()["delay"], 1.0);
}

/// *Caught:* a limiter of its own for the changed quota.
#[test]
fn a_reload_that_changes_a_quota_reaches_requests_that_wait() {
    let limit = |quota: &str| {
        format!("[[limits]]\nname = 'a'\nkey = 'global'\nquota = '{quota}'\ndelay = '5s'\n")
    };
    let [old, new] = ["1r/s burst 1", "10r/s burst 1"].map(limit);
    let server = TestServer::new(&old);
    let (old, new) = (config::settings(&old), config::settings(&new));
    block_on(async {
        let client = "192.0.2.1";
        assert_eq!(status(&mut get(&server, client, "/")).await, Some(200));
        let [mut first, mut second] = two_waiting(&server, client, "/").await;
        server.advance(0.3);
        let reloaded = server.app.reload(&old, &new).await;
        assert_eq!(status(&mut first).await, Some(200), "a full bucket");
        assert_eq!(status(&mut second).await, None);
        server.advance(0.1);
        assert_eq!(status(&mut second).await, Some(200));
        drop(reloaded);
    });
}
