//! Identification of clients: by address, which a trusted proxy may supply, or by API key.

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    cell::OnceCell,
    collections::HashSet,
    hash::RandomState,
    net::{IpAddr, SocketAddr},
    sync::Once,
};

use hyper::HeaderMap;
use ipnet::IpNet;
use tollgate::tower::{ConflictingHeaders, HeaderKey, Ipv6Prefix, TrustedProxies};

use super::{
    client_id::{CHECK_PREFIX, ClientId, RedactedClientId},
    header_rules::is_client_header,
};
use crate::{
    config::Settings,
    values::{Client, Nat64Prefix},
};

/// Identifies the client of a request.
pub(crate) struct ClientIdentifier {
    source: Source,
    trusted: TrustedProxies,
    ipv6_prefix: Ipv6Prefix,
    nat64_prefixes: Vec<Nat64Prefix>,
    /// Hasher for keys in the log, seeded per process.
    redaction: RandomState,
    /// Warnings that are logged once per configuration.
    unnamed_client: Once,
    conflicting_headers: Once,
}

/// Source of client identities.
enum Source {
    Address,
    Key {
        header: HeaderKey,
        /// Accepted keys; `None` accepts every key.
        allowed: Option<HashSet<String>>,
    },
}

/// Remote address of a connection, determined once for all of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    trusted: bool,
}

impl Peer {
    /// Returns true if the peer is a trusted proxy, whose forwarding headers count.
    pub(crate) fn is_trusted(self) -> bool {
        self.trusted
    }
}

/// Reasons a request has no client identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdentifyError {
    MissingKey,
    /// The key is longer than [`HeaderKey::MAX_LENGTH`].
    KeyTooLong,
    UnknownKey,
    /// The forwarding headers of a trusted proxy name different clients.
    ConflictingHeaders,
}

impl ClientIdentifier {
    pub(crate) fn new(settings: &Settings) -> ClientIdentifier {
        let source = match &settings.client {
            Client::Ip => Source::Address,
            Client::Header(header) => Source::Key {
                header: HeaderKey::new(header.clone()),
                allowed: settings.api_keys.clone(),
            },
        };
        let trusted: TrustedProxies = settings.trust_proxy.iter().copied().collect();
        ClientIdentifier {
            source,
            trusted: match &settings.client_address_header {
                Some(header) => trusted.with_header(header.clone()),
                None => trusted,
            },
            ipv6_prefix: Ipv6Prefix::new(settings.ipv6_prefix),
            nat64_prefixes: settings.nat64_prefixes.clone(),
            redaction: RandomState::new(),
            unnamed_client: Once::new(),
            conflicting_headers: Once::new(),
        }
    }

    /// Returns the peer with this socket address.
    pub(crate) fn peer(&self, address: SocketAddr) -> Peer {
        let address = address.ip().to_canonical();
        Peer {
            address,
            trusted: self.trusted.trusts(address),
        }
    }

    /// Returns the network that the peer's connections count for: the address itself for IPv4.
    pub(crate) fn network(&self, peer: Peer) -> IpAddr {
        self.network_of(peer.address)
    }

    /// Proxies whose forwarding headers count.
    pub(crate) fn trusted(&self) -> &TrustedProxies {
        &self.trusted
    }

    /// Returns true if this header of a peer decides about the identity of a client. `name` is in
    /// any case.
    pub(crate) fn decides_by(&self, peer: Peer, name: &[u8]) -> bool {
        let is = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
        let is_key = match &self.source {
            Source::Address => false,
            Source::Key { header, .. } => is(header.name().as_str()),
        };
        let names_client = || {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            is_client_header(&name)
                || self
                    .trusted
                    .header()
                    .is_some_and(|own| own.as_str() == name)
        };
        is_key || peer.trusted && names_client()
    }

