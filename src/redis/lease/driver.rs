//! Driver of lease mode: runs the [lease protocol](super) with real messages and a real clock.
//!
//! In lease mode every operation on a bucket goes through `lease.lua`, also for quotas too small to
//! be leased, because tokens on lease are stored beside the bucket. Such buckets have names of
//! their own (`{prefix}:l…`), so that a limiter in exact mode, whose scripts know nothing of
//! leases, does not touch them.
//!
//! - `decision`: results of the protocol as decisions.
//! - `flight`: a message in flight, lost unless its reply arrives.

mod decision;
mod flight;

use std::{pin::pin, sync::Arc, time::Duration};

use flight::Flight;
use redis::Value;
use tokio::task::JoinHandle;

use super::{
    key::Key,
    keys::Keys,
    protocol::{LeaseReply, LeaseRequest, Limits, Step, TakeOutcome},
};
use crate::{
    decision::Decision,
    redis::{
        error::RedisError,
        keyspace::{LeaseOptions, Namespace},
        script::{Call, TakeReply, read},
        store::Store,
    },
    state::State,
};

/// Number of replies a request waits for while other requests take the tokens. Then it takes tokens
/// from the bucket itself.
const MAX_ATTEMPTS: u32 = 8;

/// Maintenance runs per lease lifetime.
const RUNS_PER_LIFETIME: u32 = 32;
/// Maintenance runs that cover all shards. So every shard is covered four times per lifetime.
const RUNS_PER_ROUND: usize = 8;

/// Messages in flight at the same time when all leases are returned.
const MAX_RETURNS_IN_FLIGHT: usize = 256;

/// Interval at which [`LeaseDriver::maintain`] is called.
pub(in crate::redis) fn maintenance_interval() -> Duration {
    LeaseOptions::LIFETIME / RUNS_PER_LIFETIME
}

/// Takes tokens from leases, renews the leases, and returns them.
#[derive(Clone)]
pub(in crate::redis) struct LeaseDriver {
    store: Arc<Store>,
}

impl LeaseDriver {
    pub(in crate::redis) fn new(store: Arc<Store>) -> LeaseDriver {
        LeaseDriver { store }
    }

    /// Decides from tokens or a refusal that this process holds. `None`: a reply is needed.
    #[inline]
    pub(in crate::redis) fn try_take(
        &self,
        namespace: &Arc<Namespace>,
        keys: &Keys,
        name: &[u8],
        cost: u32,
    ) -> Option<Decision> {
        if cost == 0 {
            return None;
        }
        let now = self.store.clock.nanos();
        if cost > namespace.limit.layout.capacity_tokens() {
            let known = keys.with(name, |key| {
                key.bucket_remaining().saturating_add(key.leased(now))
            });
            self.store.health.count_lease();
            return Some(decision::above_capacity(
                &namespace.limit,
                known.unwrap_or(0),
                cost,
            ));
        }
        keys.try_take(now, name, cost, |key, epoch, step| {
            self.follow(namespace, key, epoch, now, cost, step)
        })
        .flatten()
    }

    /// Decides, after a reply if needed. `None`: Redis is unavailable.
    pub(in crate::redis) async fn take(
        &self,
        namespace: &Arc<Namespace>,
        keys: &Keys,
        name: &[u8],
        cost: u32,
    ) -> Option<Decision> {
        if cost == 0 {
            return self.read_available(namespace, keys, name).await;
        }
        self.store.health.admit()?;
        let Some(key) = keys.get_or_insert(self.store.clock.nanos(), name) else {
            return self.store.take(namespace, name, cost).await;
        };
        self.take_or_wait(namespace, keys, &key, cost).await
    }

    async fn take_or_wait(
        &self,
        namespace: &Arc<Namespace>,
        keys: &Keys,
        key: &Arc<Key>,
        cost: u32,
    ) -> Option<Decision> {
        for _ in 0..MAX_ATTEMPTS {
            self.store.health.admit()?;
            let mut message_done = pin!(key.message_done().notified());
            // Enabled before the attempt, so that a reply in between is not missed.
            message_done.as_mut().enable();
            let (epoch, now) = (key.epoch(), self.store.clock.nanos());
            let step = key.take(keys.settings(), now, cost);
            let outcome = step.outcome;
            if let Some(decision) = self.follow(namespace, key, epoch, now, cost, step) {
                return Some(decision);
            }
            if outcome == TakeOutcome::Wait {
                message_done.await;
            } else if let TakeOutcome::Exact { seq } = outcome {
                let reply = self.take_exact(namespace, key, seq, cost).await?;
                return Some(self.store.decision(namespace, cost, reply));
            }
        }
        self.store.take(namespace, key.name(), cost).await
    }

    /// Sends the message of a step, if it has one, and returns its decision, if it has one.
    #[inline]
    fn follow(
        &self,
        namespace: &Arc<Namespace>,
        key: &Arc<Key>,
        epoch: u64,
        now: u64,
        cost: u32,
        step: Step,
    ) -> Option<Decision> {
        if let Some(request) = step.request {
            // Detached: the message does not depend on this request.
            drop(self.send(namespace, key, request));
        }
        let decision = match step.outcome {
            TakeOutcome::Allowed { remaining } => {
                decision::allowed(&namespace.limit, key, epoch, cost, remaining)
            }
            TakeOutcome::Refused { retry_after, .. } => {
                decision::refused(&namespace.limit, key, now, cost, retry_after)
            }
            TakeOutcome::Wait | TakeOutcome::Exact { .. } => return None,
        };
        self.store.health.count_lease();
        Some(decision)
    }

