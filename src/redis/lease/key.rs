//! Lease holder of one key, shared by threads. Spending from the balance and cached refusals take
//! no lock; all other events are serialized by a mutex.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::protocol::{
    Balance, Holder, LeaseReply, LeaseRequest, RefusalCache, Settings, Step, TakeOutcome,
    tick_at_micros,
};
use crate::{
    state::State,
    sync::{AtomicU64, Ordering},
};

/// Key, its lease, and the callers that wait for a reply about it.
#[derive(Debug)]
pub(crate) struct Key {
    name: Box<[u8]>,
    /// Id of the holder on the server: a random number below 2⁵³. It belongs to the key and not to
    /// the process. A key that is evicted and inserted again has lost its record of earlier grants,
    /// so it must not look like a holder that never received them.
    holder_id: u64,
    balance: Balance,
    refusal: RefusalCache,
    /// Copy of [`Holder::renew_below`], read without the lock. May be stale: then a caller renews
    /// early, or the next caller renews.
    renew_below: AtomicU64,
    /// Copy of [`Holder::epoch`], read without the lock. May be stale: then a refund comes too
    /// late.
    epoch: AtomicU64,
    /// Whole tokens in the bucket when its state was last received.
    bucket_remaining: AtomicU64,
    holder: Mutex<Holder>,
    message_done: Notify,
}

impl Key {
    pub(super) fn new(name: &[u8], holder_id: u64) -> Key {
        Key {
            name: name.into(),
            holder_id,
            balance: Balance::default(),
            refusal: RefusalCache::default(),
            renew_below: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            bucket_remaining: AtomicU64::new(0),
            holder: Mutex::new(Holder::new(holder_id)),
            message_done: Notify::new(),
        }
    }

    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    pub(crate) fn holder_id(&self) -> u64 {
        self.holder_id
    }

    /// Returns the epoch to pass to [`Key::unspend`]. Must be read before the tokens are taken.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Returns the whole tokens in the bucket when its state was last received, without the refill
    /// since then.
    #[inline]
    pub(crate) fn bucket_remaining(&self) -> u32 {
        // The stored value was a u32.
        self.bucket_remaining.load(Ordering::Relaxed) as u32
    }

    /// Returns the whole tokens held on lease.
    pub(crate) fn leased(&self, now: u64) -> u32 {
        let held = self.balance.snapshot();
        if now < held.expiry { held.tokens } else { 0 }
    }

    /// Returns the notification for callers that got [`TakeOutcome::Wait`]: the message in flight
    /// is answered or lost. It must be enabled before [`Key::take`] is called, so that no reply in
    /// between is missed.
    pub(crate) fn message_done(&self) -> &Notify {
        &self.message_done
    }

    /// Takes tokens if that needs no message: from the tokens held, or with a cached refusal. While
    /// the lease lasts and less than half of it is spent, this is one CAS. `None`: nothing has
    /// changed, and [`Key::take`] decides.
    #[inline]
    pub(crate) fn try_take(&self, settings: &Settings, now: u64, cost: u32) -> Option<Step> {
        match self.balance.take(now, cost) {
            Some(remaining) if u64::from(remaining) >= self.renew_below.load(Ordering::Relaxed) => {
                Some(TakeOutcome::Allowed { remaining }.into())
            }
            Some(remaining) => Some(Step {
                outcome: TakeOutcome::Allowed { remaining },
                request: self
                    .update(|holder| holder.on_spent(settings, &self.balance, now, remaining)),
            }),
            None => self.refusal.retry_after(now, cost).map(|retry_after| {
                let valid_for = 0;
                TakeOutcome::Refused {
                    retry_after,
                    valid_for,
                }
                .into()
            }),
        }
    }

    /// See [`Holder::take`].
    pub(crate) fn take(&self, settings: &Settings, now: u64, cost: u32) -> Step {
        let step = self.try_take(settings, now, cost);
        step.unwrap_or_else(|| {
            self.update(|holder| {
                let step = holder.take(settings, &self.balance, now, cost);
                if let TakeOutcome::Refused {
                    retry_after,
                    valid_for,
                } = step.outcome
                    && self.leased(now) == 0
                {
                    self.refusal.store(now, cost, valid_for, retry_after);
                }
                step
            })
        })
    }

