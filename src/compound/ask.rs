//! Request for tokens of one bucket, as one of several limits. The methods `ask` are here, since
//! buckets and limiters do not depend on this module.

use core::fmt;

use super::part::{Held, Part};
use crate::{bucket::Bucket, decision::Decision};
#[cfg(feature = "std")]
use crate::{
    clock::Clock,
    keyed::{KeyRef, KeyedLimiter},
};

#[cfg(feature = "tokio")]
use crate::{
    decision::Refused,
    wait::{self, Reservable, TokioTimer},
};

/// Request for tokens of one bucket: a part of [`all`](crate::all).
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
    pub(super) target: Target<'a>,
    pub(super) cost: u32,
}

/// Bucket or key of an [`Ask`].
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    Bucket(&'a Bucket),
    #[cfg(feature = "std")]
    Key(KeyRef<'a>),
}

impl Bucket {
    /// Asks for `cost` tokens, as one of several limits; see [`all`](crate::all).
    pub const fn ask(&self, cost: u32) -> Ask<'_> {
        Ask {
            target: Target::Bucket(self),
            cost,
        }
    }
}

#[cfg(feature = "std")]
impl<K: core::hash::Hash + ?Sized, S: core::hash::BuildHasher> KeyedLimiter<K, S> {
    /// Asks for `cost` tokens of the key's bucket, as one of several limits; see [`all`](crate::all).
    #[inline]
    pub fn ask(&self, key: &K, cost: u32) -> Ask<'_> {
        Ask::of_key(self.key_ref(key), cost)
    }

    /// Asks like [`KeyedLimiter::ask`], for tokens of the key with this hash.
    #[cfg(all(feature = "tokio", feature = "tower"))]
    pub(crate) fn ask_hashed(&self, hash: u64, cost: u32) -> Ask<'_> {
        Ask::of_key(self.key_ref_of(hash), cost)
    }
}

impl<'a> Ask<'a> {
    #[cfg(feature = "std")]
    #[inline]
    pub(super) fn of_key(key: KeyRef<'a>, cost: u32) -> Ask<'a> {
        Ask {
            target: Target::Key(key),
            cost,
        }
    }

    #[cfg(feature = "std")]
    #[inline]
    pub(super) fn clock(&self) -> &'a Clock {
        match self.target {
            Target::Bucket(bucket) => bucket.clock(),
            Target::Key(key) => key.clock,
        }
    }

    /// Holds what the ask needs during a decision. Returns the index by which it is found.
    #[inline(always)]
    pub(super) fn hold(&self, held: &mut Held) -> usize {
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
    pub(super) fn part<'h>(&self, held: &'h Held, index: usize, now_nanos: u64) -> Part<'h>
    where
        'a: 'h,
    {
        match self.target {
            Target::Bucket(bucket) => {
                let _ = (held, index);
                Part::of_bucket(bucket, now_nanos, self.cost)
            }
            #[cfg(feature = "std")]
            Target::Key(key) => match key.find(held, index) {
                Some(key) => Part::of_key(key, now_nanos, self.cost),
                #[expect(clippy::unreachable, reason = "`hold` has added this generation")]
                None => unreachable!("the generation is held"),
            },
        }
    }

    /// Returns true when callers wait for tokens of this part.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_waiters(&self) -> bool {
        match self.target {
            Target::Bucket(bucket) => !bucket.is_queue_empty(),
            Target::Key(key) => !key.is_queue_empty(),
        }
    }

    /// Takes `cost` tokens of this part in the order of arrival, waits for them at most as long as
    /// `max_wait`, and calls `then` with them at the head of the line.
    #[cfg(feature = "tokio")]
    pub(super) async fn acquire_and<R>(
        &self,
        cost: u32,
        max_wait: Option<core::time::Duration>,
        then: impl FnOnce(Decision) -> R,
    ) -> Result<R, Refused> {
        match self.target {
            Target::Bucket(bucket) => {
                wait::acquire_and(bucket, TokioTimer, cost, max_wait, then).await
            }
            Target::Key(key) => wait::acquire_and(key, TokioTimer, cost, max_wait, then).await,
        }
    }

    #[cfg(all(feature = "tokio", feature = "tower"))]
    pub(crate) fn cost(&self) -> u32 {
        self.cost
    }

    /// Returns the hash of the key, if it is one of a limiter.
    #[cfg(all(feature = "tokio", feature = "tower"))]
    pub(crate) fn hash(&self) -> Option<u64> {
        match self.target {
            Target::Bucket(_) => None,
            Target::Key(key) => Some(key.hash()),
        }
    }

    /// Returns true when both are on one bucket.
    #[cfg(feature = "tokio")]
    pub(super) fn is_on_bucket_of(&self, other: &Ask<'_>) -> bool {
        match (self.target, other.target) {
            (Target::Bucket(one), Target::Bucket(other)) => core::ptr::eq(one, other),
            (Target::Key(one), Target::Key(other)) => one.is_same(other),
            _ => false,
        }
    }

    /// Refills the bucket of this part.
    #[cfg(feature = "std")]
    pub(super) fn reset(&self) {
        match self.target {
            Target::Bucket(bucket) => bucket.reset(),
            Target::Key(key) => key.reset(),
        }
    }

    /// Undoes a decision on this part.
    pub(super) fn refund(&self, decision: &Decision) -> bool {
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
