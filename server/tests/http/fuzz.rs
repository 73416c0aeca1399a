//! Fuzzing: after arbitrary bytes the server still responds.

use std::net::Shutdown;
use std::sync::Mutex;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use test_support::http::encode;
use test_support::{Launch, Server};

const CASES: u32 = 150;

fn config() -> ProptestConfig {
    // A failing case is printed, and not kept in a file.
    ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Sends the bytes, reads all responses, and asserts that the server is healthy.
fn send_and_check(server: &Mutex<Server>, bytes: &[u8]) {
    let mut server = server.lock().unwrap();
    let mut client = server.client();
    let _ = client.send(bytes);
    client.stream.shutdown(Shutdown::Write).ok();
    while let Ok(response) = client.read() {
        assert!((100..500).contains(&response.status), "{response:?}");
    }
    server.assert_healthy();
}

fn server() -> Mutex<Server> {
    let text = "refill_rate = 0.001\ncapacity = 1000000\ntrust_proxy = [\"127.0.0.0/8\"]\n";
    Mutex::new(Launch::new().config("fuzz.toml", text).start())
}

/// Complete requests with unusual parts.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let methods = select(vec![
        "GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "get", "PATCH",
    ]);
    let paths = prop_oneof![
        select(vec![
            "/",
            "*",
            "/api/upload",
            "/api/submit",
            "/health",
            "/admin/update-rule",
            "/admin/rule/",
            "/admin/rule/%",
            "/admin/rule/%ff%fe",
            "//",
            "/../config",
            "http://a/",
            "/%00",
            "?",
            "",
        ])
        .prop_map(str::to_owned),
        "/[ -~]{0,40}",
    ];
    let names = select(vec![
        "X-Forwarded-For",
        "Forwarded",
        "Authorization",
        "X-API-Key",
        "Content-Length",
        "Transfer-Encoding",
        "Expect",
        "Connection",
        "Upgrade",
        "Host",
        "Content-Type",
        "TE",
    ]);
    let values = prop_oneof![
        "[ -~]{0,40}",
        "(for|by|host)=\"?[\\[\\]0-9a-f:.\",;\\\\]{0,40}",
        "[0-9a-fA-F:., ]{0,60}",
        select(vec![
            "chunked",
            "100-continue",
            "upgrade",
            "close",
            "18446744073709551616",
            "h2c"
        ])
        .prop_map(str::to_owned),
    ];
    let bodies = prop_oneof![
        "[ -~]{0,100}",
        "\\{\"(capacity|refill_rate|client_id)\": ?[-0-9a-zA-Z\"\\[{.+]{0,30}\\}?",
    ];
    (methods, paths, vec((names, values), 0..5), bodies).prop_map(
        |(method, path, headers, body)| {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            encode(method, &path, &headers, &body)
        },
    )
}

#[test]
fn random_bytes() {
    let server = server();
    proptest!(config(), |(bytes in vec(any::<u8>(), 0..2000))| send_and_check(&server, &bytes));
}

#[test]
fn requests_with_random_parts() {
    let server = server();
    proptest!(config(), |(bytes in vec(requests(), 1..4))| send_and_check(&server, &bytes.concat()));
}

#[test]
fn requests_with_random_damage() {
    let server = server();
    let damage = vec((any::<Index>(), any::<u8>()), 1..6);
    proptest!(config(), |(mut bytes in requests(), damage in damage, cut in any::<Index>())| {
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        send_and_check(&server, &bytes);
    });
}

#[test]
fn random_frames_after_the_http_2_preface() {
    let server = server();
    let frame = (0_u8..12, any::<u8>(), any::<u32>(), vec(any::<u8>(), 0..60)).prop_map(
        |(kind, flags, stream, payload)| {
            let length = (payload.len() as u32).to_be_bytes();
            let head = [&length[1..], &[kind, flags], &(stream % 8).to_be_bytes()].concat();
            [head, payload].concat()
        },
    );
    proptest!(config(), |(frames in vec(frame, 0..12))| {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        let mut guard = server.lock().unwrap();
        let mut client = guard.client();
        let _ = client.send(&[preface, frames.concat()].concat());
        client.stream.shutdown(Shutdown::Write).ok();
        client.is_closed_within(Duration::from_millis(5));
        drop(client);
        guard.assert_healthy();
    });
}