    /// Puts tokens back into the lease that they were taken from, unless a message about the key
    /// was sent or received since. Returns whether they were put back.
    pub(in crate::redis) fn unspend(
        &self,
        namespace: &Namespace,
        name: &[u8],
        decision: &Decision,
    ) -> bool {
        let Some(keys) = &namespace.keys else {
            return false;
        };
        let origin = decision.origin();
        let put_back = keys.with(name, |key| {
            decision.is_allowed()
                && key.holder_id() == origin.incarnation
                && key.unspend(self.store.clock.nanos(), origin.epoch, decision.cost())
        });
        put_back.unwrap_or(false)
    }

    /// Reads the tokens in the bucket, and adds those that this process holds.
    async fn read_available(
        &self,
        namespace: &Namespace,
        keys: &Keys,
        name: &[u8],
    ) -> Option<Decision> {
        let held = keys
            .with(name, |key| key.leased(self.store.clock.nanos()))
            .unwrap_or(0);
        let reply = self.store.take_within_limit(namespace, name, 0).await;
        // A refusal covers no cost of 0, so without a reply Redis is unavailable.
        let mut reply = reply.ok()?;
        reply.spent = reply
            .spent
            .saturating_sub(namespace.limit.layout.units(held));
        Some(self.store.decision(namespace, 0, reply))
    }

    /// Sends a request in a task of its own, so that a cancelled caller does not cancel it.
    fn send(
        &self,
        namespace: &Arc<Namespace>,
        key: &Arc<Key>,
        request: LeaseRequest,
    ) -> JoinHandle<()> {
        let mut flight = Flight::new(key, request.seq);
        let (driver, namespace) = (self.clone(), Arc::clone(namespace));
        self.store.runtime.spawn(async move {
            if let Some(keys) = &namespace.keys
                && let Some(reply) = driver
                    .request(&namespace, flight.key(), request, keys.settings().limits)
                    .await
            {
                let key = flight.land();
                key.on_reply(keys.settings(), driver.store.clock.nanos(), &reply);
            }
        })
    }

    async fn request(
        &self,
        namespace: &Namespace,
        key: &Key,
        request: LeaseRequest,
        limits: Limits,
    ) -> Option<LeaseReply> {
        let bucket = namespace.bucket(key.name());
        let call = self.store.lease_call(namespace, bucket, "ask");
        let numbers = [
            request.kept,
            request.returned,
            request.need,
            request.want,
            limits.max_leased,
        ]
        .map(u64::from);
        let numbers = [request.holder, request.seq, request.acked]
            .into_iter()
            .chain(numbers)
            .chain([limits.lifetime_micros]);
        let call = numbers.fold(call, Call::number);
        let (reply, rebased) = self
            .store
            .call(call, move |reply| read_reply(&request, reply))
            .await?;
        self.store.count_rebased(rebased);
        reply
    }

    /// Takes tokens from the bucket itself, and reports the result to the key under `seq`.
    async fn take_exact(
        &self,
        namespace: &Arc<Namespace>,
        key: &Arc<Key>,
        seq: u64,
        cost: u32,
    ) -> Option<TakeReply> {
        let mut flight = Flight::new(key, seq);
        let (store, leased) = (Arc::clone(&self.store), Arc::clone(namespace));
        let on_reply = move |reply: &TakeReply, _sent| {
            let Some(keys) = &leased.keys else { return };
            let state = State {
                spent: reply.spent,
                stamp: reply.stamp,
            };
            let key = flight.land();
            let refused = (!reply.taken).then_some((state, reply.micros));
            key.observe_bucket(keys.settings(), state, reply.micros);
            key.on_exact(keys.settings(), store.clock.nanos(), seq, refused);
        };
        self.store
            .send_take(namespace, key.name(), cost, on_reply)
            .await
    }

    /// Sends the messages that are due in the next shards: mainly returns of expired leases.
    pub(in crate::redis) fn maintain(&self, namespace: &Arc<Namespace>) {
        let Some(keys) = &namespace.keys else { return };
        for _ in 0..keys.shard_count().div_ceil(RUNS_PER_ROUND) {
            for (key, request) in keys.on_timer(self.store.clock.nanos()) {
                drop(self.send(namespace, &key, request));
            }
        }
    }

    /// Returns all leases of a namespace, for good.
    pub(in crate::redis) async fn return_all(&self, namespace: &Arc<Namespace>) {
        let Some(keys) = &namespace.keys else { return };
        let returns = keys.close(self.store.clock.nanos());
        for chunk in returns.chunks(MAX_RETURNS_IN_FLIGHT) {
            let sent: Vec<_> = chunk
                .iter()
                .map(|(key, request)| self.send(namespace, key, *request))
                .collect();
            for message in sent {
                // Tokens in a failed message are lost.
                drop(message.await);
            }
        }
    }
}

/// Reads the reply to a request, and whether the bucket was rebased. `None`: a later request was
/// answered already.
fn read_reply(
    request: &LeaseRequest,
    reply: Value,
) -> Result<(Option<LeaseReply>, bool), RedisError> {
    type Reply = (bool, u64, u64, u64, u64, bool, u32, u32);
    let (answered, now, spent, stamp, _incarnation, rebased, granted, kept): Reply = read(reply)?;
    let reply = answered.then_some(LeaseReply {
        seq: request.seq,
        granted,
        kept,
        now,
        state: State { spent, stamp },
    });
    Ok((reply, rebased))
}
