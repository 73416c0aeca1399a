//! Forwarding headers and hop-by-hop headers.

use test_support::upstream::ReceivedRequest;
use test_support::{Client, SLOW, Server, Upstream};

/// Returns the request that the upstream receives for one with these headers from 127.0.0.1.
fn received(flags: &[&str], headers: &[(&str, &str)]) -> ReceivedRequest {
    let upstream = Upstream::with_body("hello");
    let url = upstream.url();
    let basic_flags = [
        "--upstream",
        &url,
        "--capacity",
        "100",
        "--refill-rate",
        SLOW,
    ];
    let server = Server::start(&[&basic_flags, flags].concat());
    let response = server.client().get_with("/", headers);
    assert_eq!(response.status, 200, "{response:?}");
    upstream.single_request()
}

/// Values of the four forwarding headers.
fn forwarding_headers(request: &ReceivedRequest) -> [Option<&str>; 4] {
    [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
    ]
    .map(|name| request.header(name))
}

const OWN: &str = "for=127.0.0.1;host=\"localhost\";proto=http";

#[test]
fn forwarding_headers_of_an_untrusted_peer_are_removed() {
    let direct = [
        Some("127.0.0.1"),
        Some("http"),
        Some("localhost"),
        Some(OWN),
    ];
    assert_eq!(forwarding_headers(&received(&[], &[])), direct);
    let forged = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-For", "192.0.2.2"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "bank.example"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Prefix", "/admin"),
        ("Forwarded", "for=192.0.2.1;proto=https"),
        ("X-Real-IP", "192.0.2.1"),
        ("X-Client-IP", "192.0.2.1"),
        ("X_Forwarded_For", "192.0.2.1"),
        ("X-Forwarded_For", "192.0.2.1"),
        ("X_Real_IP", "192.0.2.1"),
        ("Connection", "X-Forwarded-For, Forwarded, Host"),
    ];
    let request = received(&[], &forged);
    assert_eq!(forwarding_headers(&request), direct);
    assert!(
        !request.head.contains("192.0.2")
            && !request.head.contains("443")
            && !request.head.contains("admin"),
        "{}",
        request.head
    );
    let untrusted = received(&["--trust-proxy", "10.0.0.0/8"], &forged);
    assert_eq!(
        forwarding_headers(&untrusted),
        direct,
        "other networks are trusted, this peer is not"
    );
}

#[test]
fn a_trusted_proxys_chain_is_continued() {
    let trust = ["--trust-proxy", "127.0.0.1,10.0.0.0/8"];
    for (headers, chain, forwarded) in [
        (&[][..], "127.0.0.1", OWN.to_owned()),
        (
            &[
                ("X-Forwarded-For", "192.0.2.1"),
                ("X-Forwarded-For", "10.0.0.1"),
            ],
            "192.0.2.1, 10.0.0.1, 127.0.0.1",
            format!("for=192.0.2.1, for=10.0.0.1, {OWN}"),
        ),
        (
            &[("X-Forwarded-For", "2001:db8::1")],
            "2001:db8::1, 127.0.0.1",
            format!("for=\"[2001:db8::1]\", {OWN}"),
        ),
        (
            &[("Forwarded", "for=192.0.2.1;proto=https;by=_x")],
            "192.0.2.1, 127.0.0.1",
            format!("for=192.0.2.1;proto=https;by=_x, {OWN}"),
        ),
        (
            &[
                ("X-Forwarded-For", "192.0.2.1"),
                ("Forwarded", "for=192.0.2.1"),
            ],
            "192.0.2.1, 127.0.0.1",
            format!("for=192.0.2.1, {OWN}"),
        ),
    ] {
        let request = received(&trust, headers);
        assert_eq!(
            request.header("X-Forwarded-For"),
            Some(chain),
            "{headers:?}"
        );
        assert_eq!(
            request.header("Forwarded"),
            Some(forwarded.as_str()),
            "{headers:?}"
        );
    }
    let sent = [
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "site.example"),
        ("X-Real-IP", "192.0.2.1"),
    ];
    let request = received(&trust, &sent);
    sent.iter()
        .for_each(|(name, value)| assert_eq!(request.header(name), Some(*value)));
    let request = received(&trust, &[("X_Forwarded_For", "192.0.2.1")]);
    assert!(
        !request.head.contains("192.0.2.1"),
        "proxies do not spell the header with `_`: {}",
        request.head
    );
}

#[test]
fn a_gateway_behind_a_gateway_identifies_the_client() {
    let upstream = Upstream::with_body("hello");
    let url = upstream.url();
    let inner = Server::start(&[
        "--upstream",
        &url,
        "--capacity",
        "1",
        "--refill-rate",
        SLOW,
        "--trust-proxy",
        "127.0.0.1",
    ]);
    let outer = Server::gateway(&inner.url());
    assert_eq!(outer.client_from("127.0.0.2").get("/").status, 200);
    assert_eq!(
        outer.client_from("127.0.0.2").get("/").status,
        429,
        "the inner gateway has a bucket for each client"
    );
    assert_eq!(outer.client_from("127.0.0.3").get("/").status, 200);
    let request = &upstream.requests()[1];
    assert_eq!(
        request.header("X-Forwarded-For"),
        Some("127.0.0.3, 127.0.0.1")
    );
    let via: Vec<_> = request
        .head
        .lines()
        .filter(|line| line.to_lowercase().starts_with("via:"))
        .collect();
    assert_eq!(via.len(), 2, "{via:?}");
}

#[test]
fn hop_by_hop_headers_are_removed() {
    let hop_by_hop = [
        ("Connection", "close, X-Secret-Hop, keep-alive"),
        ("X-Secret-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy", "http://192.0.2.1/"),
        ("TE", "gzip, trailers"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
    ];
    let request = received(&[], &hop_by_hop);
    for (name, _) in hop_by_hop
        .iter()
        .filter(|(name, _)| !["TE", "Connection"].contains(name))
    {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header("TE"), Some("trailers"));
    assert_eq!(request.header("Connection"), Some("te"));
    assert_eq!(request.header("Via"), Some("1.1 tollgate"));
    let plain = received(&[], &[("TE", "gzip"), ("Via", "1.1 before")]);
    assert_eq!(
        (plain.header("TE"), plain.header("Connection")),
        (None, None)
    );

    let upstream = Upstream::responding(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\
         Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-Kept: 1\r\nTrailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    let server = Server::gateway(&upstream.url());
    let mut client = Client::connect(server.address, None);
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let response = client.head().unwrap();
    assert_eq!(client.chunk().unwrap(), None);
    for name in [
        "Connection",
        "X-Hop",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authenticate",
        "Upgrade",
    ] {
        assert_eq!(response.header(name), None, "{name}");
    }
    assert_eq!(response.header("X-Kept"), Some("1"));
    assert_eq!(
        client.request("GET", "/health", &[], "").status,
        200,
        "the connection stays usable"
    );
}
