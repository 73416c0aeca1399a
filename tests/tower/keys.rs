//! Which requests share a bucket, and what forged headers cannot do.

use crate::support::{ask, from, limiter, one_each, statuses, with};
use axum::body::Body;
use http::{Request, header::HeaderName};
use tollgate::{Quota, tower::Key};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

fn at(path: &str, mut request: Request<Body>) -> Request<Body> {
    *request.uri_mut() = path.parse().unwrap();
    request
}

#[tokio::test]
async fn every_peer_has_a_bucket_whatever_its_port() {
    let layer = one_each(Key::ip());
    assert_eq!(
        statuses(&layer, ["192.0.2.7", "192.0.2.7", "192.0.2.8"].map(from)).await,
        [200, 429, 200]
    );
    assert_eq!(statuses(&layer, [from("[::ffff:192.0.2.7]")]).await, [429]);
}

#[tokio::test]
async fn ipv6_clients_are_told_apart_by_their_64() {
    let layer = one_each(Key::ip());
    let peers = [
        "[2001:db8:0:1::1]",
        "[2001:db8:0:1:ffff::2]",
        "[2001:db8:0:2::1]",
    ];
    assert_eq!(statuses(&layer, peers.map(from)).await, [200, 429, 200]);
}

#[tokio::test]
async fn another_ipv6_prefix_tells_more_or_fewer_apart() {
    let peers = [
        "[2001:db8:0:1::1]",
        "[2001:db8:0:1::2]",
        "[2001:db8:0:2::1]",
    ];
    assert_eq!(
        statuses(&one_each(Key::ip()).ipv6_prefix(48), peers.map(from)).await,
        [200, 429, 429]
    );
    assert_eq!(
        statuses(&one_each(Key::ip()).ipv6_prefix(128), peers.map(from)).await,
        [200, 200, 200]
    );
    assert_eq!(
        statuses(&one_each(Key::ip()).ipv6_prefix(255), peers.map(from)).await,
        [200, 200, 200]
    );
    assert_eq!(
        statuses(
            &one_each(Key::ip()).ipv6_prefix(0),
            ["[::9]", "[fe80::1]", "192.0.2.7"].map(from)
        )
        .await,
        [200, 429, 200]
    );
}

