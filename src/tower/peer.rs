//! Whose connection a request came on, and which network that is.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use http::{Extensions, request::Parts};

use super::forwarded::TrustedProxies;

/// An IPv6 client has at least this many addresses: a network of 64 bits.
const IPV6_PREFIX: u8 = 64;

/// The other end of a connection, for servers that do not leave an extension of their own: put it
/// in the extensions of every request.
///
/// ```
/// use {http::Request, tollgate::tower::PeerAddr};
///
/// let accepted_from = ([192, 0, 2, 7], 4711).into();
/// let mut request = Request::new("body");
/// request.extensions_mut().insert(PeerAddr(accepted_from));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

type Find = Arc<dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync>;

/// Finds a client's address in a request.
#[derive(Clone)]
pub(super) struct Clients {
    /// The peer of all requests.
    known: Option<SocketAddr>,
    find: Option<Find>,
    /// Shared, since a layer may be copied for each connection.
    trusted: Arc<TrustedProxies>,
    ipv6_mask: u128,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients {
            known: None,
            find: None,
            trusted: Arc::default(),
            ipv6_mask: mask(IPV6_PREFIX),
        }
    }
}

impl Clients {
    pub(super) fn find_in<E, A>(&mut self, address: impl Fn(&E) -> A + Send + Sync + 'static)
    where
        E: Send + Sync + 'static,
        A: Into<Option<SocketAddr>>,
    {
        self.find = Some(Arc::new(move |extensions| {
            address(extensions.get::<E>()?).into()
        }));
    }

    pub(super) fn are_behind(&mut self, peer: SocketAddr) {
        self.known = Some(peer);
    }

    pub(super) fn trust(&mut self, trusted: TrustedProxies) {
        self.trusted = Arc::new(trusted);
    }

    pub(super) fn tell_apart_by(&mut self, prefix: u8) {
        self.ipv6_mask = mask(prefix);
    }

    /// The client's address, as far as it counts: the network of an IPv6 one. `None`: nobody left
    /// the peer's address.
    pub(super) fn network(&self, request: &Parts) -> Option<IpAddr> {
        let found = || {
            self.find
                .as_ref()
                .and_then(|find| find(&request.extensions))
        };
        let left = || request.extensions.get::<PeerAddr>().map(|peer| peer.0);
        let peer = self.known.or_else(found).or_else(left)?;
        Some(match self.trusted.client(peer.ip(), &request.headers) {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & self.ipv6_mask).into(),
            v4 => v4,
        })
    }
}

fn mask(prefix: u8) -> u128 {
    u128::MAX
        .checked_shl(128_u32.saturating_sub(prefix.into()))
        .unwrap_or(0)
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients")
            .field("trusted", &self.trusted)
            .field("ipv6_prefix", &self.ipv6_mask.leading_ones())
            .finish_non_exhaustive()
    }
}
