//! Who waits in this process for a key: one after the other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::MutexGuard;

/// It serves in the order in which it was asked for.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// The keys that somebody waits for.
#[derive(Default)]
pub(super) struct Queues(Mutex<HashMap<Vec<u8>, Turn>>);

/// A place in a key's queue, until it is dropped.
pub(super) struct Place<'a> {
    queues: &'a Queues,
    key: &'a [u8],
    turn: Turn,
}

impl Queues {
    pub(super) fn enter<'a>(&'a self, key: &'a [u8]) -> Place<'a> {
        let turn = self.with(|turns| Arc::clone(turns.entry(key.to_vec()).or_default()));
        Place { queues: self, key, turn }
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<Vec<u8>, Turn>) -> T) -> T {
        // What is done in here leaves the map whole, wherever it panics.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Place<'_> {
    /// Waits until all have left who came before.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queues.with(|turns| {
            // The map's and this one's: whoever comes would get it from the map, and cannot now.
            if Arc::strong_count(&self.turn) == 2 {
                turns.remove(self.key);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_forgotten_when_the_last_one_leaves() {
        let queues = Queues::default();
        let waiting = || queues.with(|turns| turns.len());
        let (first, second, other) = (queues.enter(b"a"), queues.enter(b"a"), queues.enter(b"b"));
        assert_eq!(waiting(), 2);
        let turn = first.turn().await;
        assert!(second.turn.try_lock().is_err(), "one after the other");
        drop(other.turn().await);
        drop(turn);
        drop((first, other));
        assert_eq!(waiting(), 1);
        drop(second.turn().await);
        drop(second);
        assert_eq!(waiting(), 0);
    }
}
