//! Messages between a lease holder and the server.

use crate::state::State;

/// Request of a lease holder for tokens of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseRequest {
    /// Identifies one key in one process: a random number below 2⁵³. A restarted process and a key
    /// that is inserted again after its eviction have new ids.
    pub(crate) holder: u64,
    /// Sequence number, larger than in all earlier requests of the holder.
    pub(crate) seq: u64,
    /// Sequence number of the last request whose reply arrived; 0 if none has.
    pub(crate) acked: u64,
    /// Tokens still held, to be spent or returned later.
    pub(crate) kept: u32,
    /// Tokens returned unspent.
    pub(crate) returned: u32,
    /// Tokens that callers are waiting for. They are granted in full, counting the tokens that are
    /// kept, or not at all.
    pub(crate) need: u32,
    /// Tokens requested beyond those that are kept. Fewer may be granted.
    pub(crate) want: u32,
}

/// Reply of the server to a [`LeaseRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseReply {
    pub(crate) seq: u64,
    pub(crate) granted: u32,
    /// Tokens that may still be spent of those that the request kept: all of them, or none if the
    /// lease had ended.
    pub(crate) kept: u32,
    /// Server time in microseconds.
    pub(crate) now: u64,
    /// State of the bucket.
    pub(crate) state: State,
}
