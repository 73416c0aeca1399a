//! Several limits at once, all or nothing.
//!
//! **Look, take, give back.** A call looks at all words first. When one refuses, the answer is a
//! refusal, and nothing has been written. Else it takes from each, by a CAS from the word that it
//! has seen, or by an ordinary decision where that fails. When one refuses now, the tokens taken
//! before are given back, and the call looks again, at most [`TRIES`] times.
//!
//! **One order for all callers.** Tokens are taken in the order of the buckets' addresses or, in
//! tables, of their numbers and the keys' tags. Two callers that want the same two buckets and find
//! room for one meet at the first bucket: the loser has taken nothing yet. So with the same set of
//! limits and equal costs no caller is refused for tokens that are given back. With different sets a
//! caller may be refused for a token that another one holds for some tens of nanoseconds and then
//! gives back.
//!
//! **Never above a limit.** Every step is a take or a refund of one bucket, whose bounds hold alone.
//! A give-back follows the rule of refunds: when another caller charged the bucket in a later tick, the
//! refill of the time in between is lost.
//!
//! Two parts on one bucket are merged, their costs summed: taken apart, the second could be refused
//! after the first.

mod ask;
mod decision;
mod hit;
mod part;
mod part_decision;
pub(crate) mod parts;
#[cfg(feature = "tokio")]
mod wait;

#[cfg(feature = "std")]
use core::hash::{BuildHasher, Hash};
use core::{fmt, mem, time::Duration};

pub use ask::Ask;
pub use decision::CompoundDecision;
use hit::{Hit, Location, Order, copy, take_all, take_in};
use part::{Held, Lost, Parts};
use part_decision::PartDecision;

#[cfg(feature = "std")]
use crate::keyed::KeyedLimiter;
use crate::{decision::Outcome, duration::saturating_nanos};

/// Greatest number of limits in one call of [`all`] or [`all_of`].
pub const MAX_LIMITS: usize = 8;

/// Greatest number of looks of a call. A look is lost only when another caller has taken tokens in
/// between, so that one of them gets on.
const TRIES: usize = 4;

/// Several limits that a request has to pass: created by [`all`] and [`all_of`].
#[derive(Clone, Copy)]
#[must_use = "nothing is taken before `try_acquire`"]
pub struct All<'a, const K: usize> {
    /// Those from `len` on repeat the first one, and do not count.
    asks: [Ask<'a>; K],
    len: usize,
}

/// Combines one to eight limits: a request takes from all of them, or from none.
///
/// Any mix of [`Bucket`](crate::Bucket)s and keys of [`KeyedLimiter`](crate::KeyedLimiter)s. Nothing
/// is allocated, and no lock is taken beyond those of the limiters.
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

/// Combines limits on one key: several quotas of each key, or several limiters. Limiters that are
/// [hashed alike](crate::KeyedLimiterBuilder::hashed_like) hash the key once.
///
/// ```
/// use tollgate::{KeyedLimiter, Quota};
///
/// let burst = KeyedLimiter::<str>::new(Quota::per_second(2), 1000);
/// let hourly = KeyedLimiter::builder(Quota::per_hour(100)).max_keys(1000).hashed_like(&burst).build()?;
/// let decision = tollgate::all_on_key("alice", [(&burst, 1), (&hourly, 1)]).try_acquire();
/// assert_eq!((decision.remaining(), hourly.available("alice")), (1, 99));
/// # Ok::<(), tollgate::BuildError>(())
/// ```
#[cfg(feature = "std")]
#[inline]
pub fn all_on_key<'a, K, S, const N: usize>(
    key: &K,
    limits: [(&'a KeyedLimiter<K, S>, u32); N],
) -> All<'a, N>
where
    K: Hash + ?Sized,
    S: BuildHasher,
{
    const { assert!(N >= 1 && N <= MAX_LIMITS, "expected 1 to 8 limits") };
    let first = limits[0].0;
    let hash = first.hash(key);
    all(limits.map(|(limiter, cost)| Ask::of_key(limiter.key_ref_like(key, first, hash), cost)))
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
        return Err(LimitCountError::new(asks.len()));
    };
    let mut filled = [first; MAX_LIMITS];
    filled[..asks.len()].copy_from_slice(asks);
    Ok(All {
        asks: filled,
        len: asks.len(),
    })
}

impl LimitCountError {
    pub(crate) fn new(count: usize) -> LimitCountError {
        LimitCountError { count }
    }
}

/// Error of [`all_of`]: the number of limits is not from 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitCountError {
    count: usize,
}

