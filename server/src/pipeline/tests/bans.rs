//! Tests of bans.

use hyper::Request;

use super::{TestResponse, TestServer, block_on};
use crate::config;

/// After two refusals within a minute, the third one begins a ban of ten minutes.
const LOGIN: &str = "headers = 'both'\n\
    [[limits]]\nname = 'login'\nmatch = '/login'\nquota = '1/10s'\nban = { after = 2, within = '1m', for = '10m' }\n\
    refusal = { text = '{limit}: {retry_after}' }\n\
    [[limits]]\nname = 'all'\nkey = 'global'\nquota = '100/hour'\n";

fn login(server: &TestServer, address: &str) -> TestResponse {
    server.client(address).send(Request::get("/login"), "")
}

fn summary(response: &TestResponse) -> (u16, &str) {
    (response.status.as_u16(), response.text())
}

#[test]
fn a_key_that_is_refused_too_often_is_banned() {
    let server = TestServer::new(LOGIN);
    let (bad, good) = ("192.0.2.1", "192.0.2.2");
    assert_eq!(login(&server, bad).status, 404);
    for _ in 0..2 {
        assert_eq!(summary(&login(&server, bad)), (429, "login: 10"));
    }
    // The refusal that begins the ban says how long it lasts.
    let begun = login(&server, bad);
    assert_eq!(summary(&begun), (429, "login-ban: 600"));
    assert_eq!(begun.header("retry-after"), Some("600"));
    assert_eq!(
        begun.header("ratelimit-policy"),
        Some(r#""login-ban";q=1;w=600"#)
    );
    server.advance(100.0);
    // The limit would allow it.
    assert_eq!(summary(&login(&server, bad)), (429, "login-ban: 500"));
    assert_eq!(login(&server, good).status, 404, "another key");
    let elsewhere = server.client(bad).send(Request::get("/"), "");
    assert_eq!(elsewhere.status, 200, "another path");
    server.advance(499.0);
    assert_eq!(login(&server, bad).status, 429);
    server.advance(1.0);
    assert_eq!(login(&server, bad).status, 404);

    let metrics = server.get("/metrics");
    metrics.assert_counted(["login", "enforced", "refused", "no_tokens"], 3);
    metrics.assert_counted(["login", "enforced", "refused", "banned"], 2);
}

#[test]
fn refusals_within_the_time_count_once_for_each_request() {
    let server = TestServer::new(
        "[[limits]]\nname = 'a'\nquota = ['1/5s', '1/6s']\nban = { after = 2, within = '1m', for = '10m' }",
    );
    let get = || server.get("/").status.as_u16();
    assert_eq!([get(), get(), get()], [200, 429, 429]);
    // The window of the refusals ends.
    server.advance(61.0);
    assert_eq!([get(), get(), get()], [200, 429, 429]);
    server.advance(6.0);
    assert_eq!([get(), get()], [200, 429]);
    server.advance(6.0);
    assert_eq!(get(), 429, "banned");
}

#[test]
fn refusals_by_another_limit_do_not_count() {
    let server = TestServer::new(
        "[[limits]]\nname = 'wide'\nquota = '100/hour'\nban = { after = 1, within = '1h', for = '1h' }\n\
         [[limits]]\nname = 'narrow'\nquota = '1/10s'",
    );
    let get = || server.get("/").status.as_u16();
    assert_eq!([get(), get(), get(), get()], [200, 429, 429, 429]);
    server.advance(10.0);
    assert_eq!(get(), 200);
}

#[test]
fn a_ban_outlives_a_reload_that_leaves_it() {
    let mut server = TestServer::new(LOGIN);
    let address = "192.0.2.1";
    for _ in 0..4 {
        login(&server, address);
    }
    let more = format!("{LOGIN}[[limits]]\nname = 'b'\nquota = '9/s'\n");
    let longer = LOGIN.replace("10m", "20m");
    let [old, more, longer] = [LOGIN, &more, &longer].map(config::settings);
    server.app = block_on(server.app.reload(&old, &more)).unwrap();
    assert_eq!(summary(&login(&server, address)), (429, "login-ban: 600"));
    server.app = block_on(server.app.reload(&more, &longer)).unwrap();
    assert_eq!(summary(&login(&server, address)), (429, "login: 10"));
}
