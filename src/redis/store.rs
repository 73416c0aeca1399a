//! Bucket operations in Redis: one script call each, guarded by the circuit breaker.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use redis::Value;
use tokio::runtime::Handle;

use super::{
    client::Client,
    decision::{DecisionSource, SharedDecision},
    error::RedisError,
    health::Health,
    keyspace::{Keyspace, Namespace},
    script::{Call, LEASE, PROBE, REFUND, TAKE, TakeReply, read},
};
use crate::{
    attempt::Attempt,
    clock::Clock,
    decision::{Decision, Outcome},
    state::State,
};

/// An incarnation has 48 bits in a bucket.
const INCARNATION_MASK: u64 = (1 << 48) - 1;
/// Microseconds until the horizon, where time stands still; `clock.lua` has the same number.
const HORIZON_MICROS: u64 = (1 << 30) * 1_000_000;

/// Buckets in Redis.
pub(super) struct Store {
    pub(super) client: Client,
    pub(super) health: Health,
    pub(super) keyspace: Keyspace,
    /// Monotonic clock for leases, and in tests the clock of the scripts.
    pub(super) clock: Clock,
    /// Runtime of the background tasks and messages.
    pub(super) runtime: Handle,
    incarnations: Incarnations,
}

/// Generator of incarnation numbers: seeded per process, so that two processes are unlikely to draw
/// the same number, and without repetition.
#[derive(Default)]
struct Incarnations {
    seed: RandomState,
    drawn: AtomicU64,
}

impl Incarnations {
    fn draw(&self) -> u64 {
        self.seed
            .hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
            & INCARNATION_MASK
    }
}

impl Store {
    /// Makes a store that is not connected yet and lives on the current tokio runtime.
    pub(super) fn new(client: Client, keyspace: Keyspace, clock: Clock) -> Store {
        Store {
            client,
            health: Health::new(),
            keyspace,
            clock,
            runtime: Handle::current(),
            incarnations: Incarnations::default(),
        }
    }

    /// Takes `cost` tokens. `None`: Redis is unavailable.
    pub(super) async fn take(
        &self,
        namespace: &Namespace,
        key: &[u8],
        cost: u32,
    ) -> Option<SharedDecision> {
        let reply = self.send_take(namespace, key, cost).await?;
        Some(self.decision(namespace, cost, reply))
    }

    /// Sends the call that takes tokens. `None`: Redis is unavailable.
    pub(super) async fn send_take(
        &self,
        namespace: &Namespace,
        key: &[u8],
        cost: u32,
    ) -> Option<TakeReply> {
        let bucket = namespace.bucket(key);
        let call = if self.keyspace.lease.is_some() {
            self.lease_call(namespace, &bucket, "take")
                .number(cost.into())
        } else {
            let call = Call::new(&TAKE, &bucket)
                .bytes(&namespace.limit.packed)
                .number(cost.into())
                .number(self.incarnations.draw());
            self.manual_micros().into_iter().fold(call, Call::number)
        };
        self.call(&call, TakeReply::read).await
    }

    /// Counts a reply as a decision of Redis and converts it.
    pub(super) fn decision(
        &self,
        namespace: &Namespace,
        cost: u32,
        reply: TakeReply,
    ) -> SharedDecision {
        self.health.count_redis();
        SharedDecision {
            decision: decision(namespace, cost, reply),
            source: DecisionSource::Redis,
            incarnation: reply.incarnation,
            epoch: 0,
        }
    }

    /// Starts a call on a bucket of lease mode.
    pub(super) fn lease_call<'a>(
        &self,
        namespace: &Namespace,
        bucket: &'a [u8],
        verb: &str,
    ) -> Call<'a> {
        let call = Call::new(&LEASE, bucket)
            .bytes(&namespace.limit.packed)
            .bytes(verb.as_bytes())
            .number(self.incarnations.draw());
        match self.manual_micros() {
            Some(micros) => call.number(micros),
            None => call.bytes(b""),
        }
    }

    /// Time that replaces the server's clock in tests.
    fn manual_micros(&self) -> Option<u64> {
        match &self.clock {
            Clock::Process => None,
            Clock::Manual(_) => Some((self.clock.nanos() / 1000).min(HORIZON_MICROS)),
        }
    }

    /// Undoes a decision of Redis. Returns whether tokens were given back.
    pub(super) async fn refund(
        &self,
        namespace: &Namespace,
        key: &[u8],
        decision: SharedDecision,
    ) -> bool {
        let (state, units) = decision.charge();
        if units == 0 {
            return false;
        }
        let bucket = namespace.bucket(key);
        let arguments = [decision.incarnation, state.stamp, units];
        let refunded = if self.keyspace.lease.is_some() {
            let call = self.lease_call(namespace, &bucket, "refund");
            let call = arguments.into_iter().fold(call, Call::number);
            let reply = self.call(&call, TakeReply::read).await;
            reply.map(|reply| reply.taken)
        } else {
            let call = Call::new(&REFUND, &bucket).bytes(&namespace.limit.packed);
            let call = arguments.into_iter().fold(call, Call::number);
            self.call(&call, read).await
        };
        let refunded = refunded.unwrap_or(false);
        if refunded {
            forget_refusals(namespace, key);
        }
        refunded
    }

    /// Makes a bucket full. The next bucket with the same name is another incarnation.
    pub(super) async fn reset(&self, namespace: &Namespace, key: &[u8]) -> Result<(), RedisError> {
        let bucket = namespace.bucket(key);
        if let Some(lease) = &self.keyspace.lease {
            let call = self
                .lease_call(namespace, &bucket, "reset")
                .number(lease.lifetime_micros());
            self.client.call(&call).await.and_then(TakeReply::read)?;
        } else {
            let _: u64 = read(self.client.send(redis::cmd("DEL").arg(bucket)).await?)?;
        }
        forget_refusals(namespace, key);
        Ok(())
    }

    /// Calls a script. A failure opens the breaker. `None`: Redis is unavailable.
    pub(super) async fn call<T>(
        &self,
        call: &Call<'_>,
        read: impl FnOnce(Value) -> Result<T, RedisError>,
    ) -> Option<T> {
        let observed = self.health.admit()?;
        let reply = self.client.call(call).await.and_then(read);
        reply
            .inspect_err(|error| self.health.record_failure(observed, Some(call.key), error))
            .ok()
    }

    /// Reconnects, and checks that the bucket that failed last is writable, or else the settings.
    pub(super) async fn probe(&self) -> Result<(), RedisError> {
        self.client.connect().await?;
        let failed = self.health.failed_bucket();
        let key = if failed.is_empty() {
            self.keyspace.settings.as_slice()
        } else {
            failed.as_slice()
        };
        self.client.call(&Call::new(&PROBE, key)).await?;
        Ok(())
    }
}

/// Tokens were added to the bucket: a refused request may pass now.
fn forget_refusals(namespace: &Namespace, key: &[u8]) {
    if let Some(keys) = &namespace.keys {
        keys.with(key, |key| key.on_credited());
    }
}

fn decision(namespace: &Namespace, cost: u32, reply: TakeReply) -> Decision {
    let layout = &namespace.limit.layout;
    let attempt = Attempt::immediate(layout, reply.micros.saturating_mul(1000), cost);
    let state = State {
        spent: reply.spent,
        stamp: reply.stamp,
    };
    match reply.taken {
        true => attempt.charged(state, attempt.units()),
        false if cost == 0 => attempt.uncharged(state, Outcome::Allowed),
        false => attempt.uncharged(state, attempt.refusal()),
    }
}
