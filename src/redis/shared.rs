//! What all clones of a limiter and its watcher have in common: how a question gets to Redis, and
//! what is known of its settings.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use redis::Value;
use tokio::{runtime::Handle, task::AbortHandle};

use super::{
    client::Client,
    decision::{DecisionSource, SharedDecision},
    error::RedisError,
    fallback::Fallback,
    health::Health,
    queue::Queues,
    script::{Call, LEASE, PROBE, REFUND, TAKE, Taken, read},
    settings::{Names, Owner, Settings},
};
use crate::{
    attempt::Attempt,
    clock::Clock,
    decision::{Decision, Outcome},
    state::State,
};

/// A life has 48 bits in a bucket.
const LIFE: u64 = (1 << 48) - 1;
/// Microseconds until time stands still; `clock.lua` has the same number.
const END: u64 = (1 << 30) * 1_000_000;

pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) health: Health,
    pub(super) fallback: Fallback,
    pub(super) queues: Queues,
    pub(super) names: Names,
    pub(super) clock: Clock,
    pub(super) lives: Lives,
    /// Read for every decision and written for every change.
    pub(super) settings: ArcSwap<Settings>,
    /// One change is adopted after the other.
    pub(super) adopting: Mutex<()>,
    pub(super) background: Background,
    /// Where the limiter lives.
    pub(super) runtime: Handle,
}

/// What goes on in the background, and ends with the last limiter.
#[derive(Default)]
pub(super) struct Background(OnceLock<[AbortHandle; 3]>);

impl Background {
    pub(super) fn begin(&self, tasks: [AbortHandle; 3]) {
        // There is one beginning.
        drop(self.0.set(tasks));
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0
            .get()
            .into_iter()
            .flatten()
            .for_each(AbortHandle::abort);
    }
}

/// Numbers that nobody else is likely to draw, and that do not repeat.
#[derive(Default)]
pub(super) struct Lives {
    seed: RandomState,
    drawn: AtomicU64,
}

impl Lives {
    fn draw(&self) -> u64 {
        self.seed
            .hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
            & LIFE
    }
}

impl Shared {
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// The decision, if it can be made without waiting: from leased tokens, by a refusal that is
    /// remembered, or since Redis cannot be asked.
    #[inline]
    pub(super) fn decide_at_once(
        self: &Arc<Self>,
        key: &[u8],
        cost: u32,
    ) -> Option<SharedDecision> {
        if self.names.leasing.is_some() {
            let settings = self.settings.load();
            let owner = settings.owner(key);
            if let Some(keys) = &owner.keys
                && let Some(held) = self.take_held(owner, keys, key, cost)
            {
                return Some(held);
            }
        }
        if self.health.ask().is_some() {
            None
        } else {
            Some(self.fall_back(key, cost))
        }
    }

    /// The decision, wherever it is made.
    pub(super) async fn decide(self: &Arc<Self>, key: &[u8], cost: u32) -> SharedDecision {
        let owner = Arc::clone(self.settings.load().owner(key));
        let decision = match &owner.keys {
            Some(keys) => self.take_leased(&owner, keys, key, cost).await,
            None => self.take(&owner, key, cost).await,
        };
        decision.unwrap_or_else(|| self.fall_back(key, cost))
    }

    #[inline]
    fn fall_back(&self, key: &[u8], cost: u32) -> SharedDecision {
        self.health.fell_back();
        self.fallback
            .decide(key, cost, || self.settings().owner(key).limit.layout)
    }

    /// The decision of Redis, if it can be asked and answers in time.
    pub(super) async fn take(
        &self,
        owner: &Owner,
        key: &[u8],
        cost: u32,
    ) -> Option<SharedDecision> {
        let taken = self.ask_to_take(owner, key, cost).await?;
        Some(self.decided(owner, cost, taken))
    }

    /// What Redis has decided.
    pub(super) fn decided(&self, owner: &Owner, cost: u32, taken: Taken) -> SharedDecision {
        self.health.answered();
        SharedDecision {
            decision: decision(owner, cost, taken),
            source: DecisionSource::Redis,
            life: taken.life,
            turn: 0,
        }
    }