#[tokio::test]
async fn a_peer_that_is_not_trusted_cannot_pose_as_somebody_else() {
    let forged = |value: &str| {
        with(&[
            ("x-forwarded-for", value),
            ("forwarded", &format!("for={value}")),
        ])
    };
    for layer in [
        one_each(Key::ip()),
        one_each(Key::ip()).trust_proxies(["10.0.0.0/8".parse().unwrap()]),
    ] {
        assert_eq!(
            statuses(&layer, [forged("198.51.100.1"), forged("198.51.100.2")]).await,
            [200, 429]
        );
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_rightmost_foreign_address_counts() {
    let layer = one_each(Key::ip()).trust_proxies([
        "10.0.0.0/8".parse().unwrap(),
        "192.0.2.7/32".parse().unwrap(),
    ]);
    let forwarded = |value: &str| with(&[("x-forwarded-for", value)]);
    let requests = [
        "203.0.113.1",
        "198.51.100.9, 203.0.113.1",
        "203.0.113.1, 10.0.0.3",
        "203.0.113.1, 203.0.113.2",
    ]
    .map(forwarded);
    assert_eq!(statuses(&layer, requests).await, [200, 429, 429, 200]);
    assert_eq!(
        statuses(&layer, [with(&[("forwarded", "for=203.0.113.1")])]).await,
        [429]
    );
    // The proxy itself is a client too.
    assert_eq!(statuses(&layer, [with(&[]), with(&[])]).await, [200, 429]);
}

#[tokio::test]
async fn ipv6_clients_behind_a_proxy_are_their_64_too() {
    let layer = one_each(Key::ip()).trust_proxies(["192.0.2.7/32".parse().unwrap()]);
    let forwarded = |value: &str| with(&[("x-forwarded-for", value)]);
    assert_eq!(
        statuses(&layer, ["2001:db8::1", "[2001:db8::2]:80"].map(forwarded)).await,
        [200, 429]
    );
}

#[tokio::test]
async fn a_request_whose_peer_nobody_knows_is_not_let_through() {
    let answer = ask(&one_each(Key::ip()), Request::new(Body::empty())).await;
    assert_eq!(answer.status(), 500);
    assert!(
        answer.body().contains("RateLimitLayer::peer_from"),
        "{}",
        answer.body()
    );
}

#[tokio::test]
async fn a_peer_is_found_where_the_server_left_it() {
    #[derive(Clone)]
    struct Connection(Option<std::net::SocketAddr>);
    let layer = one_each(Key::ip()).peer_from(|connection: &Connection| connection.0);
    let request = |connection| {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(Connection(connection));
        request
    };
    let known = || Some(([192, 0, 2, 1], 80).into());
    assert_eq!(
        statuses(&layer, [request(known()), request(known()), request(None)]).await,
        [200, 429, 500]
    );
    // One who left it in ours is found all the same.
    assert_eq!(
        statuses(&layer, [from("192.0.2.1"), from("192.0.2.2")]).await,
        [429, 200]
    );
}

#[tokio::test]
async fn a_layer_for_a_peer_asks_no_request_for_it_and_shares_the_limit() {
    let layer = one_each(Key::ip()).trust_proxies(["192.0.2.1/32".parse().unwrap()]);
    let [proxy, other] = [1, 2].map(|host| layer.for_peer(([192, 0, 2, host], 80).into()));
    let without_peer = || Request::new(Body::empty());
    assert_eq!(
        statuses(&other, [without_peer(), from("192.0.2.3"), without_peer()]).await,
        [200, 429, 429]
    );
    assert_eq!(
        statuses(
            &layer,
            [from("192.0.2.2"), from("192.0.2.3"), without_peer()]
        )
        .await,
        [429, 200, 500]
    );
    let behind = |client| with(&[("x-forwarded-for", client)]);
    assert_eq!(
        statuses(&proxy, ["192.0.2.2", "192.0.2.4", "192.0.2.4"].map(behind)).await,
        [429, 200, 429]
    );
}

#[tokio::test]
async fn a_header_is_a_key_when_it_is_there_once() {
    let layer = one_each(Key::header(API_KEY));
    let alice = || with(&[("x-api-key", "alice")]);
    assert_eq!(
        statuses(&layer, [alice(), alice(), with(&[("x-api-key", "bob")])]).await,
        [200, 429, 200]
    );
    let keyless = [
        with(&[]),
        with(&[("x-api-key", "")]),
        with(&[("x-api-key", "carol"), ("x-api-key", "carol")]),
    ];
    assert_eq!(statuses(&layer, keyless).await, [401, 401, 401]);
    let mut not_ascii = with(&[]);
    not_ascii
        .headers_mut()
        .insert(API_KEY, http::HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(statuses(&layer, [not_ascii]).await, [401]);
}

#[tokio::test]
async fn a_path_is_a_key_without_its_query() {
    let layer = one_each(Key::path());
    let paths = ["/a", "/a?b", "/b"].map(|path| at(path, from("192.0.2.7")));
    assert_eq!(statuses(&layer, paths).await, [200, 429, 200]);
}

#[tokio::test]
async fn a_function_of_the_users_makes_a_key_or_none() {
    let layer = one_each(Key::from_fn(|request| request.uri.query().map(str::len)));
    let queries = ["/?ab", "/?cd", "/?efg", "/"].map(|path| at(path, from("192.0.2.7")));
    assert_eq!(statuses(&layer, queries).await, [200, 429, 200, 401]);
}

#[tokio::test]
async fn both_together_are_a_bucket_for_each_pair() {
    let layer = one_each(Key::ip().and(Key::path()));
    let requests = [
        ("192.0.2.7", "/a"),
        ("192.0.2.7", "/b"),
        ("192.0.2.8", "/a"),
        ("192.0.2.7", "/a"),
    ]
    .map(|(peer, path)| at(path, from(peer)));
    assert_eq!(statuses(&layer, requests).await, [200, 200, 200, 429]);
    let keyless = Key::ip().and(Key::header(API_KEY));
    assert_eq!(statuses(&one_each(keyless), [with(&[])]).await, [401]);
}

#[tokio::test]
async fn the_border_between_two_keys_cannot_be_moved() {
    let layer = one_each(
        Key::header(HeaderName::from_static("a")).and(Key::header(HeaderName::from_static("b"))),
    );
    let pairs = [("1", "23"), ("12", "3"), ("1:2", "3"), ("1", ":23")]
        .map(|(a, b)| with(&[("a", a), ("b", b)]));
    assert_eq!(statuses(&layer, pairs).await, [200, 200, 200, 200]);
}

#[tokio::test]
async fn a_key_of_one_kind_is_never_taken_for_one_of_another() {
    let layer = one_each(Key::header(API_KEY).or(Key::ip()));
    // Who sends the victim's address as an API key does not use up the victim's bucket.
    assert_eq!(
        statuses(
            &layer,
            [with(&[("x-api-key", "192.0.2.7")]), with(&[]), with(&[])]
        )
        .await,
        [200, 200, 429]
    );
    assert_eq!(
        statuses(&layer, [with(&[("x-api-key", "192.0.2.7")])]).await,
        [429]
    );
}

#[tokio::test]
async fn a_shared_limiter_knows_a_client_by_the_name_its_owner_gives_it() {
    let (limiter, _) = limiter(Quota::per_hour(1));
    let by_key =
        tollgate::tower::RateLimitLayer::with_limiter(limiter.clone(), Key::header(API_KEY));
    limiter.set_rule("alice", Quota::per_hour(2));
    let alice = || with(&[("x-api-key", "alice")]);
    assert_eq!(
        statuses(&by_key, [alice(), alice(), alice()]).await,
        [200, 200, 429]
    );

    let by_address = tollgate::tower::RateLimitLayer::with_limiter(limiter.clone(), Key::ip());
    let [v4, v6]: [std::net::IpAddr; 2] =
        ["192.0.2.7".parse().unwrap(), "2001:db8::".parse().unwrap()];
    limiter.set_rule(&v4, Quota::per_hour(2));
    limiter.set_rule(&v6, Quota::per_hour(2));
    for peer in ["192.0.2.7", "[2001:db8::77]"] {
        assert_eq!(
            statuses(&by_address, [peer, peer, peer].map(from)).await,
            [200, 200, 429]
        );
    }
}
