//! Requests that wait for their tokens instead of being refused.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use test_support::Launch;
use test_support::http2::client_without_window;
use test_support::reload::Reloaded;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const REFUSALS: &str = "tollgate_decisions_total{route=\"default\",decision=\"refused\"";

/// A token in 20 s: a request that waits is still waiting at the end of a test.
const LONG: &str = "capacity = 1\nrefill_rate = 0.05\ndelay = '1m'\n";

#[test]
fn requests_of_a_burst_wait_for_their_tokens() {
    for (flags, expected) in [
        (&["--delay", "10s"][..], [200; 12]),
        (
            &[],
            [200, 429, 429, 429, 429, 429, 429, 429, 429, 429, 429, 429],
        ),
    ] {
        // Without a delay, no token may be refilled during the burst.
        let rate = if flags.is_empty() { "0.001" } else { "50" };
        let server = Launch::new()
            .args(&["--capacity", "1", "--refill-rate", rate])
            .args(flags)
            .start();
        let mut clients: Vec<_> = (0..12).map(|_| server.client()).collect();
        for client in &mut clients {
            client.send(GET).unwrap();
        }
        let mut statuses: Vec<_> = clients
            .iter_mut()
            .map(|client| client.read().unwrap().status)
            .collect();
        statuses.sort_unstable();
        assert_eq!(statuses, expected, "{flags:?}");
    }
}

#[test]
fn a_client_that_disconnects_gives_its_place_up() {
    let text = format!("{LONG}max_delayed_per_client = 1");
    let mut server = Launch::new().config("tollgate.toml", &text).start();
    assert_eq!(server.get("/").status, 200);
    let first = server.waiting();
    let refused = server.get("/");
    assert_eq!(refused.status, 429, "the client's only place is taken");
    assert!(refused.number("Retry-After") <= 40);
    drop(first);
    server.assert_place_is_free(REFUSALS);
    server.assert_healthy();
}

#[tokio::test]
async fn a_stream_that_is_reset_gives_its_place_up() {
    let text = format!("{LONG}max_delayed_per_client = 1");
    let mut server = Launch::new().config("tollgate.toml", &text).start();
    assert_eq!(server.get("/").status, 200);
    let mut sender = client_without_window(&server).await;
    let request = Request::get("http://a/").body(Full::default().boxed());
    let before = server.delayed();
    let response = tokio::spawn(sender.send_request(request.unwrap()));
    while server.delayed() == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    response.abort();
    tokio::task::spawn_blocking(move || {
        server.assert_place_is_free(REFUSALS);
        server.assert_healthy();
    })
    .await
    .unwrap();
}

#[test]
fn admin_requests_and_checks_do_not_wait() {
    let server = Launch::new().config("tollgate.toml", LONG).start();
    let check = || server.post("/check", r#"{"key": "alice"}"#).json()["allowed"].clone();
    assert_eq!(server.get("/").status, 200);
    let _first = server.waiting();
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.get("/config").json()["delay"], 60.0);
    assert_eq!([check(), check()], [true, false]);
}

#[test]
fn a_new_quota_ends_the_wait() {
    let server = Launch::new().config("tollgate.toml", LONG).start();
    assert_eq!(server.get("/").status, 200);
    let mut first = server.waiting();
    assert_eq!(server.post("/config", r#"{"capacity": 5}"#).status, 200);
    assert_eq!(first.read().unwrap().status, 200);
}

#[test]
fn a_reload_changes_the_delay() {
    let quota = "capacity = 1\nrefill_rate = 50\n";
    let slow = "capacity = 1\nrefill_rate = 0.05\n";
    let reloaded = Reloaded::start(&format!("{slow}delay = '1ms'"), &[]);
    let mut client = reloaded.server.client();
    assert_eq!((client.get("/").status, client.get("/").status), (200, 429));
    let line = reloaded.reload(&format!("{quota}delay = '10s'"));
    assert!(!line.contains("ignored"), "{line}");
    for _ in 0..5 {
        assert_eq!(client.get("/").status, 200);
    }
    reloaded.reload(slow);
    assert_eq!((client.get("/").status, client.get("/").status), (200, 429));
}
