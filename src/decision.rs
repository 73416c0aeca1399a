//! Decision of a rate limiter, the error form of a refusal, and the error of a misdirected refund.

#[cfg(feature = "redis")]
mod source;
mod view;

use core::{fmt, ops::Deref, time::Duration};

#[cfg(feature = "redis")]
pub use source::DecisionSource;
pub use view::{DecisionView, Outcome};

use crate::origin::Origin;

/// Result of an attempt to acquire tokens.
///
/// A decision dereferences to a [`DecisionView`], which has all of its read-only methods. Beyond
/// the view, a decision stands for **exactly one charge**, which one call of `refund` gives back.
/// Therefore it is neither `Copy` nor `Clone`; [`Decision::view`] returns what can be copied.
///
/// ```
/// use {std::time::Duration, tollgate::{Bucket, Quota}};
/// let bucket = Bucket::new(Quota::per_second(5).with_capacity(10));
/// let now = Duration::ZERO;
/// let decision = bucket.try_acquire_at(now, 8);
/// assert!(decision.is_allowed());
/// assert_eq!((decision.limit(), decision.remaining()), (10, 2));
/// let refused = bucket.try_acquire_at(now, 3);
/// assert_eq!(refused.to_string(), "refused: cost 3, 2 of 10 left, retry after 200ms");
/// assert_eq!(refused.retry_after(), Some(Duration::from_millis(200)));
/// assert!(bucket.refund(decision)?);
/// # Ok::<(), tollgate::RefundError>(())
/// ```
///
/// A refund consumes the decision, so a second refund does not compile:
///
/// ```compile_fail,E0382
/// # use {std::time::Duration, tollgate::{Bucket, Quota}};
/// # let bucket = Bucket::new(Quota::per_second(5));
/// let decision = bucket.try_acquire_at(Duration::ZERO, 1);
/// bucket.refund(decision)?;
/// bucket.refund(decision)?; // use of moved value
/// # Ok::<(), tollgate::RefundError>(())
/// ```
///
/// Nor does a copy:
///
/// ```compile_fail,E0277
/// fn copy<T: Copy>() {}
/// copy::<tollgate::Decision>();
/// ```
///
/// ```compile_fail,E0277
/// fn clone<T: Clone>() {}
/// clone::<tollgate::Decision>();
/// ```
pub struct Decision {
    view: DecisionView,
    origin: Origin,
}

impl Decision {
    /// Returns the decision with this view, of an origin that is set later.
    #[inline(always)]
    pub(crate) const fn new(view: DecisionView) -> Decision {
        Decision {
            view,
            origin: Origin::new(0, 0),
        }
    }

    /// Returns the same decision with this origin.
    #[inline(always)]
    pub(crate) const fn with_origin(self, origin: Origin) -> Decision {
        Decision {
            view: self.view,
            origin,
        }
    }

    /// Returns the same decision with this source.
    #[cfg(feature = "redis")]
    #[inline]
    pub(crate) const fn with_source(self, source: DecisionSource) -> Decision {
        let mut view = self.view;
        view.source = source;
        Decision {
            view,
            origin: self.origin,
        }
    }

    pub(crate) const fn origin(&self) -> Origin {
        self.origin
    }

    /// Returns a read-only copy.
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Bucket, Quota}};
    /// let bucket = Bucket::new(Quota::per_minute(10));
    /// let decision = bucket.try_acquire_at(Duration::ZERO, 4);
    /// let view = decision.view();
    /// assert!(bucket.refund(decision)?);
    /// assert_eq!(view.remaining(), 6); // as of the decision
    /// # Ok::<(), tollgate::RefundError>(())
    /// ```
    #[inline]
    #[must_use]
    pub const fn view(&self) -> DecisionView {
        self.view
    }

    /// Converts the decision into a `Result`, for use with `?`.
    ///
    /// # Errors
    /// When nothing was taken.
    #[inline]
    pub const fn ok(self) -> Result<Decision, Refused> {
        if self.view.is_allowed() {
            Ok(self)
        } else {
            Err(Refused(self.view))
        }
    }
}

impl Deref for Decision {
    type Target = DecisionView;

    #[inline(always)]
    fn deref(&self) -> &DecisionView {
        &self.view
    }
}

impl From<Decision> for DecisionView {
    #[inline]
    fn from(decision: Decision) -> DecisionView {
        decision.view
    }
}

impl From<Refused> for DecisionView {
    fn from(refused: Refused) -> DecisionView {
        refused.0
    }
}

/// The view of either side: an acquired decision, or its refusal.
impl From<Result<Decision, Refused>> for DecisionView {
    fn from(result: Result<Decision, Refused>) -> DecisionView {
        result.map_or_else(DecisionView::from, DecisionView::from)
    }
}

/// Formats as `allowed: cost 3, 7 of 10 left` or `refused: cost 3, 1 of 100 left, retry after
/// 1.2s`.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.fmt(f)
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.debug_as("Decision", f)
    }
}

/// Error form of a [`Decision`] that took nothing.
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
pub struct Refused(DecisionView);

impl Refused {
    /// Returns the refusal of a caller that needs `cost` tokens and has reached its deadline, after
    /// a decision that charged nothing.
    #[cfg(feature = "tokio")]
    pub(crate) fn at_deadline(last: DecisionView, cost: u32) -> Refused {
        Refused(last.past_deadline(cost))
    }

    /// Returns the refusal with this view.
    pub(crate) const fn new(view: DecisionView) -> Refused {
        Refused(view)
    }

    /// Returns a view of the decision.
    #[must_use]
    pub const fn decision(&self) -> DecisionView {
        self.0
    }

    /// Returns the reason; see [`DecisionView::outcome`].
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.0.outcome()
    }

    /// Returns the time until a retry is allowed; see [`DecisionView::retry_after`].
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

/// Error of a refund to another bucket, key or limiter than the one that made the decision. Nothing
/// was given back.
///
/// ```
/// use {std::time::Duration, tollgate::{Bucket, Quota}};
/// let [uploads, logins] = [5, 50].map(|rate| Bucket::new(Quota::per_second(rate)));
/// let decision = uploads.try_acquire_at(Duration::ZERO, 1);
/// let error = logins.refund(decision).unwrap_err();
/// assert!(uploads.refund(error.into_decision())?);
/// # Ok::<(), tollgate::RefundError>(())
/// ```
#[derive(Debug)]
pub struct RefundError(Decision);

impl RefundError {
    pub(crate) const fn new(decision: Decision) -> RefundError {
        RefundError(decision)
    }

    /// Returns the decision, which may still be refunded where it was made.
    #[must_use]
    pub fn into_decision(self) -> Decision {
        self.0
    }
}

impl fmt::Display for RefundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cost = self.0.cost();
        write!(
            f,
            "decision: expected one of this bucket, key and limiter, got one of another, of cost {cost}"
        )
    }
}

impl core::error::Error for RefundError {}
