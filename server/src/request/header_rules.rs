//! Request headers that a gateway removes.
//!
//! - Names with other characters than letters, digits and hyphens, as nginx does by default. CGI,
//!   WSGI and PHP read `X_API_Key` and `X-API-Key` as one variable, so that a request could be
//!   limited by one of them and served by the other.
//! - Headers that name a client or another path, unless a trusted proxy sent them.
//! - In trailers, which some servers merge into the headers, also the headers that decide about a
//!   request or about its body.

use hyper::{HeaderMap, header::HeaderName};

use super::method_override::overrides_method;
use crate::{
    config::Settings,
    values::{Client, is_same_variable},
};

/// Rules for the request headers and trailers that a gateway passes on.
#[derive(Debug)]
pub(crate) struct HeaderRules {
    /// Headers of API keys, and others that limits depend on.
    keys: Vec<HeaderName>,
    /// Header in which trusted proxies name the client.
    address: Option<HeaderName>,
    /// Headers that pass although the rules would remove them.
    passed: Vec<HeaderName>,
}

impl HeaderRules {
    pub(crate) fn new(settings: &Settings) -> HeaderRules {
        HeaderRules {
            keys: match &settings.client {
                Client::Ip => None,
                Client::Header(header) => Some(header),
            }
            .into_iter()
            .chain(settings.limits.headers())
            .cloned()
            .collect(),
            address: settings.client_address_header.clone(),
            passed: settings.pass_headers.clone(),
        }
    }

    /// Removes the headers that do not pass. `is_trusted`: a trusted proxy sent them.
    pub(crate) fn apply(&self, headers: &mut HeaderMap, is_trusted: bool) {
        remove_if(headers, |name| !self.passes(name, is_trusted));
    }

    /// Removes the trailers that do not pass. They are the client's own, also behind a proxy.
    pub(crate) fn apply_to_trailers(&self, trailers: &mut HeaderMap) {
        remove_if(trailers, |name| {
            let is_key = self.keys.contains(name);
            is_key || is_message_header(name) || overrides_method(name) || !self.passes(name, false)
        });
    }

    fn passes(&self, name: &HeaderName, is_trusted: bool) -> bool {
        let is_same = |key: &&HeaderName| is_same_variable(key.as_str(), name.as_str());
        if let Some(key) = self.keys.iter().find(is_same) {
            return name == key;
        }
        let is_plain = name
            .as_str()
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let names_client =
            || is_client_header(name.as_str()) || self.address.as_ref() == Some(name);
        (is_plain && (is_trusted || !names_client())) || self.passed.contains(name)
    }
}

/// Returns true if the header states which client or path a request had at a proxy.
pub(crate) fn is_client_header(name: &str) -> bool {
    // Most headers begin with another letter.
    if !name.starts_with(['c', 'f', 'p', 't', 'w', 'x']) {
        return false;
    }
    name.starts_with("x-forwarded-")
        || matches!(
            name,
            "cf-connecting-ip"
                | "cf-connecting-ipv6"
                | "cf-pseudo-ipv4"
                | "client-ip"
                | "fastly-client-ip"
                | "fly-client-ip"
                | "forwarded"
                | "forwarded-for"
                | "forwarded-for-ip"
                | "proxy-client-ip"
                | "true-client-ip"
                | "wl-proxy-client-ip"
                | "x-appengine-remote-addr"
                | "x-appengine-user-ip"
                | "x-azure-clientip"
                | "x-azure-socketip"
                | "x-client-ip"
                | "x-cluster-client-ip"
                | "x-envoy-external-address"
                | "x-envoy-original-path"
                | "x-forward-for"
                | "x-forwarded"
                | "x-http-client-ip"
                | "x-nf-client-connection-ip"
                | "x-original-forwarded-for"
                | "x-original-host"
                | "x-original-method"
                | "x-original-remote-addr"
                | "x-original-uri"
                | "x-original-url"
                | "x-originating-ip"
                | "x-proxyuser-ip"
                | "x-real-ip"
                | "x-remote-addr"
                | "x-remote-ip"
                | "x-rewrite-url"
                | "x-vercel-forwarded-for"
        )
}

/// Returns true if the header concerns routing, framing or access, so that it may not be a trailer
/// (RFC 9110, section 6.5.1).
fn is_message_header(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("content-")
        || matches!(
            name,
            "authorization"
                | "cache-control"
                | "connection"
                | "cookie"
                | "expect"
                | "host"
                | "max-forwards"
                | "pragma"
                | "proxy-authorization"
                | "range"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
        )
}

fn remove_if(headers: &mut HeaderMap, is_removed: impl Fn(&HeaderName) -> bool) {
    // Does not allocate while it is empty.
    let removed: Vec<_> = headers
        .keys()
        .filter(|name| is_removed(name))
        .cloned()
        .collect();
    for name in removed {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::config::settings;

    fn passing(toml: &str, is_trusted: bool, given: &[&str]) -> Vec<String> {
        let rules = HeaderRules::new(&settings(toml));
        let mut headers = map(given);
        rules.apply(&mut headers, is_trusted);
        names(&headers)
    }

    /// Sorted, since a header map has no order.
    fn names(headers: &HeaderMap) -> Vec<String> {
        let mut names: Vec<_> = headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    fn map(names: &[&str]) -> HeaderMap {
        let value = HeaderValue::from_static("1");
        names
            .iter()
            .map(|name| (name.parse::<HeaderName>().unwrap(), value.clone()))
            .collect()
    }

    #[test]
    fn unusual_names_and_client_names_of_strangers_do_not_pass() {
        let names = ["x_api_key", "x.api.key", "x-real-ip", "client-ip", "accept"];
        assert_eq!(passing("", false, &names), ["accept"]);
        assert_eq!(
            passing("", true, &names),
            ["accept", "client-ip", "x-real-ip"]
        );
    }

    #[test]
    fn listed_headers_pass() {
        let toml =
            "upstream = 'http://127.0.0.1:1'\n[gateway]\npass_headers = ['x_trace', 'Client-IP']";
        let names = ["x_trace", "client-ip", "x_other", "true-client-ip"];
        assert_eq!(passing(toml, false, &names), ["client-ip", "x_trace"]);
    }

    #[test]
    fn only_the_header_itself_passes_as_the_key() {
        for (key, other) in [
            ("api_key", "api-key"),
            ("api-key", "api_key"),
            ("api.key", "api_key"),
        ] {
            let toml = format!("client = {{ header = '{key}' }}");
            assert_eq!(passing(&toml, true, &[key, other]), [key]);
        }
    }

    #[test]
    fn configured_address_header_of_a_stranger_does_not_pass() {
        let toml = "client_address_header = 'x-edge-ip'\ntrust_proxy = ['10.0.0.0/8']";
        assert!(passing(toml, false, &["x-edge-ip"]).is_empty());
        assert_eq!(passing(toml, true, &["x-edge-ip"]), ["x-edge-ip"]);
    }

    #[test]
    fn trailers_carry_no_header_that_decides() {
        let rules = HeaderRules::new(&settings("client = { header = 'x-api-key' }"));
        let mut trailers = map(&[
            "x-api-key",
            "x_api_key",
            "x-forwarded-for",
            "forwarded",
            "cf-connecting-ip",
            "x-original-url",
            "authorization",
            "content-length",
            "host",
            "x-http-method-override",
            "x-checksum",
            "grpc-status",
        ]);
        rules.apply_to_trailers(&mut trailers);
        assert_eq!(names(&trailers), ["grpc-status", "x-checksum"]);
    }
}
