//! Why a quota cannot be: which value, what is allowed, what to do.

use core::{fmt, time::Duration};

/// Why a [`Quota`](crate::Quota) cannot be made.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum QuotaError {
    /// A bucket of zero tokens lets nothing through, ever.
    ZeroCapacity,
    /// Zero tokens a period never refill.
    ZeroTokens,
    /// The period or window is zero, or longer than a century.
    Period(Duration),
    /// A window in which all tokens come back at once is shorter than a microsecond.
    Window(Duration),
    /// So much debt leaves the word too few bits for time.
    Debt {
        /// Tokens that waiters were to be allowed to reserve beyond the capacity.
        debt: u32,
        /// The grain of time that would be left.
        resolution: Duration,
    },
    /// More than 10⁹ tokens a second.
    TooFast {
        /// Tokens that were to come back in the period.
        tokens: u64,
        /// The period.
        period: Duration,
    },
    /// A rate in tokens a second that is not a number, not positive, or outside of one a century to
    /// 10⁹ a second.
    Rate(f64),
    /// A text that does not read as a quota.
    Syntax {
        /// Where, counted in bytes from 0.
        at: usize,
        /// What is allowed there.
        expected: &'static str,
    },
}

impl QuotaError {
    /// For constants: the compiler shows the message.
    #[expect(
        clippy::panic,
        reason = "documented under # Panics of every constructor for literals"
    )]
    pub(super) const fn panic(self) -> ! {
        match self {
            QuotaError::ZeroCapacity => panic!("the capacity of a quota must be at least 1"),
            QuotaError::ZeroTokens => panic!("a quota must refill at least 1 token per period"),
            QuotaError::Period(_) => panic!("the period of a quota must be from 1 ns to a century"),
            QuotaError::Window(_) => panic!("the window of a quota must be at least 1 microsecond"),
            QuotaError::Debt { .. } => panic!("the debt of a quota leaves too few bits for time"),
            QuotaError::TooFast { .. } => {
                panic!("a quota may refill at most 1,000,000,000 tokens a second")
            }
            QuotaError::Rate(_) | QuotaError::Syntax { .. } => panic!("not a quota"),
        }
    }
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuotaError::ZeroCapacity => {
                write!(f, "the capacity is 0: allowed is from 1 to {}", u32::MAX)
            }
            QuotaError::ZeroTokens => write!(f, "0 tokens come back per period: at least 1 must"),
            QuotaError::Period(period) => {
                write!(
                    f,
                    "the period is {period:?}: allowed is from 1 ns to a century (36525 days)"
                )
            }
            QuotaError::Window(window) => {
                write!(
                    f,
                    "the window is {window:?}: allowed is from 1 µs to a century (36525 days)"
                )
            }
            QuotaError::Debt { debt, resolution } => write!(
                f,
                "a debt of {debt} tokens would leave time in steps of {resolution:?}, longer than a quarter of what the \
                 capacity takes to come back: allow less debt"
            ),
            QuotaError::TooFast { tokens, period } => {
                write!(
                    f,
                    "{tokens} tokens per {period:?} is too fast: at most 1000000000 a second are allowed"
                )
            }
            QuotaError::Rate(rate) => {
                write!(
                    f,
                    "a rate of {rate} tokens a second: allowed is from one a century (3.17e-10) to 1000000000"
                )
            }
            QuotaError::Syntax { at, expected } => {
                write!(
                    f,
                    "not a quota such as \"100/hour, capacity 20\": expected {expected} at position {at}"
                )
            }
        }
    }
}

impl core::error::Error for QuotaError {}
