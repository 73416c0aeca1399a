//! Request heads through a gateway: a forwarded head is one that all servers read alike, and that carries
//! nothing of the connection and no client but the gateway's.
//!
//! The first byte selects settings, peer and protocol; the rest is the connection.
#![no_main]

use std::net::IpAddr;

use http::{HeaderMap, Version, header, request::Parts, uri::Authority};
use libfuzzer_sys::fuzz_target;
use tollgate::tower::HeaderKey;
use tollgate_server::fuzz::{Exchange, Outcome, Server, Start};

const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

const UPSTREAM: &str = "upstream = 'http://127.0.0.1:9'";
const FILES: [&str; 5] = [
    "",
    "client = { header = 'X-API-Key' }",
    "[cors]\norigins = ['https://app.example']\n[[routes]]\npath = '/api/*'\ncost = 2\n\
     [[routes]]\npath = '/static/*'\nexempt = true",
    "client = { header = 'Authorization' }\napi_keys = ['Bearer abc', 'Basic YWJj']",
    "case_sensitive_paths = true\n[[upstreams]]\nprefix = '/h2'\nurl = 'h2c://127.0.0.1:9'",
];

/// Names of headers that state which client or path a request had.
const CLIENT_NAMES: [&str; 12] = [
    "cf-connecting-ip",
    "client-ip",
    "fastly-client-ip",
    "forwarded-for",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// Headers that concern one connection.
const HOP_BY_HOP: [&str; 7] = [
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
];

thread_local! {
    static SERVERS: [Server; 5] = FILES.map(|file| {
        let text = format!("trust_proxy = ['10.0.0.0/8']\nipv6_prefix = 128\n{UPSTREAM}\n{file}");
        match Server::start(&text) {
            Start::Started(server) => *server,
            Start::NotStarted => panic!("there is neither Redis nor TLS"),
            Start::Refused(line) => panic!("{line}"),
        }
    });
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    let values = headers.get_all(name).iter();
    values.map(|value| value.as_bytes()).collect()
}

fn assert_target(head: &Parts, is_http2: bool) {
    let target = head.uri.path_and_query().expect("a target has a path");
    assert!(target.path().starts_with('/'), "{target}");
    assert!(
        !target
            .as_str()
            .bytes()
            .any(|byte| byte <= b' ' || byte == 0x7f),
        "{target}"
    );
    assert!(!target.as_str().contains('#'), "{target}");
    assert_eq!(head.uri.authority().is_some(), is_http2);
    let method = head.method.as_str();
    for rejected in ["connect", "trace"] {
        assert!(!method.eq_ignore_ascii_case(rejected), "{method}");
    }
}

fn assert_host(given: &Parts, head: &Parts, is_http2: bool) {
    let hosts = all(&head.headers, "host");
    if is_http2 {
        assert!(hosts.is_empty());
        return;
    }
    let [host] = hosts[..] else {
        panic!("{hosts:?}");
    };
    let host = Authority::try_from(host).expect("a host is valid");
    assert!(!host.as_str().contains('@'), "{host}");
    if let Some(authority) = given.uri.authority() {
        assert_eq!(host, *authority);
    }
}

fn assert_framing(head: &Parts, is_http2: bool) {
    let lengths = all(&head.headers, "content-length");
    let codings = all(&head.headers, "transfer-encoding");
    assert!(lengths.len() <= 1, "{head:?}");
    assert!(
        lengths
            .iter()
            .all(|length| length.iter().all(u8::is_ascii_digit)),
        "{head:?}"
    );
    match codings[..] {
        [] => {}
        [coding] => assert!(
            coding == b"chunked" && lengths.is_empty() && !is_http2,
            "{head:?}"
        ),
        _ => panic!("{head:?}"),
    }
}

fn assert_connection(head: &Parts) {
    let allowed: [&[&[u8]]; 3] = [&[], &[b"te"], &[b"upgrade"]];
    assert!(
        allowed.contains(&&all(&head.headers, "connection")[..]),
        "{head:?}"
    );
    let upgrade = all(&head.headers, "upgrade");
    let is_tunnel = all(&head.headers, "connection") == [b"upgrade"];
    assert_eq!(is_tunnel, !upgrade.is_empty(), "{head:?}");
    assert!(
        all(&head.headers, "te").iter().all(|te| te == b"trailers"),
        "{head:?}"
    );
    for name in HOP_BY_HOP {
        assert!(!head.headers.contains_key(name), "{head:?}");
    }
    for name in head.headers.keys() {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        assert!(name.as_str().bytes().all(is_plain), "{name}");
    }
    for value in head.headers.values() {
        assert!(
            !value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)),
            "{value:?}"
        );
    }
}

fn assert_client_headers(head: &Parts, peer: IpAddr) {
    assert!(head.headers.contains_key("via"));
    for name in ["x-forwarded-for", "forwarded"] {
        assert_eq!(all(&head.headers, name).len(), 1, "{head:?}");
    }
    if peer != STRANGER {
        return;
    }
    assert_eq!(
        all(&head.headers, "x-forwarded-for"),
        [peer.to_string().as_bytes()]
    );
    let forwarded = all(&head.headers, "forwarded");
    assert!(
        forwarded[0].starts_with(format!("for={peer};").as_bytes()),
        "{head:?}"
    );
    assert!(!forwarded[0].contains(&b','), "{head:?}");
    assert_eq!(all(&head.headers, "x-forwarded-proto"), [b"http"]);
    let hosts = all(&head.headers, "x-forwarded-host");
    assert!(hosts.len() <= 1, "{head:?}");
    for name in head.headers.keys().map(|name| name.as_str()) {
        assert!(!CLIENT_NAMES.contains(&name), "{head:?}");
        let known = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
        assert!(
            !name.starts_with("x-forwarded-") || known.contains(&name),
            "{head:?}"
        );
    }
}

/// The upstream receives the key that the request was charged to.
fn assert_key(exchange: &Exchange, head: &Parts, file: usize) {
    let name = match file {
        1 => header::HeaderName::from_static("x-api-key"),
        3 => header::AUTHORIZATION,
        _ => return,
    };
    assert!(exchange.client.is_some());
    let key = HeaderKey::new(name).value(&head.headers);
    assert_eq!(key.as_deref(), exchange.client.as_deref(), "{head:?}");
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let file = usize::from(choice) % FILES.len();
    let peer = if choice & 0x40 != 0 { PROXY } else { STRANGER };
    let as_http2 = choice & 0x80 != 0;
    let exchanges = SERVERS.with(|servers| servers[file].serve(peer, bytes, as_http2));
    for exchange in &exchanges {
        let given = &exchange.request;
        let head = match &exchange.outcome {
            Outcome::Response(response) => {
                let status = response.status().as_u16();
                assert!(
                    [200, 204, 400, 401, 403, 404, 408, 413, 429].contains(&status),
                    "{given:?}"
                );
                continue;
            }
            Outcome::Forwarded(head) => head,
        };
        let is_http2 = head.version == Version::HTTP_2;
        assert_eq!(is_http2, head.uri.authority().is_some());
        assert_target(head, is_http2);
        assert_host(given, head, is_http2);
        assert_framing(head, is_http2);
        assert_connection(head);
        assert_client_headers(head, peer);
        assert_key(exchange, head, file);
    }
});
