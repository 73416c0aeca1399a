//! Errors of quota constructors: the field, the expected range, the actual value.

use core::{fmt, time::Duration};

/// Reason that a [`Quota`](crate::Quota) is invalid.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum QuotaError {
    /// The capacity is zero: such a bucket would refuse everything.
    ZeroCapacity,
    /// The number of tokens per period is zero: such a bucket would never refill.
    ZeroTokens,
    /// The period or window is zero, or longer than a century.
    Period(Duration),
    /// The window of an interval quota is shorter than a microsecond.
    Window(Duration),
    /// The rate is above 10⁹ tokens a second.
    TooFast {
        /// Requested number of tokens per period.
        tokens: u64,
        /// Requested period.
        period: Duration,
    },
    /// The rate in tokens a second is not a number, not positive, or outside the range from one a
    /// century to 10⁹ a second.
    Rate(f64),
    /// The text does not parse as a quota.
    Syntax {
        /// Position of the error in bytes, from 0.
        at: usize,
        /// Input expected at that position.
        expected: &'static str,
    },
}

impl QuotaError {
    /// Panics with a constant message, which the compiler shows for an invalid `const`.
    #[expect(
        clippy::panic,
        reason = "documented under # Panics of every constructor for literals"
    )]
    #[track_caller]
    pub(super) const fn panic(self) -> ! {
        match self {
            QuotaError::ZeroCapacity => panic!("capacity: expected 1 to 4294967295, got 0"),
            QuotaError::ZeroTokens => panic!("tokens: expected at least 1 per period, got 0"),
            QuotaError::Period(_) => panic!("period: expected 1 ns to 36525 days (a century)"),
            QuotaError::Window(_) => panic!("window: expected 1 µs to 36525 days (a century)"),
            QuotaError::TooFast { .. } => {
                panic!("rate: expected at most 1000000000 tokens per second")
            }
            QuotaError::Rate(_) | QuotaError::Syntax { .. } => panic!("invalid quota"),
        }
    }
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuotaError::ZeroCapacity => {
                write!(f, "capacity: expected 1 to {}, got 0", u32::MAX)
            }
            QuotaError::ZeroTokens => f.write_str("tokens: expected at least 1 per period, got 0"),
            QuotaError::Period(period) => write!(
                f,
                "period: expected 1 ns to 36525 days (a century), got {period:?}"
            ),
            QuotaError::Window(window) => write!(
                f,
                "window: expected 1 µs to 36525 days (a century), got {window:?}"
            ),
            QuotaError::TooFast { tokens, period } => write!(
                f,
                "rate: expected at most 1000000000 tokens per second, got {tokens} per {period:?}"
            ),
            QuotaError::Rate(rate) => write!(
                f,
                "rate: expected 3.17e-10 (one per century) to 1000000000 tokens per second, \
                 got {rate}"
            ),
            QuotaError::Syntax { at, expected } => write!(
                f,
                "quota: expected {expected} at position {at}, as in \
                 \"100/hour, capacity 20\""
            ),
        }
    }
}

impl core::error::Error for QuotaError {}