impl<'a, const K: usize> All<'a, K> {
    /// Takes the tokens of all limits, or none.
    ///
    /// Limits with the same clock decide at the same time.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub fn try_acquire(self) -> CompoundDecision<'a, K> {
        let first = self.asks[0].clock();
        if self.asks[1..self.len]
            .iter()
            .all(|ask| ask.clock().is_same(first))
        {
            self.decide(|| first.nanos())
        } else {
            self.copy().decide_by_each_clock()
        }
    }

    /// Takes the tokens of all limits at time `now`, or none; see
    /// [`Bucket::try_acquire_at`](crate::Bucket::try_acquire_at).
    #[inline(always)]
    pub fn try_acquire_at(self, now: Duration) -> CompoundDecision<'a, K> {
        self.decide(|| saturating_nanos(now))
    }

    /// Returns what [`All::try_acquire`] would decide, and takes nothing: there is nothing to
    /// refund.
    #[cfg(feature = "std")]
    pub fn look(self) -> CompoundDecision<'a, K> {
        let mut held = Held::default();
        let mut parts = self.parts(&mut held, |ask| ask.clock().nanos());
        let is_allowed = parts.look();
        let decision = self.decision(parts.views(), !is_allowed);
        held.put_back();
        decision
    }

    /// Returns how many requests of this kind would be allowed now: of each limit the available tokens
    /// by the cost, and of these the least. Parts that cost nothing do not count.
    ///
    /// ```
    /// # use tollgate::{Bucket, Quota};
    /// let [burst, hourly] = [Quota::per_second(10), Quota::per_hour(7)].map(Bucket::new);
    /// let limits = tollgate::all([burst.ask(5), hourly.ask(2)]);
    /// assert_eq!(limits.available(), 2);
    /// assert!(limits.try_acquire().is_allowed());
    /// assert_eq!(limits.available(), 1);
    /// limits.reset();
    /// assert_eq!(limits.available(), 2);
    /// ```
    #[cfg(feature = "std")]
    #[must_use]
    pub fn available(self) -> u32 {
        self.look().remaining()
    }

    /// Refills the buckets of all limits, one after the other. A quota is replaced at its bucket or
    /// limiter.
    #[cfg(feature = "std")]
    pub fn reset(self) {
        self.asks[..self.len].iter().for_each(Ask::reset);
    }

    #[cfg(feature = "std")]
    #[cold]
    #[inline(never)]
    fn decide_by_each_clock(self) -> CompoundDecision<'a, K> {
        let mut held = Held::default();
        let parts = self.parts(&mut held, |ask| ask.clock().nanos());
        let decision = self.decide_parts(parts, None);
        held.put_back();
        decision
    }

    /// Decides at one time. The number of the limits of [`all`] is a constant here.
    #[inline(always)]
    fn decide(self, nanos: impl FnOnce() -> u64) -> CompoundDecision<'a, K> {
        if self.len == K {
            self.decide_first(K, nanos)
        } else {
            self.decide_some(nanos)
        }
    }

    #[inline(never)]
    fn decide_some(self, nanos: impl FnOnce() -> u64) -> CompoundDecision<'a, K> {
        self.decide_first(self.len, nanos)
    }

    /// Decides on the first `len` limits, which are all of them.
    #[inline(always)]
    fn decide_first(self, len: usize, nanos: impl FnOnce() -> u64) -> CompoundDecision<'a, K> {
        // First, where it costs the least: the processor does not load ahead of a clock.
        let now_nanos = nanos();
        let mut held = Held::default();
        let found = self.hold(&mut held, len);
        // Without closures, which the compiler may leave out of line: the parts would be in memory.
        let hits = match self.locate(&held, &found, len) {
            Some(locations) => self.find(&locations, len, now_nanos),
            None => None,
        };
        let Some(hits) = hits else {
            return self.copy().resume(mem::take(&mut held), None, now_nanos);
        };
        let Some(order) = Order::of(&hits, len) else {
            return self.copy().resume(mem::take(&mut held), None, now_nanos);
        };
        let mut are_allowed = true;
        for hit in hits.iter().take(len) {
            are_allowed &= hit.is_allowed;
        }
        if !are_allowed {
            let mut decisions = [hits[0].view(&self.asks[0], now_nanos); K];
            for n in 1..len {
                decisions[n] = hits[n].view(&self.asks[n], now_nanos);
            }
            held.put_back();
            return self.decision(decisions, true);
        }
        // With constant indexes for the common orders, so that the parts stay in registers.
        let taken = match order {
            Order::AsNamed => take_all(&hits, len, |at| at),
            Order::Reversed => take_all(&hits, len, |at| len - 1 - at),
            Order::Other(order) => {
                let mut swaps = [hits[0].swap; K];
                for n in 1..len {
                    swaps[n] = hits[n].swap;
                }
                take_in(swaps, len, &order)
            }
        };
        if taken < len {
            let mut words = [0; K];
            for n in 0..len {
                words[n] = hits[n].swap.next;
            }
            let held = mem::take(&mut held);
            return self.copy().resume(held, Some((taken, words)), now_nanos);
        }
        let mut decisions = [hits[0].decision(&self.asks[0], now_nanos); K];
        for n in 1..len {
            decisions[n] = hits[n].decision(&self.asks[n], now_nanos);
        }
        held.put_back();
        self.decision(decisions, false)
    }

    /// Returns a copy in memory of its own, for a cold function: the original then stays in
    /// registers.
    #[inline(always)]
    fn copy(&self) -> All<'a, K> {
        All {
            asks: copy(&self.asks),
            len: self.len,
        }
    }

    /// Locates all words, before the first is looked at, so that their cache lines are loaded at the
    /// same time. Returns `None` when one is not located at once.
    #[inline(always)]
    fn locate<'h>(
        &self,
        held: &'h Held,
        found: &[usize; K],
        len: usize,
    ) -> Option<[Location<'h>; K]>
    where
        'a: 'h,
    {
        let mut locations = [Location::of(&self.asks[0], held, found[0])?; K];
        locations[0].prefetch();
        for n in 1..len {
            locations[n] = Location::of(&self.asks[n], held, found[n])?;
            locations[n].prefetch();
        }
        Some(locations)
    }

    /// Looks at all words. Returns `None` when one is not found at once.
    #[inline(always)]
    fn find<'h>(
        &self,
        locations: &[Location<'h>; K],
        len: usize,
        now_nanos: u64,
    ) -> Option<[Hit<'h>; K]> {
        let mut hits = [Hit::find(&locations[0], self.asks[0].cost, now_nanos)?; K];
        for n in 1..len {
            hits[n] = Hit::find(&locations[n], self.asks[n].cost, now_nanos)?;
        }
        Some(hits)
    }

    /// Goes on where the fast path has ended: with nothing taken, or at a place of the order at which
    /// the word had changed, with what the parts before it have taken as words.
    #[cold]
    #[inline(never)]
    fn resume(
        self,
        mut held: Held,
        taken: Option<(usize, [u64; K])>,
        now_nanos: u64,
    ) -> CompoundDecision<'a, K> {
        let parts = self.parts(&mut held, |_| now_nanos);
        let decision = match taken.map(|(end, words)| parts.take_after(end, &words)) {
            None => self.decide_parts(parts, None),
            Some(Ok(decisions)) => self.decision(decisions, false),
            Some(Err(lost)) => self.decide_parts(parts, Some(lost)),
        };
        held.put_back();
        decision
    }

    /// Decides in any case, after a part was lost or at first.
    fn decide_parts(
        self,
        mut parts: Parts<'_, K>,
        mut lost: Option<Lost>,
    ) -> CompoundDecision<'a, K> {
        for _ in 0..TRIES {
            if !parts.look() {
                return self.decision(parts.views(), true);
            }
            match parts.take() {
                Ok(decisions) => return self.decision(decisions, false),
                Err(refusal) => {
                    let may_pass = refusal.decision.view.outcome() == Outcome::Refused;
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

    /// Holds what each limit needs during a decision. Returns the indexes by which it is found.
    #[inline(always)]
    fn hold(&self, held: &mut Held, len: usize) -> [usize; K] {
        let mut found = [0; K];
        for (ask, found) in self.asks[..len].iter().zip(&mut found) {
            *found = ask.hold(held);
        }
        found
    }

    fn parts<'h>(&self, held: &'h mut Held, mut nanos: impl FnMut(&Ask<'a>) -> u64) -> Parts<'h, K>
    where
        'a: 'h,
    {
        let found = self.hold(held, self.len);
        let held: &'h Held = held;
        let mut parts = [self.asks[0].part(held, found[0], nanos(&self.asks[0])); K];
        for n in 1..self.len {
            let ask = &self.asks[n];
            parts[n] = ask.part(held, found[n], nanos(ask));
        }
        Parts::new(parts, self.len)
    }

    #[inline]
    fn decision(self, decisions: [PartDecision; K], is_refused: bool) -> CompoundDecision<'a, K> {
        CompoundDecision::new(self.asks, self.len, decisions, is_refused)
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
