//! One key under many threads: its balance is spent and its refusals are told without a lock,
//! everything else happens one at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Answer, Ask, Balance, Node, Reply, Settings, Step, bar::Bar, tick};
use crate::{
    state::State,
    sync::{AtomicU64, Ordering},
};

/// A key, its lease, and those who wait for an answer about it.
#[derive(Debug)]
pub(crate) struct Key {
    name: Box<[u8]>,
    /// What the ledger knows it by: a random number below 2⁵³. Not that of the process, since a key
    /// that was forgotten and comes back no longer knows what it was granted before, and must not
    /// be taken for one who never got it.
    number: u64,
    balance: Balance,
    bar: Bar,
    /// [`Node::ask_below`], to be read without the lock. May be behind: then somebody asks early,
    /// or the next one does.
    ask_below: AtomicU64,
    /// [`Node::turn`], to be read without the lock. May be behind: then a refund comes too late.
    turn: AtomicU64,
    /// Whole tokens that were left in the bucket when it was last heard of.
    seen: AtomicU64,
    node: Mutex<Node>,
    landed: Notify,
}

impl Key {
    pub(super) fn new(name: &[u8], number: u64) -> Key {
        Key {
            name: name.into(),
            number,
            balance: Balance::default(),
            bar: Bar::default(),
            ask_below: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            node: Mutex::default(),
            landed: Notify::new(),
        }
    }

    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// What to hand to [`Key::unspend`], read before the tokens are taken.
    #[inline]
    pub(crate) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Acquire)
    }

    /// Whole tokens that were left in the bucket when it was last heard of, without what has come
    /// back since.
    #[inline]
    pub(crate) fn seen(&self) -> u32 {
        // It was one when it was stored.
        self.seen.load(Ordering::Relaxed) as u32
    }

    /// Whole tokens held on lease.
    pub(crate) fn left(&self, now: u64) -> u32 {
        let left = self.balance.left();
        if now < left.expiry { left.tokens } else { 0 }
    }

    /// What those await whom [`Key::take`] told to wait. To be enabled before that is asked, so
    /// that no answer comes in between.
    pub(crate) fn landed(&self) -> &Notify {
        &self.landed
    }

    /// The answer, where it needs no more than this process: tokens that are here, or a refusal
    /// that is remembered. As long as the lease lasts and less than half of it is spent, this is
    /// one swap. `None`: nothing has changed, ask [`Key::take`].
    #[inline]
    pub(crate) fn take_at_once(&self, settings: &Settings, now: u64, cost: u32) -> Option<Step> {
        match self.balance.take(now, cost) {
            Some(left) if u64::from(left) >= self.ask_below.load(Ordering::Relaxed) => {
                Some(Answer::Allowed { left }.into())
            }
            Some(left) => {
                let ask = self.change(|node| node.spent(settings, &self.balance, now, left));
                Some(Step {
                    answer: Answer::Allowed { left },
                    ask: self.sign(ask),
                })
            }
            None => self
                .bar
                .refuses(now, cost)
                .map(|retry| Answer::Refused { retry, barred: 0 }.into()),
        }
    }

    /// See [`Node::take`].
    pub(crate) fn take(&self, settings: &Settings, now: u64, cost: u32) -> Step {
        let at_once = self.take_at_once(settings, now, cost);
        at_once.unwrap_or_else(|| {
            let Step { answer, ask } = self.change(|node| {
                let step = node.take(settings, &self.balance, now, cost);
                if let Answer::Refused { retry, barred } = step.answer
                    && self.left(now) == 0
                {
                    self.bar.raise(now, cost, barred, retry);
                }
                step
            });
            Step {
                answer,
                ask: self.sign(ask),
            }
        })
    }

    /// See [`Node::unspend`].
    pub(crate) fn unspend(&self, now: u64, turn: u64, cost: u32) -> bool {
        self.change(|node| {
            self.bar.lower();
            node.unspend(&self.balance, now, turn, cost)
        })
    }

    /// See [`Node::reply`].
    pub(crate) fn reply(&self, settings: &Settings, now: u64, reply: &Reply) {
        // First, since whoever waits for the tokens says at once how many there are.
        self.saw(settings, reply.state, reply.now);
        self.land(|node| node.reply(settings, &self.balance, now, reply));
    }

    /// See [`Node::decided`].
    pub(crate) fn decided(
        &self,
        settings: &Settings,
        now: u64,
        seq: u64,
        refused: Option<(State, u64)>,
    ) {
        self.land(|node| node.decided(settings, now, seq, refused));
    }

    /// See [`Node::lost`].
    pub(crate) fn lost(&self, seq: u64) {
        self.land(|node| node.lost(seq));
    }

    /// The bucket was in this state at that time of the server's.
    pub(crate) fn saw(&self, settings: &Settings, state: State, now: u64) {
        let settled = settings
            .layout
            .refill_to(state, tick(&settings.layout, now));
        self.seen.store(
            settings.layout.remaining(settled.spent).into(),
            Ordering::Relaxed,
        );
    }

    /// See [`Node::was_filled`].
    pub(crate) fn was_filled(&self) {
        self.land(|node| {
            node.was_filled();
            true
        });
    }

    /// See [`Node::tick`].
    pub(crate) fn tick(&self, settings: &Settings, now: u64) -> Option<Ask> {
        let ask = self.change(|node| match node.next(settings, &self.balance) {
            Some(at) if at <= now => node.tick(settings, &self.balance, now),
            _ => None,
        });
        self.sign(ask)
    }

    /// See [`Node::close`].
    pub(crate) fn close(&self, settings: &Settings, now: u64) -> Option<Ask> {
        let ask = self.change(|node| node.close(settings, &self.balance, now));
        self.landed.notify_waiters();
        self.sign(ask)
    }

    /// Whether nothing is lost when it is forgotten, as it then has to be: whoever still has it in
    /// hand takes tokens one by one.
    pub(super) fn retire(&self, settings: &Settings, now: u64) -> bool {
        self.change(|node| {
            let idle = node.next(settings, &self.balance).is_none() && !node.remembers(now);
            // There is nothing to hand back, hence no message.
            idle && node.close(settings, &self.balance, now).is_none()
        })
    }

    /// Something has arrived or is lost, and whoever waits looks again: also where nobody waits for
    /// it any more, since it is only now that this is noticed.
    fn land(&self, change: impl FnOnce(&mut Node) -> bool) {
        self.change(|node| {
            self.bar.lower();
            change(node)
        });
        self.landed.notify_waiters();
    }

    fn sign(&self, ask: Option<Ask>) -> Option<Ask> {
        ask.map(|ask| Ask {
            node: self.number,
            ..ask
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Node) -> T) -> T {
        let mut node = self.node();
        let result = change(&mut node);
        self.ask_below
            .store(u64::from(node.ask_below()), Ordering::Relaxed);
        self.turn.store(node.turn(), Ordering::Release);
        result
    }

    /// Nothing panics in between, and if it did, the protocol would take it for a lost message.
    fn node(&self) -> MutexGuard<'_, Node> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::{Answer, Key, Settings};
    use crate::{
        quota::Quota,
        redis::lease::{Ledger, Limits},
    };

    const START: u64 = 1_000_000_000;

    fn settings() -> Settings {
        let layout = Quota::per_hour(1).with_capacity(100).layout();
        let limits = Limits::of(&layout.scaled, 0.1, 1_000_000).unwrap();
        Settings {
            node: 7,
            layout,
            limits,
            timeout: 50_000_000,
        }
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_the_answer_and_by_its_loss() {
        let (settings, key, mut ledger) = (settings(), Key::new(b"key", 7), Ledger::new());
        for answered in [false, true] {
            let mut landed = pin!(key.landed().notified());
            landed.as_mut().enable();
            let ask = key.take(&settings, 0, 1).ask.unwrap();
            if answered {
                let reply = ledger
                    .ask(&settings.layout, &settings.limits, START, &ask)
                    .unwrap();
                key.reply(&settings, 0, &reply);
            } else {
                key.lost(ask.seq);
            }
            landed.await;
        }
        assert_eq!(
            key.take(&settings, 0, 1).answer,
            Answer::Allowed { left: 0 }
        );
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_when_tokens_taken_one_by_one_are_decided() {
        let (settings, key) = (settings(), Key::new(b"key", 7));
        let mut landed = pin!(key.landed().notified());
        landed.as_mut().enable();
        let Answer::Exact { seq } = key.take(&settings, 0, 50).answer else {
            panic!("not exact")
        };
        assert_eq!(key.take(&settings, 0, 50).answer, Answer::Wait);
        key.decided(&settings, 0, seq, None);
        landed.await;
    }
}
