//! Quota: a capacity and a refill.
//!
//! A [`Quota`] is validated by its constructors, so the code that uses it does not check it again.

mod error;
mod rate;
#[cfg(feature = "serde")]
mod serde;
mod text;
mod units;

use core::time::Duration;

pub use error::QuotaError;

use crate::{
    duration::saturating_nanos,
    state::{Layout, LayoutParams, ScaledQuota},
};

/// Longest period: a century, with 365.25 days a year.
pub(crate) const MAX_PERIOD_NANOS: u64 = 36_525 * DAY;
const MICROSECOND: u64 = 1_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Number of tokens a bucket holds, and the rate at which they refill.
///
/// - **Greedy** (the common kind): tokens refill evenly, *this many per period*.
/// - **Interval**: a window opens with the first request; when it ends, all tokens refill at once.
///
/// The capacity is any `u32` from 1. The rate is from one token a century to 10⁹ tokens a second,
/// stored as an exact ratio of integers.
///
/// ```
/// use tollgate::Quota;
///
/// const UPLOADS: Quota = Quota::per_second(5).with_capacity(10);
/// assert_eq!(UPLOADS.to_string(), "5/second, capacity 10");
/// assert_eq!("5/second, capacity 10".parse(), Ok(UPLOADS));
/// ```
///
/// A zero in a constant is a compile error:
///
/// ```compile_fail
/// const NOTHING: tollgate::Quota = tollgate::Quota::per_second(0);
/// ```
///
/// Use [`Quota::new`], [`Quota::try_interval`], [`Quota::from_rate`], [`Quota::try_with_capacity`]
/// or `parse` for numbers that are only known at run time: they return an error instead of
/// panicking.
#[derive(Clone, Copy)]
pub struct Quota {
    capacity: u32,
    #[cfg(tollgate_loom)]
    headroom: u32,
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
    /// Creates a quota of `tokens` a second that refill evenly. The capacity is `tokens` as well;
    /// [`Quota::with_capacity`] changes it.
    ///
    /// # Panics
    /// When `tokens` is zero or above 10⁹; in a `const` or `static`, that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn per_second(tokens: u32) -> Quota {
        Quota::literal(tokens, tokens as u64, SECOND, Kind::Greedy)
    }

    /// Creates a quota of `tokens` a minute; otherwise like [`Quota::per_second`].
    ///
    /// # Panics
    /// When `tokens` is zero.
    #[must_use]
    #[track_caller]
    pub const fn per_minute(tokens: u32) -> Quota {
        Quota::literal(tokens, tokens as u64, MINUTE, Kind::Greedy)
    }

    /// Creates a quota of `tokens` an hour; otherwise like [`Quota::per_second`].
    ///
    /// # Panics
    /// When `tokens` is zero.
    #[must_use]
    #[track_caller]
    pub const fn per_hour(tokens: u32) -> Quota {
        Quota::literal(tokens, tokens as u64, HOUR, Kind::Greedy)
    }

    /// Creates a quota of `tokens` a day; otherwise like [`Quota::per_second`].
    ///
    /// # Panics
    /// When `tokens` is zero.
    #[must_use]
    #[track_caller]
    pub const fn per_day(tokens: u32) -> Quota {
        Quota::literal(tokens, tokens as u64, DAY, Kind::Greedy)
    }

    /// Creates a quota of `capacity` tokens per window. The first request opens a window; when the
    /// window ends, all tokens refill at once.
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
    #[track_caller]
    pub const fn interval(capacity: u32, window: Duration) -> Quota {
        Quota::literal(
            capacity,
            capacity as u64,
            saturating_nanos(window),
            Kind::Interval,
        )
    }

    /// Returns the same quota with a capacity of `tokens`.
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
    #[track_caller]
    pub const fn with_capacity(self, tokens: u32) -> Quota {
        match self.try_with_capacity(tokens) {
            Ok(quota) => quota,
            Err(error) => error.panic(),
        }
    }

    /// Returns the same quota with room for `tokens` more in the word, which makes the ticks of a
    /// model coarser.
    #[cfg(tollgate_loom)]
    #[doc(hidden)]
    pub const fn with_headroom(self, tokens: u32) -> Quota {
        Quota {
            headroom: tokens,
            ..self
        }
    }

    /// Creates a quota of `tokens` per `period` that refill evenly, with the given capacity.
    ///
    /// # Errors
    /// When the capacity, the tokens or the period is zero, the period is longer than a century, or
    /// the rate is above 10⁹ tokens a second.
    ///
    /// ```
    /// use {std::time::Duration, tollgate::Quota};
    /// let quota = Quota::new(10, 1, Duration::from_secs(2))?;
    /// assert_eq!(quota.tokens_per_second(), 0.5);
    /// let error = Quota::new(10, 1, Duration::ZERO).unwrap_err();
    /// assert_eq!(error.to_string(), "period: expected 1 ns to 36525 days (a century), got 0ns");
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub const fn new(capacity: u32, tokens: u64, period: Duration) -> Result<Quota, QuotaError> {
        Quota::validated(capacity, tokens, saturating_nanos(period), Kind::Greedy)
    }

    /// Creates a quota that refills `tokens_per_second` evenly, with the given capacity.
    ///
    /// The rate becomes the simplest ratio that converts back to the same `f64`: `0.1` is exactly
    /// one token in ten seconds, and `1.0 / 3.0` is one in three.
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
        let error = QuotaError::Rate(tokens_per_second);
        if !(tokens_per_second > 0.0 && tokens_per_second <= 1e9) {
            return Err(error);
        }
        let (tokens, period_nanos) = rate::simplest_ratio(tokens_per_second).ok_or(error)?;
        match Quota::validated(capacity, tokens, period_nanos, Kind::Greedy) {
            Err(QuotaError::ZeroTokens | QuotaError::Period(_) | QuotaError::TooFast { .. }) => {
                Err(error)
            }
            other => other,
        }
    }

    /// Fallible form of [`Quota::interval`], for numbers that are only known at run time.
    ///
    /// # Errors
    /// When the capacity is zero, the window is shorter than a microsecond or longer than a
    /// century, or the rate is above 10⁹ tokens a second.
    pub const fn try_interval(capacity: u32, window: Duration) -> Result<Quota, QuotaError> {
        Quota::validated(
            capacity,
            capacity as u64,
            saturating_nanos(window),
            Kind::Interval,
        )
    }

    /// Fallible form of [`Quota::with_capacity`], for numbers that are only known at run time.
    ///
    /// ```
    /// # use tollgate::{Quota, QuotaError};
    /// assert_eq!(Quota::per_minute(5).try_with_capacity(0), Err(QuotaError::ZeroCapacity));
    /// ```
    ///
    /// # Errors
    /// When `tokens` is zero, or the rate of an interval quota would be above 10⁹ tokens a second.
    pub const fn try_with_capacity(self, tokens: u32) -> Result<Quota, QuotaError> {
        let refill = match self.kind {
            Kind::Greedy => self.tokens,
            Kind::Interval => tokens as u64,
        };
        Quota::validated(tokens, refill, self.period_nanos, self.kind)
    }

    /// Returns the largest number of tokens a bucket holds.
    #[doc(alias = "burst")]
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Returns true when all tokens refill at once, at the end of a window.
    #[must_use]
    pub const fn is_interval(&self) -> bool {
        matches!(self.kind, Kind::Interval)
    }

    /// Returns the number of tokens that refill in a [`Quota::period`].
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Returns the time in which [`Quota::tokens`] refill; for interval quotas, the window.
    #[must_use]
    pub const fn period(&self) -> Duration {
        Duration::from_nanos(self.period_nanos)
    }

    /// Returns the rate as the nearest `f64`, for display; [`Quota::tokens`] and [`Quota::period`]
    /// are the exact ratio.
    #[must_use]
    pub fn tokens_per_second(&self) -> f64 {
        rate::nearest(
            u128::from(self.tokens) * u128::from(SECOND),
            u128::from(self.period_nanos),
        )
    }

    /// Returns the resolution of time: tokens refill in steps of this length, so a token can be
    /// early by less than one step.
    ///
    /// A token is never late unless a step refills several tokens, which happens when twice the
    /// capacity, times the rate, reaches some 2³³. Then a token can be late by less than a step. Ten
    /// tokens at one a second have steps of 61 µs, and a million at a million a second have steps
    /// of 128 µs. The refill over any longer time is exact, regardless of the resolution.
    ///
    /// ```
    /// use {std::time::Duration, tollgate::Quota};
    /// assert_eq!(Quota::per_second(1).with_capacity(10).resolution(), Duration::from_nanos(61_036));
    /// ```
    #[must_use]
    pub const fn resolution(&self) -> Duration {
        Duration::from_nanos(self.layout().scaled.resolution_nanos())
    }

    pub(crate) const fn period_nanos(&self) -> u64 {
        self.period_nanos
    }

    /// Returns the layout of a packed word under this quota.
    pub(crate) const fn layout(&self) -> Layout {
        Layout::packed(&self.layout_params())
    }

    /// Returns the layout of a state that is never packed; see [`Layout::unpacked`].
    pub(crate) const fn unpacked_layout(&self) -> Layout {
        Layout::unpacked(&self.layout_params())
    }

    /// Returns the number of tokens that a word can hold beyond the capacity: one reservation of
    /// any cost.
    const fn headroom(&self) -> u32 {
        #[cfg(tollgate_loom)]
        return self.headroom;
        #[cfg(not(tollgate_loom))]
        self.capacity
    }

    /// Returns the quota whose layout is scaled so.
    pub(crate) const fn of(scaled: &ScaledQuota) -> Quota {
        let is_interval = !scaled.is_greedy();
        let capacity = scaled.capacity_tokens();
        Quota {
            capacity,
            #[cfg(tollgate_loom)]
            headroom: scaled.headroom_tokens(),
            tokens: if is_interval {
                capacity as u64
            } else {
                scaled.tokens()
            },
            period_nanos: scaled.period_nanos(),
            kind: if is_interval {
                Kind::Interval
            } else {
                Kind::Greedy
            },
        }
    }

    const fn layout_params(&self) -> LayoutParams {
        LayoutParams {
            capacity: self.capacity,
            debt: self.headroom(),
            tokens: self.tokens,
            period_nanos: self.period_nanos,
            is_interval: self.is_interval(),
        }
    }

    /// Validates literals, which are constants in most programs.
    #[track_caller]
    const fn literal(capacity: u32, tokens: u64, period_nanos: u64, kind: Kind) -> Quota {
        match Quota::validated(capacity, tokens, period_nanos, kind) {
            Ok(quota) => quota,
            Err(error) => error.panic(),
        }
    }

    pub(crate) const fn validated(
        capacity: u32,
        tokens: u64,
        period_nanos: u64,
        kind: Kind,
    ) -> Result<Quota, QuotaError> {
        if capacity == 0 {
            return Err(QuotaError::ZeroCapacity);
        }
        if tokens == 0 {
            return Err(QuotaError::ZeroTokens);
        }
        if matches!(kind, Kind::Interval) && period_nanos < MICROSECOND {
            return Err(QuotaError::Window(Duration::from_nanos(period_nanos)));
        }
        if period_nanos == 0 || period_nanos > MAX_PERIOD_NANOS {
            return Err(QuotaError::Period(Duration::from_nanos(period_nanos)));
        }
        // 10⁹ tokens a second are one a nanosecond.
        if tokens > period_nanos {
            return Err(QuotaError::TooFast {
                tokens,
                period: Duration::from_nanos(period_nanos),
            });
        }
        Ok(Quota {
            capacity,
            #[cfg(tollgate_loom)]
            headroom: capacity,
            tokens,
            period_nanos,
            kind,
        })
    }
}

/// Quotas are equal when they allow the same requests: `60/minute, capacity 5` equals `1/second,
/// capacity 5`.
impl PartialEq for Quota {
    fn eq(&self, other: &Quota) -> bool {
        let cross = |a: &Quota, b: &Quota| u128::from(a.tokens) * u128::from(b.period_nanos);
        self.capacity == other.capacity
            && self.kind == other.kind
            && cross(self, other) == cross(other, self)
    }
}

impl Eq for Quota {}

#[cfg(test)]
mod tests;
