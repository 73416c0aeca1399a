//! Snapshot of a word.

/// An unpacked word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// Units taken and not yet refilled.
    pub(crate) spent: u64,
    /// Tick at which `spent` was computed.
    pub(crate) stamp: u64,
}
