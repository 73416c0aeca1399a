//! Share of each client in what all clients have together: the concurrent requests and tunnels of a
//! gateway, or the requests that wait for tokens.
//!
//! An entry exists only while its client has requests in progress, so the table is bounded by the
//! number of requests.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crossbeam_utils::CachePadded;
use tokio::sync::oneshot;

/// Number of tables. Requests of different clients rarely contend for one lock.
const SHARDS: usize = 64;

/// Hash of a client identity, seeded per process. Clients with the same hash would share slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientKey(u64);

/// Clients that hold or await slots, of one part of all keys.
type Shard = Mutex<HashMap<ClientKey, Client>>;

/// Slots of all clients.
#[derive(Debug)]
pub(crate) struct ClientSlots {
    max: usize,
    max_tunnels: usize,
    hasher: RandomState,
    shards: Box<[CachePadded<Shard>]>,
}

/// Slots that a client holds, and its requests that wait for one.
#[derive(Debug, Default)]
struct Client {
    used: usize,
    tunnels: usize,
    waiters: VecDeque<oneshot::Sender<ClientSlot>>,
}

/// Slot of a request or a tunnel, released on drop.
#[derive(Debug)]
pub(crate) struct ClientSlot {
    slots: Arc<ClientSlots>,
    client: ClientKey,
    is_tunnel: bool,
    /// Slots of other kinds that the same request holds.
    others: Box<[ClientSlot]>,
}

