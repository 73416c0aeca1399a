//! Making a limiter with other than the usual settings.

use std::{fmt, hash::BuildHasher};

use foldhash::quality::RandomState;

use super::{KeyedLimiter, memory::SET, table::WhenFull};
use crate::{
    clock::{Clock, ManualClock},
    quota::Quota,
};

/// A set is found by multiplying with 32 bits of the hash.
const MAX_SETS: u64 = 1 << 32;
/// Slots for every ten keys: a load of 0.6 keeps room for as many keys as were asked for.
const SLOTS_PER_SIX_KEYS: u64 = 10;

/// Settings of a [`KeyedLimiter`]; see [`KeyedLimiter::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing is made before build() is called"]
pub struct KeyedLimiterBuilder<S = RandomState> {
    quota: Quota,
    max_keys: usize,
    clock: Clock,
    when_full: WhenFull,
    hasher: S,
}

impl KeyedLimiterBuilder {
    pub(super) fn new(quota: Quota) -> KeyedLimiterBuilder {
        KeyedLimiterBuilder {
            quota,
            max_keys: 100_000,
            clock: Clock::Process,
            when_full: WhenFull::default(),
            hasher: RandomState::default(),
        }
    }
}

impl<S: BuildHasher> KeyedLimiterBuilder<S> {
    /// How many keys that are not full shall be told apart; 100,000 when not set. Each takes some
    /// 27 bytes of memory, which the operating system hands out only when it is used.
    pub fn max_keys(self, max_keys: usize) -> Self {
        KeyedLimiterBuilder { max_keys, ..self }
    }

    /// A clock that tests move by hand, in place of the process-wide one.
    pub fn clock(self, clock: ManualClock) -> Self {
        KeyedLimiterBuilder {
            clock: Clock::Manual(clock),
            ..self
        }
    }

    /// What to do with a new key when there is no room for it.
    pub fn when_full(self, when_full: WhenFull) -> Self {
        KeyedLimiterBuilder { when_full, ..self }
    }

    /// Another hash than foldhash with a random seed: for keys that an attacker may choose at will
    /// and whose decisions they can time, the standard library's `RandomState` (SipHash) costs some
    /// 9 ns more. It must be seeded, and good in all 64 bits.
    pub fn hasher<T: BuildHasher>(self, hasher: T) -> KeyedLimiterBuilder<T> {
        let KeyedLimiterBuilder {
            quota,
            max_keys,
            clock,
            when_full,
            ..
        } = self;
        KeyedLimiterBuilder {
            quota,
            max_keys,
            clock,
            when_full,
            hasher,
        }
    }

    /// The limiter.
    ///
    /// # Errors
    /// When `max_keys` is zero or more than the table can address, or there is no memory for so
    /// many.
    ///
    /// ```
    /// use tollgate::{KeyedLimiter, Quota, WhenFull};
    /// let limiter =
    ///     KeyedLimiter::builder(Quota::per_second(10)).max_keys(5_000).when_full(WhenFull::RefuseNewcomer).build()?;
    /// assert!(limiter.try_acquire("alice", 1).is_allowed());
    ///
    /// let error = KeyedLimiter::builder(Quota::per_second(10)).max_keys(0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "a table for 0 keys: allowed is from 1 to 20615843020");
    /// # Ok::<(), tollgate::BuildError>(())
    /// ```
    pub fn build(self) -> Result<KeyedLimiter<S>, BuildError> {
        let sets = sets_for(self.max_keys)?;
        let limiter =
            KeyedLimiter::with_sets(self.quota, sets, self.when_full, self.clock, self.hasher);
        limiter.ok_or(BuildError::OutOfMemory {
            max_keys: self.max_keys,
            bytes: sets.saturating_mul(SET * 16),
        })
    }
}

fn sets_for(max_keys: usize) -> Result<usize, BuildError> {
    let keys = max_keys as u64;
    let sets = keys
        .checked_mul(SLOTS_PER_SIX_KEYS)
        .map(|slots| slots.div_ceil(6 * SET as u64).max(2));
    match sets {
        Some(sets) if keys > 0 && sets <= MAX_SETS => {
            usize::try_from(sets).map_err(|_| BuildError::MaxKeys { max_keys })
        }
        _ => Err(BuildError::MaxKeys { max_keys }),
    }
}

/// Why a [`KeyedLimiter`] cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// A table for no keys, or for more than can be addressed.
    MaxKeys {
        /// What was asked for.
        max_keys: usize,
    },
    /// There is no memory for so many keys.
    OutOfMemory {
        /// What was asked for.
        max_keys: usize,
        /// What that takes.
        bytes: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::MaxKeys { max_keys } => {
                let most = MAX_SETS * SET as u64 * 6 / SLOTS_PER_SIX_KEYS;
                write!(
                    f,
                    "a table for {max_keys} keys: allowed is from 1 to {most}"
                )
            }
            BuildError::OutOfMemory { max_keys, bytes } => {
                write!(
                    f,
                    "no memory for a table of {max_keys} keys, which takes {bytes} bytes: ask for fewer keys"
                )
            }
        }
    }
}

impl std::error::Error for BuildError {}
