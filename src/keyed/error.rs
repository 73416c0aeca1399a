//! Errors of keyed limiters.

use std::fmt;

use super::sets::MAX_KEYS;

/// Error of building a [`KeyedLimiter`](crate::KeyedLimiter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// `max_keys` is zero, or greater than the table can address.
    MaxKeys {
        /// The value that was set.
        max_keys: usize,
    },
    /// The memory for the table could not be allocated.
    OutOfMemory {
        /// The value that was set.
        max_keys: usize,
        /// Size of the table in bytes.
        bytes: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::MaxKeys { max_keys } => {
                write!(f, "max_keys: expected 1 to {MAX_KEYS}, got {max_keys}")
            }
            BuildError::OutOfMemory { max_keys, bytes } => {
                write!(
                    f,
                    "max_keys: cannot allocate {bytes} bytes for {max_keys} keys; use fewer keys"
                )
            }
        }
    }
}

impl std::error::Error for BuildError {}

/// Error of a pause: as many keys as possible, 4096, are paused already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyPauses;

impl fmt::Display for TooManyPauses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = super::rule::MAX_PAUSES;
        write!(f, "pause: expected at most {max} paused keys, got one more")
    }
}

impl std::error::Error for TooManyPauses {}
