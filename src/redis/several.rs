//! Several limits at once in Redis, all or nothing.
//!
//! On one server, a single script looks at all buckets before it takes from any. In a cluster, so does
//! a script for each slot, one after another, and what was taken is given back when a later one
//! refuses: meanwhile other requests may be refused for it. In lease mode and without Redis, the same
//! is done for each limit. None of them ever exceeds a limit.
//!
//! **A value for each limit.** A key's buckets could be one value, which a script reads and writes
//! faster. But a bucket's name holds the version of its limiter's settings, by which a quota is replaced
//! for all processes at once, and a refund, a reset or a pause is of one bucket. With
//! [`hash_tags`](super::RedisLimiterBuilder::hash_tags) a key's buckets are in one slot, which is what
//! one script needs.

use std::{collections::BTreeMap, fmt, mem, sync::Arc, time::Duration};

use super::{
    bucket_name::bounded,
    call_limit::CallPermit,
    inner::Inner,
    keyspace::Namespace,
    refusal::Refusal,
    slot::slot,
    store::{Store, TakePart},
};
use crate::{
    compound::{LimitCountError, MAX_LIMITS, parts},
    decision::{Decision, DecisionView, Outcome, Refused},
};

/// Tokens of one key of a [`RedisLimiter`](crate::RedisLimiter), as one of several limits; see
/// [`RedisLimiter::ask`](crate::RedisLimiter::ask).
#[derive(Clone, Copy)]
pub struct RedisAsk<'a> {
    pub(super) limiter: &'a Inner,
    pub(super) key: &'a [u8],
    cost: u32,
    /// It gives no tokens.
    only_looks: bool,
}

/// Takes the tokens of up to eight limits in Redis, or none.
///
/// With limiters of the same URL in exact mode, on a single server or with Sentinel, this is one call
/// of one script: exact, and a refusal writes nothing. Costs on the same bucket add up. In a cluster
/// it is one such call for each slot, so one for the limits of a key with
/// [hash tags](crate::RedisLimiterBuilder::hash_tags). Slots, and with leases, with different URLs and
/// while Redis is unavailable limits, are asked one after another, and tokens are given back when a
/// later one refuses; then only those of the refusing slot, or the refusing limit, have parts. So have
/// those whose refusal is remembered, and those that [`RedisFallback::Closed`](crate::RedisFallback::Closed)
/// refuses. A future that is dropped before its end may have taken tokens.
///
/// # Errors
/// When there is no limit, or more than eight.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tollgate::{Quota, RedisLimiter, all_in_redis};
///
/// let url = "redis://127.0.0.1/";
/// let burst = RedisLimiter::builder(url, Quota::per_second(10)).prefix("burst").connect().await?;
/// let daily = RedisLimiter::builder(url, Quota::per_day(1000)).prefix("daily").connect().await?;
/// let decision = all_in_redis(&[burst.ask("alice", 1), daily.ask("alice", 1)]).await?;
/// if decision.is_refused() {
///     println!("{:?} of {:?}", decision.retry_after(), decision.refused_by());
/// }
/// # Ok(()) }
/// ```
pub async fn all_in_redis<'a>(
    asks: &[RedisAsk<'a>],
) -> Result<RedisCompoundDecision<'a>, LimitCountError> {
    let looks = asks.iter().filter(|ask| ask.only_looks).count();
    let count = looks.max(asks.len() - looks);
    let Some(first) = asks.first().filter(|_| count <= MAX_LIMITS) else {
        return Err(LimitCountError::new(count));
    };
    let is_on_first = |ask: &RedisAsk<'_>| {
        let store = ask.store();
        store.keyspace.lease.is_none()
            && store.health.is_up()
            && store.client.shares_server(&first.store().client)
    };
    if !asks.iter().all(is_on_first) {
        return Ok(one_by_one(asks, Source::Any).await);
    }
    let decision = match first.store().client.is_cluster() {
        true => slot_by_slot(asks).await,
        false => in_one_script(asks).await,
    };
    Ok(match decision {
        Some(decision) => decision,
        // The script may have taken the tokens.
        None => one_by_one(asks, Source::Fallback).await,
    })
}

/// Source of the decisions about the limits one by one.
#[derive(Clone, Copy)]
enum Source {
    /// Leases, Redis or the fallback of each limiter.
    Any,
    Fallback,
}

