//! Client address behind trusted proxies, from `X-Forwarded-For` and `Forwarded` (RFC 7239).
//!
//! Every proxy appends to the right. Both headers are therefore read from the right, and no element
//! further left can change the result: the first address that is not a trusted proxy is the client.
//! A malformed element ends the search at the last address that was read.
//!
//! A proxy that appends to one header passes the other on as the client wrote it. When both headers
//! are present and name different clients, either may be forged: the client is then the peer
//! itself.

mod forwarded;

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

use self::forwarded::{FORWARDED, X_FORWARDED_FOR};

/// Networks of trusted proxies: `X-Forwarded-For` and `Forwarded` count only when such a proxy sent
/// them.
///
/// ```
/// use {http::HeaderMap, std::net::IpAddr, tollgate::tower::TrustedProxies};
///
/// let proxies: TrustedProxies = ["10.0.0.0/8".parse()?].into_iter().collect();
/// let mut headers = HeaderMap::new();
/// // The client wrote the first address; the proxy appended the address of its peer.
/// headers.insert("x-forwarded-for", "198.51.100.9, 192.0.2.1".parse()?);
///
/// let [proxy, other]: [IpAddr; 2] = ["10.0.0.1".parse()?, "203.0.113.5".parse()?];
/// assert_eq!(proxies.client(proxy, &headers).to_string(), "192.0.2.1");
/// assert_eq!(proxies.client(other, &headers), other);
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
    /// Returns whether `address` is the address of a trusted proxy. An IPv4-mapped IPv6 address
    /// counts as IPv4.
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

    /// Returns the client of a request that `peer` sent: the rightmost untrusted address in the
    /// headers of a trusted peer, else the peer itself.
    ///
    /// A malformed element ends the search at the last address that was read. When both headers are
    /// present and disagree, either may be forged, and the peer is the client. IPv4-mapped
    /// addresses are returned as IPv4.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if self.trusts(peer) {
            self.forwarded_client(peer, headers)
        } else {
            peer
        }
    }

    /// Returns whether the forwarding headers count: `peer` is a trusted proxy, and the two headers
    /// do not name different clients.
    ///
    /// ```
    /// # use {http::HeaderMap, tollgate::tower::TrustedProxies};
    /// let proxies: TrustedProxies = ["10.0.0.0/8".parse()?].into_iter().collect();
    /// let mut headers = HeaderMap::new();
    /// headers.insert("x-forwarded-for", "192.0.2.1".parse()?);
    /// assert!(proxies.trusts_headers("10.0.0.1".parse()?, &headers));
    /// assert!(!proxies.trusts_headers("203.0.113.5".parse()?, &headers));
    /// headers.insert("forwarded", "for=198.51.100.9".parse()?);
    /// assert!(!proxies.trusts_headers("10.0.0.1".parse()?, &headers));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn trusts_headers(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let peer = peer.to_canonical();
        let has_both = headers.contains_key(X_FORWARDED_FOR) && headers.contains_key(FORWARDED);
        let agree = || {
            self.first_untrusted(peer, forwarded::x_forwarded_for_hops(headers))
                == self.first_untrusted(peer, forwarded::forwarded_hops(headers))
        };
        self.trusts(peer) && (!has_both || agree())
    }

    /// Returns the addresses that the forwarding headers list, the client's end first: those of
    /// `X-Forwarded-For`, or without that header, those of `Forwarded`. A malformed element and all
    /// elements left of it are omitted.
    ///
    /// It does not check trust: see [`TrustedProxies::trusts_headers`].
    ///
    /// ```
    /// # use {http::HeaderMap, std::net::IpAddr, tollgate::tower::TrustedProxies};
    /// let mut headers = HeaderMap::new();
    /// headers.insert("x-forwarded-for", "unknown, 192.0.2.1, 10.0.0.2".parse()?);
    /// let hops: [IpAddr; 2] = ["192.0.2.1".parse()?, "10.0.0.2".parse()?];
    /// assert_eq!(TrustedProxies::hops(&headers), hops);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn hops(headers: &HeaderMap) -> Vec<IpAddr> {
        let mut hops: Vec<IpAddr> = if headers.contains_key(X_FORWARDED_FOR) {
            forwarded::x_forwarded_for_hops(headers)
                .map_while(|hop| hop)
                .collect()
        } else {
            forwarded::forwarded_hops(headers)
                .map_while(|hop| hop)
                .collect()
        };
        hops.reverse();
        hops
    }

    /// Client of a request from a trusted peer.
    fn forwarded_client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let has = |name| headers.contains_key(name);
        let x_forwarded_for =
            || self.first_untrusted(peer, forwarded::x_forwarded_for_hops(headers));
        let forwarded = || self.first_untrusted(peer, forwarded::forwarded_hops(headers));
        match (has(X_FORWARDED_FOR), has(FORWARDED)) {
            (false, false) => peer,
            (true, false) => x_forwarded_for(),
            (false, true) => forwarded(),
            (true, true) => Some(x_forwarded_for())
                .filter(|client| *client == forwarded())
                .unwrap_or(peer),
        }
    }

    /// Returns the first untrusted address of `hops`, nearest first, or the last address before a
    /// malformed element (`None`).
    fn first_untrusted(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
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

#[cfg(test)]
mod tests;
