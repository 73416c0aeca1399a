//! Tests of [`Key`] against the reference of the server.

use std::pin::pin;

use super::leased_bucket::LeasedBucket;
use crate::{
    quota::Quota,
    redis::lease::{
        key::Key,
        protocol::{Limits, Settings, TakeOutcome},
    },
};

const START: u64 = 1_000_000_000;

fn settings() -> Settings {
    let layout = Quota::per_hour(1).with_capacity(100).layout();
    let limits = Limits::for_fraction(&layout.scaled, 0.1, 1_000_000).unwrap();
    Settings {
        layout,
        limits,
        timeout_nanos: 50_000_000,
    }
}

#[tokio::test]
async fn waiters_are_woken_by_the_reply_and_by_its_loss() {
    let (settings, key, mut bucket) = (settings(), Key::new(b"key", 7), LeasedBucket::new());
    for replied in [false, true] {
        let mut message_done = pin!(key.message_done().notified());
        message_done.as_mut().enable();
        let request = key.take(&settings, 0, 1).request.unwrap();
        if replied {
            let reply = bucket
                .handle(&settings.layout, &settings.limits, START, &request)
                .unwrap();
            key.on_reply(&settings, 0, &reply);
        } else {
            key.on_lost(request.seq);
        }
        message_done.await;
    }
    assert_eq!(
        key.take(&settings, 0, 1).outcome,
        TakeOutcome::Allowed { remaining: 0 }
    );
}

#[tokio::test]
async fn waiters_are_woken_when_an_exact_take_is_decided() {
    let (settings, key) = (settings(), Key::new(b"key", 7));
    let mut message_done = pin!(key.message_done().notified());
    message_done.as_mut().enable();
    let TakeOutcome::Exact { seq } = key.take(&settings, 0, 50).outcome else {
        panic!("not exact")
    };
    assert_eq!(key.take(&settings, 0, 50).outcome, TakeOutcome::Wait);
    key.on_exact(&settings, 0, seq, None);
    message_done.await;
}
