//! Several limits at once, all or nothing.
//!
//! **Look, take, give back.** A call looks at all words first. When one refuses, the answer is a
//! refusal, and nothing has been written. Else it takes from each, by a CAS from the word that it
//! has seen, or by an ordinary decision where that fails. When one refuses now, the tokens taken
//! before are given back, and the call looks again, at most [`TRIES`] times.
//!
//! **One order for all callers.** Tokens are taken in the order of the buckets' addresses or, in
//! tables, of their numbers and the keys' tags. Two callers that want the same two buckets and find room for one meet
//! at the first bucket: the loser has taken nothing yet. So with the same set of limits and equal
//! costs no caller is refused for tokens that are given back. With different sets a caller may be
//! refused for a token that another one holds for some tens of nanoseconds and then gives back.
//!
//! **Never above a limit.** Every step is a take or a refund of one bucket, whose bounds hold alone.
//! What is given back follows the rule of refunds: when another caller charged the bucket in a later
//! tick, the refill of the time in between is lost.
//!
//! Two parts on one bucket are merged, their costs summed: taken apart, the second could be refused
//! after the first.

mod decision;
mod part;

use core::{fmt, time::Duration};

pub use decision::CompoundDecision;
use part::{Held, Lost, Part, Parts};

use crate::{
    bucket::Bucket,
    decision::{Decision, Outcome},
    duration::saturating_nanos,
};
#[cfg(feature = "std")]
use crate::{
    clock::Clock,
    keyed::{KeyRef, KeyedLimiter},
};

/// Greatest number of limits in one call.
const MAX_LIMITS: usize = 8;

/// Greatest number of looks of a call. A look is lost only when another caller has taken tokens in
/// between, so that one of them gets on.
const TRIES: usize = 4;

/// Request for tokens of one bucket: a part of [`all`].
///
/// ```
/// use tollgate::{Bucket, KeyedLimiter, Quota};
///
/// static EVERYTHING: Bucket = Bucket::new(Quota::per_second(5000));
/// let per_ip = KeyedLimiter::<str>::new(Quota::per_second(10), 100_000);
/// let asks = [per_ip.ask("192.0.2.7", 1), EVERYTHING.ask(1)];
/// assert!(tollgate::all(asks).try_acquire().is_allowed());
/// ```
#[derive(Clone, Copy)]
#[must_use = "an Ask takes nothing by itself: pass it to `all`"]
pub struct Ask<'a> {
    target: Target<'a>,
    cost: u32,
}

/// What an [`Ask`] asks.
#[derive(Clone, Copy)]
enum Target<'a> {
    Bucket(&'a Bucket),
    #[cfg(feature = "std")]
    Key(KeyRef<'a>),
}

impl Bucket {
    /// Asks for `cost` tokens, as one of several limits; see [`all`].
    pub const fn ask(&self, cost: u32) -> Ask<'_> {
        Ask {
            target: Target::Bucket(self),
            cost,
        }
    }
}

#[cfg(feature = "std")]
impl<K: core::hash::Hash + ?Sized, S: core::hash::BuildHasher> KeyedLimiter<K, S> {
    /// Asks for `cost` tokens of the key's bucket, as one of several limits; see [`all`].
    #[inline]
    pub fn ask(&self, key: &K, cost: u32) -> Ask<'_> {
        Ask {
            target: Target::Key(self.key_ref(key)),
            cost,
        }
    }
}

/// Several limits that a request has to pass: created by [`all`] and [`all_of`].
#[derive(Clone, Copy)]
#[must_use = "nothing is taken before `try_acquire`"]
pub struct All<'a, const K: usize> {
    /// Those from `len` on repeat the first one, with a cost of 0.
    asks: [Ask<'a>; K],
    len: usize,
}

