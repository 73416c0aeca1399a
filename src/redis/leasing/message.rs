//! What is sent about leases, and what becomes of it.

use std::sync::Arc;

use redis::Value;
use tokio::task::JoinHandle;

use crate::{
    redis::{
        error::RedisError,
        lease::{
            key::Key,
            protocol::{LeaseReply, LeaseRequest, Limits},
        },
        script::{Taken, read},
        settings::Owner,
        shared::Shared,
    },
    state::State,
};

/// A message that is under way. It is lost if it does not arrive, whatever ends its task.
struct Flight {
    key: Arc<Key>,
    seq: u64,
    arrived: bool,
}

impl Flight {
    fn of(key: &Arc<Key>, seq: u64) -> Flight {
        Flight {
            key: Arc::clone(key),
            seq,
            arrived: false,
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.arrived {
            self.key.on_lost(self.seq);
        }
    }
}

impl Shared {
    /// Sends a request in a task of its own.
    pub(super) fn send(
        self: &Arc<Self>,
        owner: &Arc<Owner>,
        key: &Arc<Key>,
        request: LeaseRequest,
    ) -> JoinHandle<()> {
        let mut flight = Flight::of(key, request.seq);
        let (shared, owner) = (Arc::clone(self), Arc::clone(owner));
        self.runtime.spawn(async move {
            if let Some(keys) = &owner.keys
                && let Some(reply) = shared
                    .ask_for(&owner, &flight.key, &request, keys.settings().limits)
                    .await
            {
                flight.arrived = true;
                flight
                    .key
                    .on_reply(keys.settings(), shared.clock.nanos(), &reply);
            }
        })
    }

    async fn ask_for(
        &self,
        owner: &Owner,
        key: &Key,
        request: &LeaseRequest,
        limits: Limits,
    ) -> Option<LeaseReply> {
        let bucket = owner.bucket(key.name());
        let call = self.lease_call(owner, &bucket, "ask");
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
        let call = numbers.fold(call, |call, number| call.number(number));
        self.ask(&call, |answer| answer_to(request, answer)).await?
    }

    /// Takes tokens one by one, and tells the key, which has given this its number.
    pub(super) async fn take_one(
        &self,
        owner: &Owner,
        key: &Arc<Key>,
        seq: u64,
        cost: u32,
    ) -> Option<Taken> {
        let mut flight = Flight::of(key, seq);
        let taken = self.ask_to_take(owner, key.name(), cost).await?;
        let state = State {
            spent: taken.spent,
            stamp: taken.stamp,
        };
        if let Some(keys) = &owner.keys {
            flight.arrived = true;
            let refused = (!taken.taken).then_some((state, taken.micros));
            flight
                .key
                .observe_bucket(keys.settings(), state, taken.micros);
            flight
                .key
                .on_exact(keys.settings(), self.clock.nanos(), seq, refused);
        }
        Some(taken)
    }
}

/// `None`: a later request was answered already.
fn answer_to(request: &LeaseRequest, answer: Value) -> Result<Option<LeaseReply>, RedisError> {
    let (answered, now, spent, stamp, _life, granted, kept): (bool, u64, u64, u64, u64, u32, u32) =
        read(answer)?;
    Ok(answered.then_some(LeaseReply {
        seq: request.seq,
        granted,
        kept,
        now,
        state: State { spent, stamp },
    }))
}
