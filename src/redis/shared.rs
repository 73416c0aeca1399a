//! What all clones of a limiter and its watcher have in common: how a question gets to Redis, and what is known of its
//! settings.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use redis::Value;
use tokio::task::AbortHandle;

use super::{
    client::Client,
    decision::{SharedDecision, Source},
    error::RedisError,
    fallback::Fallback,
    health::Health,
    script::{Call, PROBE, REFUND, TAKE, Taken, read},
    settings::{Names, Owner, Settings},
};
use crate::{
    clock::Clock,
    decision::{Decision, Outcome},
    request::Request,
    state::State,
};

/// A life has 48 bits in a bucket.
const LIFE: u64 = (1 << 48) - 1;
/// Microseconds until time stands still; `take.lua` has the same number.
const END: u64 = (1 << 30) * 1_000_000;

pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) health: Health,
    pub(super) fallback: Fallback,
    pub(super) names: Names,
    pub(super) clock: Clock,
    pub(super) lives: Lives,
    /// Read for every decision and written for every change: a lock held for the length of a clone.
    pub(super) settings: RwLock<Arc<Settings>>,
    /// One change is adopted after the other.
    pub(super) adopting: Mutex<()>,
    pub(super) background: Background,
}

/// What goes on in the background, and ends with the last limiter.
#[derive(Default)]
pub(super) struct Background(OnceLock<[AbortHandle; 2]>);

impl Background {
    pub(super) fn begin(&self, tasks: [AbortHandle; 2]) {
        // There is one beginning.
        drop(self.0.set(tasks));
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.get().into_iter().flatten().for_each(AbortHandle::abort);
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
        self.seed.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed)) & LIFE
    }
}

impl Shared {
    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The decision of Redis, if it can be asked and answers in time.
    pub(super) async fn take(&self, owner: &Owner, key: &[u8], cost: u32) -> Option<SharedDecision> {
        let bucket = owner.bucket(key);
        let call = Call::new(&TAKE, &bucket).bytes(&owner.limit.terms).number(cost.into()).number(self.lives.draw());
        let call = match &self.clock {
            Clock::Process => call,
            Clock::Manual(_) => call.number((self.clock.nanos() / 1000).min(END)),
        };
        let taken = self.ask(&call, Taken::read).await?;
        self.health.answered();
        Some(SharedDecision { decision: decision(owner, cost, taken), source: Source::Redis, life: taken.life })
    }

    /// Whether Redis gave anything back.
    pub(super) async fn refund(&self, owner: &Owner, key: &[u8], decision: SharedDecision) -> bool {
        let (sold, charged) = decision.charge();
        if charged == 0 {
            return false;
        }
        let bucket = owner.bucket(key);
        let call = Call::new(&REFUND, &bucket).bytes(&owner.limit.terms);
        let call = call.number(decision.life).number(sold.stamp).number(charged);
        self.ask(&call, read).await.unwrap_or(false)
    }

    /// Makes a bucket full. The next one under its name has another life.
    pub(super) async fn forget(&self, owner: &Owner, key: &[u8]) -> Result<(), RedisError> {
        let _: u64 = read(self.client.send(redis::cmd("DEL").arg(owner.bucket(key))).await?)?;
        Ok(())
    }

    /// Asks Redis; a failure opens the breaker.
    pub(super) async fn ask<T>(&self, call: &Call<'_>, read: impl FnOnce(Value) -> Result<T, RedisError>) -> Option<T> {
        let seen = self.health.ask()?;
        let answer = self.client.call(call).await.and_then(read);
        answer.inspect_err(|error| self.health.failed(seen, Some(call.key), error)).ok()
    }

    /// Connects, and finds out whether the bucket that failed last can be written, or else the settings.
    pub(super) async fn probe(&self) -> Result<(), RedisError> {
        self.client.connect().await?;
        let failed = self.health.failed_bucket();
        let key = if failed.is_empty() { self.names.settings.as_slice() } else { failed.as_slice() };
        self.client.call(&Call::new(&PROBE, key)).await?;
        Ok(())
    }
}

/// What a reply means, as a decision like any other.
fn decision(owner: &Owner, cost: u32, taken: Taken) -> Decision {
    let layout = &owner.limit.layout;
    let request = Request::take(layout, taken.micros.saturating_mul(1000), cost);
    let state = State { spent: taken.spent, stamp: taken.stamp };
    match taken.taken {
        true => request.charged(state, request.units()),
        false if cost == 0 => request.declined(state, Outcome::Allowed),
        false => request.declined(state, request.refusal()),
    }
}