/// Combines one to eight limits: a request takes from all of them, or from none.
///
/// Any mix of [`Bucket`]s and keys of [`KeyedLimiter`](crate::KeyedLimiter)s. Nothing is allocated,
/// and no lock is taken beyond those of the limiters.
///
/// ```
/// use tollgate::{Bucket, KeyedLimiter, Quota};
///
/// static EVERYTHING: Bucket = Bucket::new(Quota::per_second(5000));
/// let per_ip = KeyedLimiter::<str>::new(Quota::per_second(10), 100_000);
/// let per_key = KeyedLimiter::<str>::new(Quota::per_hour(2), 100_000);
///
/// let request = || tollgate::all([per_ip.ask("192.0.2.7", 1), per_key.ask("alice", 1), EVERYTHING.ask(1)]);
/// assert!(request().try_acquire().is_allowed());
/// assert!(request().try_acquire().is_allowed());
/// let refused = request().try_acquire();
/// assert_eq!(refused.refused_by(), Some(1)); // alice's key
/// assert_eq!(per_ip.available("192.0.2.7"), 8); // a refusal takes nothing
/// ```
///
/// In any time span each limit admits at most its capacity and refill. A refusal writes nothing.
/// Callers with the same limits and equal costs are never refused for tokens that another caller
/// gives back. With different sets of limits that may happen, for as long as such a call takes.
///
/// The same bucket may be named twice: the costs are added, and both parts show the sum.
///
/// More than eight limits do not compile:
///
/// ```compile_fail,E0080
/// # use {std::time::Duration, tollgate::{Bucket, Quota}};
/// let buckets = [const { Bucket::new(Quota::per_second(5)) }; 9];
/// tollgate::all(buckets.each_ref().map(|bucket| bucket.ask(1))).try_acquire_at(Duration::ZERO);
/// ```
#[inline]
pub const fn all<const K: usize>(asks: [Ask<'_>; K]) -> All<'_, K> {
    const { assert!(K >= 1 && K <= MAX_LIMITS, "expected 1 to 8 limits") };
    All { asks, len: K }
}

/// Combines limits like [`all`], when their number is known at run time.
///
/// # Errors
/// When there is no limit, or more than eight.
///
/// ```
/// use tollgate::{Bucket, Quota};
///
/// let buckets = [2, 5, 9].map(|rate| Bucket::new(Quota::per_second(rate)));
/// let asks: Vec<_> = buckets.iter().map(|bucket| bucket.ask(1)).collect();
/// assert_eq!(tollgate::all_of(&asks)?.try_acquire().remaining(), 1);
/// # Ok::<(), tollgate::LimitCountError>(())
/// ```
pub fn all_of<'a>(asks: &[Ask<'a>]) -> Result<All<'a, MAX_LIMITS>, LimitCountError> {
    let (Some(&first), true) = (asks.first(), asks.len() <= MAX_LIMITS) else {
        return Err(LimitCountError { count: asks.len() });
    };
    let mut filled = [Ask { cost: 0, ..first }; MAX_LIMITS];
    filled[..asks.len()].copy_from_slice(asks);
    Ok(All {
        asks: filled,
        len: asks.len(),
    })
}

/// Error of [`all_of`]: the number of limits is not from 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitCountError {
    count: usize,
}

