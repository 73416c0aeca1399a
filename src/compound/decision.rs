//! Decision on several limits.

use core::{fmt, time::Duration};

use super::{
    ask::Ask,
    part_decision::PartDecision,
    parts::{self, requests_left},
};
#[cfg(feature = "tokio")]
use crate::decision::Decision;
use crate::decision::{DecisionView, Refused};

/// Decision on several limits: all of them, or none.
///
/// The parts are numbered as in the call of [`all`](crate::all). They are read-only views, since
/// only the whole can be refunded. Like a [`Decision`](crate::Decision) it can be refunded once, so it
/// is neither `Copy` nor `Clone`.
///
/// ```
/// use {std::time::Duration, tollgate::{Bucket, Quota}};
///
/// let [burst, hourly] = [Quota::per_second(10), Quota::per_hour(1000)].map(Bucket::new);
/// let decision = tollgate::all([burst.ask(4), hourly.ask(4)]).try_acquire_at(Duration::ZERO);
/// assert!(decision.is_allowed());
/// assert_eq!((decision.tightest(), decision.remaining()), (0, 1)); // one more like it
/// assert_eq!(decision.part(1).map(|part| part.remaining()), Some(996));
/// assert!(decision.refund());
/// assert_eq!(burst.available_at(Duration::ZERO), 10);
/// ```
#[must_use = "the decision states whether the request is allowed"]
pub struct CompoundDecision<'a, const K: usize> {
    asks: [Ask<'a>; K],
    /// Number of the limits; the others do not count.
    len: usize,
    decisions: [PartDecision; K],
    is_refused: bool,
}

impl<'a, const K: usize> CompoundDecision<'a, K> {
    #[inline(always)]
    pub(super) const fn new(
        asks: [Ask<'a>; K],
        len: usize,
        decisions: [PartDecision; K],
        is_refused: bool,
    ) -> CompoundDecision<'a, K> {
        CompoundDecision {
            asks,
            len,
            decisions,
            is_refused,
        }
    }

    /// Returns the same decision on `asks`, in which one part has been taken before, by a decision of
    /// its own. The other parts on its bucket show that one.
    #[cfg(feature = "tokio")]
    pub(super) fn with_part(
        self,
        asks: [Ask<'a>; K],
        number: usize,
        taken: Decision,
        is_on_its_bucket: impl Fn(usize) -> bool,
    ) -> CompoundDecision<'a, K> {
        let taken = PartDecision::of(&taken);
        let decisions: [PartDecision; K] = core::array::from_fn(|part| {
            if part == number {
                taken
            } else if is_on_its_bucket(part) {
                taken.without_charge()
            } else {
                self.decisions[part]
            }
        });
        CompoundDecision {
            asks,
            decisions,
            ..self
        }
    }

    /// Returns true when the tokens of all limits were taken.
    #[inline]
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        !self.is_refused
    }

    /// Returns true when nothing was taken.
    #[inline]
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Returns the number of the limit that decides the refusal, or `None` when the request was
    /// allowed: the refusing limit whose tokens are available last, and before all a limit that can
    /// never allow the cost.
    #[must_use]
    pub fn refused_by(&self) -> Option<usize> {
        parts::refused_by(self.views().enumerate())
    }

    /// Returns the number of the limit that allows the fewest further requests of this kind, or
    /// decides the refusal: the one that headers tell of.
    #[must_use]
    pub fn tightest(&self) -> usize {
        parts::tightest(self.views().enumerate())
    }

    /// Returns the time from the decision until the same request is allowed, if no other attempt
    /// takes tokens: the longest of the refusing limits. An attempt just before is refused, and an
    /// attempt exactly at it is allowed.
    ///
    /// Returns `None` when the request was allowed, or can never be allowed.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.view(self.refused_by()?).retry_after()
    }

    /// Returns how many further requests of this kind would be allowed now: of each limit the
    /// remaining tokens by the cost, and of these the least. Parts that cost nothing do not count.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        if self.is_refused {
            return 0;
        }
        let left = self.views().map(|part| requests_left(&part));
        left.min().unwrap_or(0)
    }

    /// Returns the decision of a limit. After a refusal, those that would have allowed the request
    /// say so, and have taken nothing.
    #[must_use]
    pub fn part(&self, number: usize) -> Option<DecisionView> {
        self.views().nth(number)
    }

    /// Returns the decisions of all limits.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = DecisionView> + '_ {
        self.views()
    }

    /// Converts the decision into a `Result`, for use with `?`.
    ///
    /// # Errors
    /// When nothing was taken: the refusal of the limit that decides.
    pub fn ok(self) -> Result<CompoundDecision<'a, K>, Refused> {
        match self.refused_by() {
            None => Ok(self),
            Some(number) => Err(Refused::new(self.view(number))),
        }
    }

    /// Undoes the decision, as far as tokens are still owed: of all limits, the last one taken
    /// first. Returns whether any tokens were given back. See
    /// [`Bucket::refund`](crate::Bucket::refund).
    ///
    /// A second refund does not compile:
    ///
    /// ```compile_fail,E0382
    /// # use {std::time::Duration, tollgate::{Bucket, Quota}};
    /// let bucket = Bucket::new(Quota::per_second(5));
    /// let decision = tollgate::all([bucket.ask(1)]).try_acquire_at(Duration::ZERO);
    /// decision.refund();
    /// decision.refund();
    /// ```
    pub fn refund(self) -> bool {
        let asks = &self.asks[..self.len];
        let parts = asks.iter().zip(&self.decisions);
        let refunded = parts
            .rev()
            .filter(|(ask, part)| part.view.charge().1 > 0 && ask.refund(&part.decision()));
        refunded.count() > 0
    }

    fn views(
        &self,
    ) -> impl ExactSizeIterator<Item = DecisionView> + DoubleEndedIterator + Clone + '_ {
        self.decisions[..self.len].iter().map(|part| part.view)
    }

    fn view(&self, number: usize) -> DecisionView {
        self.decisions[number].view
    }
}

impl<const K: usize> fmt::Debug for CompoundDecision<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompoundDecision")
            .field("is_allowed", &self.is_allowed())
            .field("parts", &&self.decisions[..self.len])
            .finish()
    }
}

/// Formats as the limit that decides, or the tightest one: `refused: cost 3, 1 of 100 left, retry
/// after 1.2s`.
impl<const K: usize> fmt::Display for CompoundDecision<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view(self.tightest()).fmt(f)
    }
}
