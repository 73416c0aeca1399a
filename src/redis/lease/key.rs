//! One key under many threads: its balance is spent without a lock, everything else happens one at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Answer, Ask, Balance, Node, Reply, Settings, Step};
use crate::{
    state::State,
    sync::{AtomicU64, Ordering},
};

/// A key, its lease, and those who wait for an answer about it.
#[derive(Debug)]
pub(crate) struct Key {
    name: Box<[u8]>,
    balance: Balance,
    /// [`Node::ask_below`], to be read without the lock. May be behind: then somebody asks early, or the next one does.
    ask_below: AtomicU64,
    node: Mutex<Node>,
    landed: Notify,
}

impl Key {
    pub(super) fn new(name: &[u8]) -> Key {
        Key {
            name: name.into(),
            balance: Balance::default(),
            ask_below: AtomicU64::new(0),
            node: Mutex::default(),
            landed: Notify::new(),
        }
    }

    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// What those await whom [`Key::take`] told to wait. To be enabled before that is asked, so that no answer comes in between.
    pub(crate) fn landed(&self) -> &Notify {
        &self.landed
    }

    /// See [`Node::take`]. As long as the lease lasts and less than half of it is spent, this is one swap.
    #[inline]
    pub(crate) fn take(&self, settings: &Settings, now: u64, cost: u32) -> Step {
        match self.balance.take(now, cost) {
            Some(left) if u64::from(left) >= self.ask_below.load(Ordering::Relaxed) => Answer::Allowed { left }.into(),
            Some(left) => {
                let ask = self.change(|node| node.spent(settings, &self.balance, now, left));
                Step { answer: Answer::Allowed { left }, ask }
            }
            None => self.change(|node| node.take(settings, &self.balance, now, cost)),
        }
    }

    /// See [`Node::reply`].
    pub(crate) fn reply(&self, settings: &Settings, now: u64, reply: &Reply) {
        if self.change(|node| node.reply(settings, &self.balance, now, reply)) {
            self.landed.notify_waiters();
        }
    }

    /// See [`Node::decided`].
    pub(crate) fn decided(&self, settings: &Settings, now: u64, seq: u64, refused: Option<(State, u64)>) {
        if self.change(|node| node.decided(settings, now, seq, refused)) {
            self.landed.notify_waiters();
        }
    }

    /// See [`Node::lost`].
    pub(crate) fn lost(&self, seq: u64) {
        if self.change(|node| node.lost(seq)) {
            self.landed.notify_waiters();
        }
    }

    /// See [`Node::tick`].
    pub(crate) fn tick(&self, settings: &Settings, now: u64) -> Option<Ask> {
        self.change(|node| match node.next(settings, &self.balance) {
            Some(at) if at <= now => node.tick(settings, &self.balance, now),
            _ => None,
        })
    }

    /// See [`Node::close`].
    pub(crate) fn close(&self, settings: &Settings, now: u64) -> Option<Ask> {
        let ask = self.change(|node| node.close(settings, &self.balance, now));
        self.landed.notify_waiters();
        ask
    }

    /// Whether nothing is lost when it is forgotten.
    pub(super) fn is_idle(&self, settings: &Settings, now: u64) -> bool {
        let node = self.node();
        node.next(settings, &self.balance).is_none() && !node.remembers(now)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Node) -> T) -> T {
        let mut node = self.node();
        let result = change(&mut node);
        self.ask_below.store(u64::from(node.ask_below()), Ordering::Relaxed);
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
        state::Layout,
    };

    const START: u64 = 1_000_000_000;

    fn settings() -> Settings {
        let layout = Layout::of(&Quota::per_hour(1).capacity(100));
        let limits = Limits::of(&layout.terms, 0.1, 1_000_000).unwrap();
        Settings { node: 7, layout, limits, timeout: 50_000_000 }
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_the_answer_and_by_its_loss() {
        let (settings, key, mut ledger) = (settings(), Key::new(b"key"), Ledger::new());
        for answered in [false, true] {
            let mut landed = pin!(key.landed().notified());
            landed.as_mut().enable();
            let ask = key.take(&settings, 0, 1).ask.unwrap();
            if answered {
                let reply = ledger.ask(&settings.layout, &settings.limits, START, &ask).unwrap();
                key.reply(&settings, 0, &reply);
            } else {
                key.lost(ask.seq);
            }
            landed.await;
        }
        assert_eq!(key.take(&settings, 0, 1).answer, Answer::Allowed { left: 0 });
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_when_tokens_taken_one_by_one_are_decided() {
        let (settings, key) = (settings(), Key::new(b"key"));
        let mut landed = pin!(key.landed().notified());
        landed.as_mut().enable();
        let Answer::Exact { seq } = key.take(&settings, 0, 50).answer else { panic!("not exact") };
        assert_eq!(key.take(&settings, 0, 50).answer, Answer::Wait);
        key.decided(&settings, 0, seq, None);
        landed.await;
    }
}