/// Bucket of one or more asks.
struct Bucket<'a> {
    /// The first of its asks.
    ask: RedisAsk<'a>,
    namespace: Arc<Namespace>,
    name: Vec<u8>,
    bucket: Vec<u8>,
    cost: u32,
    /// Tokens without which it refuses: at least the cost.
    needed: u32,
}

impl<'a> Bucket<'a> {
    fn new(ask: RedisAsk<'a>) -> Bucket<'a> {
        let settings = ask.limiter.settings.load();
        let namespace = Arc::clone(settings.namespace(ask.key));
        let name = bounded(ask.key).into_owned();
        Bucket {
            bucket: namespace.bucket(&name),
            name,
            namespace,
            cost: if ask.only_looks { 0 } else { ask.cost },
            needed: ask.cost,
            ask,
        }
    }

    /// Returns a permit for a call, or the decision of a remembered refusal.
    async fn permit(&self) -> Result<CallPermit, Decision> {
        let repeat = |refusal: Option<&Refusal>| {
            let store = self.ask.store();
            store.repeat(&self.namespace, refusal?, self.needed)
        };
        self.namespace.calls.permit(&self.name, repeat).await
    }

    /// Returns the decision of a remembered refusal.
    fn remembered(&self) -> Option<Decision> {
        let store = self.ask.store();
        store.remembered(&self.namespace, &self.name, self.needed)
    }
}

/// Buckets of several asks, and for each ask the index of its own.
struct Buckets<'a> {
    buckets: Vec<Bucket<'a>>,
    of_asks: Vec<usize>,
}

impl<'a> Buckets<'a> {
    /// Adds up the costs of the asks of a bucket.
    fn new(asks: &[RedisAsk<'a>]) -> Buckets<'a> {
        let mut buckets: Vec<Bucket<'a>> = Vec::with_capacity(asks.len());
        let mut of_asks = Vec::with_capacity(asks.len());
        for ask in asks {
            let bucket = Bucket::new(*ask);
            let mut known = buckets.iter();
            let index = known.position(|known| known.bucket == bucket.bucket);
            of_asks.push(index.unwrap_or(buckets.len()));
            match index {
                Some(index) => {
                    let known = &mut buckets[index];
                    known.cost = known.cost.saturating_add(bucket.cost);
                    known.needed = known.needed.max(bucket.needed).max(known.cost);
                }
                None => buckets.push(bucket),
            }
        }
        Buckets { buckets, of_asks }
    }

    /// Returns the refusal of those whose refusal is remembered. `None`: of none.
    fn remembered(&self, asks: &[RedisAsk<'a>]) -> Option<RedisCompoundDecision<'a>> {
        let refusals = self.buckets.iter().map(Bucket::remembered);
        let refusals: Vec<_> = refusals
            .map(|refusal| refusal.map(|refusal| refusal.view()))
            .collect();
        let parts = asks.iter().zip(&self.of_asks);
        let parts = parts.map(|(ask, index)| (*ask, refusals[*index].map(Decision::new)));
        Some(RedisCompoundDecision::new(parts.collect())).filter(RedisCompoundDecision::is_refused)
    }
}

/// Returns the refusal of the limits whose refusal is remembered, without a call. `None`: of none.
pub(super) fn remembered<'a>(asks: &[RedisAsk<'a>]) -> Option<RedisCompoundDecision<'a>> {
    Buckets::new(asks).remembered(asks)
}

/// Returns what [`all_in_redis`] would decide, and takes nothing.
///
/// # Errors
/// As for [`all_in_redis`].
pub(super) async fn look<'a>(
    asks: &[RedisAsk<'a>],
) -> Result<RedisCompoundDecision<'a>, LimitCountError> {
    let free: Vec<_> = asks
        .iter()
        .map(|ask| RedisAsk { cost: 0, ..*ask })
        .collect();
    let found = all_in_redis(&free).await?;
    let Buckets { buckets, of_asks } = Buckets::new(asks);
    let parts = asks.iter().zip(found.parts()).zip(of_asks);
    let parts = parts.map(|((ask, part), index)| {
        let part = part.map(|part| part.asked_for(buckets[index].needed));
        (*ask, part.map(Decision::new))
    });
    Ok(RedisCompoundDecision::new(parts.collect()))
}

