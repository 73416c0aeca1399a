//! FIFO queue per key for the waiters of this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::MutexGuard;

use crate::decision::DecisionView;

/// Queues of all keys that have waiters.
#[derive(Default)]
pub(super) struct WaitQueues(Mutex<HashMap<Vec<u8>, Entry>>);

#[derive(Default)]
struct Entry {
    /// Changed under the lock of the map only: the entry is removed with its last waiter.
    waiters: usize,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    /// Locked by the waiter at the head. The lock is fair: it is granted in the order of requests.
    head: tokio::sync::Mutex<()>,
    /// Last decision that the head received.
    last_decision: Mutex<Option<DecisionView>>,
}

/// Waiter in a key's queue. Leaves the queue when dropped.
pub(super) struct Waiter<'a> {
    queues: &'a WaitQueues,
    key: &'a [u8],
    queue: Arc<Queue>,
}

/// Head of a key's queue. The next waiter becomes the head when this is dropped.
pub(super) struct Head<'a> {
    queue: &'a Queue,
    _lock: MutexGuard<'a, ()>,
}

impl WaitQueues {
    /// Whether the key has waiters.
    pub(super) fn has_waiters(&self, key: &[u8]) -> bool {
        self.with(|entries| entries.contains_key(key))
    }

    /// Adds a waiter to the key's queue.
    pub(super) fn join<'a>(&'a self, key: &'a [u8]) -> Waiter<'a> {
        let queue = self.with(|entries| {
            let entry = entries.entry(key.to_vec()).or_default();
            entry.waiters += 1;
            Arc::clone(&entry.queue)
        });
        Waiter {
            queues: self,
            key,
            queue,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<Vec<u8>, Entry>) -> T) -> T {
        // Poisoning is harmless: no closure leaves the map inconsistent if it panics.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Waiter<'_> {
    /// Waits until all earlier waiters have left.
    pub(super) async fn head(&self) -> Head<'_> {
        Head {
            _lock: self.queue.head.lock().await,
            queue: &self.queue,
        }
    }

    /// Returns the last decision that the head received.
    pub(super) fn last_decision(&self) -> Option<DecisionView> {
        *self
            .queue
            .last_decision
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Head<'_> {
    /// Publishes a decision to the waiters behind.
    pub(super) fn publish(&self, decision: DecisionView) {
        *self
            .queue
            .last_decision
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(decision);
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.queues.with(|entries| {
            if let Some(entry) = entries.get_mut(self.key) {
                entry.waiters -= 1;
                if entry.waiters == 0 {
                    entries.remove(self.key);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn waiters_of_a_key_are_head_one_at_a_time() {
        let queues = WaitQueues::default();
        let (first, second, other) = (queues.join(b"a"), queues.join(b"a"), queues.join(b"b"));
        let head = first.head().await;
        assert!(second.queue.head.try_lock().is_err());
        drop(other.head().await);
        drop(head);
        drop(second.head().await);
    }

    #[test]
    fn queue_is_removed_with_its_last_waiter() {
        let queues = WaitQueues::default();
        for round in 0..2_000_u32 {
            let key = round.to_le_bytes();
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| drop((queues.join(&key), queues.join(&key))));
                }
            });
            assert!(!queues.has_waiters(&key), "round {round}");
        }
        assert_eq!(queues.with(|entries| entries.len()), 0);
    }
}
