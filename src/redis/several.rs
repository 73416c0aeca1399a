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

use std::{collections::BTreeMap, mem, sync::Arc};

use super::{
    ask::RedisAsk,
    bucket_name::bounded,
    call_limit::CallPermit,
    compound_decision::{RedisCompoundDecision, give_back},
    keyspace::Namespace,
    refusal::Refusal,
    slot::slot,
    store::TakePart,
};
use crate::{
    compound::{LimitCountError, MAX_LIMITS},
    decision::{Decision, Outcome},
};

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
