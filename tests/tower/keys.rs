//! Keys of requests, including requests with forged headers.

use crate::support::{limiter, one_each, request_from, request_with, send, statuses};
use axum::body::Body;
use http::{Request, header::HeaderName};
use tollgate::{
    Quota,
    tower::{Ipv6Prefix, Key, RequestKey},
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

fn with_path(path: &str, mut request: Request<Body>) -> Request<Body> {
    *request.uri_mut() = path.parse().unwrap();
    request
}

#[tokio::test]
async fn peers_are_keyed_by_address_without_port() {
    let layer = one_each(Key::ip());
    assert_eq!(
        statuses(
            &layer,
            ["192.0.2.7", "192.0.2.7", "192.0.2.8"].map(request_from)
        )
        .await,
        [200, 429, 200]
    );
    assert_eq!(
        statuses(&layer, [request_from("[::ffff:192.0.2.7]")]).await,
        [429]
    );
}

#[tokio::test]
async fn ipv6_clients_are_keyed_by_their_64() {
    let layer = one_each(Key::ip());
    let peers = [
        "[2001:db8:0:1::1]",
        "[2001:db8:0:1:ffff::2]",
        "[2001:db8:0:2::1]",
    ];
    assert_eq!(
        statuses(&layer, peers.map(request_from)).await,
        [200, 429, 200]
    );
}

#[tokio::test]
async fn ipv6_prefix_sets_the_length_of_the_key() {
    let peers = [
        "[2001:db8:0:1::1]",
        "[2001:db8:0:1::2]",
        "[2001:db8:0:2::1]",
    ];
    assert_eq!(
        statuses(
            &one_each(Key::ip()).ipv6_prefix(48),
            peers.map(request_from)
        )
        .await,
        [200, 429, 429]
    );
    assert_eq!(
        statuses(
            &one_each(Key::ip()).ipv6_prefix(128),
            peers.map(request_from)
        )
        .await,
        [200, 200, 200]
    );
    assert_eq!(
        statuses(
            &one_each(Key::ip()).ipv6_prefix(255),
            peers.map(request_from)
        )
        .await,
        [200, 200, 200]
    );
    assert_eq!(
        statuses(
            &one_each(Key::ip()).ipv6_prefix(0),
            ["[::9]", "[fe80::1]", "192.0.2.7"].map(request_from)
        )
        .await,
        [200, 429, 200]
    );
}

#[tokio::test]
async fn untrusted_peer_cannot_forge_its_address() {
    let forged = |value: &str| {
        request_with(&[
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
async fn behind_a_trusted_proxy_the_rightmost_untrusted_address_is_the_key() {
    let layer = one_each(Key::ip()).trust_proxies([
        "10.0.0.0/8".parse().unwrap(),
        "192.0.2.7/32".parse().unwrap(),
    ]);
    let forwarded = |value: &str| request_with(&[("x-forwarded-for", value)]);
    let requests = [
        "203.0.113.1",
        "198.51.100.9, 203.0.113.1",
        "203.0.113.1, 10.0.0.3",
        "203.0.113.1, 203.0.113.2",
    ]
    .map(forwarded);
    assert_eq!(statuses(&layer, requests).await, [200, 429, 429, 200]);
    assert_eq!(
        statuses(&layer, [request_with(&[("forwarded", "for=203.0.113.1")])]).await,
        [429]
    );
    // Without forwarding headers, the proxy itself is the client.
    assert_eq!(
        statuses(&layer, [request_with(&[]), request_with(&[])]).await,
        [200, 429]
    );
}

#[tokio::test]
async fn ipv6_clients_behind_a_proxy_are_keyed_by_their_64() {
    let layer = one_each(Key::ip()).trust_proxies(["192.0.2.7/32".parse().unwrap()]);
    let forwarded = |value: &str| request_with(&[("x-forwarded-for", value)]);
    assert_eq!(
        statuses(&layer, ["2001:db8::1", "[2001:db8::2]:80"].map(forwarded)).await,
        [200, 429]
    );
}

#[tokio::test]
async fn clients_of_a_nat64_are_keyed_by_their_ipv4_address() {
    let layer = one_each(Key::ip());
    let peers = ["[64:ff9b::192.0.2.7]", "[64:ff9b::192.0.2.8]", "192.0.2.7"];
    assert_eq!(
        statuses(&layer, peers.map(request_from)).await,
        [200, 200, 429]
    );
}

#[tokio::test]
async fn forwarding_headers_that_name_different_clients_are_rejected() {
    let trust = || ["192.0.2.7/32".parse().unwrap()];
    let conflicting = || {
        request_with(&[
            ("x-forwarded-for", "203.0.113.1"),
            ("forwarded", "for=203.0.113.2"),
        ])
    };
    let layer = one_each(Key::ip()).trust_proxies(trust());
    let response = send(&layer, conflicting()).await;
    assert_eq!(response.status(), 400);
    let alone = ["203.0.113.1", "203.0.113.2", "192.0.2.7"]
        .map(|value| request_with(&[("x-forwarded-for", value)]));
    assert_eq!(
        statuses(&layer, alone).await,
        [200, 200, 200],
        "no token was spent"
    );
    let either = one_each(Key::ip().or(Key::path())).trust_proxies(trust());
    assert_eq!(statuses(&either, [conflicting()]).await, [400]);
    let chosen = one_each(Key::ip())
        .client_address_header(HeaderName::from_static("forwarded"))
        .trust_proxies(trust());
    let forwarded = request_with(&[("forwarded", "for=203.0.113.2")]);
    assert_eq!(
        statuses(&chosen, [conflicting(), forwarded]).await,
        [200, 429]
    );
}

#[tokio::test]
async fn spellings_of_credentials_share_a_bucket() {
    let layer = one_each(Key::header(http::header::AUTHORIZATION));
    let requests = [
        "Bearer abc",
        "bearer abc",
        "Bearer  abc",
        "Bearer abc def",
        "Bearer ABC",
    ]
    .map(|value| request_with(&[("authorization", value)]));
    assert_eq!(statuses(&layer, requests).await, [200, 429, 429, 401, 200]);
}

#[tokio::test]
async fn key_above_1024_bytes_is_rejected() {
    let layer = one_each(Key::header(API_KEY));
    let requests = [1024, 1025].map(|length| request_with(&[("x-api-key", &"k".repeat(length))]));
    assert_eq!(statuses(&layer, requests).await, [200, 401]);
}

#[tokio::test]
async fn request_without_peer_address_is_rejected() {
    let response = send(&one_each(Key::ip()), Request::new(Body::empty())).await;
    assert_eq!(response.status(), 500);
    assert!(
        response.body().contains("RateLimitLayer::peer_from"),
        "{}",
        response.body()
    );
}

#[tokio::test]
async fn peer_address_is_read_from_the_configured_extension() {
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
    // The layer's own PeerAddr extension is still read.
    assert_eq!(
        statuses(
            &layer,
            [request_from("192.0.2.1"), request_from("192.0.2.2")]
        )
        .await,
        [429, 200]
    );
}

#[tokio::test]
async fn layer_for_a_peer_reads_no_extension_and_shares_the_limit() {
    let layer = one_each(Key::ip()).trust_proxies(["192.0.2.1/32".parse().unwrap()]);
    let [proxy, other] = [1, 2].map(|host| layer.for_peer(([192, 0, 2, host], 80).into()));
    let without_peer = || Request::new(Body::empty());
    assert_eq!(
        statuses(
            &other,
            [without_peer(), request_from("192.0.2.3"), without_peer()]
        )
        .await,
        [200, 429, 429]
    );
    assert_eq!(
        statuses(
            &layer,
            [
                request_from("192.0.2.2"),
                request_from("192.0.2.3"),
                without_peer()
            ]
        )
        .await,
        [429, 200, 500]
    );
    let behind = |client| request_with(&[("x-forwarded-for", client)]);
    assert_eq!(
        statuses(&proxy, ["192.0.2.2", "192.0.2.4", "192.0.2.4"].map(behind)).await,
        [429, 200, 429]
    );
}

#[tokio::test]
async fn header_is_a_key_when_it_occurs_once() {
    let layer = one_each(Key::header(API_KEY));
    let alice = || request_with(&[("x-api-key", "alice")]);
    assert_eq!(
        statuses(
            &layer,
            [alice(), alice(), request_with(&[("x-api-key", "bob")])]
        )
        .await,
        [200, 429, 200]
    );
    let keyless = [
        request_with(&[]),
        request_with(&[("x-api-key", "")]),
        request_with(&[("x-api-key", "carol"), ("x-api-key", "carol")]),
    ];
    assert_eq!(statuses(&layer, keyless).await, [401, 401, 401]);
    let mut not_ascii = request_with(&[]);
    not_ascii
        .headers_mut()
        .insert(API_KEY, http::HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(statuses(&layer, [not_ascii]).await, [401]);
}

#[tokio::test]
async fn path_key_excludes_the_query() {
    let layer = one_each(Key::path());
    let paths = ["/a", "/a?b", "/b"].map(|path| with_path(path, request_from("192.0.2.7")));
    assert_eq!(statuses(&layer, paths).await, [200, 429, 200]);
}

#[tokio::test]
async fn custom_function_returns_a_key_or_none() {
    let layer = one_each(Key::from_fn(|request| request.uri.query().map(str::len)));
    let queries =
        ["/?ab", "/?cd", "/?efg", "/"].map(|path| with_path(path, request_from("192.0.2.7")));
    assert_eq!(statuses(&layer, queries).await, [200, 429, 200, 401]);
}

#[tokio::test]
async fn and_key_has_a_bucket_per_pair() {
    let layer = one_each(Key::ip().and(Key::path()));
    let requests = [
        ("192.0.2.7", "/a"),
        ("192.0.2.7", "/b"),
        ("192.0.2.8", "/a"),
        ("192.0.2.7", "/a"),
    ]
    .map(|(peer, path)| with_path(path, request_from(peer)));
    assert_eq!(statuses(&layer, requests).await, [200, 200, 200, 429]);
    let keyless = Key::ip().and(Key::header(API_KEY));
    assert_eq!(
        statuses(&one_each(keyless), [request_with(&[])]).await,
        [401]
    );
}

#[tokio::test]
async fn and_key_has_an_unambiguous_boundary() {
    let layer = one_each(
        Key::header(HeaderName::from_static("a")).and(Key::header(HeaderName::from_static("b"))),
    );
    let pairs = [("1", "23"), ("12", "3"), ("1:2", "3"), ("1", ":23")]
        .map(|(a, b)| request_with(&[("a", a), ("b", b)]));
    assert_eq!(statuses(&layer, pairs).await, [200, 200, 200, 200]);
}

#[tokio::test]
async fn or_key_distinguishes_equal_values_of_different_kinds() {
    let layer = one_each(Key::header(API_KEY).or(Key::ip()));
    // A client that sends the victim's address as an API key takes no tokens of the victim.
    assert_eq!(
        statuses(
            &layer,
            [
                request_with(&[("x-api-key", "192.0.2.7")]),
                request_with(&[]),
                request_with(&[])
            ]
        )
        .await,
        [200, 200, 429]
    );
    assert_eq!(
        statuses(&layer, [request_with(&[("x-api-key", "192.0.2.7")])]).await,
        [429]
    );
}

#[tokio::test]
async fn rules_of_a_shared_limiter_apply_to_the_keys_of_its_layer() {
    let (limiter, _) = limiter(Quota::per_hour(1));
    let by_key =
        tollgate::tower::RateLimitLayer::with_limiter(limiter.clone(), Key::header(API_KEY));
    limiter.set_rule(&RequestKey::header(API_KEY, "alice"), Quota::per_hour(2));
    let alice = || request_with(&[("x-api-key", "alice")]);
    assert_eq!(
        statuses(&by_key, [alice(), alice(), alice()]).await,
        [200, 200, 429]
    );

    let by_address = tollgate::tower::RateLimitLayer::with_limiter(limiter.clone(), Key::ip());
    let [v4, v6]: [std::net::IpAddr; 2] =
        ["192.0.2.7".parse().unwrap(), "2001:db8::9".parse().unwrap()];
    limiter.set_rule(&RequestKey::ip(v4), Quota::per_hour(2));
    // Cut to its /64.
    limiter.set_rule(&RequestKey::ip(v6), Quota::per_hour(2));
    for peer in ["192.0.2.7", "[2001:db8::77]"] {
        assert_eq!(
            statuses(&by_address, [peer, peer, peer].map(request_from)).await,
            [200, 200, 429]
        );
    }
}

#[tokio::test]
async fn rules_apply_to_alternative_keys_by_their_kind() {
    let (limiter, _) = limiter(Quota::per_hour(1));
    let key = Key::header(API_KEY).or(Key::ip());
    let layer = tollgate::tower::RateLimitLayer::with_limiter(limiter.clone(), key);
    let alice = layer.verify_key(RequestKey::header(API_KEY, "alice"));
    limiter.set_rule(&alice.unwrap(), Quota::per_hour(2));
    let request = || request_with(&[("x-api-key", "alice")]);
    assert_eq!(
        statuses(&layer, [request(), request(), request()]).await,
        [200, 200, 429]
    );
}

#[test]
fn keys_that_no_request_has_are_refused() {
    let layer = one_each(Key::header(API_KEY).or(Key::ip())).ipv6_prefix(56);
    let v6 = "2001:db8:0:1::9".parse().unwrap();
    let other = HeaderName::from_static("x-other");
    for wrong in [
        RequestKey::ip(v6),
        RequestKey::header(other, "alice"),
        RequestKey::path("/"),
        RequestKey::custom("alice"),
        RequestKey::ip(v6).and(RequestKey::path("/")),
    ] {
        let error = layer.verify_key(wrong.clone()).unwrap_err().to_string();
        let expected = format!("key: expected a value of (header x-api-key or ip), got {wrong}");
        assert_eq!(error, expected);
    }
    assert!(
        layer
            .verify_key(RequestKey::network(v6, Ipv6Prefix::new(56)))
            .is_ok()
    );
}
