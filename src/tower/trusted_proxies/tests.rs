//! Client address of requests with valid, malformed and forged forwarding headers.

use std::net::IpAddr;

use http::{HeaderMap, header::HeaderValue};
use proptest::prelude::*;

use super::{ConflictingHeaders, TrustedProxies};

const PROXY: &str = "10.0.0.1";

fn proxies() -> TrustedProxies {
    ["10.0.0.0/8", "2001:db8:ffff::/48"]
        .into_iter()
        .map(|network| network.parse().unwrap())
        .collect()
}

/// Client address of a request that `peer` sent with these header lines.
fn client_from(peer: &str, lines: &[(&'static str, &str)]) -> String {
    match proxies().client(peer.parse::<IpAddr>().unwrap(), &headers(lines)) {
        Ok(client) => client.to_string(),
        Err(ConflictingHeaders) => "conflict".to_owned(),
    }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

/// Client address of a request that the trusted proxy sent.
fn client(lines: &[(&'static str, &str)]) -> String {
    client_from(PROXY, lines)
}

#[test]
fn headers_of_an_untrusted_peer_are_ignored() {
    let lines = [
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
    ];
    assert_eq!(client_from("203.0.113.5", &lines), "203.0.113.5");
    assert_eq!(client_from("2001:db8::1", &lines), "2001:db8::1");
    assert_eq!(client_from("::ffff:203.0.113.5", &lines), "203.0.113.5");
    assert_eq!(client_from("::ffff:10.0.0.1", &lines), "192.0.2.1");
}

#[test]
fn rightmost_untrusted_address_is_the_client() {
    for (value, expected) in [
        ("192.0.2.1", "192.0.2.1"),
        ("198.51.100.9, 192.0.2.1", "192.0.2.1"),
        ("198.51.100.9, 192.0.2.1,10.1.1.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, , 10.1.1.1,", "192.0.2.1"),
        ("10.0.0.9, 10.0.0.8", "10.0.0.9"),
        ("192.0.2.1, garbage", PROXY),
        ("192.0.2.1, garbage, 10.0.0.7", "10.0.0.7"),
        ("192.0.2.1 10.0.0.7", PROXY),
        ("", PROXY),
    ] {
        assert_eq!(client(&[("x-forwarded-for", value)]), expected, "{value}");
    }
    assert_eq!(
        client(&[
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "10.0.0.2")
        ]),
        "192.0.2.1"
    );
    assert_eq!(
        client(&[
            ("x-forwarded-for", "198.51.100.9"),
            ("x-forwarded-for", "192.0.2.1")
        ]),
        "192.0.2.1"
    );
}

#[test]
fn forwarded_is_parsed_with_quotes_ports_and_other_parameters() {
    for (value, expected) in [
        ("for=192.0.2.1", "192.0.2.1"),
        ("FOR=192.0.2.1;proto=http; by=203.0.113.43", "192.0.2.1"),
        ("for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
        ("for=192.0.2.1, for=\"[2001:db8:ffff::7]:80\"", "192.0.2.1"),
        (
            "for=192.0.2.1;host=\"a\\\", for=198.51.100.9\"",
            "192.0.2.1",
        ),
        ("host=\"a, for=198.51.100.9\";for=192.0.2.1", "192.0.2.1"),
        ("for=192.0.2.1, for=unknown", PROXY),
        ("for=192.0.2.1, for=_hidden", PROXY),
        ("for=192.0.2.1, proto=http", PROXY),
        ("for=192.0.2.1, for=198.51.100.9;for=192.0.2.1", PROXY),
        ("for=192.0.2.1, for=2001:db8::7", PROXY),
        ("for=192.0.2.1, for=\"10.0.0.2", PROXY),
        ("192.0.2.1", PROXY),
        ("for=", PROXY),
        (";;;===,,,", PROXY),
    ] {
        assert_eq!(client(&[("forwarded", value)]), expected, "{value}");
    }
}

#[test]
fn open_quote_of_the_client_does_not_swallow_the_element_of_the_proxy() {
    for forged in [
        "for=\"198.51.100.9",
        "for=198.51.100.9;host=\"",
        "for=198.51.100.9;host=\"\\",
        "\"",
        "\\\"",
        "for=\"\\\\\"",
    ] {
        let value = format!("{forged}, for=192.0.2.1");
        assert_eq!(client(&[("forwarded", &value)]), "192.0.2.1", "{value}");
        let value = format!("{forged}, for=\"192.0.2.1:99\";host=\"example\"");
        assert_eq!(client(&[("forwarded", &value)]), "192.0.2.1", "{value}");
    }
}

#[test]
fn headers_that_disagree_are_a_conflict() {
    let x = ("x-forwarded-for", "192.0.2.1");
    assert_eq!(
        client(&[x, ("forwarded", "for=192.0.2.1;proto=http")]),
        "192.0.2.1"
    );
    for forwarded in ["for=198.51.100.9", "for=_hidden", "", "for=10.0.0.2"] {
        assert_eq!(
            client(&[x, ("forwarded", forwarded)]),
            "conflict",
            "{forwarded}"
        );
        assert_eq!(
            client_from("203.0.113.5", &[x, ("forwarded", forwarded)]),
            "203.0.113.5"
        );
    }
}

#[test]
fn only_the_chosen_header_counts() {
    let lines = headers(&[
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.2"),
        ("x-real-ip", "192.0.2.3"),
        ("cf-connecting-ip", "2001:db8::7"),
        (
            "x-original-forwarded-for",
            "198.51.100.9, 192.0.2.5, 10.0.0.9",
        ),
        ("x-client-ip", "unknown"),
    ]);
    for (name, expected) in [
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "192.0.2.2"),
        ("x-real-ip", "192.0.2.3"),
        ("cf-connecting-ip", "2001:db8::7"),
        ("x-original-forwarded-for", "192.0.2.5"),
        ("x-client-ip", PROXY),
        ("true-client-ip", PROXY),
    ] {
        let proxies = proxies().with_header(name.parse().unwrap());
        let client = proxies.client(PROXY.parse().unwrap(), &lines).unwrap();
        assert_eq!(client.to_string(), expected, "{name}");
        let stranger: IpAddr = "203.0.113.5".parse().unwrap();
        assert_eq!(proxies.client(stranger, &lines), Ok(stranger), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The element that the proxy appends counts, for any text of the client in front of it or on a
    /// line of its own.
    #[test]
    fn elements_to_the_left_do_not_change_the_client(
        forged in r#"[ -~&&[^,]]{0,20}|(for|by|host)="?[\[\]0-9a-f:.",;\\=]{0,40}|[ -~]{0,60}"#,
        quoted in any::<bool>(),
    ) {
        let x = format!("{forged},192.0.2.1");
        prop_assert_eq!(client(&[("x-forwarded-for", &x)]), "192.0.2.1");
        let forwarded = if quoted {
            format!("{forged}, for=\"192.0.2.1:80\"")
        } else {
            format!("{forged},for=192.0.2.1;proto=http")
        };
        prop_assert_eq!(client(&[("forwarded", &forwarded)]), "192.0.2.1");
        prop_assert_eq!(client(&[("forwarded", &forged), ("forwarded", "for=192.0.2.1")]), "192.0.2.1");
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            for name in ["x-forwarded-for", "forwarded"] {
                let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.clone())]);
                let _ = proxies().client(PROXY.parse().unwrap(), &headers);
            }
        }
    }
}