/// Takes the tokens of one slot of a cluster after another, with one script each, and gives them back
/// when a later one refuses. `None`: Redis is unavailable.
async fn slot_by_slot<'a>(asks: &[RedisAsk<'a>]) -> Option<RedisCompoundDecision<'a>> {
    let mut slots: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    for (number, ask) in asks.iter().enumerate() {
        let slot = slot(&Bucket::new(*ask).bucket);
        slots.entry(slot).or_default().push(number);
    }
    if slots.len() == 1 {
        return in_one_script(asks).await;
    }
    // A refusal that is known takes nothing before.
    if let Some(refused) = remembered(asks) {
        return Some(refused);
    }
    // In the order of the slots: of callers that want the same ones, the loser has taken nothing yet.
    // Those that only look are before all.
    let mut slots: Vec<_> = slots.into_values().collect();
    slots.sort_by_key(|numbers| numbers.iter().any(|number| !asks[*number].only_looks));
    let nothing = || asks.iter().map(|ask| (*ask, None)).collect::<Vec<_>>();
    let mut parts = nothing();
    for numbers in slots {
        let of_slot = numbers.iter().map(|number| asks[*number]);
        let decision = in_one_script(&of_slot.collect::<Vec<_>>()).await;
        if decision.as_ref().is_none_or(|decision| decision.is_refused) {
            give_back(mem::replace(&mut parts, nothing())).await;
        }
        let RedisCompoundDecision {
            parts: decided,
            is_refused,
        } = decision?;
        for (number, (_, part)) in numbers.into_iter().zip(decided) {
            parts[number].1 = part;
        }
        if is_refused {
            break;
        }
    }
    Some(RedisCompoundDecision::new(parts))
}

/// Takes the tokens with one script. `None`: Redis is unavailable.
async fn in_one_script<'a>(asks: &[RedisAsk<'a>]) -> Option<RedisCompoundDecision<'a>> {
    let all = Buckets::new(asks);
    let Buckets { buckets, of_asks } = &all;
    // Always in the same order, so that no two calls wait for each other's permits.
    let mut order: Vec<usize> = (0..buckets.len()).collect();
    order.sort_unstable_by_key(|index| &buckets[*index].bucket);
    let mut permits: Vec<Option<CallPermit>> = buckets.iter().map(|_| None).collect();
    for index in order {
        match buckets[index].permit().await {
            Ok(permit) => permits[index] = Some(permit),
            Err(refusal) => {
                // Those of other limits as well: a caller that waits needs the last one.
                let others = all.remembered(asks);
                let number = of_asks.iter().position(|bucket| *bucket == index)?;
                return Some(others.unwrap_or_else(|| {
                    RedisCompoundDecision::refused_by_one(asks, number, refusal)
                }));
            }
        }
    }
    let parts = buckets.iter().map(|bucket| TakePart {
        bucket: &bucket.bucket,
        namespace: &bucket.namespace,
        cost: bucket.cost,
        needed: bucket.needed,
    });
    let parts: Vec<_> = parts.collect();
    let store = asks[0].store();
    let (clock, costs) = (
        store.clock.clone(),
        buckets.iter().map(|bucket| bucket.needed),
    );
    let (costs, stores): (Vec<_>, Vec<_>) = costs
        .zip(buckets.iter().map(|bucket| Arc::clone(bucket.ask.store())))
        .unzip();
    let reply = store.send_take_all(&parts, move |reply, sent| {
        let received = clock.nanos();
        let parts = reply.0.iter().zip(permits).zip(costs).zip(stores);
        for ((((refuses, reply), permit), cost), store) in parts {
            store.count_rebased(reply.rebased);
            match permit {
                Some(permit) if *refuses => {
                    permit.refused(Refusal::new(cost, *reply, sent, received));
                }
                Some(permit) => permit.allowed(*reply, received),
                None => {}
            }
        }
    });
    let reply = reply.await?;
    let mut is_first: Vec<bool> = buckets.iter().map(|_| true).collect();
    let decisions = asks.iter().zip(of_asks).map(|(ask, index)| {
        let (bucket, (refuses, mut reply)) = (&buckets[*index], reply.0[*index]);
        reply.taken &= bucket.cost > 0;
        let cost = match reply.taken && !refuses {
            true => bucket.cost,
            false => bucket.needed,
        };
        let decision = ask
            .store()
            .decision_of(&bucket.namespace, cost, reply, refuses);
        let decision = ask.limiter.with_maker(ask.key, decision);
        // The first ask of a bucket gives back the tokens of all.
        let decision = if !ask.only_looks && mem::take(&mut is_first[*index]) {
            decision
        } else {
            Decision::new(decision.view().without_charge())
        };
        (*ask, Some(decision))
    });
    Some(RedisCompoundDecision::new(decisions.collect()))
}

