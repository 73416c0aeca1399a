//! What is allowed: a capacity and how it refills.
//!
//! A [`Quota`] is validated when it is made, so that nothing behind it has to doubt it.

mod error;
mod rate;
pub(crate) mod text;
mod valid;

use core::time::Duration;

pub use error::QuotaError;

use crate::state::Layout;
use valid::saturating_nanos;

/// The longest period: a century, of 365.25 days a year.
pub(crate) const MAX_PERIOD_NANOS: u64 = 36_525 * DAY;
const MICROSECOND: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

/// Debt that waiters may run up when the quota says nothing else, if the capacity is not larger
/// still.
const DEFAULT_DEBT: u32 = 1000;

/// How many tokens a bucket holds, and how they come back.
///
/// - **Greedy** (the usual kind): tokens drip back evenly, *so many per period*.
/// - **Interval**: a window opens with the first request; when it ends, all tokens are back at
///   once.
///
/// Capacity is any `u32` from 1. The rate is anything from one token in a century to 10⁹ tokens a
/// second, kept as an exact ratio of integers.
///
/// ```
/// use tollgate::Quota;
///
/// const UPLOADS: Quota = Quota::per_second(5).with_capacity(10);
/// assert_eq!(UPLOADS.to_string(), "5/second, capacity 10");
/// assert_eq!("5/second, capacity 10".parse(), Ok(UPLOADS));
/// ```
///
/// A zero in a constant does not compile:
///
/// ```compile_fail
/// const NOTHING: tollgate::Quota = tollgate::Quota::per_second(0);
/// ```
///
/// A number that a person types at run time goes through [`Quota::new`], [`Quota::try_interval`],
/// [`Quota::from_rate`], [`Quota::try_with_capacity`] or `parse`, which return an error instead.
#[derive(Clone, Copy)]
pub struct Quota {
    capacity: u32,
    debt: Option<u32>,
    tokens: u64,
    period_nanos: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Greedy,
    Interval,
}

impl Quota {
    /// `tokens` a second, dripping back evenly; the capacity is `tokens` too, until
    /// [`Quota::with_capacity`] says otherwise.
    ///
    /// # Panics
    /// When `tokens` is zero or above 10⁹; in a `const` or `static`, that is a compile error.
    #[must_use]
    pub const fn per_second(tokens: u32) -> Quota {
        Quota::literal(tokens, tokens as u64, SECOND, Kind::Greedy)
    }

    /// `tokens` a minute, dripping back evenly; otherwise like [`Quota::per_second`].
    ///
    /// # Panics
    /// When `tokens` is zero.
    #[must_use]
    pub const fn per_minute(tokens: u32) -> Quota {
        Quota::literal(tokens, tokens as u64, MINUTE, Kind::Greedy)
    }

    /// `tokens` an hour, dripping back evenly; otherwise like [`Quota::per_second`].
    ///
    /// # Panics
    /// When `tokens` is zero.
    #[must_use]
    pub const fn per_hour(tokens: u32) -> Quota {
        Quota::literal(tokens, tokens as u64, HOUR, Kind::Greedy)
    }

    /// `tokens` a day, dripping back evenly; otherwise like [`Quota::per_second`].
    ///
    /// # Panics
    /// When `tokens` is zero.
    #[must_use]
    pub const fn per_day(tokens: u32) -> Quota {
        Quota::literal(tokens, tokens as u64, DAY, Kind::Greedy)
    }

    /// `capacity` tokens, all of them back at once when the window that began with the first
    /// request ends.
    ///
    /// ```
    /// use {std::time::Duration, tollgate::Quota};
    /// const HOURLY: Quota = Quota::interval(100, Duration::from_secs(3600));
    /// assert_eq!(HOURLY.to_string(), "100 per hour, all at once");
    /// ```
    ///
    /// # Panics
    /// When [`Quota::try_interval`] would return an error.
    #[doc(alias = "fixed_window")]
    #[must_use]
    pub const fn interval(capacity: u32, window: Duration) -> Quota {
        Quota::literal(
            capacity,
            capacity as u64,
            saturating_nanos(window),
            Kind::Interval,
        )
    }

