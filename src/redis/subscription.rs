//! Background task: subscription to published changes of the shared settings.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::time::sleep;

use super::inner::Inner;

/// Pause before a lost subscription is renewed. Until then, polls notice changes.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Subscribes, and synchronises the settings on every message, forever.
pub(super) async fn run(inner: Arc<Inner>) {
    loop {
        if let Some(mut messages) = subscribe(&inner).await {
            while messages.next().await.is_some() {
                inner.settings.poll().await;
            }
        }
        sleep(RETRY_INTERVAL).await;
    }
}

async fn subscribe(inner: &Inner) -> Option<redis::aio::PubSubStream> {
    inner.store.health.admit()?;
    let channel = &inner.store.keyspace.settings;
    let subscribed = inner.store.client.subscribe(channel).await.ok()?;
    Some(subscribed.into_on_message())
}
