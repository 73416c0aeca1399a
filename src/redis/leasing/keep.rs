//! What is not spent goes back: when it has expired, when the quota is replaced, and in the end.

use std::sync::{Arc, Weak};

use tokio::time::sleep;

use super::LIFETIME;
use crate::redis::{lease::keys::Keys, settings::Owner, shared::Shared};

/// Looks in a lifetime, and for how many of them the shards are divided: each is looked at four
/// times.
const LOOKS: u32 = 32;
const TURNS: usize = 8;

/// Messages under way at the same time when everything goes back.
const AT_ONCE: usize = 256;

/// Looks for what has expired, as long as there is a limiter.
pub(in crate::redis) async fn tick(shared: Weak<Shared>) {
    loop {
        sleep(LIFETIME / LOOKS).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let settings = shared.settings();
        for owner in settings.owners() {
            if let Some(keys) = &owner.keys {
                shared.tick_some(owner, keys);
            }
        }
    }
}

impl Shared {
    fn tick_some(self: &Arc<Self>, owner: &Arc<Owner>, keys: &Keys) {
        for _ in 0..keys.shard_count().div_ceil(TURNS) {
            for (key, ask) in keys.on_timer(self.clock.nanos()) {
                drop(self.send(owner, &key, ask));
            }
        }
    }

    /// Gives back all that is held, for good.
    pub(in crate::redis) async fn close(self: &Arc<Self>) {
        let settings = self.settings();
        for owner in settings.owners() {
            self.hand_back(owner).await;
        }
    }

    /// Gives back all that is held of this quota, for good.
    pub(in crate::redis) async fn hand_back(self: &Arc<Self>, owner: &Arc<Owner>) {
        let Some(keys) = &owner.keys else { return };
        for some in keys.close(self.clock.nanos()).chunks(AT_ONCE) {
            let sent: Vec<_> = some
                .iter()
                .map(|(key, ask)| self.send(owner, key, *ask))
                .collect();
            for message in sent {
                // Which is lost if it fails.
                drop(message.await);
            }
        }
    }
}

/// All clones of a limiter hold this, and the background does not: when it goes, what is held goes
/// back.
pub(in crate::redis) struct Last(pub(in crate::redis) Arc<Shared>);

impl Drop for Last {
    fn drop(&mut self) {
        if self.0.names.leasing.is_some() {
            let shared = Arc::clone(&self.0);
            self.0.runtime.spawn(async move { shared.close().await });
        }
    }
}
