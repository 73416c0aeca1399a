//! Bucket operations in Redis: one script call each, guarded by the circuit breaker and by a
//! bound on the calls in flight.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::Value;
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};

use super::{
    call_limit,
    client::Client,
    error::RedisError,
    health::{Health, Suspicion},
    in_flight::InFlight,
    keyspace::{Keyspace, Namespace},
    refusal::Refusal,
    script::{
        Call, LEASE, PAUSE, PROBE, REFUND, RIGHTS, TAKE, TAKE_ALL, TakeAllReply, TakeReply, read,
    },
};
use crate::{
    attempt::Attempt,
    clock::Clock,
    decision::{Decision, DecisionSource, Outcome},
    origin::Origin,
    state::State,
};

/// An incarnation has 48 bits in a bucket.
const INCARNATION_MASK: u64 = (1 << 48) - 1;
/// Microseconds until the horizon, where time stands still; `clock.lua` has the same number.
const HORIZON_MICROS: u64 = (1 << 30) * 1_000_000;

/// Maximum number of calls in flight: about 4 ms of a server's time, far below a timeout, and
/// enough for 100,000 calls a second at 2 ms each.
const MAX_IN_FLIGHT: usize = 4 * call_limit::MAX_IN_FLIGHT as usize;

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
    /// Permits for calls in flight.
    permits: Arc<Semaphore>,
}

