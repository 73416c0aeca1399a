//! What goes on in the background, as long as there is a limiter: probes while Redis is ill, and a
//! look at the shared settings every second and whenever a change is told.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use super::{breaker, error::RedisError, shared::Shared};

/// The net under what is told: who missed a message is behind by no more than this.
const LOOK: Duration = Duration::from_secs(1);

/// Probes, or looks.
pub(super) async fn watch(shared: Weak<Shared>) {
    let mut failed_probes = 0;
    loop {
        let Some(up) = shared.upgrade().map(|shared| shared.health.stats().up) else {
            return;
        };
        if !up {
            sleep(breaker::pause(failed_probes)).await;
            let Some(shared) = shared.upgrade() else {
                return;
            };
            failed_probes = match shared.come_back().await {
                Ok(()) => {
                    tracing::info!("Redis is back");
                    0
                }
                Err(_) => failed_probes + 1,
            };
        } else if !opened_within(&shared, LOOK).await {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            shared.look().await;
        }
    }
}

/// Learns at once of what is told.
pub(super) async fn listen(shared: Weak<Shared>) {
    loop {
        if let Some(mut messages) = subscribe(&shared).await {
            while messages.next().await.is_some() {
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                shared.look().await;
            }
        }
        sleep(LOOK).await;
    }
}

async fn subscribe(shared: &Weak<Shared>) -> Option<redis::aio::PubSubStream> {
    let shared = shared.upgrade()?;
    shared.health.ask()?;
    let listener = shared.client.listen(&shared.names.settings).await.ok()?;
    Some(listener.into_on_message())
}

/// Waits so long, or until the breaker opens, which is the answer.
async fn opened_within(shared: &Weak<Shared>, time: Duration) -> bool {
    let Some(opened) = shared
        .upgrade()
        .map(|shared| Arc::clone(&shared.health.opened))
    else {
        return false;
    };
    timeout(time, opened.notified()).await.is_ok()
}

impl Shared {
    /// Connects, and asks again if all is well.
    pub(super) async fn come_back(self: &Arc<Self>) -> Result<(), RedisError> {
        self.probe().await?;
        self.start().await?;
        self.learn().await?;
        self.health.recovered();
        Ok(())
    }

    /// Catches up with the shared settings.
    async fn look(self: &Arc<Self>) {
        let Some(seen) = self.health.ask() else {
            return;
        };
        let learned = match self.is_behind().await {
            Ok(true) => self.learn().await,
            answer => answer.map(drop),
        };
        if let Err(error) = learned {
            self.health.failed(seen, None, &error);
        }
    }
}
