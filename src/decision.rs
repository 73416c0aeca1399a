//! What was decided, and the error a refusal turns into.

use core::{fmt, time::Duration};

use crate::{
    request::Request,
    state::{Denied, State, Terms},
};

/// The answer to a request for tokens.
///
/// It is the raw outcome: the times are computed only when they are asked for.
///
/// ```
/// use {std::time::Duration, tollgate::{Bucket, Quota}};
/// let bucket = Bucket::new(Quota::per_second(5).with_capacity(10));
/// let now = Duration::ZERO;
/// let decision = bucket.try_acquire_at(now, 8);
/// assert!(decision.is_allowed());
/// assert_eq!((decision.limit(), decision.remaining()), (10, 2));
/// let refused = bucket.try_acquire_at(now, 3);
/// assert_eq!(refused.to_string(), "refused: 3 asked, 2 of 10 left, retry in 200ms");
/// assert_eq!(refused.retry_after(), Some(Duration::from_millis(200)));
/// ```
#[derive(Clone, Copy)]
pub struct Decision {
    terms: Terms,
    /// What the charge left, or the place that it took; of a refusal, what the bucket held.
    state: State,
    charged: u64,
    /// Units that others had been sold behind this charge: who takes the place of one who left is
    /// not the last.
    behind: u64,
    now_nanos: u64,
    cost: u32,
    origin: u32,
    outcome: Outcome,
}

/// How a request for tokens ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The tokens were taken.
    Allowed,
    /// There are too few tokens now.
    Refused,
    /// The request asks for more than the capacity, and can never pass.
    CostAboveCapacity,
    /// So many are waiting already that the quota's debt is used up. Nothing was taken.
    DebtExhausted,
    /// Waiting would take longer than the caller wants to. Nothing was taken.
    DeadlineTooSoon,
    /// The table has no room for this key, and was told to refuse rather than to forget another.
    TableFull,
    /// Redis cannot be asked, and the limiter was told to refuse then. How many tokens there are is
    /// not known.
    Unavailable,
}

impl Decision {
    /// A decision that charged `charged` units and left `state`, or charged nothing and found it.
    #[inline]
    pub(crate) const fn new(
        request: &Request,
        state: State,
        charged: u64,
        outcome: Outcome,
    ) -> Decision {
        let (terms, now_nanos, cost) = (request.layout.terms, request.now_nanos, request.cost);
        Decision {
            terms,
            state,
            charged,
            behind: 0,
            now_nanos,
            cost,
            origin: 0,
            outcome,
        }
    }

    /// The same decision, with so many units sold behind its charge.
    pub(crate) const fn before(self, behind: u64) -> Decision {
        Decision { behind, ..self }
    }

    /// What a decision that took nothing has found, as a refusal of one who wants so many tokens,
    /// and has no more time.
    pub(crate) const fn too_late(self, cost: u32) -> Refused {
        let outcome = match self.outcome {
            Outcome::Unavailable => Outcome::Unavailable,
            _ if cost > self.limit() => Outcome::CostAboveCapacity,
            _ => Outcome::DeadlineTooSoon,
        };
        Refused(Decision {
            cost,
            outcome,
            ..self
        })
    }

    /// The same decision, made by the part of a limiter that this number names.
    #[inline]
    pub(crate) const fn of(self, origin: u32) -> Decision {
        Decision { origin, ..self }
    }

    pub(crate) const fn origin(&self) -> u32 {
        self.origin
    }

    /// The state the bucket was left with, and the units charged.
    pub(crate) const fn charge(&self) -> (State, u64) {
        (self.state, self.charged)
    }

