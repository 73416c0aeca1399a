//! Client addresses behind proxies, and forged and malformed forwarding headers.

use test_support::{Client, SLOW, Server};

/// Trusts 127.0.0.1 and 10.0.0.0/8. 127.0.0.2 is untrusted.
fn behind_proxies() -> Server {
    let trust = [
        "--trust-proxy",
        "127.0.0.1/32",
        "--trust-proxy",
        "10.0.0.0/8",
    ];
    let limits = ["--trust-proxy", "2001:db8:ffff::/48", "--capacity", "1000"];
    Server::start(&[&trust[..], &limits, &["--refill-rate", SLOW]].concat())
}

/// Returns the client address that the server derives from the headers.
fn client_address(client: &mut Client, headers: &[(&str, &str)]) -> String {
    let response = client.get_with("/", headers);
    assert_eq!(response.status, 200, "{headers:?}");
    response.from()
}

#[test]
fn without_trusted_proxies_forwarding_headers_change_nothing() {
    let server = Server::with_capacity(5);
    let mut client = server.client();
    let forged = [
        ("X-Forwarded-For", "203.0.113.1"),
        ("Forwarded", "for=203.0.113.2"),
        ("X-Real-IP", "203.0.113.3"),
        ("X-Forwarded-For", "127.0.0.9"),
        ("X-Forwarded-For", "garbage"),
    ];
    for (index, header) in forged.into_iter().enumerate() {
        let response = client.get_with("/", &[header]);
        assert_eq!(response.from(), "127.0.0.1", "{header:?}");
        assert_eq!(
            response.remaining(),
            4 - index as u64,
            "{header:?} has its own bucket"
        );
    }
    assert_eq!(
        client
            .get_with("/", &[("X-Forwarded-For", "203.0.113.77")])
            .status,
        429
    );
}

#[test]
fn forged_header_of_an_untrusted_peer_is_ignored() {
    let server = behind_proxies();
    let mut untrusted = server.client_from("127.0.0.2");
    for header in ["X-Forwarded-For", "Forwarded"] {
        for value in [
            "203.0.113.1",
            "for=203.0.113.1",
            "127.0.0.1",
            "for=10.0.0.1",
        ] {
            assert_eq!(
                client_address(&mut untrusted, &[(header, value)]),
                "127.0.0.2",
                "{header}: {value}"
            );
        }
    }
    assert_eq!(
        untrusted.get("/").remaining(),
        1000 - 9,
        "all requests are charged to the untrusted peer's bucket"
    );
    let honest = server
        .client()
        .get_with("/", &[("X-Forwarded-For", "203.0.113.1")]);
    assert_eq!(
        honest.remaining(),
        999,
        "no request was charged to the named client"
    );
}

#[test]
fn client_is_the_rightmost_untrusted_address() {
    let server = behind_proxies();
    let mut proxy = server.client();
    let chains = [
        ("203.0.113.1", "203.0.113.1"),
        ("  203.0.113.1  ", "203.0.113.1"),
        ("198.51.100.9, 203.0.113.1", "203.0.113.1"),
        ("198.51.100.9,203.0.113.1", "203.0.113.1"),
        ("203.0.113.1, 10.1.2.3", "203.0.113.1"),
        (
            "198.51.100.9, 203.0.113.1, 10.1.2.3, 10.3.2.1",
            "203.0.113.1",
        ),
        ("10.9.9.9, 203.0.113.1, 10.1.2.3", "203.0.113.1"),
        ("garbage, 203.0.113.1", "203.0.113.1"),
        ("203.0.113.1, 127.0.0.1", "203.0.113.1"),
        ("203.0.113.1, 2001:db8:ffff::7", "203.0.113.1"),
    ];
    for (index, (value, client)) in chains.into_iter().enumerate() {
        let response = proxy.get_with("/", &[("X-Forwarded-For", value)]);
        assert_eq!(response.from(), client, "{value}");
        assert_eq!(response.remaining(), 999 - index as u64, "{value}");
    }
    let lines = [
        ("X-Forwarded-For", "198.51.100.9"),
        ("X-Forwarded-For", "203.0.113.1, 10.0.0.1"),
    ];
    assert_eq!(
        client_address(&mut proxy, &lines),
        "203.0.113.1",
        "several header lines form one list"
    );
    let lines = [
        ("X-Forwarded-For", "203.0.113.1"),
        ("X-Forwarded-For", "10.0.0.1"),
    ];
    assert_eq!(client_address(&mut proxy, &lines), "203.0.113.1");
    assert_eq!(
        client_address(&mut proxy, &[]),
        "127.0.0.1",
        "without a header, the client is the peer"
    );
}

#[test]
fn forwarded_is_parsed_by_its_rfc() {
    let server = behind_proxies();
    let mut proxy = server.client();
    let elements = [
        ("for=203.0.113.1", "203.0.113.1"),
        ("For=203.0.113.1", "203.0.113.1"),
        ("for=203.0.113.1;proto=http;by=203.0.113.43", "203.0.113.1"),
        ("proto=https; for=203.0.113.1", "203.0.113.1"),
        ("for=198.51.100.9, for=203.0.113.1", "203.0.113.1"),
        ("for=203.0.113.1, for=10.0.0.1", "203.0.113.1"),
        ("for=203.0.113.1,for=10.0.0.1;by=10.0.0.2", "203.0.113.1"),
        ("for=\"203.0.113.1:47011\"", "203.0.113.1"),
        ("for=\"203.0.113.1\"", "203.0.113.1"),
        (
            "for=203.0.113.1, for=\"[2001:db8:ffff::7]:80\"",
            "203.0.113.1",
        ),
        (
            "host=\"a, for=198.51.100.9\";for=203.0.113.1",
            "203.0.113.1",
        ),
        (
            "for=203.0.113.1;host=\"a, for=198.51.100.9\"",
            "203.0.113.1",
        ),
        (
            "for=203.0.113.1;host=\"a\\\", for=198.51.100.9\"",
            "203.0.113.1",
        ),
    ];
    for (value, client) in elements {
        assert_eq!(
            client_address(&mut proxy, &[("Forwarded", value)]),
            client,
            "{value}"
        );
    }
    let with_port = proxy.get_with("/", &[("Forwarded", "for=\"[2001:db8:cafe::17]:4711\"")]);
    let bare = proxy.get_with("/", &[("X-Forwarded-For", "2001:db8:cafe::17")]);
    assert_eq!(
        bare.remaining(),
        with_port.remaining() - 1,
        "one client with either header"
    );
}