impl<'a, const K: usize> All<'a, K> {
    /// Takes the tokens of all limits, or none.
    ///
    /// Each clock is read once, and all limits with the same clock decide at the same time.
    #[cfg(feature = "std")]
    #[inline]
    #[must_use = "the decision states whether the request is allowed"]
    pub fn try_acquire(self) -> CompoundDecision<'a, K> {
        self.decide(clock_times())
    }

    /// Takes the tokens of all limits at time `now`, or none; see
    /// [`Bucket::try_acquire_at`](crate::Bucket::try_acquire_at).
    #[inline]
    #[must_use = "the decision states whether the request is allowed"]
    pub fn try_acquire_at(self, now: Duration) -> CompoundDecision<'a, K> {
        let now_nanos = saturating_nanos(now);
        self.decide(|_| now_nanos)
    }

    /// Returns what [`All::try_acquire`] would decide, and takes nothing: there is nothing to
    /// refund.
    #[cfg(feature = "std")]
    pub fn look(self) -> CompoundDecision<'a, K> {
        let mut held = Held::default();
        let mut parts = self.parts(&mut held, clock_times());
        let is_allowed = parts.look();
        self.decision(parts.views(), !is_allowed)
    }

    /// Decides, at the time that `nanos` returns for each limit.
    #[inline]
    fn decide(self, nanos: impl FnMut(&Ask<'a>) -> u64) -> CompoundDecision<'a, K> {
        let mut held = Held::default();
        let mut parts = self.parts(&mut held, nanos);
        let mut lost = None;
        for _ in 0..TRIES {
            if !parts.look() {
                return self.decision(parts.views(), true);
            }
            match parts.take() {
                Ok(decisions) => return self.decision(decisions, false),
                Err(refusal) => {
                    let may_pass = refusal.decision.outcome() == Outcome::Refused;
                    lost = Some(refusal);
                    if !may_pass {
                        break;
                    }
                }
            }
        }
        parts.look();
        let mut decisions = parts.views();
        if let Some(Lost { part, decision }) = lost {
            decisions[part] = decision;
        }
        self.decision(decisions, true)
    }

    #[inline]
    fn parts<'h>(&self, held: &'h mut Held, mut nanos: impl FnMut(&Ask<'a>) -> u64) -> Parts<'h, K>
    where
        'a: 'h,
    {
        let numbers = self.asks.each_ref().map(|ask| ask.hold(held));
        let held: &'h Held = held;
        Parts::new(core::array::from_fn(|n| {
            let ask = &self.asks[n];
            ask.part(held, numbers[n], nanos(ask))
        }))
    }

    #[inline]
    fn decision(self, decisions: [Decision; K], is_refused: bool) -> CompoundDecision<'a, K> {
        CompoundDecision::new(self, decisions, is_refused)
    }
}

/// Returns a function that returns the time of the clock of each limit. It reads a clock once for all
/// limits in a row.
#[cfg(feature = "std")]
#[inline]
fn clock_times<'a>() -> impl FnMut(&Ask<'a>) -> u64 {
    let mut last: Option<(&'a Clock, u64)> = None;
    move |ask| {
        let clock = ask.clock();
        match last {
            Some((read, nanos)) if clock.is_same(read) => nanos,
            _ => last.insert((clock, clock.nanos())).1,
        }
    }
}

impl<'a> Ask<'a> {
    #[cfg(feature = "std")]
    #[inline]
    fn clock(&self) -> &'a Clock {
        match self.target {
            Target::Bucket(bucket) => bucket.clock(),
            Target::Key(key) => key.clock,
        }
    }

    /// Holds what the ask needs during a decision. Returns the number by which it is found.
    #[inline]
    fn hold(&self, held: &mut Held) -> u64 {
        match self.target {
            Target::Bucket(_) => {
                let _ = held;
                0
            }
            #[cfg(feature = "std")]
            Target::Key(key) => key.hold(held),
        }
    }

    /// Returns the part of a decision at this time.
    #[inline]
    fn part<'h>(&self, held: &'h Held, number: u64, now_nanos: u64) -> Part<'h>
    where
        'a: 'h,
    {
        match self.target {
            Target::Bucket(bucket) => {
                let _ = (held, number);
                Part::of_bucket(bucket, now_nanos, self.cost)
            }
            #[cfg(feature = "std")]
            Target::Key(key) => match key.find(held, number) {
                Some(key) => Part::of_key(key, now_nanos, self.cost),
                #[expect(clippy::unreachable, reason = "`hold` has added this generation")]
                None => unreachable!("the generation is held"),
            },
        }
    }

    /// Undoes a decision on this part.
    fn refund(&self, decision: &Decision) -> bool {
        match self.target {
            Target::Bucket(bucket) => bucket.refund_charge(decision),
            #[cfg(feature = "std")]
            Target::Key(key) => key.refund(decision),
        }
    }
}

impl fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

impl<const K: usize> fmt::Debug for All<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.asks[..self.len]).finish()
    }
}

impl fmt::Display for LimitCountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected from 1 to {MAX_LIMITS} limits, got {}",
            self.count
        )
    }
}

impl core::error::Error for LimitCountError {}
