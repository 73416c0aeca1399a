//! Who a client is taken for. What forwarding headers say is the library's to read, and is tested
//! there.

use std::net::IpAddr;

use hyper::{HeaderMap, header::HeaderValue};

use super::{Id, Identify, Unknown};
use crate::config::settings;

#[test]
fn a_trusted_proxy_names_the_client_and_nobody_else_does() {
    let identify = Identify::new(&settings("trust_proxy = ['10.0.0.0/8']"));
    let headers = HeaderMap::from_iter([(
        "x-forwarded-for".parse().unwrap(),
        HeaderValue::from_static("192.0.2.1"),
    )]);
    let seen = |peer: &str| {
        let peer = identify.peer((peer.parse::<IpAddr>().unwrap(), 4711).into());
        let id = identify.client(peer, &headers).unwrap();
        assert_eq!(identify.address(peer, &headers).to_string(), id.name());
        id.name()
    };
    assert_eq!(seen("10.0.0.1"), "192.0.2.1");
    assert_eq!(seen("203.0.113.5"), "203.0.113.5");
}

#[test]
fn ipv6_clients_are_their_network_and_ipv4_inside_of_ipv6_is_ipv4() {
    let identify = Identify::new(&settings(""));
    let name = |text: &str| identify.named(text).unwrap().name().into_owned();
    assert_eq!(name("2001:db8:0:1:2:3:4:5"), "2001:db8:0:1::");
    assert_eq!(name("::ffff:192.0.2.1"), "192.0.2.1");
    assert_eq!(name("192.0.2.1"), "192.0.2.1");
    assert_eq!(identify.named("alice"), None);
    let whole = Identify::new(&settings("ipv6_prefix = 128"));
    assert_eq!(whole.named("2001:db8::5").unwrap().name(), "2001:db8::5");
}

#[test]
fn a_key_is_one_listed_value_and_never_shown() {
    let identify = Identify::new(&settings(
        "client = { header = 'X-API-Key' }\napi_keys = ['alice']",
    ));
    let peer = identify.peer(([127, 0, 0, 1], 1).into());
    let client = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-api-key", HeaderValue::from_static(value));
        }
        identify
            .client(peer, &headers)
            .map(|id| id.name().into_owned())
    };
    assert_eq!(client(&["alice"]), Ok("alice".to_owned()));
    assert_eq!(client(&[]), Err(Unknown::NoKey));
    assert_eq!(client(&[""]), Err(Unknown::NoKey));
    assert_eq!(client(&["alice", "alice"]), Err(Unknown::NoKey));
    assert_eq!(client(&["mallory"]), Err(Unknown::NotListed));
    let shown = identify.shown(Id::Key("alice")).to_string();
    assert!(
        shown.starts_with("key#") && !shown.contains("alice"),
        "{shown}"
    );
}
