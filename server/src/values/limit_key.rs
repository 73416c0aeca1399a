//! Key of a limit: what the requests that share a bucket have in common.

use std::fmt;

use hyper::header::HeaderName;

use super::parse::Value;

/// Maximum number of alternatives of a part of a key.
const MAX_ALTERNATIVES: usize = 4;

/// Part of a key: the first of these that a request has, as in `header:X-API-Key | ip`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitKey(Vec<KeySource>);

/// Source of a key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// The client's network, by the length of its prefix for IPv4 and IPv6; `None`: as for the
    /// default limit.
    Ip(Option<(u8, u8)>),
    Header(HeaderName),
    Cookie(String),
    Query(String),
    /// Claim of a verified token.
    Claim(String),
    Path,
    /// Segment of the path with this number, from 1.
    Segment(usize),
    /// The same bucket for all requests.
    Global,
}

impl LimitKey {
    pub(crate) fn sources(&self) -> &[KeySource] {
        &self.0
    }
}

impl Value for LimitKey {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ip, ip/24,48, header:NAME, cookie:NAME, query:NAME, jwt:CLAIM, path, path:2 or global; alternatives as in \"header:X-API-Key | ip\", and a list for several together")
    }

    fn from_text(text: &str) -> Option<LimitKey> {
        let sources: Option<Vec<_>> = text.split('|').map(|part| source(part.trim())).collect();
        let sources = sources?;
        // What follows a source that every request has would never count.
        let (_, firsts) = sources.split_last()?;
        let is_always = |source: &KeySource| {
            matches!(
                source,
                KeySource::Ip(_) | KeySource::Path | KeySource::Global
            )
        };
        let is_valid = sources.len() <= MAX_ALTERNATIVES && !firsts.iter().any(is_always);
        is_valid.then_some(LimitKey(sources))
    }
}

/// Returns true for a text that can name a cookie.
pub(crate) fn is_cookie_name(text: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_graphic() && !b"=;,".contains(&byte);
    !text.is_empty() && text.bytes().all(is_of_name)
}

fn source(text: &str) -> Option<KeySource> {
    match text {
        "ip" => return Some(KeySource::Ip(None)),
        "path" => return Some(KeySource::Path),
        "global" => return Some(KeySource::Global),
        _ => {}
    }
    if let Some(prefixes) = text.strip_prefix("ip/") {
        let (v4, v6) = prefixes.split_once(',').unwrap_or((prefixes, "64"));
        let length = |text: &str, max| {
            text.trim()
                .parse()
                .ok()
                .filter(|bits| (1..=max).contains(bits))
        };
        return Some(KeySource::Ip(Some((length(v4, 32)?, length(v6, 128)?))));
    }
    let (kind, name) = text.split_once(':')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    match kind {
        "header" => HeaderName::from_text(name).map(KeySource::Header),
        "cookie" if is_cookie_name(name) => Some(KeySource::Cookie(name.to_owned())),
        "query" if is_name && !name.contains(['=', '&']) => Some(KeySource::Query(name.to_owned())),
        "jwt" if is_name => Some(KeySource::Claim(name.to_owned())),
        "path" => name
            .parse()
            .ok()
            .filter(|number| (1..=64).contains(number))
            .map(KeySource::Segment),
        _ => None,
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::Ip(None) => f.write_str("ip"),
            KeySource::Ip(Some((v4, v6))) => write!(f, "ip/{v4},{v6}"),
            KeySource::Header(name) => write!(f, "header:{name}"),
            KeySource::Cookie(name) => write!(f, "cookie:{name}"),
            KeySource::Query(name) => write!(f, "query:{name}"),
            KeySource::Claim(name) => write!(f, "jwt:{name}"),
            KeySource::Path => f.write_str("path"),
            KeySource::Segment(number) => write!(f, "path:{number}"),
            KeySource::Global => f.write_str("global"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_parsed() {
        for text in [
            "ip",
            "ip/24,48",
            "header:x-api-key",
            "cookie:session",
            "query:token",
            "jwt:sub",
            "path",
            "path:2",
            "global",
        ] {
            let key = LimitKey::from_text(text).unwrap();
            assert_eq!(key.sources().len(), 1, "{text}");
            assert_eq!(key.sources()[0].to_string(), text);
        }
        assert_eq!(
            LimitKey::from_text("ip/24").unwrap().sources(),
            [KeySource::Ip(Some((24, 64)))]
        );
        let alternatives = LimitKey::from_text("header:X-API-Key | cookie:a|ip").unwrap();
        assert_eq!(alternatives.sources().len(), 3);
    }

    #[test]
    fn invalid_keys_are_refused() {
        for text in [
            "",
            "address",
            "ip/0",
            "ip/33",
            "ip/24,129",
            "header:",
            "header:a b",
            "cookie:",
            "cookie:a;b",
            "query:a&b",
            "path:0",
            "path:x",
            "jwt:",
            "jwt:a b",
            "ip | header:a",
            "header:a | ",
            "header:a|header:b|header:c|header:d|header:e",
        ] {
            assert_eq!(LimitKey::from_text(text), None, "{text}");
        }
    }
}
