//! Headers that name a client or its key: a client cannot remove them on the way, respell them, or
//! forge them.

use std::io;
use std::sync::{Arc, Mutex};

use test_support::{Launch, SLOW, Server, Upstream};

/// Starts a gateway with a capacity of 3 and these lines in its file.
fn gateway(upstream: &Upstream, lines: &str) -> Server {
    let url = upstream.url();
    let text = format!("upstream = '{url}'\ncapacity = 3\nrefill_rate = {SLOW}\n{lines}\n");
    Launch::new().config("gateway.toml", &text).start()
}

const KEYED: &str = "client = { header = 'X-API-Key' }";

#[test]
fn connection_does_not_remove_the_api_key() {
    let upstream = Upstream::with_body("hello");
    let server = gateway(&upstream, KEYED);
    let mut remaining = 3;
    for connection in [
        "X-API-Key",
        "x-api-key",
        "close, X-API-Key",
        "keep-alive ,\tX-Api-Key, te",
    ] {
        let headers = [("X-API-Key", "valid"), ("Connection", connection)];
        let response = server.client().get_with("/", &headers);
        assert_eq!(response.status, 400, "{connection}");
        assert!(
            response.text().contains("Connection"),
            "{}",
            response.text()
        );
    }
    for connection in ["keep-alive", "X-Other", "te, X-API-Key-Id"] {
        let headers = [("X-API-Key", "valid"), ("Connection", connection)];
        let response = server.client().get_with("/", &headers);
        remaining -= 1;
        assert_eq!(
            (response.status, response.remaining()),
            (200, remaining),
            "a rejected request spends no token: {connection}"
        );
    }
    for request in upstream.requests() {
        assert_eq!(request.header("X-API-Key"), Some("valid"));
    }
}

#[test]
fn connection_does_not_remove_the_headers_of_a_trusted_proxy() {
    let upstream = Upstream::with_body("hello");
    let text = "trust_proxy = ['127.0.0.1']\nclient_address_header = 'X-Edge-Client'";
    let server = gateway(&upstream, text);
    for name in ["X-Edge-Client", "X-Forwarded-For", "forwarded", "X-Real-IP"] {
        let headers = [("X-Edge-Client", "192.0.2.1"), ("Connection", name)];
        let trusted = server.client().get_with("/", &headers);
        assert_eq!(trusted.status, 400, "{name}");
    }
    let stranger = server
        .client_from("127.0.0.2")
        .get_with("/", &[("Connection", "X-Forwarded-For")]);
    assert_eq!(stranger.status, 200, "nothing is decided by its headers");
}

#[test]
fn header_names_with_unusual_characters_do_not_pass() {
    let upstream = Upstream::with_body("hello");
    let server = gateway(&upstream, KEYED);
    let headers = [
        ("X-API-Key", "junk"),
        ("X_API_Key", "forged"),
        ("X-API_Key", "forged"),
        ("X.API.Key", "forged"),
        ("X!API~Key", "forged"),
        ("Other_Header", "forged"),
        ("X-Kept-2", "1"),
    ];
    assert_eq!(server.client().get_with("/", &headers).status, 200);
    let request = upstream.single_request();
    assert!(!request.head.contains("forged"), "{}", request.head);
    assert_eq!(request.header("X-API-Key"), Some("junk"));
    assert_eq!(request.header("X-Kept-2"), Some("1"));
}

#[test]
fn listed_headers_pass() {
    let upstream = Upstream::with_body("hello");
    let text = "[gateway]\npass_headers = ['Trace_Id', 'client-ip']";
    let server = gateway(&upstream, text);
    let headers = [
        ("Trace_Id", "1"),
        ("Other_Id", "2"),
        ("Client-IP", "3"),
        ("True-Client-IP", "4"),
    ];
    assert_eq!(server.client().get_with("/", &headers).status, 200);
    let request = upstream.single_request();
    assert_eq!(
        headers.map(|(name, _)| request.header(name)),
        [Some("1"), None, Some("3"), None]
    );
}

#[test]
fn client_names_of_strangers_do_not_pass() {
    let names = [
        "Client-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X-Client-IP",
        "X-Real-IP",
        "X-Cluster-Client-IP",
        "Fastly-Client-IP",
        "X-Forwarded",
        "X-Forwarded-Server",
        "Forwarded-For",
        "X-Remote-IP",
        "X-Original-Forwarded-For",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Original-URI",
        "X-Original-Host",
    ];
    let forged = names.map(|name| (name, "/forged"));
    for (trust, passes) in [("", false), ("trust_proxy = ['127.0.0.1']", true)] {
        let upstream = Upstream::with_body("hello");
        let server = gateway(&upstream, trust);
        assert_eq!(server.client().get_with("/", &forged).status, 200);
        let request = upstream.single_request();
        for name in names {
            let expected = passes.then_some("/forged");
            assert_eq!(request.header(name), expected, "{name} {trust}");
        }
    }
}

#[test]
fn trailers_name_no_client() {
    let received = Arc::new(Mutex::new(String::new()));
    let upstream = Upstream::start({
        let received = Arc::clone(&received);
        move |connection| -> io::Result<()> {
            connection.head()?;
            assert_eq!(connection.chunk()?.as_deref(), Some(&b"hello"[..]));
            *received.lock().unwrap() = connection.head()?;
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        }
    });
    let server = gateway(&upstream, &format!("{KEYED}\ntrust_proxy = ['127.0.0.1']"));
    let trailers = [
        "X-Forwarded-For: 192.0.2.66",
        "Forwarded: for=192.0.2.66",
        "CF-Connecting-IP: 192.0.2.66",
        "X-API-Key: forged",
        "X_API_Key: forged",
        "X-Original-URL: /forged",
        "X-Checksum: abc",
    ];
    let names = trailers.map(|line| line.split(':').next().unwrap());
    let request = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nX-API-Key: valid\r\nTE: trailers\r\nTrailer: {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{}\r\n\r\n",
        names.join(", "),
        trailers.join("\r\n")
    );
    let mut client = server.client();
    client.send(request.as_bytes()).unwrap();
    assert_eq!(client.read().unwrap().status, 200);
    let end = received.lock().unwrap().to_lowercase();
    assert_eq!(end, "0\r\nx-checksum: abc\r\n\r\n");
}

#[test]
fn only_the_chosen_header_reaches_the_upstream() {
    for (chosen, chain) in [
        ("x-forwarded-for", "192.0.2.1, 127.0.0.1"),
        ("forwarded", "192.0.2.2, 127.0.0.1"),
        ("x-real-ip", "192.0.2.3, 127.0.0.1"),
        ("x-edge-client", "127.0.0.1"),
    ] {
        let upstream = Upstream::with_body("hello");
        let text = format!("trust_proxy = ['127.0.0.1']\nclient_address_header = '{chosen}'");
        let server = gateway(&upstream, &text);
        let headers = [
            ("X-Forwarded-For", "192.0.2.1"),
            ("Forwarded", "for=192.0.2.2"),
            ("X-Real-IP", "192.0.2.3"),
        ];
        assert_eq!(server.client().get_with("/", &headers).status, 200);
        let request = upstream.single_request();
        assert_eq!(request.header("X-Forwarded-For"), Some(chain), "{chosen}");
        let forwarded = request.header("Forwarded").unwrap();
        let first = format!("for={}", chain.split(',').next().unwrap());
        assert!(forwarded.starts_with(&first), "{chosen}: {forwarded}");
    }
}
