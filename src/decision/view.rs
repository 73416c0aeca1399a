//! Read-only view of a decision, and its outcome.

use core::{fmt, time::Duration};

#[cfg(feature = "redis")]
use super::source::DecisionSource;
use crate::state::{ReserveError, ScaledQuota, State};

/// Read-only view of a [`Decision`](crate::Decision): everything but the right to refund it.
///
/// A view is `Copy`: it can be stored in the extensions of a request, logged, or sent to another
/// thread, and the charge behind it remains one charge. It stores the raw outcome, and its methods
/// compute times on demand.
///
/// ```
/// use {std::time::Duration, tollgate::{Bucket, Quota}};
/// let bucket = Bucket::new(Quota::per_second(5).with_capacity(10));
/// let view = bucket.try_acquire_at(Duration::ZERO, 8).view();
/// assert!(view.is_allowed());
/// assert_eq!((view.limit(), view.remaining()), (10, 2));
/// ```
///
/// A view cannot be refunded:
///
/// ```compile_fail,E0308
/// # use {std::time::Duration, tollgate::{Bucket, Quota}};
/// let bucket = Bucket::new(Quota::per_second(5));
/// let view = bucket.try_acquire_at(Duration::ZERO, 1).view();
/// bucket.refund(view);
/// ```
#[derive(Clone, Copy)]
pub struct DecisionView {
    scaled: ScaledQuota,
    /// State that the charge left; for refusals, the state found.
    state: State,
    /// Units charged; 0 for refusals.
    charged: u64,
    now_nanos: u64,
    cost: u32,
    outcome: Outcome,
    #[cfg(feature = "redis")]
    pub(super) source: DecisionSource,
}

/// Outcome of an attempt to acquire tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The tokens are taken.
    Allowed,
    /// Too few tokens are available now; for a reservation, within one refill of the capacity.
    Refused,
    /// The cost is above the capacity, so the attempt can never succeed.
    CostAboveCapacity,
    /// The tokens are available only after the caller's deadline. Nothing is taken.
    DeadlineTooSoon,
    /// Callers wait for as many keys as the limiter has room for. Nothing is taken.
    QueueFull,
    /// The table has no room for this key, and is configured to refuse new keys instead of evicting
    /// known ones.
    TableFull,
    /// Redis is unavailable, and the limiter is configured to refuse in that case. The number of
    /// available tokens is unknown.
    Unavailable,
}

impl DecisionView {
    /// Returns the view of a decision that charged `charged` units and left `state`, or charged
    /// nothing and found it.
    #[inline]
    pub(crate) const fn new(
        scaled: ScaledQuota,
        now_nanos: u64,
        cost: u32,
        state: State,
        charged: u64,
        outcome: Outcome,
    ) -> DecisionView {
        DecisionView {
            scaled,
            state,
            charged,
            now_nanos,
            cost,
            outcome,
            #[cfg(feature = "redis")]
            source: DecisionSource::Memory,
        }
    }

    /// Returns the view of the refusal of a caller that needs `cost` tokens and has reached its
    /// deadline.
    #[cfg(feature = "tokio")]
    pub(super) const fn past_deadline(self, cost: u32) -> DecisionView {
        let outcome = match self.outcome {
            Outcome::Unavailable => Outcome::Unavailable,
            _ if cost > self.limit() => Outcome::CostAboveCapacity,
            _ => Outcome::DeadlineTooSoon,
        };
        DecisionView {
            cost,
            outcome,
            charged: 0,
            ..self
        }
    }

    /// Returns the view of the refusal of a caller that needs `cost` tokens and joins no queue.
    #[cfg(feature = "tokio")]
    pub(crate) const fn refusing(self, cost: u32, outcome: Outcome) -> DecisionView {
        DecisionView {
            cost,
            outcome,
            charged: 0,
            ..self
        }
    }

    /// Returns the same view of a decision that charged nothing.
    pub(crate) const fn without_charge(self) -> DecisionView {
        DecisionView { charged: 0, ..self }
    }

    /// Returns the view of a decision on `cost` tokens that finds the same state and takes nothing,
    /// where this one has asked for none.
    #[cfg(feature = "redis")]
    pub(crate) const fn asked_for(self, cost: u32) -> DecisionView {
        let units = self.scaled.units(cost);
        let outcome = match (self.outcome, self.source) {
            (Outcome::Allowed, DecisionSource::Open) => Outcome::Allowed,
            (Outcome::Allowed, _) if cost > self.limit() => Outcome::CostAboveCapacity,
            (Outcome::Allowed, _)
                if cost > 0 && self.scaled.allowed_at(self.state, units) > self.state.stamp =>
            {
                Outcome::Refused
            }
            (outcome, _) => outcome,
        };
        DecisionView {
            cost,
            outcome,
            ..self
        }
    }

    /// Returns the time of the clock at which the decision was made.
    #[cfg(feature = "tokio")]
    pub(crate) const fn decided_at(&self) -> Duration {
        Duration::from_nanos(self.now_nanos)
    }

    /// Returns the estimated time until `cost` tokens are available to a waiter, after `ahead`
    /// tokens of earlier ones.
    #[cfg(feature = "tokio")]
    pub(crate) const fn wait_behind(&self, ahead: u64, cost: u32) -> Duration {
        let tick = self.scaled.allowed_behind(self.state, ahead, cost);
        match self.until(tick) {
            Some(time) => time,
            None => Duration::MAX,
        }
    }

    /// Returns the state that the charge left, and the units charged.
    pub(crate) const fn charge(&self) -> (State, u64) {
        (self.state, self.charged)
    }