    pub(super) async fn ask_to_take(&self, owner: &Owner, key: &[u8], cost: u32) -> Option<Taken> {
        let bucket = owner.bucket(key);
        let call = if self.names.leasing.is_some() {
            self.lease_call(owner, &bucket, "take").number(cost.into())
        } else {
            let call = Call::new(&TAKE, &bucket)
                .bytes(&owner.limit.terms)
                .number(cost.into())
                .number(self.lives.draw());
            self.manual_micros().into_iter().fold(call, Call::number)
        };
        self.ask(&call, Taken::read).await
    }

    /// The beginning of a call on a bucket with leases beside it.
    pub(super) fn lease_call<'a>(&self, owner: &Owner, bucket: &'a [u8], verb: &str) -> Call<'a> {
        let call = Call::new(&LEASE, bucket)
            .bytes(&owner.limit.terms)
            .bytes(verb.as_bytes())
            .number(self.lives.draw());
        match self.manual_micros() {
            Some(micros) => call.number(micros),
            None => call.bytes(b""),
        }
    }

    /// What counts in place of the server's clock, in tests.
    fn manual_micros(&self) -> Option<u64> {
        match &self.clock {
            Clock::Process => None,
            Clock::Manual(_) => Some((self.clock.nanos() / 1000).min(END)),
        }
    }

    /// Whether Redis gave anything back.
    pub(super) async fn refund(&self, owner: &Owner, key: &[u8], decision: SharedDecision) -> bool {
        let (sold, charged) = decision.charge();
        if charged == 0 {
            return false;
        }
        let bucket = owner.bucket(key);
        let given = if self.names.leasing.is_some() {
            let call = self.lease_call(owner, &bucket, "refund");
            let call = call
                .number(decision.life)
                .number(sold.stamp)
                .number(charged);
            self.ask(&call, Taken::read).await.map(|given| given.taken)
        } else {
            let call = Call::new(&REFUND, &bucket).bytes(&owner.limit.terms);
            self.ask(
                &call
                    .number(decision.life)
                    .number(sold.stamp)
                    .number(charged),
                read,
            )
            .await
        };
        let given = given.unwrap_or(false);
        if given {
            self.was_filled(owner, key);
        }
        given
    }

    /// Makes a bucket full. The next one under its name has another life.
    pub(super) async fn forget(&self, owner: &Owner, key: &[u8]) -> Result<(), RedisError> {
        let bucket = owner.bucket(key);
        if let Some(leasing) = &self.names.leasing {
            let call = self
                .lease_call(owner, &bucket, "reset")
                .number(leasing.lifetime_micros());
            self.client.call(&call).await.and_then(Taken::read)?;
        } else {
            let _: u64 = read(self.client.send(redis::cmd("DEL").arg(bucket)).await?)?;
        }
        self.was_filled(owner, key);
        Ok(())
    }

    /// Who was refused may pass now.
    fn was_filled(&self, owner: &Owner, key: &[u8]) {
        if let Some(keys) = &owner.keys {
            keys.with(key, |key| key.on_credited());
        }
    }

    /// Asks Redis; a failure opens the breaker.
    pub(super) async fn ask<T>(
        &self,
        call: &Call<'_>,
        read: impl FnOnce(Value) -> Result<T, RedisError>,
    ) -> Option<T> {
        let seen = self.health.ask()?;
        let answer = self.client.call(call).await.and_then(read);
        answer
            .inspect_err(|error| self.health.failed(seen, Some(call.key), error))
            .ok()
    }

    /// Connects, and finds out whether the bucket that failed last can be written, or else the
    /// settings.
    pub(super) async fn probe(&self) -> Result<(), RedisError> {
        self.client.connect().await?;
        let failed = self.health.failed_bucket();
        let key = if failed.is_empty() {
            self.names.settings.as_slice()
        } else {
            failed.as_slice()
        };
        self.client.call(&Call::new(&PROBE, key)).await?;
        Ok(())
    }
}

/// What a reply means, as a decision like any other.
fn decision(owner: &Owner, cost: u32, taken: Taken) -> Decision {
    let layout = &owner.limit.layout;
    let request = Attempt::immediate(layout, taken.micros.saturating_mul(1000), cost);
    let state = State {
        spent: taken.spent,
        stamp: taken.stamp,
    };
    match taken.taken {
        true => request.charged(state, request.units()),
        false if cost == 0 => request.uncharged(state, Outcome::Allowed),
        false => request.uncharged(state, request.refusal()),
    }
}
