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
    /// Values of a limit's key.
    Parts(&'a [KeyPart<'a>]),
    /// Key of a `POST /check` when clients are identified by address. Its bucket is separate from
    /// those of addresses.
    CheckKey(&'a str),
}

/// Value of a part of a limit's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyPart<'a> {
    /// Number of the alternative that the value is of.
    pub(crate) alternative: u8,
    pub(crate) value: PartValue<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PartValue<'a> {
    Network(IpAddr),
    Text(Cow<'a, str>),
}

/// Maximum number of characters of an IPv6 address.
const MAX_ADDRESS_LENGTH: usize = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".len();

/// Prefix of the names of [`ClientId::CheckKey`]. No address begins with it.
pub(super) const CHECK_PREFIX: &str = "check:";

/// All ids of a limiter are addresses, keys or parts, so these need no discriminant. Only check keys
/// can occur beside addresses, and their prefix separates them.
impl Hash for ClientId<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            ClientId::Address { network, .. } => network.hash(state),
            ClientId::Key(key) => key.hash(state),
            ClientId::Parts(parts) => parts.hash(state),
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
            ClientId::Parts(parts) => {
                let mut name = String::new();
                for KeyPart { alternative, value } in *parts {
                    let value = match value {
                        PartValue::Network(network) => Cow::Owned(network.to_string()),
                        PartValue::Text(text) => Cow::Borrowed(&**text),
                    };
                    // The length keeps a client from moving text from one part to the next.
                    let _ = write!(name, "{alternative}:{}:{value}", value.len());
                }
                name.into()
            }
            ClientId::CheckKey(key) => format!("{CHECK_PREFIX}{key}").into(),
        }
    }

    /// Copies the id, so that it outlives the request. Addresses need no allocation.
    pub(crate) fn into_owned(self) -> OwnedClientId {
        match self {
            ClientId::Address { address, network } => OwnedClientId::Address { address, network },
            ClientId::Key(key) => OwnedClientId::Key(key.into()),
            // The name of several parts is that of a key.
            ClientId::Parts(_) => OwnedClientId::Key(self.name().into()),
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
            ClientId::Parts(parts) => {
                write!(f, "key#{:016x}", self.redaction.hash_one(parts))
            }
        }
    }
}
