//! Identity of a client: an address or a key.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    hash::{BuildHasher, Hash, Hasher, RandomState},
    net::IpAddr,
};

/// Identity of a client, hashed to the key of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientId<'a> {
    /// The client's address, and the network whose clients share a bucket: the address itself for
    /// IPv4, a prefix for IPv6.
    Address {
        address: IpAddr,
        network: IpAddr,
    },
    Key(&'a str),
    /// Key of a `POST /check` when clients are identified by address. Its bucket is separate from
    /// those of addresses.
    CheckKey(&'a str),
}

/// Maximum number of characters of an IPv6 address.
const MAX_ADDRESS_LENGTH: usize = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".len();

/// Prefix of the names of [`ClientId::CheckKey`]. No address begins with it.
pub(super) const CHECK_PREFIX: &str = "check:";

/// A server identifies clients either by address or by key, so these two need no discriminant. Only
/// check keys can occur beside addresses, and their prefix separates them.
impl Hash for ClientId<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            ClientId::Address { network, .. } => network.hash(state),
            ClientId::Key(key) => key.hash(state),
            ClientId::CheckKey(key) => (CHECK_PREFIX, key).hash(state),
        }
    }
}

impl<'a> ClientId<'a> {
    /// Returns the canonical name: an IPv4 address, the network of an IPv6 address, or a key.
    pub(crate) fn name(&self) -> Cow<'a, str> {
        match self {
            ClientId::Address { network, .. } => {
                // Growing the string would cost more than writing it.
                let mut name = String::with_capacity(MAX_ADDRESS_LENGTH);
                // Writing to a String cannot fail.
                let _ = write!(name, "{network}");
                name.into()
            }
            ClientId::Key(key) => Cow::Borrowed(key),
            ClientId::CheckKey(key) => format!("{CHECK_PREFIX}{key}").into(),
        }
    }

    /// Copies the id, so that it outlives the request. Addresses need no allocation.
    pub(crate) fn into_owned(self) -> OwnedClientId {
        match self {
            ClientId::Address { address, network } => OwnedClientId::Address { address, network },
            ClientId::Key(key) => OwnedClientId::Key(key.into()),
            ClientId::CheckKey(key) => OwnedClientId::CheckKey(key.into()),
        }
    }
}

/// [`ClientId`] that does not borrow from a request.
#[derive(Clone, Debug)]
pub(crate) enum OwnedClientId {
    Address { address: IpAddr, network: IpAddr },
    Key(Box<str>),
    CheckKey(Box<str>),
}

impl OwnedClientId {
    pub(crate) fn as_ref(&self) -> ClientId<'_> {
        match *self {
            OwnedClientId::Address { address, network } => ClientId::Address { address, network },
            OwnedClientId::Key(ref key) => ClientId::Key(key),
            OwnedClientId::CheckKey(ref key) => ClientId::CheckKey(key),
        }
    }
}

/// Client id for the log: an address, or a hash of a key.
pub(crate) struct RedactedClientId<'a> {
    id: ClientId<'a>,
    redaction: &'a RandomState,
}

impl<'a> RedactedClientId<'a> {
    pub(super) fn new(id: ClientId<'a>, redaction: &'a RandomState) -> RedactedClientId<'a> {
        RedactedClientId { id, redaction }
    }
}

impl fmt::Display for RedactedClientId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            ClientId::Address { address, .. } => address.fmt(f),
            ClientId::Key(key) | ClientId::CheckKey(key) => {
                write!(f, "key#{:016x}", self.redaction.hash_one(key))
            }
        }
    }
}
