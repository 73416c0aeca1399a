//! Client address behind trusted proxies, from `X-Forwarded-For`, `Forwarded` (RFC 7239) or another
//! header.
//!
//! Every proxy appends to the right. Headers are therefore read from the right, and no element
//! further left can change the result: the first address that is not a trusted proxy is the client.
//! A malformed element ends the search at the last address that was read.
//!
//! A proxy that appends to one header passes the other on as the client wrote it. When both headers
//! are present and name different clients, either may be forged, and the request has no client.

mod forwarded;

use std::{error::Error, fmt, net::IpAddr};

use http::{HeaderMap, header::HeaderName};
use ipnet::IpNet;

use self::forwarded::{FORWARDED, X_FORWARDED_FOR};

/// Networks of trusted proxies: `X-Forwarded-For` and `Forwarded`, or one [chosen
/// header](TrustedProxies::with_header), count only when such a proxy sent them.
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
/// assert_eq!(proxies.client(proxy, &headers)?.to_string(), "192.0.2.1");
/// assert_eq!(proxies.client(other, &headers)?, other);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    /// `None`: `X-Forwarded-For` and `Forwarded`.
    header: Option<HeaderName>,
}

/// Error of forwarding headers that name different clients. Either may be forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConflictingHeaders;

impl fmt::Display for ConflictingHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X-Forwarded-For and Forwarded name different clients")
    }
}

impl Error for ConflictingHeaders {}

impl FromIterator<IpNet> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> TrustedProxies {
        TrustedProxies {
            networks: networks.into_iter().collect(),
            header: None,
        }
    }
}

impl TrustedProxies {
    /// Sets the only header that counts: `forwarded`, or a header with an address or a list of
    /// addresses, such as `x-forwarded-for`, `x-real-ip` or `cf-connecting-ip`.
    ///
    /// ```
    /// # use {http::{HeaderMap, header::HeaderName}, tollgate::tower::TrustedProxies};
    /// let proxies: TrustedProxies = ["10.0.0.0/8".parse()?].into_iter().collect();
    /// let proxies = proxies.with_header(HeaderName::from_static("x-real-ip"));
    /// let mut headers = HeaderMap::new();
    /// headers.insert("x-forwarded-for", "198.51.100.9".parse()?);
    /// headers.insert("x-real-ip", "192.0.2.1".parse()?);
    /// let client = proxies.client("10.0.0.1".parse()?, &headers)?;
    /// assert_eq!(client.to_string(), "192.0.2.1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_header(mut self, name: HeaderName) -> TrustedProxies {
        self.set_header(name);
        self
    }

    pub(super) fn set_header(&mut self, name: HeaderName) {
        self.header = Some(name);
    }

    pub(super) fn set_networks(&mut self, networks: Vec<IpNet>) {
        self.networks = networks;
    }

    /// The only header that counts; `None`: `X-Forwarded-For` and `Forwarded`.
    #[must_use]
    pub fn header(&self) -> Option<&HeaderName> {
        self.header.as_ref()
    }

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
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }

    /// Returns the client of a request that `peer` sent: the rightmost untrusted address in the
    /// headers of a trusted peer, else the peer itself.
    ///
    /// A malformed element ends the search at the last address that was read. IPv4-mapped addresses
    /// are returned as IPv4.
    ///
    /// # Errors
    /// [`ConflictingHeaders`], when `X-Forwarded-For` and `Forwarded` of a trusted peer name
    /// different clients and [`with_header`](TrustedProxies::with_header) chooses neither.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Result<IpAddr, ConflictingHeaders> {
        let peer = peer.to_canonical();
        if self.trusts(peer) {
            self.named_client(headers)
                .map(|client| client.unwrap_or(peer))
        } else {
            Ok(peer)
        }
    }

    /// Returns the client that the headers of a trusted peer name, or `None` when they name none.
    /// Check [`trusts`](TrustedProxies::trusts) first.
    ///
    /// # Errors
    /// Those of [`TrustedProxies::client`].
    ///
    /// ```
    /// # use {http::HeaderMap, tollgate::tower::{ConflictingHeaders, TrustedProxies}};
    /// let proxies: TrustedProxies = ["10.0.0.0/8".parse()?].into_iter().collect();
    /// let mut headers = HeaderMap::new();
    /// assert_eq!(proxies.named_client(&headers), Ok(None));
    /// headers.insert("x-forwarded-for", "192.0.2.1".parse()?);
    /// assert_eq!(proxies.named_client(&headers), Ok(Some("192.0.2.1".parse()?)));
    /// headers.insert("forwarded", "for=198.51.100.9".parse()?);
    /// assert_eq!(proxies.named_client(&headers), Err(ConflictingHeaders));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn named_client(&self, headers: &HeaderMap) -> Result<Option<IpAddr>, ConflictingHeaders> {
        let listed = |name| self.first_untrusted(forwarded::address_hops(headers, name));
        let forwarded = || self.first_untrusted(forwarded::forwarded_hops(headers));
        match &self.header {
            Some(name) if *name == FORWARDED => Ok(forwarded()),
            Some(name) => Ok(listed(name)),
            None => {
                let has = |name: &HeaderName| headers.contains_key(name);
                match (has(&X_FORWARDED_FOR), has(&FORWARDED)) {
                    (false, false) => Ok(None),
                    (true, false) => Ok(listed(&X_FORWARDED_FOR)),
                    (false, true) => Ok(forwarded()),
                    (true, true) => Some(listed(&X_FORWARDED_FOR))
                        .filter(|client| *client == forwarded())
                        .ok_or(ConflictingHeaders),
                }
            }
        }
    }

    /// Returns the addresses that the forwarding headers list, the client's end first: those of the
    /// chosen header, else of `X-Forwarded-For`, else of `Forwarded`. A malformed element and all
    /// elements left of it are omitted.
    ///
    /// It checks neither trust nor conflicts: see [`TrustedProxies::client`].
    ///
    /// ```
    /// # use {http::HeaderMap, std::net::IpAddr, tollgate::tower::TrustedProxies};
    /// let mut headers = HeaderMap::new();
    /// headers.insert("x-forwarded-for", "unknown, 192.0.2.1, 10.0.0.2".parse()?);
    /// let hops: [IpAddr; 2] = ["192.0.2.1".parse()?, "10.0.0.2".parse()?];
    /// assert_eq!(TrustedProxies::default().hops(&headers), hops);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn hops(&self, headers: &HeaderMap) -> Vec<IpAddr> {
        let name = match &self.header {
            Some(name) => name,
            None if headers.contains_key(&X_FORWARDED_FOR) => &X_FORWARDED_FOR,
            None => &FORWARDED,
        };
        let mut hops: Vec<IpAddr> = if *name == FORWARDED {
            forwarded::forwarded_hops(headers)
                .map_while(|hop| hop)
                .collect()
        } else {
            forwarded::address_hops(headers, name)
                .map_while(|hop| hop)
                .collect()
        };
        hops.reverse();
        hops
    }

    /// Returns the first untrusted address of `hops`, nearest first, or the last address before a
    /// malformed element (`None`).
    fn first_untrusted(&self, hops: impl Iterator<Item = Option<IpAddr>>) -> Option<IpAddr> {
        let mut nearest = None;
        for hop in hops {
            let Some(address) = hop else { break };
            let address = address.to_canonical();
            nearest = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        nearest
    }
}

#[cfg(test)]
mod tests;
