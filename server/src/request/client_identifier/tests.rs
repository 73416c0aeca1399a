//! Tests of client identities. The library parses forwarding headers and tests that.

use std::{cell::OnceCell, net::IpAddr};

use hyper::{HeaderMap, header::HeaderValue};

use super::{ClientIdentifier, IdentifyError};
use crate::{config::settings, request::client_id::ClientId};

#[test]
fn only_a_trusted_proxy_sets_the_client_address() {
    let identifier = ClientIdentifier::new(&settings("trust_proxy = ['10.0.0.0/8']"));
    let headers = HeaderMap::from_iter([(
        "x-forwarded-for".parse().unwrap(),
        HeaderValue::from_static("192.0.2.1"),
    )]);
    let name = |peer: &str| {
        let peer = identifier.peer((peer.parse::<IpAddr>().unwrap(), 4711).into());
        let canonical = OnceCell::new();
        let id = identifier.identify(peer, &headers, &canonical).unwrap();
        assert_eq!(identifier.address(peer, &headers).to_string(), id.name());
        id.name().into_owned()
    };
    assert_eq!(name("10.0.0.1"), "192.0.2.1");
    assert_eq!(name("203.0.113.5"), "203.0.113.5");
}

#[test]
fn ipv6_clients_share_a_network_and_mapped_addresses_are_ipv4() {
    let identifier = ClientIdentifier::new(&settings(""));
    let name = |text: &str| identifier.parse(text).unwrap().name().into_owned();
    assert_eq!(name("2001:db8:0:1:2:3:4:5"), "2001:db8:0:1::");
    assert_eq!(name("::ffff:192.0.2.1"), "192.0.2.1");
    assert_eq!(name("192.0.2.1"), "192.0.2.1");
    assert!(identifier.parse("alice").is_err());
    let whole = ClientIdentifier::new(&settings("ipv6_prefix = 128"));
    assert_eq!(whole.parse("2001:db8::5").unwrap().name(), "2001:db8::5");
}

#[test]
fn a_key_is_a_single_allowed_value_and_redacted_in_logs() {
    let identifier = ClientIdentifier::new(&settings(
        "client = { header = 'X-API-Key' }\napi_keys = ['alice']",
    ));
    let peer = identifier.peer(([127, 0, 0, 1], 1).into());
    let client = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-api-key", HeaderValue::from_static(value));
        }
        identifier
            .identify(peer, &headers, &OnceCell::new())
            .map(|id| id.name().into_owned())
    };
    assert_eq!(client(&["alice"]), Ok("alice".to_owned()));
    assert_eq!(client(&[]), Err(IdentifyError::MissingKey));
    assert_eq!(client(&[""]), Err(IdentifyError::MissingKey));
    assert_eq!(client(&["alice", "alice"]), Err(IdentifyError::MissingKey));
    assert_eq!(client(&["mallory"]), Err(IdentifyError::UnknownKey));
    let redacted = identifier.redacted(ClientId::Key("alice")).to_string();
    assert!(
        redacted.starts_with("key#") && !redacted.contains("alice"),
        "{redacted}"
    );
}

/// Returns the result of identifying a client by `Authorization`.
fn by_authorization(toml: &str, value: &str) -> Result<String, IdentifyError> {
    let toml = format!("client = {{ header = 'Authorization' }}\n{toml}");
    let identifier = ClientIdentifier::new(&settings(&toml));
    let peer = identifier.peer(([127, 0, 0, 1], 1).into());
    let headers = HeaderMap::from_iter([(
        hyper::header::AUTHORIZATION,
        HeaderValue::from_str(value).unwrap(),
    )]);
    identifier
        .identify(peer, &headers, &OnceCell::new())
        .map(|id| id.name().into_owned())
}

#[test]
fn spellings_of_authorization_are_one_client() {
    for toml in ["", "api_keys = ['bearer   abc']"] {
        for value in ["Bearer abc", "bearer abc", "BEARER \t abc"] {
            assert_eq!(
                by_authorization(toml, value),
                Ok("Bearer abc".to_owned()),
                "{value}"
            );
        }
    }
    let rejected = by_authorization("", "Bearer abc def");
    assert_eq!(rejected, Err(IdentifyError::MissingKey));
}

#[test]
fn key_above_1024_bytes_is_too_long() {
    let longest = "k".repeat(1024);
    assert_eq!(by_authorization("", &longest), Ok(longest.clone()));
    let longer = by_authorization("", &format!("{longest}k"));
    assert_eq!(longer, Err(IdentifyError::KeyTooLong));
}

#[test]
fn client_ids_of_rules_are_canonical() {
    let identifier = ClientIdentifier::new(&settings("client = { header = 'Authorization' }"));
    let canonical = identifier.canonical("bearer  abc");
    assert_eq!(
        identifier.parse(&canonical),
        Ok(ClientId::Key("Bearer abc"))
    );
    let long = "k".repeat(1025);
    assert!(identifier.parse(&identifier.canonical(&long)).is_err());
}

#[test]
fn clients_of_a_nat64_are_identified_by_their_ipv4_address() {
    let identifier = ClientIdentifier::new(&settings(""));
    let name = |text: &str| identifier.parse(text).unwrap().name().into_owned();
    assert_eq!(name("64:ff9b::192.0.2.1"), "192.0.2.1");
    assert_eq!(name("2002:c000:201::5"), "192.0.2.1");
}