    /// See [`Holder::unspend`].
    pub(crate) fn unspend(&self, now: u64, epoch: u64, cost: u32) -> bool {
        self.update(|holder| {
            self.refusal.clear();
            holder.unspend(&self.balance, now, epoch, cost)
        })
    }

    /// See [`Holder::on_reply`].
    pub(crate) fn on_reply(&self, settings: &Settings, now: u64, reply: &LeaseReply) {
        // Stored first, because a waiting caller reports this number as soon as it has its tokens.
        self.observe_bucket(settings, reply.state, reply.now);
        self.finish_message(|holder| holder.on_reply(settings, &self.balance, now, reply));
    }

    /// See [`Holder::on_exact`].
    pub(crate) fn on_exact(
        &self,
        settings: &Settings,
        now: u64,
        seq: u64,
        refused: Option<(State, u64)>,
    ) {
        self.finish_message(|holder| holder.on_exact(settings, now, seq, refused));
    }

    /// See [`Holder::on_lost`].
    pub(crate) fn on_lost(&self, seq: u64) {
        self.finish_message(|holder| holder.on_lost(seq));
    }

    /// Records the state of the bucket at a server time in microseconds.
    pub(crate) fn observe_bucket(&self, settings: &Settings, state: State, now: u64) {
        let layout = &settings.layout;
        let settled = layout.refill_to(state, tick_at_micros(layout, now));
        self.bucket_remaining
            .store(layout.remaining(settled.spent).into(), Ordering::Relaxed);
    }

    /// See [`Holder::on_credited`].
    pub(crate) fn on_credited(&self) {
        self.finish_message(|holder| {
            holder.on_credited();
            true
        });
    }

    /// See [`Holder::on_paused`].
    pub(crate) fn on_paused(&self) {
        self.finish_message(|holder| {
            holder.on_paused(&self.balance);
            true
        });
    }

    /// See [`Holder::on_timer`].
    pub(crate) fn on_timer(&self, settings: &Settings, now: u64) -> Option<LeaseRequest> {
        self.update(
            |holder| match holder.next_deadline(settings, &self.balance) {
                Some(at) if at <= now => holder.on_timer(settings, &self.balance, now),
                _ => None,
            },
        )
    }

    /// See [`Holder::close`].
    pub(crate) fn close(&self, now: u64) -> Option<LeaseRequest> {
        let request = self.update(|holder| holder.close(&self.balance, now));
        self.message_done.notify_waiters();
        request
    }

    /// Closes the key if it can be evicted without a loss, and returns whether it was closed. It
    /// then has to be evicted. Callers that still have a reference to it take tokens from the
    /// bucket itself.
    pub(super) fn close_if_idle(&self, settings: &Settings, now: u64) -> bool {
        self.update(|holder| {
            let idle = holder.next_deadline(settings, &self.balance).is_none()
                && !holder.remembers_refusal(settings, now);
            // An idle holder has no tokens to return, hence no message.
            idle && holder.close(&self.balance, now).is_none()
        })
    }

    /// Applies the end of a message and wakes the waiting callers. They are woken even if the
    /// message was no longer in flight, because its timeout may have been noticed only now.
    fn finish_message(&self, apply: impl FnOnce(&mut Holder) -> bool) {
        self.update(|holder| {
            self.refusal.clear();
            apply(holder)
        });
        self.message_done.notify_waiters();
    }

    fn update<T>(&self, apply: impl FnOnce(&mut Holder) -> T) -> T {
        let mut holder = self.lock();
        let result = apply(&mut holder);
        self.renew_below
            .store(u64::from(holder.renew_below()), Ordering::Relaxed);
        self.epoch.store(holder.epoch(), Ordering::Release);
        result
    }

    /// Ignores poisoning: nothing panics under the lock, and if it did, the protocol would treat it
    /// as a lost message.
    fn lock(&self) -> MutexGuard<'_, Holder> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