    /// Whether the tokens were taken.
    #[inline]
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self.outcome, Outcome::Allowed)
    }

    /// Whether nothing was taken; the opposite of [`Decision::is_allowed`].
    #[inline]
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        !self.is_allowed()
    }

    /// Allowed, or why not.
    #[inline]
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The decision when it allows, and otherwise an error to return with `?`.
    ///
    /// # Errors
    /// When the request was refused.
    #[inline]
    pub const fn ok(self) -> Result<Decision, Refused> {
        if self.is_allowed() {
            Ok(self)
        } else {
            Err(Refused(self))
        }
    }

    /// The capacity of the bucket, in tokens.
    #[doc(alias = "capacity")]
    #[inline]
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.terms.capacity_tokens()
    }

    /// How many tokens were asked for.
    #[doc(alias = "weight")]
    #[doc(alias = "permits")]
    #[inline]
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.cost
    }

    /// Whole tokens left after this decision.
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.terms.remaining(self.bucket().spent)
    }

    /// The time from the decision until as many tokens are there, if nobody else takes any: refused
    /// just before, allowed exactly at it. (One who is willing to wait, and was refused all the
    /// same, may be allowed to queue earlier than that.) `None` when it was allowed, or never will
    /// be, or nobody knows ([`Outcome::Unavailable`]).
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        let tick = match self.outcome {
            Outcome::Allowed | Outcome::CostAboveCapacity | Outcome::Unavailable => return None,
            Outcome::TableFull => self.terms.full_at(self.state),
            Outcome::Refused | Outcome::DebtExhausted | Outcome::DeadlineTooSoon => self
                .terms
                .enough_at(self.state, self.terms.units(self.cost)),
        };
        self.until(tick)
    }

    /// The time from the decision until the bucket is full again, if nobody takes anything;
    /// `Duration::MAX` when time ends before that.
    #[must_use]
    pub const fn reset_after(&self) -> Duration {
        match self.until(self.terms.full_at(self.bucket())) {
            _ if self.bucket().spent == 0 => Duration::ZERO,
            Some(time) => time,
            None => Duration::MAX,
        }
    }

    /// The time in which an empty bucket becomes full, if nobody takes anything: `limit()` tokens
    /// come back in it.
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Bucket, Quota}};
    /// let bucket = Bucket::new(Quota::per_second(5).with_capacity(10));
    /// assert_eq!(bucket.try_acquire_at(Duration::ZERO, 1).window(), Duration::from_secs(2));
    /// ```
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_nanos(self.terms.window_nanos())
    }

    /// The time from the decision until what was reserved may be used; zero for tokens that were
    /// there.
    #[must_use]
    pub const fn wait(&self) -> Duration {
        match self.until(self.terms.ready(self.state)) {
            Some(time) if self.charged > 0 && self.terms.is_ahead(self.state) => time,
            _ => Duration::ZERO,
        }
    }

    /// What the bucket was left with, those behind included.
    #[inline]
    const fn bucket(&self) -> State {
        State {
            spent: self.state.spent + self.behind,
            stamp: self.state.stamp,
        }
    }

    const fn until(&self, tick: u64) -> Option<Duration> {
        match self.terms.nanos_at(tick) {
            Some(nanos) => Some(Duration::from_nanos(nanos.saturating_sub(self.now_nanos))),
            None => None,
        }
    }
}

impl From<Denied> for Outcome {
    fn from(denied: Denied) -> Outcome {
        match denied {
            Denied::DebtExhausted => Outcome::DebtExhausted,
            Denied::TooLate => Outcome::DeadlineTooSoon,
        }
    }
}

/// `allowed: 3 asked, 7 of 10 left`, `refused: 3 asked, 1 of 100 left, retry in 1.2s`.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cost, remaining, limit) = (self.cost, self.remaining(), self.limit());
        if self.outcome == Outcome::Unavailable {
            return write!(f, "refused: {cost} asked, and Redis cannot be");
        }
        let verdict = if self.is_allowed() {
            "allowed"
        } else {
            "refused"
        };
        write!(f, "{verdict}: {cost} asked, {remaining} of {limit} left")?;
        match self.outcome {
            Outcome::Allowed if self.wait().is_zero() => return Ok(()),
            Outcome::Allowed => return write!(f, ", ready in {:?}", self.wait()),
            Outcome::CostAboveCapacity => return f.write_str(", more than there can ever be"),
            Outcome::Refused | Outcome::Unavailable => {}
            Outcome::DebtExhausted => f.write_str(", too many are waiting")?,
            Outcome::DeadlineTooSoon => f.write_str(", not before the deadline")?,
            Outcome::TableFull => f.write_str(", no room for another key")?,
        }
        match self.retry_after() {
            // Others are before this one, and what there is is for them.
            Some(Duration::ZERO) => Ok(()),
            Some(time) => write!(f, ", retry in {time:?}"),
            None => f.write_str(", at the end of time"),
        }
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision")
            .field("outcome", &self.outcome)
            .field("cost", &self.cost)
            .field("remaining", &self.remaining())
            .field("limit", &self.limit())
            .field("retry_after", &self.retry_after())
            .field("reset_after", &self.reset_after())
            .finish()
    }
}

/// A [`Decision`] that refused, as an error.
///
/// ```
/// # use {std::time::Duration, tollgate::{Bucket, Quota, Refused}};
/// fn login(bucket: &Bucket, now: Duration) -> Result<(), Refused> {
///     bucket.try_acquire_at(now, 1).ok()?;
///     Ok(())
/// }
/// let bucket = Bucket::new(Quota::per_minute(1));
/// assert!(login(&bucket, Duration::ZERO).is_ok());
/// let refused = login(&bucket, Duration::ZERO).unwrap_err();
/// assert_eq!(refused.retry_after(), Some(Duration::from_secs(60)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Refused(Decision);

impl Refused {
    /// The decision itself.
    #[must_use]
    pub const fn decision(&self) -> Decision {
        self.0
    }

    /// Why; see [`Decision::outcome`].
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.0.outcome()
    }

    /// When to try again; see [`Decision::retry_after`].
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::error::Error for Refused {}
