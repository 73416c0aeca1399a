//! Reasons a request has no key.

/// Reasons a request has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyError {
    /// The peer address is unknown: the server is misconfigured.
    UnknownPeer,
    /// The forwarding headers of a trusted proxy name different clients.
    ConflictingHeaders,
    /// The client did not send a valid key.
    NoKey,
}