#[test]
fn malformed_header_never_yields_another_clients_address() {
    let server = behind_proxies();
    let mut proxy = server.client();
    let malformed = [
        ("X-Forwarded-For", ""),
        ("X-Forwarded-For", ","),
        ("X-Forwarded-For", "garbage"),
        ("X-Forwarded-For", "203.0.113.1, garbage"),
        ("X-Forwarded-For", "203.0.113.1, 999.1.1.1"),
        ("X-Forwarded-For", "203.0.113.1, garbage, 10.0.0.1"),
        ("X-Forwarded-For", "203.0.113.1, \u{e9}"),
        ("X-Forwarded-For", "203.0.113.1 10.0.0.1"),
        ("Forwarded", ""),
        ("Forwarded", "for="),
        ("Forwarded", "for=\""),
        ("Forwarded", "for=203.0.113.1, for=unknown"),
        ("Forwarded", "for=203.0.113.1, for=_hidden"),
        ("Forwarded", "for=203.0.113.1, for=\"[2001:db8::\""),
        ("Forwarded", "for=203.0.113.1, garbage"),
        ("Forwarded", "203.0.113.1"),
        ("Forwarded", ";;;===,,,"),
    ];
    for header in malformed {
        let response = proxy.get_with("/", &[header]);
        assert!(response.status < 500, "{header:?}: {response:?}");
        if response.status == 200 {
            assert_ne!(
                response.from(),
                "203.0.113.1",
                "{header:?}: addresses on the left may be forged"
            );
        }
    }
    let huge = vec!["203.0.113.1"; 500].join(", ");
    let response = proxy.get_with("/", &[("X-Forwarded-For", &huge)]);
    assert!(response.status < 500);
}

#[test]
fn headers_that_name_different_clients_get_400_without_a_charge() {
    let server = behind_proxies();
    let mut proxy = server.client();
    for forwarded in ["for=198.51.100.9", "for=unknown", "", "garbage"] {
        let headers = [("X-Forwarded-For", "203.0.113.1"), ("Forwarded", forwarded)];
        let response = proxy.get_with("/", &headers);
        assert_eq!(response.status, 400, "{forwarded}");
        assert_eq!(response.header("X-RateLimit-Limit"), None);
    }
    for client in ["203.0.113.1", "198.51.100.9"] {
        let headers = [
            ("X-Forwarded-For", client),
            ("Forwarded", &format!("for={client};proto=https")),
        ];
        let response = proxy.get_with("/", &headers);
        assert_eq!(response.from(), client, "both name one client");
        assert_eq!(response.remaining(), 999);
    }
    assert_eq!(proxy.get("/").remaining(), 999, "nor was the proxy charged");
    server.wait_for_log("client_address_header");
    let log = server.stderr();
    assert_eq!(log.matches("name different clients").count(), 1, "{log}");
}

#[test]
fn configured_header_names_the_client() {
    let chosen = |header: &str| {
        let flags = [
            "--trust-proxy",
            "127.0.0.1",
            "--client-address-header",
            header,
        ];
        Server::start(&flags)
    };
    let headers = [
        ("X-Forwarded-For", "203.0.113.1"),
        ("Forwarded", "for=203.0.113.2"),
        ("X-Real-IP", "203.0.113.3"),
        ("CF-Connecting-IP", "2001:db8::4"),
    ];
    for (header, client) in [
        ("x-forwarded-for", "203.0.113.1"),
        ("Forwarded", "203.0.113.2"),
        ("X-Real-IP", "203.0.113.3"),
        ("cf-connecting-ip", "2001:db8::4"),
        ("true-client-ip", "127.0.0.1"),
    ] {
        let server = chosen(header);
        assert_eq!(client_address(&mut server.client(), &headers), client);
        let mut stranger = server.client_from("127.0.0.2");
        assert_eq!(client_address(&mut stranger, &headers), "127.0.0.2");
    }
}

#[test]
fn trusted_proxy_that_names_no_client_is_logged_once() {
    let server = behind_proxies();
    let mut proxy = server.client();
    for _ in 0..3 {
        assert_eq!(client_address(&mut proxy, &[]), "127.0.0.1");
    }
    server.wait_for_log("trusted proxy names no client");
    let headers = [("X-Forwarded-For", "203.0.113.1")];
    assert_eq!(client_address(&mut proxy, &headers), "203.0.113.1");
    assert_eq!(server.get("/").status, 200);
    let log = server.stderr();
    assert_eq!(log.matches("names no client").count(), 1, "{log}");
}

#[test]
fn when_all_addresses_are_trusted_the_client_is_one_of_them() {
    let server = behind_proxies();
    let from = client_address(
        &mut server.client(),
        &[("X-Forwarded-For", "10.0.0.1, 10.0.0.2")],
    );
    assert!(
        ["10.0.0.1", "10.0.0.2", "127.0.0.1"].contains(&from.as_str()),
        "{from}"
    );
}