    /// Returns the identity of the client that sent a request. `canonical` stores a key that is
    /// spelled in another way than the usual one.
    #[inline]
    pub(crate) fn identify<'a>(
        &self,
        peer: Peer,
        headers: &'a HeaderMap,
        canonical: &'a OnceCell<String>,
    ) -> Result<ClientId<'a>, IdentifyError> {
        match &self.source {
            Source::Address if peer.trusted => {
                Ok(self.address_id(self.forwarded_client(peer, headers)?))
            }
            Source::Address => Ok(self.address_id(peer.address)),
            Source::Key { header, allowed } => {
                if peer.trusted {
                    self.forwarded_client(peer, headers)?;
                }
                let key: &str = match header.value(headers) {
                    Some(Cow::Borrowed(key)) => key,
                    Some(Cow::Owned(key)) => canonical.get_or_init(|| key),
                    None => {
                        let value = headers.get(header.name());
                        let is_long =
                            value.is_some_and(|value| value.len() > HeaderKey::MAX_LENGTH);
                        return Err(if is_long {
                            IdentifyError::KeyTooLong
                        } else {
                            IdentifyError::MissingKey
                        });
                    }
                };
                let is_allowed = allowed.as_ref().is_none_or(|allowed| allowed.contains(key));
                is_allowed
                    .then_some(ClientId::Key(key))
                    .ok_or(IdentifyError::UnknownKey)
            }
        }
    }

    /// Returns the client's address, as far as limits by address are concerned.
    pub(crate) fn limited_address(
        &self,
        peer: Peer,
        headers: &HeaderMap,
    ) -> Result<IpAddr, IdentifyError> {
        if peer.trusted {
            self.forwarded_client(peer, headers)
        } else {
            Ok(peer.address)
        }
    }

    /// Returns the network of an address with these prefix lengths for IPv4 and IPv6; `None`: those
    /// of the default limit.
    pub(crate) fn limited_network(&self, address: IpAddr, prefixes: Option<(u8, u8)>) -> IpAddr {
        let Some((v4, v6)) = prefixes else {
            return self.network_of(address);
        };
        let embedded = |prefix: &Nat64Prefix| prefix.embedded_ipv4(address);
        let network = match self.nat64_prefixes.iter().find_map(embedded) {
            Some(ipv4) => ipv4.into(),
            None => Ipv6Prefix::new(v6).network(address),
        };
        match network {
            IpAddr::V4(_) => IpNet::new(network, v4).map_or(network, |net| net.network()),
            IpAddr::V6(_) => network,
        }
    }

    /// Returns the client's address for the body of `GET /`: the peer's when a trusted proxy names
    /// no client, or several.
    pub(crate) fn address(&self, peer: Peer, headers: &HeaderMap) -> IpAddr {
        self.trusted
            .client(peer.address, headers)
            .unwrap_or(peer.address)
    }

    /// Returns the client that a trusted proxy names, or the proxy itself when it names none.
    fn forwarded_client(&self, peer: Peer, headers: &HeaderMap) -> Result<IpAddr, IdentifyError> {
        match self.trusted.named_client(headers) {
            Ok(Some(client)) => Ok(client),
            Ok(None) => {
                self.unnamed_client.call_once(|| {
                    tracing::warn!(proxy = %peer.address, "trusted proxy names no client; its clients count as one, set client_address_header to the header that it writes");
                });
                Ok(peer.address)
            }
            Err(ConflictingHeaders) => {
                self.conflicting_headers.call_once(|| {
                    tracing::warn!(proxy = %peer.address, "forwarding headers name different clients; such requests get 400, set client_address_header to the header that the proxy writes");
                });
                Err(IdentifyError::ConflictingHeaders)
            }
        }
    }

    /// Returns the canonical spelling of a client id from the configuration, the admin API or
    /// `POST /check`. An invalid id is returned as it is.
    pub(crate) fn canonical<'a>(&self, client_id: &'a str) -> Cow<'a, str> {
        match &self.source {
            Source::Address => None,
            Source::Key { header, .. } => header.normalize(client_id),
        }
        .unwrap_or(Cow::Borrowed(client_id))
    }

    /// Returns the identity that bounds a client's concurrent requests: its key if `api_keys` lists
    /// it, else its address. A client could otherwise invent keys to get more of a bound. Exempt
    /// requests have no client identity.
    pub(crate) fn bounded_by<'a>(
        &self,
        client: Option<ClientId<'a>>,
        peer: Peer,
        headers: &HeaderMap,
    ) -> ClientId<'a> {
        let is_invented = matches!(&self.source, Source::Key { allowed: None, .. });
        client
            .filter(|_| !is_invented)
            .unwrap_or_else(|| self.address_id(self.address(peer, headers)))
    }

    /// Returns the identity for a key in `POST /check`: the client with this API key, or a
    /// [`ClientId::CheckKey`] when clients are identified by address. The key is
    /// [canonical](ClientIdentifier::canonical).
    ///
    /// # Errors
    /// The expected value.
    pub(crate) fn for_check_key<'a>(&self, key: &'a str) -> Result<ClientId<'a>, &'static str> {
        match &self.source {
            _ if key.is_empty() || key.len() > HeaderKey::MAX_LENGTH => {
                Err("expected a string of 1 to 1024 bytes")
            }
            Source::Address => Ok(ClientId::CheckKey(key)),
            Source::Key {
                allowed: Some(allowed),
                ..
            } if !allowed.contains(key) => Err("expected a key listed in api_keys"),
            Source::Key { .. } => Ok(ClientId::Key(key)),
        }
    }

    /// Parses a [canonical](ClientIdentifier::canonical) client id from the configuration or the
    /// admin API.
    ///
    /// # Errors
    /// The id and the expected value.
    pub(crate) fn parse<'a>(&self, client_id: &'a str) -> Result<ClientId<'a>, String> {
        let id = match self.source {
            Source::Address => match client_id.strip_prefix(CHECK_PREFIX) {
                Some(key) => self.for_check_key(key).ok(),
                None => client_id
                    .parse::<IpAddr>()
                    .ok()
                    .map(|address| self.address_id(address.to_canonical())),
            },
            Source::Key { ref header, .. } => header
                .normalize(client_id)
                .map(|_| ClientId::Key(client_id)),
        };
        id.ok_or_else(|| {
            let expected = match self.source {
                Source::Address => "an IP address, or check: followed by a key of POST /check",
                Source::Key { .. } => "an API key of 1 to 1024 bytes",
            };
            match self.source {
                Source::Address => format!("expected {expected}, got {client_id:?}"),
                // It may be a key with a mistake.
                Source::Key { .. } => format!("expected {expected}, got a value that is not shown"),
            }
        })
    }

    /// Returns true if only listed API keys are accepted.
    pub(crate) fn has_key_list(&self) -> bool {
        matches!(
            &self.source,
            Source::Key {
                allowed: Some(_),
                ..
            }
        )
    }

    /// Returns true if requests with this API key are accepted.
    pub(crate) fn accepts_key(&self, key: &str) -> bool {
        match &self.source {
            Source::Key {
                allowed: Some(allowed),
                ..
            } => allowed.contains(key),
            Source::Address | Source::Key { .. } => true,
        }
    }

    /// Returns the client address of a request as an identity, also when clients are identified by
    /// API key.
    pub(crate) fn by_address(&self, peer: Peer, headers: &HeaderMap) -> ClientId<'static> {
        self.address_id(self.address(peer, headers))
    }

    /// Returns the form in which `GET /config` shows the name of a client: API keys are hashed as in
    /// the log.
    pub(crate) fn shown_name(&self, name: String) -> String {
        match self.source {
            Source::Address => name,
            Source::Key { .. } => self.redacted(ClientId::Key(&name)).to_string(),
        }
    }

    /// Returns the form of a client id for the log, where keys are hashed.
    pub(crate) fn redacted<'a>(&'a self, id: ClientId<'a>) -> RedactedClientId<'a> {
        RedactedClientId::new(id, &self.redaction)
    }

    fn address_id(&self, address: IpAddr) -> ClientId<'static> {
        ClientId::Address {
            address,
            network: self.network_of(address),
        }
    }

    /// Returns the network whose clients share a bucket.
    #[inline]
    fn network_of(&self, address: IpAddr) -> IpAddr {
        let embedded = |prefix: &Nat64Prefix| prefix.embedded_ipv4(address);
        match self.nat64_prefixes.iter().find_map(embedded) {
            Some(ipv4) => ipv4.into(),
            None => self.ipv6_prefix.network(address),
        }
    }
}