/// Takes the tokens of one limit after another, and gives them back when one refuses. The order is
/// that of the buckets: of callers that want the same ones, the loser has taken nothing yet. Looks are
/// before all.
async fn one_by_one<'a>(asks: &[RedisAsk<'a>], source: Source) -> RedisCompoundDecision<'a> {
    let mut order: Vec<_> = asks
        .iter()
        .enumerate()
        .map(|(number, ask)| (!ask.only_looks, Bucket::new(*ask).bucket, number))
        .collect();
    order.sort_unstable();
    let mut parts: Vec<_> = asks.iter().map(|ask| (*ask, None)).collect();
    for (takes, _, number) in order {
        let ask = &asks[number];
        let cost = if takes { ask.cost } else { 0 };
        let decision = match source {
            Source::Any => ask.limiter.try_acquire(ask.key, cost).await,
            Source::Fallback => ask.limiter.fall_back(ask.key, cost),
        };
        let decision = match takes {
            true => decision,
            false => Decision::new(decision.view().asked_for(ask.cost)),
        };
        if decision.is_refused() {
            give_back(parts).await;
            let is_unavailable = decision.outcome() == Outcome::Unavailable;
            let refusal = RedisCompoundDecision::refused_by_one(asks, number, decision);
            return match is_unavailable {
                true => refusal.with_unavailable(number),
                false => refusal,
            };
        }
        parts[number].1 = Some(decision);
    }
    RedisCompoundDecision::new(parts)
}

/// Refunds decisions, the last one first. Returns whether tokens were given back.
async fn give_back(decisions: Vec<(RedisAsk<'_>, Option<Decision>)>) -> bool {
    let mut any = false;
    for (ask, decision) in decisions.into_iter().rev() {
        if let Some(decision) = decision {
            // An error means another limiter or key: the ask names both.
            any |= matches!(ask.limiter.refund(ask.key, decision).await, Ok(true));
        }
    }
    any
}

impl<'a> RedisAsk<'a> {
    pub(super) fn new(limiter: &'a Inner, key: &'a [u8], cost: u32) -> RedisAsk<'a> {
        RedisAsk {
            limiter,
            key,
            cost,
            only_looks: false,
        }
    }

    /// Returns a request that refuses as this one does, and takes nothing: a condition on the other
    /// limits of the call, up to eight beside the eight. It is no part of [`RedisCompoundDecision::tightest`]
    /// of an allowed request.
    pub fn only_look(self) -> RedisAsk<'a> {
        RedisAsk {
            only_looks: true,
            ..self
        }
    }

    fn store(&self) -> &'a Arc<Store> {
        &self.limiter.store
    }

    /// Returns true when callers of this process wait for the same tokens.
    pub(super) fn has_waiters(&self) -> bool {
        self.cost > 0 && !self.only_looks && !self.limiter.lines.is_empty(self.key)
    }

    /// Returns true when callers of both wait in one line.
    pub(super) fn shares_line(&self, other: &RedisAsk<'_>) -> bool {
        std::ptr::eq(self.limiter, other.limiter) && self.key == other.key
    }

    /// Returns the tokens of all asks that wait in the line of this one.
    pub(super) fn cost_in_line(&self, asks: &[RedisAsk<'_>]) -> u32 {
        let same = asks.iter().filter(|ask| self.shares_line(ask));
        let same = same.filter(|ask| !ask.only_looks);
        same.fold(0, |sum, ask| sum.saturating_add(ask.cost))
    }
}

/// Decision on several limits in Redis: all of them, or none.
///
/// Parts are numbered as in the call of [`all_in_redis`]. Only the whole can be refunded, and only once.
#[must_use = "the decision states whether the request is allowed"]
pub struct RedisCompoundDecision<'a> {
    /// `None`: another limit refused, and what this one would have decided is unknown.
    parts: Vec<(RedisAsk<'a>, Option<Decision>)>,
    is_refused: bool,
}

