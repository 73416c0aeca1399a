//! Directives beside the limits: the client's address, and those without a counterpart.

use ipnet::IpNet;

use super::syntax::Directive;
use crate::{convert::policy::Policy, values::Value};

/// Files that ship with nginx and have no limits.
const KNOWN_FILES: [&str; 7] = [
    "mime.types",
    "fastcgi_params",
    "fastcgi.conf",
    "fastcgi-php.conf",
    "proxy_params",
    "uwsgi_params",
    "scgi_params",
];

/// Header with the client's address, when proxies are trusted.
const DEFAULT_REAL_IP_HEADER: &str = "x-real-ip";

/// Adds the trusted proxies, and gaps for directives without a counterpart.
pub(crate) fn add(policy: &mut Policy, directives: &[Directive]) {
    add_all(policy, directives);
    if policy.trust_proxy.is_empty() {
        policy.client_address_header = None;
    } else if policy.client_address_header.is_none() {
        policy.client_address_header = Some(DEFAULT_REAL_IP_HEADER.to_owned());
    }
}

fn add_all(policy: &mut Policy, directives: &[Directive]) {
    for directive in directives {
        add_one(policy, directive);
        if directive.name == "stream" {
            add_stream(policy, directive.block());
        } else {
            add_all(policy, directive.block());
        }
    }
}

fn add_one(policy: &mut Policy, directive: &Directive) {
    let reason = match directive.name.as_str() {
        "limit_rate" | "limit_rate_after" if directive.arg(0) != "0" => {
            "bytes a second of a response have no bound here"
        }
        "limit_req_log_level" | "limit_conn_log_level" => {
            "the level of refusals is debug: set TOLLGATE_LOG"
        }
        "limit_zone" => "removed from nginx: write limit_conn_zone",
        "set_real_ip_from" => match IpNet::from_text(directive.arg(0)) {
            Some(network) => {
                if !policy.trust_proxy.contains(&network.trunc()) {
                    policy.trust_proxy.push(network.trunc());
                }
                return;
            }
            None => "expected a network: add the addresses of the proxy to trust_proxy",
        },
        "real_ip_header" => match directive.arg(0) {
            "proxy_protocol" => "the PROXY protocol is not read: let the proxy write a header",
            header if hyper::header::HeaderName::from_text(header).is_some() => {
                policy.client_address_header = Some(header.to_ascii_lowercase());
                return;
            }
            _ => "expected the name of a header",
        },
        "include" => {
            let file = directive.arg(0);
            let name = file.rsplit('/').next().unwrap_or(file);
            let is_known = KNOWN_FILES.contains(&name) || file.contains("modules-enabled");
            if is_known {
                return;
            }
            "the file is not read, and may have limits: convert the output of nginx -T"
        }
        _ => return,
    };
    policy.gap(directive.place(), reason);
}

/// Adds gaps for the limits of TCP connections.
fn add_stream(policy: &mut Policy, directives: &[Directive]) {
    for directive in directives {
        if directive.name == "limit_conn" {
            policy.gap(
                directive.place(),
                "TCP connections of a client: set max_per_address in [connections]",
            );
        }
        add_stream(policy, directive.block());
    }
}
