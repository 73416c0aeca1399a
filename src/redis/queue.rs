//! Who waits in this process for a key: one after the other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::MutexGuard;

use super::SharedDecision;

/// The keys that somebody waits for.
#[derive(Default)]
pub(super) struct Queues(Mutex<HashMap<Vec<u8>, Queue>>);

#[derive(Default)]
struct Queue {
    /// Counted under the lock of all queues: with the last place goes the queue.
    places: usize,
    line: Arc<Line>,
}

#[derive(Default)]
struct Line {
    /// It is locked by the first, and serves in the order in which it was asked for.
    first: tokio::sync::Mutex<()>,
    heard: Mutex<Option<SharedDecision>>,
}

/// A place in a key's line, until it is dropped.
pub(super) struct Place<'a> {
    queues: &'a Queues,
    key: &'a [u8],
    line: Arc<Line>,
}

/// The first place.
pub(super) struct Turn<'a> {
    line: &'a Line,
    _first: MutexGuard<'a, ()>,
}

impl Queues {
    /// Whether anybody waits for this key.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.with(|queues| queues.contains_key(key))
    }

    /// The last place in the key's line.
    pub(super) fn enter<'a>(&'a self, key: &'a [u8]) -> Place<'a> {
        let line = self.with(|queues| {
            let queue = queues.entry(key.to_vec()).or_default();
            queue.places += 1;
            Arc::clone(&queue.line)
        });
        Place {
            queues: self,
            key,
            line,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<Vec<u8>, Queue>) -> T) -> T {
        // What is done in here leaves the map whole, wherever it panics.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Place<'_> {
    /// Waits until all have left who came before.
    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn {
            _first: self.line.first.lock().await,
            line: &self.line,
        }
    }

    /// What the first in line has heard last.
    pub(super) fn heard(&self) -> Option<SharedDecision> {
        *self
            .line
            .heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Tells those behind.
    pub(super) fn hear(&self, decision: SharedDecision) {
        *self
            .line
            .heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(decision);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queues.with(|queues| {
            if let Some(queue) = queues.get_mut(self.key) {
                queue.places -= 1;
                if queue.places == 0 {
                    queues.remove(self.key);
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
    async fn one_is_first_after_the_other() {
        let queues = Queues::default();
        let (first, second, other) = (queues.enter(b"a"), queues.enter(b"a"), queues.enter(b"b"));
        let turn = first.turn().await;
        assert!(second.line.first.try_lock().is_err());
        drop(other.turn().await);
        drop(turn);
        drop(second.turn().await);
    }

    #[test]
    fn a_queue_goes_with_the_last_one_whoever_that_is() {
        let queues = Queues::default();
        for round in 0..2_000_u32 {
            let key = round.to_le_bytes();
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| drop((queues.enter(&key), queues.enter(&key))));
                }
            });
            assert!(!queues.has(&key), "round {round}");
        }
        assert_eq!(queues.with(|queues| queues.len()), 0);
    }
}