impl<'a> RedisCompoundDecision<'a> {
    fn new(parts: Vec<(RedisAsk<'a>, Option<Decision>)>) -> RedisCompoundDecision<'a> {
        let refuses = |(_, part): &(RedisAsk<'_>, Option<Decision>)| {
            part.as_ref().is_some_and(|part| part.is_refused())
        };
        RedisCompoundDecision {
            is_refused: parts.iter().any(refuses),
            parts,
        }
    }

    /// Creates the refusal by the limit with this number, when no other is known.
    fn refused_by_one(
        asks: &[RedisAsk<'a>],
        number: usize,
        refusal: Decision,
    ) -> RedisCompoundDecision<'a> {
        let mut refusal = Some(refusal);
        let parts = asks.iter().enumerate().map(|(index, ask)| {
            let decision = refusal.take_if(|_| index == number);
            (*ask, decision)
        });
        RedisCompoundDecision::new(parts.collect())
    }

    /// Adds the refusals of the other limits without Redis, which refuse everything. Each limiter finds
    /// out on its own that the server is down.
    fn with_unavailable(mut self, number: usize) -> Self {
        let down = self.parts[number].0;
        for (ask, part) in &mut self.parts {
            let store = ask.store();
            let is_down = !store.health.is_up() || store.client.shares_server(&down.store().client);
            if part.is_none() && !ask.only_looks && is_down {
                *part = ask.limiter.unavailable(ask.key, ask.cost);
            }
        }
        self
    }

    /// Replaces a part of a decision that has taken nothing by a refusal.
    pub(super) fn with_refusal(mut self, number: usize, refusal: Refused) -> Self {
        self.parts[number].1 = Some(Decision::new(refusal.decision()));
        self.is_refused = true;
        self
    }

    /// Returns true when the tokens of all limits were taken.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        !self.is_refused
    }

    /// Returns true when nothing was taken, or all was given back.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Returns the number of the limit that decides the refusal; see
    /// [`CompoundDecision::refused_by`](crate::CompoundDecision::refused_by).
    #[must_use]
    pub fn refused_by(&self) -> Option<usize> {
        parts::refused_by(self.views())
    }

    /// Returns the number of the limit that allows the fewest further requests of this kind, or
    /// decides the refusal.
    #[must_use]
    pub fn tightest(&self) -> usize {
        parts::tightest(self.views())
    }

    /// Returns the time from the decision until the same request is allowed, if no other attempt
    /// takes tokens. `None`: the request was allowed, or can never be allowed.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.part(self.refused_by()?)?.retry_after()
    }

    /// Returns the decision of a limit. `None`: another one refused, and what this one would have
    /// decided is unknown.
    #[must_use]
    pub fn part(&self, number: usize) -> Option<DecisionView> {
        Some(self.parts.get(number)?.1.as_ref()?.view())
    }

    /// Returns the decisions of all limits, in their order.
    pub fn parts(&self) -> impl Iterator<Item = Option<DecisionView>> + '_ {
        let parts = self.parts.iter();
        parts.map(|(_, decision)| decision.as_ref().map(Decision::view))
    }

    /// Converts the decision into a `Result`, for use with `?`.
    ///
    /// # Errors
    /// When nothing was taken: the refusal of the limit that decides.
    pub fn ok(self) -> Result<RedisCompoundDecision<'a>, Refused> {
        match self.refused_by().and_then(|number| self.part(number)) {
            None => Ok(self),
            Some(refusal) => Err(Refused::new(refusal)),
        }
    }

    /// Undoes the decision, as far as tokens are still owed: of all limits, the last one first. Returns
    /// whether any tokens were given back. See [`RedisLimiter::refund`](crate::RedisLimiter::refund).
    pub async fn refund(self) -> bool {
        give_back(self.parts).await
    }

    /// Returns the decisions that decide, with their numbers.
    fn views(&self) -> impl DoubleEndedIterator<Item = (usize, DecisionView)> + Clone + '_ {
        let parts = self.parts.iter().enumerate();
        parts.filter_map(|(number, (ask, part))| {
            let part = part.as_ref()?.view();
            (!ask.only_looks || part.is_refused()).then_some((number, part))
        })
    }
}

/// Omits the key, which may be a secret.
impl fmt::Debug for RedisAsk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisAsk")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RedisCompoundDecision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCompoundDecision")
            .field("is_allowed", &self.is_allowed())
            .field("parts", &self.parts().collect::<Vec<_>>())
            .finish()
    }
}

/// Formats as the limit that decides, or the tightest one: `refused: cost 3, 1 of 100 left, retry
/// after 1.2s`.
impl fmt::Display for RedisCompoundDecision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part(self.tightest()) {
            Some(part) => part.fmt(f),
            None => f.write_str("no limit was asked"),
        }
    }
}