    /// The same quota with room for `tokens` at once.
    ///
    /// ```
    /// # use tollgate::Quota;
    /// // 10 at once, then one every 12 seconds.
    /// const LOGINS: Quota = Quota::per_minute(5).with_capacity(10);
    /// ```
    ///
    /// # Panics
    /// When [`Quota::try_with_capacity`] would return an error.
    #[doc(alias = "burst")]
    #[must_use]
    pub const fn with_capacity(self, tokens: u32) -> Quota {
        match self.try_with_capacity(tokens) {
            Ok(quota) => quota,
            Err(error) => error.panic(),
        }
    }

    /// The same quota, with waiters allowed to reserve `tokens` more than there are. Zero: nobody
    /// waits.
    ///
    /// Room for debt costs resolution: see [`Quota::resolution`]. The default is the capacity, and
    /// at least 1000.
    ///
    /// # Panics
    /// When [`Quota::try_with_debt`] would return an error.
    #[must_use]
    pub const fn with_debt(self, tokens: u32) -> Quota {
        match self.try_with_debt(tokens) {
            Ok(quota) => quota,
            Err(error) => error.panic(),
        }
    }

    /// `tokens` per `period`, dripping back evenly, with room for `capacity` at once.
    ///
    /// # Errors
    /// When the capacity, the tokens or the period is zero, the period is longer than a century, or
    /// there would be more than 10⁹ tokens a second.
    ///
    /// ```
    /// use {std::time::Duration, tollgate::Quota};
    /// let quota = Quota::new(10, 1, Duration::from_secs(2))?;
    /// assert_eq!(quota.tokens_per_second(), 0.5);
    /// let error = Quota::new(10, 1, Duration::ZERO).unwrap_err();
    /// assert_eq!(error.to_string(), "the period is 0ns: allowed is from 1 ns to a century (36525 days)");
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub const fn new(capacity: u32, tokens: u64, period: Duration) -> Result<Quota, QuotaError> {
        Quota::validated(capacity, tokens, saturating_nanos(period), Kind::Greedy)
    }