    /// Returns the charge on the axis of refilled units: its begin, its end, and the end at which the bucket
    /// would be empty.
    #[cfg(tollgate_torture)]
    #[doc(hidden)]
    pub const fn sold(&self) -> [u64; 3] {
        let end = self.scaled.end(self.state);
        let empty = self.scaled.position(self.state.stamp) + self.scaled.capacity;
        [end - self.charged, end, empty]
    }

    /// Returns true when the tokens were taken.
    #[inline]
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self.outcome, Outcome::Allowed)
    }

    /// Returns true when nothing was taken: the opposite of [`DecisionView::is_allowed`].
    #[inline]
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        !self.is_allowed()
    }

    /// Returns the outcome: allowed, or the reason for the refusal.
    #[inline]
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Returns the capacity of the bucket, in tokens.
    #[doc(alias = "capacity")]
    #[inline]
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.scaled.capacity_tokens()
    }

    /// Returns the source of the decision: memory, Redis, or a fallback while Redis is unavailable.
    #[cfg(feature = "redis")]
    #[inline]
    #[must_use]
    pub const fn source(&self) -> DecisionSource {
        self.source
    }

    /// Returns the requested number of tokens.
    #[doc(alias = "weight")]
    #[doc(alias = "permits")]
    #[inline]
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.cost
    }

    /// Returns the number of whole tokens left after this decision.
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.scaled.remaining(self.state.spent)
    }

    /// Returns the time from the decision until an attempt of the same cost is allowed, if no other
    /// attempt takes tokens. An attempt just before that time is refused; an attempt exactly at it
    /// is allowed. (A refused attempt to reserve may succeed earlier than that.)
    ///
    /// Returns `None` when the attempt was allowed, can never be allowed, or the number of tokens
    /// is unknown ([`Outcome::Unavailable`]).
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        let tick = match self.outcome {
            Outcome::Allowed | Outcome::CostAboveCapacity | Outcome::Unavailable => return None,
            Outcome::TableFull => self.scaled.full_at(self.state),
            Outcome::Refused | Outcome::DeadlineTooSoon | Outcome::QueueFull => self
                .scaled
                .allowed_at(self.state, self.scaled.units(self.cost)),
        };
        self.until(tick)
    }

    /// Returns the time from the decision until the bucket is full again, if no attempt takes
    /// tokens; `Duration::MAX` when that is past the horizon of 34 years.
    #[must_use]
    pub const fn reset_after(&self) -> Duration {
        match self.until(self.scaled.full_at(self.state)) {
            _ if self.state.spent == 0 => Duration::ZERO,
            Some(time) => time,
            None => Duration::MAX,
        }
    }

    /// Returns the time in which an empty bucket becomes full, if no attempt takes tokens: it
    /// refills `limit()` tokens.
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Bucket, Quota}};
    /// let bucket = Bucket::new(Quota::per_second(5).with_capacity(10));
    /// assert_eq!(bucket.try_acquire_at(Duration::ZERO, 1).window(), Duration::from_secs(2));
    /// ```
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_nanos(self.scaled.window_nanos())
    }

    /// Returns the time from the decision until the reserved tokens may be used; zero for tokens
    /// that were available.
    #[must_use]
    pub const fn wait(&self) -> Duration {
        match self.until(self.scaled.ready_at(self.state)) {
            Some(time) if self.charged > 0 && self.scaled.is_in_debt(self.state) => time,
            _ => Duration::ZERO,
        }
    }

    /// Returns the time from the decision until `tick`, or `None` when it is past the horizon.
    const fn until(&self, tick: u64) -> Option<Duration> {
        match self.scaled.nanos_at(tick) {
            Some(nanos) => Some(Duration::from_nanos(nanos.saturating_sub(self.now_nanos))),
            None => None,
        }
    }

    /// Formats the fields of a decision under the name of the type that holds them.
    pub(super) fn debug_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("outcome", &self.outcome)
            .field("cost", &self.cost)
            .field("remaining", &self.remaining())
            .field("limit", &self.limit())
            .field("retry_after", &self.retry_after())
            .field("reset_after", &self.reset_after())
            .finish()
    }
}

impl From<ReserveError> for Outcome {
    fn from(error: ReserveError) -> Outcome {
        match error {
            ReserveError::TooFarAhead => Outcome::Refused,
            ReserveError::DeadlineTooSoon => Outcome::DeadlineTooSoon,
        }
    }
}

/// Formats as `allowed: cost 3, 7 of 10 left` or `refused: cost 3, 1 of 100 left, retry after
/// 1.2s`.
impl fmt::Display for DecisionView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cost, remaining, limit) = (self.cost, self.remaining(), self.limit());
        if self.outcome == Outcome::Unavailable {
            return write!(f, "refused: cost {cost}, Redis unavailable");
        }
        let verdict = if self.is_allowed() {
            "allowed"
        } else {
            "refused"
        };
        write!(f, "{verdict}: cost {cost}, {remaining} of {limit} left")?;
        match self.outcome {
            Outcome::Allowed if self.wait().is_zero() => return Ok(()),
            Outcome::Allowed => return write!(f, ", ready after {:?}", self.wait()),
            Outcome::CostAboveCapacity => return f.write_str(", cost above capacity"),
            Outcome::Refused | Outcome::Unavailable => {}
            Outcome::DeadlineTooSoon => f.write_str(", deadline too soon")?,
            Outcome::QueueFull => f.write_str(", queue full")?,
            Outcome::TableFull => f.write_str(", table full")?,
        }
        match self.retry_after() {
            // The available tokens belong to earlier waiters.
            Some(Duration::ZERO) => Ok(()),
            Some(time) => write!(f, ", retry after {time:?}"),
            None => f.write_str(", no retry within 34 years"),
        }
    }
}

impl fmt::Debug for DecisionView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug_as("DecisionView", f)
    }
}