/// Tokens of one of several buckets.
pub(super) struct TakePart<'a> {
    pub(super) bucket: &'a [u8],
    pub(super) namespace: &'a Namespace,
    /// Tokens to take.
    pub(super) cost: u32,
    /// Tokens without which the bucket refuses: at least the cost.
    pub(super) needed: u32,
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
            permits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
        }
    }

    /// Takes `cost` tokens, within the key's limit of calls. `None`: Redis is unavailable.
    pub(super) async fn take(
        self: &Arc<Self>,
        namespace: &Namespace,
        key: &[u8],
        cost: u32,
    ) -> Option<Decision> {
        match self.take_within_limit(namespace, key, cost).await {
            Ok(reply) => Some(self.decision(namespace, cost, reply)),
            Err(decided) => decided,
        }
    }

    /// Takes `cost` tokens, within the key's limit of calls.
    ///
    /// # Errors
    /// Without a reply of Redis: the decision of a remembered refusal, or `None` while Redis is
    /// unavailable.
    pub(super) async fn take_within_limit(
        self: &Arc<Self>,
        namespace: &Namespace,
        key: &[u8],
        cost: u32,
    ) -> Result<TakeReply, Option<Decision>> {
        let decide = |refusal: Option<&Refusal>| {
            if !self.health.is_up() {
                return Some(None);
            }
            self.repeat(namespace, refusal?, cost).map(Some)
        };
        let permit = namespace.calls.permit(key, decide).await?;
        let clock = self.clock.clone();
        let on_reply = move |reply: &TakeReply, sent| {
            let received = clock.nanos();
            if reply.taken || cost == 0 {
                permit.allowed(*reply, received);
            } else {
                permit.refused(Refusal::new(cost, *reply, sent, received));
            }
        };
        let reply = self.send_take(namespace, key, cost, on_reply).await;
        reply.ok_or(None)
    }

    /// Decides from a remembered refusal of the key, if there is one that covers the cost.
    pub(super) fn remembered(
        &self,
        namespace: &Namespace,
        key: &[u8],
        cost: u32,
    ) -> Option<Decision> {
        let repeat = |refusal: &Refusal| self.repeat(namespace, refusal, cost);
        namespace.calls.with_refusal(key, repeat)
    }

    pub(super) fn repeat(
        &self,
        namespace: &Namespace,
        refusal: &Refusal,
        cost: u32,
    ) -> Option<Decision> {
        let decision = refusal.decide(&namespace.limit.layout, self.clock.nanos(), cost)?;
        self.health.count_lease();
        Some(decision.with_source(DecisionSource::Lease))
    }

    /// Sends the call that takes tokens. Returns the reply. `None`: Redis is unavailable.
    ///
    /// `on_reply` gets the reply, and the time at which the call was sent, also when the caller is
    /// cancelled meanwhile.
    pub(super) async fn send_take(
        self: &Arc<Self>,
        namespace: &Namespace,
        key: &[u8],
        cost: u32,
        on_reply: impl FnOnce(&TakeReply, u64) + Send + 'static,
    ) -> Option<TakeReply> {
        let bucket = namespace.bucket(key);
        let call = if self.keyspace.lease.is_some() {
            self.lease_call(namespace, bucket, "take")
                .number(cost.into())
        } else {
            let call = Call::new(&TAKE, bucket)
                .bytes(&namespace.limit.packed)
                .number(cost.into())
                .number(self.incarnations.draw());
            self.manual_micros().into_iter().fold(call, Call::number)
        };
        let store = Arc::clone(self);
        let read = move |reply, sent| {
            let reply = TakeReply::read(reply)?;
            store.count_rebased(reply.rebased);
            on_reply(&reply, sent);
            Ok(reply)
        };
        self.timed_call(call, read).await
    }

    /// Sends the call that takes tokens of several buckets of one server, or none. `None`: Redis is
    /// unavailable.
    ///
    /// `on_reply` gets the reply, and the time at which the call was sent, also when the caller is
    /// cancelled meanwhile.
    pub(super) async fn send_take_all(
        self: &Arc<Self>,
        parts: &[TakePart<'_>],
        on_reply: impl FnOnce(&TakeAllReply, u64) + Send + 'static,
    ) -> Option<TakeAllReply> {
        let mut buckets = parts.iter().map(|part| part.bucket.to_vec());
        let first = buckets.next()?;
        let more: Vec<_> = buckets.collect();
        let count = parts.len();
        let call = parts
            .iter()
            .fold(Call::with_keys(&TAKE_ALL, first, &more), |call, part| {
                call.bytes(&part.namespace.limit.packed)
                    .number(part.needed.into())
                    .number(self.incarnations.draw())
                    .number(part.cost.into())
            });
        let call = match self.manual_micros() {
            Some(micros) => call.number(micros),
            None => call.bytes(b""),
        };
        let read = move |reply, sent| {
            let reply = TakeAllReply::read(reply)?;
            if reply.0.len() != count {
                return Err(RedisError::Failed(format!(
                    "expected the state of {count} buckets, got {}",
                    reply.0.len()
                )));
            }
            on_reply(&reply, sent);
            Ok(reply)
        };
        self.timed_call(call, read).await
    }

    pub(super) fn count_rebased(&self, rebased: bool) {
        if rebased {
            self.health.count_rebased();
        }
    }

    /// Counts a reply as a decision of Redis and converts it.
    pub(super) fn decision(&self, namespace: &Namespace, cost: u32, reply: TakeReply) -> Decision {
        let refuses = !reply.taken && cost > 0;
        self.decision_of(namespace, cost, reply, refuses)
    }

    /// Like [`Store::decision`], of a bucket that may have given no tokens because another one
    /// refused.
    pub(super) fn decision_of(
        &self,
        namespace: &Namespace,
        cost: u32,
        reply: TakeReply,
        refuses: bool,
    ) -> Decision {
        self.health.count_redis();
        decision(namespace, cost, reply, refuses)
            .with_source(DecisionSource::Redis)
            .with_origin(Origin::new(0, reply.incarnation))
    }

    /// Starts a call on a bucket of lease mode.
    pub(super) fn lease_call(&self, namespace: &Namespace, bucket: Vec<u8>, verb: &str) -> Call {
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
        self.clock
            .is_manual()
            .then(|| (self.clock.nanos() / 1000).min(HORIZON_MICROS))
    }

    /// Undoes a decision of Redis. Returns whether tokens were given back.
    pub(super) async fn refund(
        self: &Arc<Self>,
        namespace: &Namespace,
        key: &[u8],
        decision: &Decision,
    ) -> bool {
        let (state, units) = decision.charge();
        if units == 0 {
            return false;
        }
        let bucket = namespace.bucket(key);
        let arguments = [decision.origin().incarnation, state.stamp, units];
        let refunded = if self.keyspace.lease.is_some() {
            let call = self.lease_call(namespace, bucket, "refund");
            let call = arguments.into_iter().fold(call, Call::number);
            let reply = self.call(call, TakeReply::read).await;
            reply.map(|reply| {
                self.count_rebased(reply.rebased);
                reply.taken
            })
        } else {
            let call = Call::new(&REFUND, bucket).bytes(&namespace.limit.packed);
            let call = arguments.into_iter().fold(call, Call::number);
            self.call(call, read).await
        };
        // Also without a reply: the tokens may have been given back.
        forget_refusals(namespace, key);
        refunded.unwrap_or(false)
    }

    /// Makes a bucket full. The next bucket with the same name is another incarnation.
    pub(super) async fn reset(&self, namespace: &Namespace, key: &[u8]) -> Result<(), RedisError> {
        let bucket = namespace.bucket(key);
        let reset = if let Some(lease) = &self.keyspace.lease {
            let call = self
                .lease_call(namespace, bucket, "reset")
                .number(lease.lifetime_micros());
            let reply = self.client.call(&call).await.and_then(TakeReply::read);
            reply.map(|reply| self.count_rebased(reply.rebased))
        } else {
            let reply = self.client.send(redis::cmd("DEL").arg(bucket)).await;
            reply.and_then(read::<u64>).map(drop)
        };
        // Also after an error: the bucket may have been reset.
        forget_refusals(namespace, key);
        reset
    }

    /// Grants nothing from a bucket for `time`. It is empty then, and another incarnation. In lease
    /// mode, its leases end when their holders send the next message.
    pub(super) async fn pause(
        &self,
        namespace: &Namespace,
        key: &[u8],
        time: Duration,
    ) -> Result<(), RedisError> {
        let bucket = namespace.bucket(key);
        let micros = time.as_nanos().div_ceil(1000);
        let micros =
            u64::try_from(micros).map_or(HORIZON_MICROS, |micros| micros.min(HORIZON_MICROS));
        if self.keyspace.lease.is_some() {
            let call = self.lease_call(namespace, bucket, "pause").number(micros);
            let reply = self.client.call(&call).await.and_then(TakeReply::read);
            return reply.map(|reply| self.count_rebased(reply.rebased));
        }
        let call = Call::new(&PAUSE, bucket)
            .bytes(&namespace.limit.packed)
            .number(micros)
            .number(self.incarnations.draw());
        let call = self.manual_micros().into_iter().fold(call, Call::number);
        self.client.call(&call).await.map(drop)
    }

    /// Calls a script. `None`: Redis is unavailable, or other calls leave no room for this one
    /// within the timeout.
    pub(super) async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        call: Call,
        read: impl FnOnce(Value) -> Result<T, RedisError> + Send + 'static,
    ) -> Option<T> {
        self.timed_call(call, |reply, _sent| read(reply)).await
    }

    /// Like [`Store::call`]. `read` gets the time at which the call was sent as well. Time before
    /// that is no failure of Redis.
    ///
    /// The caller may be cancelled at any time. A call that was sent is in flight nevertheless, and
    /// holds its permits until its reply or the timeout.
    async fn timed_call<T: Send + 'static>(
        self: &Arc<Self>,
        call: Call,
        read: impl FnOnce(Value, u64) -> Result<T, RedisError> + Send + 'static,
    ) -> Option<T> {
        self.health.admit()?;
        let acquiring = Arc::clone(&self.permits).acquire_owned();
        let permit = timeout(self.client.timeout, acquiring).await.ok()?.ok()?;
        let observed = self.health.admit()?;
        let store = Arc::clone(self);
        let in_flight = async move {
            let sent = store.clock.nanos();
            let reply = store.client.call(&call).await;
            let reply = reply.and_then(|reply| read(reply, sent));
            drop(permit);
            let failed = |error: &RedisError| {
                let key = Some(call.key.as_slice());
                store.health.record_failure(observed, key, error);
            };
            reply.inspect_err(failed).ok()
        };
        InFlight::new(in_flight, &self.runtime).await
    }

    /// Checks after a timeout whether Redis replies, and opens the breaker if it does not.
    pub(super) async fn check(&self, suspicion: &Suspicion) {
        let key = suspicion.bucket.as_deref();
        let key = key.unwrap_or(&self.keyspace.settings).to_vec();
        let reply = self.client.call(&Call::new(&PROBE, key)).await;
        self.health.record_check(suspicion, reply.map(drop));
    }

    /// Reconnects, and checks the permissions, and that the bucket that failed last is writable, or
    /// else the settings.
    pub(super) async fn probe(&self) -> Result<(), RedisError> {
        self.client.connect().await?;
        let rights =
            Call::new(&RIGHTS, self.keyspace.scratch.clone()).bytes(&self.keyspace.settings);
        self.client.call(&rights).await?;
        let failed = self.health.failed_bucket();
        let key = if failed.is_empty() {
            self.keyspace.settings.clone()
        } else {
            failed
        };
        self.client.call(&Call::new(&PROBE, key)).await?;
        Ok(())
    }
}

/// Tokens were added to the bucket: a refused request may pass now.
fn forget_refusals(namespace: &Namespace, key: &[u8]) {
    namespace.calls.on_credited(key);
    if let Some(keys) = &namespace.keys {
        keys.with(key, |key| key.on_credited());
    }
}

fn decision(namespace: &Namespace, cost: u32, reply: TakeReply, refuses: bool) -> Decision {
    let layout = &namespace.limit.layout;
    let attempt = Attempt::immediate(layout, reply.micros.saturating_mul(1000), cost);
    let state = State {
        spent: reply.spent,
        stamp: reply.stamp,
    };
    if refuses {
        attempt.uncharged(state, attempt.refusal())
    } else if reply.taken && cost > 0 {
        attempt.charged(state, attempt.units())
    } else {
        attempt.uncharged(state, Outcome::Allowed)
    }
}
