//! What trusted proxies say of where a request came from: `X-Forwarded-For`, and `Forwarded` (RFC
//! 7239).
//!
//! Every proxy appends to the right. So both headers are read from the right, and nothing further
//! left can change what a trusted proxy has said: the first address that is not one of ours is the
//! client. What cannot be read ends the search at the last address that could be.
//!
//! A proxy that appends to one header passes the other on as the client wrote it. When both are
//! there and name different clients, one of them may be forged, and nobody knows which: the client
//! is then the proxy itself.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, header::HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// The networks of your own proxies: from them alone are `X-Forwarded-For` and `Forwarded`
/// believed.
///
/// ```
/// use {http::HeaderMap, std::net::IpAddr, tollgate::tower::TrustedProxies};
///
/// let proxies: TrustedProxies = ["10.0.0.0/8".parse()?].into_iter().collect();
/// let mut headers = HeaderMap::new();
/// // The client wrote the first address; our own proxy added whom it saw.
/// headers.insert("x-forwarded-for", "198.51.100.9, 192.0.2.1".parse()?);
///
/// let [proxy, stranger]: [IpAddr; 2] = ["10.0.0.1".parse()?, "203.0.113.5".parse()?];
/// assert_eq!(proxies.client(proxy, &headers).to_string(), "192.0.2.1");
/// assert_eq!(proxies.client(stranger, &headers), stranger);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl FromIterator<IpNet> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> TrustedProxies {
        TrustedProxies(networks.into_iter().collect())
    }
}

impl TrustedProxies {
    /// Whether this is the address of one of them. An IPv4 address inside of an IPv6 one counts as
    /// the former.
    ///
    /// ```
    /// # use tollgate::tower::TrustedProxies;
    /// let proxies: TrustedProxies = ["10.0.0.0/8".parse()?].into_iter().collect();
    /// assert!(proxies.trusts("10.1.2.3".parse()?));
    /// assert!(!proxies.trusts("192.0.2.7".parse()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who sent a request that `peer` handed over: the rightmost address that is not one of ours,
    /// as far as trusted proxies tell; else the peer itself.
    ///
    /// What cannot be read ends the search at the last address that could be. When both headers are
    /// there and disagree, one of them may be forged, and the peer counts.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if self.trusts(peer) {
            self.behind(peer, headers)
        } else {
            peer
        }
    }

    /// Whether what the headers say counts: `peer` is one of the proxies, and the two headers do
    /// not name different clients.
    #[must_use]
    pub fn believes(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let peer = peer.to_canonical();
        let both = headers.contains_key(X_FORWARDED_FOR) && headers.contains_key(FORWARDED);
        let agree = || {
            self.first_foreign(peer, x_forwarded_for(headers))
                == self.first_foreign(peer, forwarded(headers))
        };
        self.trusts(peer) && (!both || agree())
    }

    /// The addresses that a request has come through, the farthest first, as far as they can be
    /// read from the right: those of `X-Forwarded-For`, or where there is none, of `Forwarded`.
    /// Whether they are true is another question.
    #[must_use]
    pub fn hops(headers: &HeaderMap) -> Vec<IpAddr> {
        let mut hops: Vec<IpAddr> = if headers.contains_key(X_FORWARDED_FOR) {
            x_forwarded_for(headers).map_while(|hop| hop).collect()
        } else {
            forwarded(headers).map_while(|hop| hop).collect()
        };
        hops.reverse();
        hops
    }

    /// The client behind a trusted peer.
    fn behind(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let has = |name| headers.contains_key(name);
        let x_forwarded_for = || self.first_foreign(peer, x_forwarded_for(headers));
        let forwarded = || self.first_foreign(peer, forwarded(headers));
        match (has(X_FORWARDED_FOR), has(FORWARDED)) {
            (false, false) => peer,
            (true, false) => x_forwarded_for(),
            (false, true) => forwarded(),
            (true, true) => Some(x_forwarded_for())
                .filter(|client| *client == forwarded())
                .unwrap_or(peer),
        }
    }

    /// `hops`: from the nearest to the farthest; `None` is one that cannot be read.
    fn first_foreign(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut nearest = peer;
        for hop in hops {
            let Some(address) = hop else { break };
            nearest = address.to_canonical();
            if !self.trusts(nearest) {
                break;
            }
        }
        nearest
    }
}

/// The hops of `X-Forwarded-For`, from the nearest to the farthest.
fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    lines(headers, X_FORWARDED_FOR).flat_map(addresses)
}

/// The hops of `Forwarded`, from the nearest to the farthest.
fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    lines(headers, FORWARDED).flat_map(|line| Elements { rest: line }.map(node))
}

fn lines(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(name)
        .into_iter()
        .rev()
        .map(|value| value.as_bytes())
}

/// The addresses of a line of `X-Forwarded-For`, from the right. Empty elements do not count.
fn addresses(line: &[u8]) -> impl Iterator<Item = Option<IpAddr>> {
    line.rsplit(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|text| !text.is_empty())
        .map(address)
}

/// An address with or without a port, an IPv6 one with or without brackets.
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

/// The elements of a line of `Forwarded`, from the right, split at commas outside of quotes.
///
/// Reading from the right keeps a quote that the client opened from swallowing what a proxy
/// appended.
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

/// Where the last comma outside of quotes stands.
fn last_comma(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in text.iter().enumerate().rev() {
        match byte {
            b'"' if !quoted => quoted = true,
            // Behind an odd number of backslashes it is a character of the quoted text.
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

/// The `for` of an element. `None` when it has none, or more than one, or hides it, or is
/// malformed.
fn node(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = element;
    loop {
        let (name, value, behind) = pair(rest)?;
        if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
        match behind {
            [] => break,
            [b';', behind @ ..] => rest = behind,
            _ => return None,
        }
    }
    let node = found?;
    // An IPv6 address must stand in brackets here.
    if node.first() != Some(&b'[') && node.iter().filter(|byte| **byte == b':').count() > 1 {
        None
    } else {
        address(node)
    }
}

/// `name=value` or `name="value"`, and what stands behind it. A value with backslashes is no
/// address: it stays as it is.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&text[..equals], &text[equals + 1..]);
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return None;
    }
    let end = match value {
        [b'"', inside @ ..] => {
            let close = closing_quote(inside)?;
            return Some((
                name,
                &inside[..close],
                inside[close + 1..].trim_ascii_start(),
            ));
        }
        _ => value
            .iter()
            .position(|byte| !is_token(*byte) && !b":[]".contains(byte))
            .unwrap_or(value.len()),
    };
    (end > 0).then(|| (name, &value[..end], value[end..].trim_ascii_start()))
}

fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    })
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
