//! Variables of nginx, and the parts of keys that are their counterparts.

/// Meaning of a variable.
pub(crate) enum Source {
    /// Every request has it.
    Always(&'static str),
    /// It is empty for some requests.
    Optional(String),
    /// It is the same for all requests to a server.
    Constant,
    /// It has no counterpart, for this reason.
    Unknown(&'static str),
}

/// Returns the meaning of a variable.
pub(crate) fn source(name: &str) -> Source {
    let header = |name: &str| {
        let words = name.split('_').map(|word| {
            let mut chars = word.chars();
            let first = chars.next().map(|char| char.to_ascii_uppercase());
            first.into_iter().chain(chars).collect::<String>()
        });
        format!("header:{}", words.collect::<Vec<_>>().join("-"))
    };
    match name {
        "binary_remote_addr"
        | "remote_addr"
        | "proxy_protocol_addr"
        | "realip_remote_addr"
        | "http_x_forwarded_for"
        | "proxy_add_x_forwarded_for"
        | "http_x_real_ip" => Source::Always("ip"),
        "uri" | "request_uri" | "document_uri" => Source::Always("path"),
        "server_name" | "server_addr" | "server_port" | "hostname" | "scheme" | "pid"
        | "nginx_version" => Source::Constant,
        "host" | "http_host" => {
            Source::Unknown("limits do not look at the host; run an instance for each host")
        }
        "request_method" => Source::Unknown("no key has the method; use match"),
        "remote_user" => Source::Optional("header:Authorization".to_owned()),
        _ => {
            let named = |prefix: &str| name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
            if let Some(name) = named("http_") {
                Source::Optional(header(name))
            } else if let Some(name) = named("cookie_") {
                Source::Optional(format!("cookie:{name}"))
            } else if let Some(name) = named("arg_") {
                Source::Optional(format!("query:{name}"))
            } else {
                Source::Unknown("it has no counterpart; choose a key by hand")
            }
        }
    }
}

/// Returns the difference between a variable and its counterpart.
pub(crate) fn caveat(name: &str) -> Option<&'static str> {
    match name {
        "http_x_forwarded_for" | "proxy_add_x_forwarded_for" | "http_x_real_ip" => Some(
            "a client can invent this header, so the key is ip: set trust_proxy to the networks of your proxies",
        ),
        "proxy_protocol_addr" => {
            Some("the PROXY protocol is not read: the key is the peer's address")
        }
        "realip_remote_addr" => Some("the key is the client's address, not the proxy's"),
        "remote_user" => Some("the key is the whole header Authorization"),
        "request_uri" => Some("the key is the path without its query"),
        _ => None,
    }
}
