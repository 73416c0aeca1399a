//! Forwarding headers: proxies name the client, whatever the client wrote before them, and an upstream
//! reads the same client from the headers that it receives.
#![no_main]

use std::net::IpAddr;

use bytes::Bytes;
use http::{
    HeaderMap, Request,
    header::{FORWARDED, HOST, HeaderName, HeaderValue},
};
use http_body_util::Full;
use libfuzzer_sys::fuzz_target;
use tollgate::tower::{ConflictingHeaders, TrustedProxies};
use tollgate_server::fuzz::{Outcome, Server, Start};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const CHOSEN: [Option<HeaderName>; 4] = [
    None,
    Some(X_FORWARDED_FOR),
    Some(FORWARDED),
    Some(X_REAL_IP),
];

/// Setting and proxies of a case, from its first byte.
#[derive(Debug)]
struct Case {
    /// Index of the setting `client_address_header` in [`CHOSEN`].
    chosen: usize,
    /// Header that the proxies write; `None`: they write none.
    written: Option<HeaderName>,
    /// The proxies continue the last line, as most do, or add a line.
    continues_line: bool,
    client: IpAddr,
    /// Addresses that the proxies write, the client's first.
    hops: Vec<IpAddr>,
    peer: IpAddr,
}

impl Case {
    fn new(choice: u8) -> Case {
        let has = |bit: u8| choice & (1 << bit) != 0;
        let chosen = usize::from(choice & 0b11);
        let written = match CHOSEN[chosen].clone() {
            Some(header) => header,
            None if has(2) => FORWARDED,
            None => X_FORWARDED_FOR,
        };
        let client = if has(4) {
            [0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into()
        } else {
            [192, 0, 2, 7].into()
        };
        let mut hops = vec![client];
        // X-Real-IP has a single address.
        if has(5) && written != X_REAL_IP {
            hops.push([10, 0, 0, 2].into());
        }
        Case {
            chosen,
            written: (!has(7)).then_some(written),
            continues_line: has(3),
            client,
            hops,
            peer: if has(6) {
                [203, 0, 113, 5].into()
            } else {
                [10, 0, 0, 1].into()
            },
        }
    }

    fn proxies(&self) -> TrustedProxies {
        let proxies = [[10, 0, 0, 0].into()]
            .map(|network: IpAddr| ipnet::IpNet::new_assert(network, 8))
            .into_iter()
            .collect::<TrustedProxies>();
        match CHOSEN[self.chosen].clone() {
            Some(header) => proxies.with_header(header),
            None => proxies,
        }
    }

    /// Adds the elements of the proxies to the headers of the client.
    fn write(&self, headers: &mut HeaderMap) {
        let Some(header) = &self.written else { return };
        for &hop in &self.hops {
            let element = match hop {
                IpAddr::V6(hop) if *header == FORWARDED => format!("for=\"[{hop}]\""),
                hop if *header == FORWARDED => format!("for={hop}"),
                hop => hop.to_string(),
            };
            if *header == X_REAL_IP {
                headers.insert(header, value(element.as_bytes()).unwrap());
                continue;
            }
            let mut lines: Vec<_> = headers.get_all(header).iter().cloned().collect();
            let line = match lines.pop().filter(|_| self.continues_line) {
                Some(line) => [line.as_bytes(), b", ", element.as_bytes()].concat(),
                None => element.into_bytes(),
            };
            if self.continues_line {
                headers.remove(header);
                for line in lines {
                    headers.append(header, line);
                }
            }
            headers.append(header, value(&line).unwrap());
        }
    }
}

fn value(bytes: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_bytes(bytes).ok()
}

/// Headers of a client: a line each, which begins with a letter for the name.
fn client_headers(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("a"));
    for line in text.split(|byte| *byte == b'\n') {
        let Some((letter, text)) = line.split_first() else {
            continue;
        };
        let Some(value) = value(text.trim_ascii()) else {
            continue;
        };
        match letter {
            b'x' => drop(headers.append(X_FORWARDED_FOR, value)),
            b'f' => drop(headers.append(FORWARDED, value)),
            b'r' => drop(headers.append(X_REAL_IP, value)),
            b'h' => drop(headers.insert(HOST, value)),
            b'p' => drop(headers.append("x-forwarded-proto", value)),
            b'o' => drop(headers.append("x-forwarded-host", value)),
            _ => {}
        }
    }
    headers
}

thread_local! {
    static SERVERS: [Server; 4] = CHOSEN.map(|header| {
        let header = header.map_or_else(String::new, |header| format!("client_address_header = '{header}'"));
        let text = format!("{header}
            upstream = 'http://127.0.0.1:9'
            trust_proxy = ['10.0.0.0/8']
            ipv6_prefix = 128
            capacity = 4294967295
            refill_rate = 1000000000
        ");
        match Server::start(&text) {
            Start::Started(server) => *server,
            Start::NotStarted | Start::Refused(_) => panic!("the settings are valid"),
        }
    });
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, text)) = data.split_first() else {
        return;
    };
    let case = Case::new(choice);
    let proxies = case.proxies();
    let mut headers = client_headers(text);
    case.write(&mut headers);

    let client = proxies.client(case.peer, &headers);
    if !proxies.trusts(case.peer) {
        assert_eq!(client, Ok(case.peer), "{case:?}");
    } else if case.written.is_some() {
        // Without the setting, the client may have written the other header.
        let is_refused = case.chosen == 0 && client == Err(ConflictingHeaders);
        assert!(
            is_refused || client == Ok(case.client),
            "{case:?} {client:?}"
        );
    }

    let mut request = Request::get("/").body(Full::new(Bytes::new())).unwrap();
    *request.headers_mut() = headers;
    let exchange = SERVERS.with(|servers| servers[case.chosen].send(case.peer, request));
    let head = match exchange.outcome {
        // The host may be malformed.
        Outcome::Response(response) => return assert_eq!(response.status(), 400, "{case:?}"),
        Outcome::Forwarded(head) => head,
    };
    let client = client.expect("a request without a client is not forwarded");
    assert_eq!(exchange.client, Some(client.to_string()), "{case:?}");
    let gateway = [10, 0, 0, 254].into();
    let read = |proxies: TrustedProxies| {
        let found = proxies.client(gateway, &head.headers);
        assert_eq!(found, Ok(client), "{case:?} {:?}", head.headers);
    };
    let any = Case {
        chosen: 0,
        ..Case::new(choice)
    }
    .proxies();
    read(any.clone());
    for header in [X_FORWARDED_FOR, FORWARDED] {
        let proxies = any.clone().with_header(header);
        let last = proxies.hops(&head.headers).pop();
        assert_eq!(last, Some(case.peer), "{case:?} {:?}", head.headers);
        read(proxies);
    }
});