impl ClientSlots {
    /// Creates slots with the maximum number of concurrent requests and tunnels of a client, and
    /// that of its tunnels alone.
    pub(crate) fn new(max: usize, max_tunnels: usize) -> Arc<ClientSlots> {
        Arc::new(ClientSlots {
            max,
            max_tunnels,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| CachePadded::default()).collect(),
        })
    }

    pub(crate) fn key(&self, client: impl Hash) -> ClientKey {
        ClientKey(self.hasher.hash_one(client))
    }

    /// Takes a slot for a request. A client that holds all of its slots waits for one, in the order
    /// of its requests and up to `timeout`.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        client: ClientKey,
        timeout: Duration,
    ) -> Option<ClientSlot> {
        match self.join(client) {
            Ok(slot) => Some(slot),
            // Boxed to keep this future small: few requests wait.
            Err(waiter) => match Box::pin(tokio::time::timeout(timeout, waiter)).await {
                Ok(slot) => slot.ok(),
                Err(_) => None,
            },
        }
    }

    /// Takes a slot for a request or a tunnel without waiting.
    pub(crate) fn try_acquire(
        self: &Arc<Self>,
        client: ClientKey,
        is_tunnel: bool,
    ) -> Option<ClientSlot> {
        let mut shard = self.shard(client);
        let held = shard.get(&client);
        let is_free = held.is_none_or(|held| {
            held.used < self.max
                && (!is_tunnel || held.tunnels < self.max_tunnels)
                && held.waiters.is_empty()
        });
        if !is_free || is_tunnel && self.max_tunnels == 0 {
            return None;
        }
        let held = shard.entry(client).or_default();
        held.used += 1;
        held.tunnels += usize::from(is_tunnel);
        Some(self.slot(client, is_tunnel))
    }

    /// Takes a slot, or joins the requests of the client that wait for one.
    fn join(
        self: &Arc<Self>,
        client: ClientKey,
    ) -> Result<ClientSlot, oneshot::Receiver<ClientSlot>> {
        let mut shard = self.shard(client);
        let held = shard.entry(client).or_default();
        if held.used < self.max {
            held.used += 1;
            return Ok(self.slot(client, false));
        }
        // Requests that no longer wait leave their senders behind.
        held.waiters.retain(|waiter| !waiter.is_closed());
        let (sender, receiver) = oneshot::channel();
        held.waiters.push_back(sender);
        Err(receiver)
    }

    /// Releases a slot, or passes it on to the first request that waits.
    fn release(self: &Arc<Self>, client: ClientKey, is_tunnel: bool) {
        let waiter = {
            let mut shard = self.shard(client);
            let Entry::Occupied(mut entry) = shard.entry(client) else {
                return;
            };
            let held = entry.get_mut();
            held.tunnels -= usize::from(is_tunnel);
            let waiter = loop {
                match held.waiters.pop_front() {
                    Some(waiter) if waiter.is_closed() => {}
                    waiter => break waiter,
                }
            };
            if waiter.is_none() {
                held.used -= 1;
                if held.used == 0 {
                    entry.remove();
                }
            }
            waiter
        };
        // Outside of the lock: if the request stopped waiting in the meantime, the slot is dropped,
        // which releases it again.
        if let Some(waiter) = waiter {
            let _ = waiter.send(self.slot(client, false));
        }
    }

    fn slot(self: &Arc<Self>, client: ClientKey, is_tunnel: bool) -> ClientSlot {
        ClientSlot {
            slots: Arc::clone(self),
            client,
            is_tunnel,
            others: Box::default(),
        }
    }

    fn shard(&self, client: ClientKey) -> MutexGuard<'_, HashMap<ClientKey, Client>> {
        let shard = &self.shards[client.0 as usize % SHARDS];
        // No panic leaves the table inconsistent.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSlot {
    /// Adds slots of other kinds, which are released with this one.
    pub(crate) fn with(mut self, others: Box<[ClientSlot]>) -> ClientSlot {
        self.others = others;
        self
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        self.slots.release(self.client, self.is_tunnel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn entries(slots: &ClientSlots) -> usize {
        slots
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_holds_at_most_its_share_andothers_have_theirs() {
        let slots = ClientSlots::new(2, 1);
        let (one, other) = (slots.key("one"), slots.key("other"));
        let held = [
            slots.acquire(one, TIMEOUT).await.unwrap(),
            slots.acquire(one, TIMEOUT).await.unwrap(),
        ];
        assert!(slots.acquire(one, TIMEOUT).await.is_none());
        assert!(slots.try_acquire(one, true).is_none());
        assert!(slots.acquire(other, TIMEOUT).await.is_some());
        drop(held);
        assert!(slots.acquire(one, TIMEOUT).await.is_some());
        assert_eq!(entries(&slots), 0, "idle clients have no entry");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_requests_get_slots_in_their_order() {
        let slots = ClientSlots::new(1, 1);
        let client = slots.key(1);
        let held = slots.acquire(client, TIMEOUT).await.unwrap();
        let (first, cancelled, second) = (
            slots.join(client).unwrap_err(),
            slots.join(client).unwrap_err(),
            slots.join(client).unwrap_err(),
        );
        drop(cancelled);
        drop(held);
        let held = first.await.unwrap();
        drop(held);
        let held = second.await.unwrap();
        assert!(slots.acquire(client, TIMEOUT).await.is_none());
        drop(held);
        assert_eq!(entries(&slots), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_passed_to_a_request_that_has_ended_is_not_lost() {
        let slots = ClientSlots::new(1, 1);
        let client = slots.key(1);
        let held = slots.acquire(client, TIMEOUT).await.unwrap();
        let receiver = slots.join(client).unwrap_err();
        drop(held);
        // The slot is in the channel.
        drop(receiver);
        assert!(slots.acquire(client, TIMEOUT).await.is_some());
    }

    #[test]
    fn tunnels_have_a_bound_of_their_own() {
        let slots = ClientSlots::new(3, 2);
        let client = slots.key(1);
        let tunnels = [
            slots.try_acquire(client, true).unwrap(),
            slots.try_acquire(client, true).unwrap(),
        ];
        assert!(slots.try_acquire(client, true).is_none());
        let request = slots.join(client).unwrap();
        assert!(slots.join(client).is_err());
        drop(tunnels);
        assert!(slots.try_acquire(client, true).is_some());
        drop(request);
        assert_eq!(entries(&slots), 0);
        assert!(ClientSlots::new(3, 0).try_acquire(client, true).is_none());
    }
}
