//! Parser of `X-Forwarded-For` and `Forwarded` (RFC 7239), from right to left.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, header::HeaderName};

pub(super) static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) static FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// Addresses of `X-Forwarded-For` or of another header of this syntax, nearest hop first. A
/// malformed element is `None`.
pub(super) fn address_hops(
    headers: &HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = Option<IpAddr>> {
    lines(headers, name).flat_map(addresses)
}

/// Addresses of `Forwarded`, nearest hop first. A malformed element is `None`.
pub(super) fn forwarded_hops(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    lines(headers, &FORWARDED).flat_map(|line| Elements { rest: line }.map(node))
}

/// Values of a header, the last line first.
fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .into_iter()
        .rev()
        .map(|value| value.as_bytes())
}

/// Addresses of a line of `X-Forwarded-For`, from right to left. Empty elements are skipped.
fn addresses(line: &[u8]) -> impl Iterator<Item = Option<IpAddr>> {
    line.rsplit(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|text| !text.is_empty())
        .map(address)
}

/// Parses an address with or without a port; an IPv6 address with or without brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let in_brackets = || {
        text.strip_prefix('[')?
            .strip_suffix(']')?
            .parse()
            .ok()
            .map(IpAddr::V6)
    };
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(in_brackets).or_else(with_port)
}

/// Elements of a line of `Forwarded`, from right to left, split at commas outside quotes.
///
/// Because it reads from the right, a quote that the client left open cannot swallow the elements
/// that proxies appended.
struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (rest, element) = match last_comma(self.rest) {
                Some(comma) => (&self.rest[..comma], &self.rest[comma + 1..]),
                None => (&[][..], self.rest),
            };
            self.rest = rest;
            let element = element.trim_ascii();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// Index of the last comma outside quotes.
fn last_comma(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in text.iter().enumerate().rev() {
        match byte {
            b'"' if !quoted => quoted = true,
            // After an odd number of backslashes the quote is escaped, part of the quoted text.
            b'"' => {
                quoted = text[..at]
                    .iter()
                    .rev()
                    .take_while(|byte| **byte == b'\\')
                    .count()
                    % 2
                    == 1
            }
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Address in the `for` parameter of an element. `None` when the parameter is missing, duplicate or
/// obfuscated, or when the element is malformed.
fn node(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = element;
    loop {
        let (name, value, remainder) = pair(rest)?;
        if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
        match remainder {
            [] => break,
            [b';', remainder @ ..] => rest = remainder,
            _ => return None,
        }
    }
    let node = found?;
    // RFC 7239 requires brackets around an IPv6 address.
    if node.first() != Some(&b'[') && node.iter().filter(|byte| **byte == b':').count() > 1 {
        None
    } else {
        address(node)
    }
}

/// Parses `name=value` or `name="value"` and returns the remaining text. Backslashes in a value are
/// not unescaped: such a value is not an address anyway.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&text[..equals], &text[equals + 1..]);
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return None;
    }
    let end = match value {
        [b'"', quoted @ ..] => {
            let close = closing_quote(quoted)?;
            return Some((
                name,
                &quoted[..close],
                quoted[close + 1..].trim_ascii_start(),
            ));
        }
        _ => value
            .iter()
            .position(|byte| !is_token(*byte) && !b":[]".contains(byte))
            .unwrap_or(value.len()),
    };
    (end > 0).then(|| (name, &value[..end], value[end..].trim_ascii_start()))
}

/// Index of the first quote that is not escaped.
fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    })
}

/// Returns whether a byte may be part of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
