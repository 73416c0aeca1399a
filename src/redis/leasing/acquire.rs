//! A decision from leased tokens: from those that are here, or else after an answer.

use std::{pin::pin, sync::Arc};

use tokio::time::timeout;

use super::answer;
use crate::redis::{
    decision::SharedDecision,
    error::RedisError,
    lease::{
        key::Key,
        keys::Keys,
        protocol::{Step, TakeOutcome},
    },
    settings::Owner,
    shared::Shared,
};

/// Whoever has waited for so many answers in vain, since others were faster each time, takes tokens
/// one by one.
const TURNS: u32 = 8;

impl Shared {
    /// The decision, if it needs no answer.
    #[inline]
    pub(in crate::redis) fn take_held(
        self: &Arc<Self>,
        owner: &Arc<Owner>,
        keys: &Keys,
        name: &[u8],
        cost: u32,
    ) -> Option<SharedDecision> {
        if cost == 0 {
            return None;
        }
        let now = self.clock.nanos();
        if cost > owner.limit.layout.capacity_tokens() {
            let known = keys.with(name, |key| {
                key.bucket_remaining().saturating_add(key.leased(now))
            });
            self.health.leased();
            return Some(answer::above_capacity(
                &owner.limit,
                known.unwrap_or(0),
                cost,
            ));
        }
        keys.try_take(now, name, cost, |key, turn, step| {
            self.answered(owner, key, turn, now, cost, step)
        })
        .flatten()
    }

    /// The decision, after an answer if need be. `None`: Redis cannot be asked.
    pub(in crate::redis) async fn take_leased(
        self: &Arc<Self>,
        owner: &Arc<Owner>,
        keys: &Keys,
        name: &[u8],
        cost: u32,
    ) -> Option<SharedDecision> {
        if cost == 0 {
            return self.look_at(owner, keys, name).await;
        }
        let seen = self.health.ask()?;
        let Some(key) = keys.get_or_insert(self.clock.nanos(), name) else {
            return self.take(owner, name, cost).await;
        };
        let answered = timeout(keys.timeout(), self.take_in_turn(owner, keys, &key, cost)).await;
        answered.unwrap_or_else(|_| {
            // The message that was waited for may have been on the way for less than that.
            self.health.failed(
                seen,
                Some(&owner.bucket(name)),
                &RedisError::Timeout(keys.timeout()),
            );
            None
        })
    }

    async fn take_in_turn(
        self: &Arc<Self>,
        owner: &Arc<Owner>,
        keys: &Keys,
        key: &Arc<Key>,
        cost: u32,
    ) -> Option<SharedDecision> {
        for _ in 0..TURNS {
            self.health.ask()?;
            let mut landed = pin!(key.message_done().notified());
            // Before the key is asked, so that no answer comes in between.
            landed.as_mut().enable();
            let (turn, now) = (key.epoch(), self.clock.nanos());
            let step = key.take(keys.settings(), now, cost);
            let (exact, waits) = (step.outcome, step.outcome == TakeOutcome::Wait);
            if let Some(decision) = self.answered(owner, key, turn, now, cost, step) {
                return Some(decision);
            }
            if waits {
                landed.await;
            } else if let TakeOutcome::Exact { seq } = exact {
                let taken = self.take_one(owner, key, seq, cost).await?;
                return Some(self.decided(owner, cost, taken));
            }
        }
        self.take(owner, key.name(), cost).await
    }

    /// Sends what is to be sent, and decides if that can be done.
    #[inline]
    fn answered(
        self: &Arc<Self>,
        owner: &Arc<Owner>,
        key: &Arc<Key>,
        turn: u64,
        now: u64,
        cost: u32,
        step: Step,
    ) -> Option<SharedDecision> {
        if let Some(request) = step.request {
            // It goes on by itself.
            drop(self.send(owner, key, request));
        }
        let decision = match step.outcome {
            TakeOutcome::Allowed { remaining } => {
                answer::allowed(&owner.limit, key, turn, cost, remaining)
            }
            TakeOutcome::Refused { retry_after, .. } => {
                answer::refused(&owner.limit, key, now, cost, retry_after)
            }
            TakeOutcome::Wait | TakeOutcome::Exact { .. } => return None,
        };
        self.health.leased();
        Some(decision)
    }

    /// Puts tokens back that were taken from a lease, as long as nothing was sent or heard since.
    pub(in crate::redis) fn unspend(&self, name: &[u8], decision: SharedDecision) -> bool {
        let settings = self.settings.load();
        let Some(keys) = settings
            .owner(name)
            .keys
            .as_ref()
            .filter(|_| decision.is_allowed())
        else {
            return false;
        };
        let back = keys.with(name, |key| {
            key.holder_id() == decision.life
                && key.unspend(self.clock.nanos(), decision.turn, decision.cost())
        });
        back.unwrap_or(false)
    }

    /// What is in the bucket, and what this process holds.
    async fn look_at(&self, owner: &Owner, keys: &Keys, name: &[u8]) -> Option<SharedDecision> {
        let held = keys
            .with(name, |key| key.leased(self.clock.nanos()))
            .unwrap_or(0);
        let mut taken = self.ask_to_take(owner, name, 0).await?;
        taken.spent = taken.spent.saturating_sub(owner.limit.layout.units(held));
        Some(self.decided(owner, 0, taken))
    }
}
