//! What an upstream is told of where a request came from, and which headers end at the gateway.

use test_support::upstream::Seen;
use test_support::{Client, SLOW, Server, Upstream};

/// What reaches the upstream of a request with these headers from 127.0.0.1.
fn passed(flags: &[&str], headers: &[(&str, &str)]) -> Seen {
    let upstream = Upstream::saying("hello");
    let url = upstream.url();
    let basic = [
        "--upstream",
        &url,
        "--capacity",
        "100",
        "--refill-rate",
        SLOW,
    ];
    let server = Server::start(&[&basic, flags].concat());
    let response = server.client().get_with("/", headers);
    assert_eq!(response.status, 200, "{response:?}");
    upstream.only()
}

/// The four headers that tell of it.
fn told(seen: &Seen) -> [Option<&str>; 4] {
    [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
    ]
    .map(|name| seen.header(name))
}

const OWN: &str = "for=127.0.0.1;host=\"localhost\";proto=http";

#[test]
fn a_stranger_says_nothing_of_itself() {
    let direct = [
        Some("127.0.0.1"),
        Some("http"),
        Some("localhost"),
        Some(OWN),
    ];
    assert_eq!(told(&passed(&[], &[])), direct);
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
    let seen = passed(&[], &forged);
    assert_eq!(told(&seen), direct);
    assert!(
        !seen.head.contains("192.0.2")
            && !seen.head.contains("443")
            && !seen.head.contains("admin"),
        "{}",
        seen.head
    );
    let elsewhere = passed(&["--trust-proxy", "10.0.0.0/8"], &forged);
    assert_eq!(
        told(&elsewhere),
        direct,
        "trust in others is no trust in this one"
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
        // One of them is forged, and nobody knows which: then the proxy is the client.
        (
            &[
                ("X-Forwarded-For", "192.0.2.1"),
                ("Forwarded", "for=192.0.2.66"),
            ],
            "127.0.0.1",
            OWN.to_owned(),
        ),
    ] {
        let seen = passed(&trust, headers);
        assert_eq!(seen.header("X-Forwarded-For"), Some(chain), "{headers:?}");
        assert_eq!(
            seen.header("Forwarded"),
            Some(forwarded.as_str()),
            "{headers:?}"
        );
    }
    let said = [
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "site.example"),
        ("X-Real-IP", "192.0.2.1"),
    ];
    let seen = passed(&trust, &said);
    said.iter()
        .for_each(|(name, value)| assert_eq!(seen.header(name), Some(*value)));
    let seen = passed(&trust, &[("X_Forwarded_For", "192.0.2.1")]);
    assert!(
        !seen.head.contains("192.0.2.1"),
        "no proxy writes it that way: {}",
        seen.head
    );
}

#[test]
fn a_gateway_behind_a_gateway_knows_the_client() {
    let upstream = Upstream::saying("hello");
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
        "the inner one has a bucket for each client"
    );
    assert_eq!(outer.client_from("127.0.0.3").get("/").status, 200);
    let seen = &upstream.requests()[1];
    assert_eq!(seen.header("X-Forwarded-For"), Some("127.0.0.3, 127.0.0.1"));
    let via: Vec<_> = seen
        .head
        .lines()
        .filter(|line| line.to_lowercase().starts_with("via:"))
        .collect();
    assert_eq!(via.len(), 2, "{via:?}");
}

#[test]
fn headers_of_one_connection_end_here() {
    let hops = [
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
    let seen = passed(&[], &hops);
    for (name, _) in hops
        .iter()
        .filter(|(name, _)| !["TE", "Connection"].contains(name))
    {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("TE"), Some("trailers"));
    assert_eq!(seen.header("Connection"), Some("te"));
    assert_eq!(seen.header("Via"), Some("1.1 tollgate"));
    let plain = passed(&[], &[("TE", "gzip"), ("Via", "1.1 before")]);
    assert_eq!(
        (plain.header("TE"), plain.header("Connection")),
        (None, None)
    );

    let upstream = Upstream::answering(
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
        "and the connection goes on"
    );
}
