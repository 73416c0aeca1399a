//! Who a client is: an address, perhaps one that a trusted proxy names, or an API key.

use std::{
    borrow::Cow,
    collections::HashSet,
    fmt::{self, Write},
    hash::{BuildHasher, Hash, Hasher, RandomState},
    net::{IpAddr, SocketAddr},
};

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use tollgate::tower::{Ipv6Prefix, TrustedProxies};

use crate::config::{Client, Settings};

/// Tells clients apart.
pub(crate) struct Identify {
    by: By,
    trusted: TrustedProxies,
    ipv6_prefix: Ipv6Prefix,
    /// Keys are logged as a hash with a seed of this process.
    redact: RandomState,
}

enum By {
    Address,
    Key {
        header: HeaderName,
        listed: Option<HashSet<String>>,
    },
}

/// The other end of a connection; found out once for all of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    trusted: bool,
}

impl Peer {
    /// Whether it may speak for others.
    pub(crate) fn is_trusted(self) -> bool {
        self.trusted
    }
}

/// What a bucket belongs to. Its hash is what the limiter sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Id<'a> {
    /// The address, and the part of it that counts.
    Address {
        address: IpAddr,
        network: IpAddr,
    },
    Key(&'a str),
    /// What another service calls somebody in `POST /check`, where clients are addresses.
    Asked(&'a str),
}

/// As many characters as an address of an IPv6 network has at most.
const LONGEST_ADDRESS: usize = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".len();

/// What names of [`Id::Asked`] begin with, which no address does.
const ASKED: &str = "check:";

/// A longer key would fill the memory of whoever keeps it, in bytes.
const MAX_ASKED: usize = 1024;

/// Why nobody can be told from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    NoKey,
    NotListed,
}

impl Identify {
    pub(crate) fn new(settings: &Settings) -> Identify {
        let by = match &settings.client {
            Client::Ip => By::Address,
            Client::Header(header) => By::Key {
                header: header.clone(),
                listed: settings.api_keys.clone(),
            },
        };
        Identify {
            by,
            trusted: settings.trust_proxy.iter().copied().collect(),
            ipv6_prefix: Ipv6Prefix::new(settings.ipv6_prefix),
            redact: RandomState::new(),
        }
    }

    pub(crate) fn peer(&self, address: SocketAddr) -> Peer {
        let address = address.ip().to_canonical();
        Peer {
            address,
            trusted: self.trusted.trusts(address),
        }
    }

    /// Proxies whose forwarding headers count.
    pub(crate) fn trusted(&self) -> &TrustedProxies {
        &self.trusted
    }

    /// Whose request this is.
    pub(crate) fn client<'a>(&self, peer: Peer, headers: &'a HeaderMap) -> Result<Id<'a>, Unknown> {
        match &self.by {
            By::Address if peer.trusted => Ok(self.id(self.trusted.client(peer.address, headers))),
            By::Address => Ok(self.id(peer.address)),
            By::Key { header, listed } => {
                let key = sole(headers, header)
                    .filter(|key| !key.is_empty())
                    .ok_or(Unknown::NoKey)?;
                let known = listed.as_ref().is_none_or(|listed| listed.contains(key));
                known.then_some(Id::Key(key)).ok_or(Unknown::NotListed)
            }
        }
    }

    /// The address to show to whoever asks `GET /`.
    pub(crate) fn address(&self, peer: Peer, headers: &HeaderMap) -> IpAddr {
        if peer.trusted {
            self.trusted.client(peer.address, headers)
        } else {
            peer.address
        }
    }

    /// Who is meant by a key in `POST /check`: whoever sends this API key, or somebody of whom only
    /// such questions tell, and whose bucket is no address's.
    pub(crate) fn asked_for<'a>(&self, key: &'a str) -> Result<Id<'a>, &'static str> {
        match &self.by {
            _ if key.is_empty() || key.len() > MAX_ASKED => {
                Err("expected a text of 1 to 1024 bytes")
            }
            By::Address => Ok(Id::Asked(key)),
            By::Key {
                listed: Some(listed),
                ..
            } if !listed.contains(key) => Err("expected an API key that is on the list"),
            By::Key { .. } => Ok(Id::Key(key)),
        }
    }

    /// A client as an administrator names it. `None`: no IP address, and nobody of whom others ask.
    pub(crate) fn named<'a>(&self, client_id: &'a str) -> Option<Id<'a>> {
        match self.by {
            By::Address => match client_id.strip_prefix(ASKED) {
                Some(key) => self.asked_for(key).ok(),
                None => client_id
                    .parse::<IpAddr>()
                    .ok()
                    .map(|address| self.id(address.to_canonical())),
            },
            By::Key { .. } => (!client_id.is_empty()).then_some(Id::Key(client_id)),
        }
    }

    /// What [`Identify::named`] takes.
    pub(crate) fn expected(&self) -> &'static str {
        match self.by {
            By::Address => "an IP address, or check: and a key of POST /check",
            By::Key { .. } => "an API key",
        }
    }

    /// A client as it stands in the log: never a key.
    pub(crate) fn shown<'a>(&'a self, id: Id<'a>) -> Shown<'a> {
        Shown {
            id,
            redact: &self.redact,
        }
    }

    fn id(&self, address: IpAddr) -> Id<'static> {
        Id::Address {
            address,
            network: self.ipv6_prefix.network(address),
        }
    }
}

/// One server knows addresses or keys, so nothing has to tell these apart; it may be asked for
/// others beside addresses.
impl Hash for Id<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Id::Address { network, .. } => network.hash(state),
            Id::Key(key) => key.hash(state),
            Id::Asked(key) => (ASKED, key).hash(state),
        }
    }
}

impl<'a> Id<'a> {
    /// One name for all spellings: an address, the network of an IPv6 address, a key.
    pub(crate) fn name(&self) -> Cow<'a, str> {
        match self {
            Id::Address { network, .. } => {
                // To let it grow costs more than to write to it.
                let mut name = String::with_capacity(LONGEST_ADDRESS);
                // Writing to a String cannot fail.
                let _ = write!(name, "{network}");
                name.into()
            }
            Id::Key(key) => Cow::Borrowed(key),
            Id::Asked(key) => format!("{ASKED}{key}").into(),
        }
    }
}

/// The header's value, if there is one and no other.
pub(crate) fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(HeaderValue::to_str)?.ok()?;
    values.next().is_none().then_some(value)
}

pub(crate) struct Shown<'a> {
    id: Id<'a>,
    redact: &'a RandomState,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Id::Address { address, .. } => address.fmt(f),
            Id::Key(key) | Id::Asked(key) => {
                write!(f, "key#{:08x}", self.redact.hash_one(key) as u32)
            }
        }
    }
}

#[cfg(test)]
mod tests;
