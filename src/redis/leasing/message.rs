//! What is sent about leases, and what becomes of it.

use std::sync::Arc;

use redis::Value;
use tokio::task::JoinHandle;

use crate::{
    redis::{
        error::RedisError,
        lease::{Ask, Limits, Reply, key::Key},
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
            self.key.lost(self.seq);
        }
    }
}

impl Shared {
    /// Sends a request in a task of its own.
    pub(super) fn send(
        self: &Arc<Self>,
        owner: &Arc<Owner>,
        key: &Arc<Key>,
        ask: Ask,
    ) -> JoinHandle<()> {
        let mut flight = Flight::of(key, ask.seq);
        let (shared, owner) = (Arc::clone(self), Arc::clone(owner));
        self.runtime.spawn(async move {
            if let Some(keys) = &owner.keys
                && let Some(reply) = shared
                    .ask_for(&owner, &flight.key, &ask, keys.settings().limits)
                    .await
            {
                flight.arrived = true;
                flight
                    .key
                    .reply(keys.settings(), shared.clock.nanos(), &reply);
            }
        })
    }

    async fn ask_for(&self, owner: &Owner, key: &Key, ask: &Ask, limits: Limits) -> Option<Reply> {
        let bucket = owner.bucket(key.name());
        let call = self.lease_call(owner, &bucket, "ask");
        let numbers = [ask.kept, ask.back, ask.need, ask.want, limits.most].map(u64::from);
        let numbers = [ask.node, ask.seq, ask.known]
            .into_iter()
            .chain(numbers)
            .chain([limits.lifetime]);
        let call = numbers.fold(call, |call, number| call.number(number));
        self.ask(&call, |answer| answer_to(ask, answer)).await?
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
            flight.key.saw(keys.settings(), state, taken.micros);
            flight
                .key
                .decided(keys.settings(), self.clock.nanos(), seq, refused);
        }
        Some(taken)
    }
}

/// `None`: a later request was answered already.
fn answer_to(ask: &Ask, answer: Value) -> Result<Option<Reply>, RedisError> {
    let (answered, now, spent, stamp, _life, granted, kept): (bool, u64, u64, u64, u64, u32, u32) =
        read(answer)?;
    Ok(answered.then_some(Reply {
        seq: ask.seq,
        granted,
        kept,
        now,
        state: State { spent, stamp },
    }))
}
