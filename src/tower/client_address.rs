//! Client address of a request: peer address, trusted proxies and IPv6 prefix.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{Extensions, header::HeaderName, request::Parts};
use ipnet::IpNet;

use super::{
    ipv6_prefix::Ipv6Prefix,
    key_error::KeyError,
    trusted_proxies::{ConflictingHeaders, TrustedProxies},
};

/// Peer address of a connection, for servers without an extension of their own: insert it into the
/// extensions of every request.
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

/// Reads the peer address from an extension that the server sets.
type PeerExtractor = Arc<dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync>;

/// Determines the client address of a request.
#[derive(Clone, Default)]
pub(super) struct ClientAddressResolver {
    /// Peer of all requests, for a layer built per connection.
    peer: Option<SocketAddr>,
    peer_extractor: Option<PeerExtractor>,
    /// Shared, since a layer may be cloned for each connection.
    trusted_proxies: Arc<TrustedProxies>,
    ipv6_prefix: Ipv6Prefix,
}

impl ClientAddressResolver {
    pub(super) fn set_peer_extractor<E, A>(
        &mut self,
        address: impl Fn(&E) -> A + Send + Sync + 'static,
    ) where
        E: Send + Sync + 'static,
        A: Into<Option<SocketAddr>>,
    {
        self.peer_extractor = Some(Arc::new(move |extensions| {
            address(extensions.get::<E>()?).into()
        }));
    }

    pub(super) fn set_peer(&mut self, peer: SocketAddr) {
        self.peer = Some(peer);
    }

    pub(super) fn set_trusted_networks(&mut self, networks: Vec<IpNet>) {
        Arc::make_mut(&mut self.trusted_proxies).set_networks(networks);
    }

    pub(super) fn set_header(&mut self, name: HeaderName) {
        Arc::make_mut(&mut self.trusted_proxies).set_header(name);
    }

    pub(super) fn set_ipv6_prefix(&mut self, prefix: Ipv6Prefix) {
        self.ipv6_prefix = prefix;
    }

    pub(super) fn ipv6_prefix(&self) -> Ipv6Prefix {
        self.ipv6_prefix
    }

    /// Returns the client address, truncated to the IPv6 prefix.
    pub(super) fn resolve(&self, request: &Parts) -> Result<IpAddr, KeyError> {
        let extracted = || {
            self.peer_extractor
                .as_ref()
                .and_then(|extract| extract(&request.extensions))
        };
        let inserted = || request.extensions.get::<PeerAddr>().map(|peer| peer.0);
        let peer = self.peer.or_else(extracted).or_else(inserted);
        let peer = peer.ok_or(KeyError::UnknownPeer)?;
        let client = self.trusted_proxies.client(peer.ip(), &request.headers);
        client
            .map(|client| self.ipv6_prefix.network(client))
            .map_err(|ConflictingHeaders| KeyError::ConflictingHeaders)
    }
}

impl fmt::Debug for ClientAddressResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAddressResolver")
            .field("trusted_proxies", &self.trusted_proxies)
            .field("ipv6_prefix", &self.ipv6_prefix.bits())
            .finish_non_exhaustive()
    }
}