    /// `tokens_per_second` as a number, dripping back evenly, with room for `capacity` at once.
    ///
    /// A floating-point number stands for the simplest ratio that reads back as the same number:
    /// `0.1` is one token in ten seconds, exactly, and `1.0 / 3.0` is one in three.
    ///
    /// # Errors
    /// When the capacity is zero, or the rate is not a number from one token a century to 10⁹ a
    /// second.
    ///
    /// ```
    /// use tollgate::Quota;
    /// assert_eq!(Quota::from_rate(10, 0.5)?, "1/2s, capacity 10".parse()?);
    /// assert!(Quota::from_rate(10, f64::NAN).is_err());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn from_rate(capacity: u32, tokens_per_second: f64) -> Result<Quota, QuotaError> {
        let refused = QuotaError::Rate(tokens_per_second);
        if !(tokens_per_second > 0.0 && tokens_per_second <= 1e9) {
            return Err(refused);
        }
        let (tokens, period_nanos) = rate::simplest_ratio(tokens_per_second).ok_or(refused)?;
        match Quota::validated(capacity, tokens, period_nanos, Kind::Greedy) {
            Err(QuotaError::ZeroTokens | QuotaError::Period(_) | QuotaError::TooFast { .. }) => {
                Err(refused)
            }
            other => other,
        }
    }

    /// Like [`Quota::interval`], for numbers that are not known to be good.
    ///
    /// # Errors
    /// When the capacity is zero, the window is shorter than a microsecond or longer than a
    /// century, or there would be more than 10⁹ tokens a second.
    pub const fn try_interval(capacity: u32, window: Duration) -> Result<Quota, QuotaError> {
        Quota::validated(
            capacity,
            capacity as u64,
            saturating_nanos(window),
            Kind::Interval,
        )
    }

    /// Like [`Quota::with_capacity`], for a number that is not known to be good.
    ///
    /// ```
    /// # use tollgate::{Quota, QuotaError};
    /// assert_eq!(Quota::per_minute(5).try_with_capacity(0), Err(QuotaError::ZeroCapacity));
    /// ```
    ///
    /// # Errors
    /// When `tokens` is zero, or an interval quota would give more than 10⁹ tokens a second.
    pub const fn try_with_capacity(self, tokens: u32) -> Result<Quota, QuotaError> {
        let refill = match self.kind {
            Kind::Greedy => self.tokens,
            Kind::Interval => tokens as u64,
        };
        match (
            Quota::validated(tokens, refill, self.period_nanos, self.kind),
            self.debt,
        ) {
            (Ok(quota), Some(debt)) => quota.try_with_debt(debt),
            (result, _) => result,
        }
    }

    /// Like [`Quota::with_debt`], for a number that is not known to be good.
    ///
    /// # Errors
    /// When so much debt would leave the word too few bits for time: [`Quota::resolution`] may be
    /// at most a microsecond, or a quarter of the time in which the capacity comes back.
    pub const fn try_with_debt(self, tokens: u32) -> Result<Quota, QuotaError> {
        let quota = Quota {
            debt: Some(tokens),
            ..self
        };
        let resolution = Layout::of(&quota).terms.resolution_nanos();
        let refill = self.period_nanos as u128 * self.capacity as u128 / self.tokens as u128;
        if resolution > MICROSECOND && resolution as u128 > refill / 4 {
            return Err(QuotaError::Debt {
                debt: tokens,
                resolution: Duration::from_nanos(resolution),
            });
        }
        Ok(quota)
    }

    /// The most tokens a bucket holds.
    #[doc(alias = "burst")]
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// How many tokens waiters may reserve beyond the capacity.
    #[must_use]
    pub const fn debt(&self) -> u32 {
        match self.debt {
            Some(debt) => debt,
            None if self.capacity > DEFAULT_DEBT => self.capacity,
            None => DEFAULT_DEBT,
        }
    }

    /// Whether all tokens come back at once, when a window ends.
    #[must_use]
    pub const fn is_interval(&self) -> bool {
        matches!(self.kind, Kind::Interval)
    }

    /// How many tokens come back in a [`Quota::period`].
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The time in which [`Quota::tokens`] come back; of an interval quota, the window.
    #[must_use]
    pub const fn period(&self) -> Duration {
        Duration::from_nanos(self.period_nanos)
    }

    /// The rate as the nearest number there is, to show; [`Quota::tokens`] and [`Quota::period`]
    /// are the exact ratio.
    #[must_use]
    pub fn tokens_per_second(&self) -> f64 {
        rate::nearest(
            u128::from(self.tokens) * u128::from(SECOND),
            u128::from(self.period_nanos),
        )
    }

    /// The grain of time: tokens come back in steps this long, so a token can be early by less than
    /// this.
    ///
    /// It is never late, unless a step brings several tokens (from where capacity and debt, times
    /// the rate, reach some 2³³): then it can be late by less than a step. With the default debt,
    /// 10 tokens at one a second have steps of 244 µs, a million at a million a second 128 µs.
    /// Whatever the steps, what comes back over any longer time is exact.
    ///
    /// ```
    /// use {std::time::Duration, tollgate::Quota};
    /// assert_eq!(Quota::per_second(1).with_capacity(10).resolution(), Duration::from_nanos(244_141));
    /// ```
    #[must_use]
    pub const fn resolution(&self) -> Duration {
        Duration::from_nanos(Layout::of(self).terms.resolution_nanos())
    }

    pub(crate) const fn period_nanos(&self) -> u64 {
        self.period_nanos
    }
}

#[cfg(test)]
mod tests;
