//! Tests of [`Keys`] against the reference of the server.

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};

use super::leased_bucket::LeasedBucket;
use crate::{
    quota::Quota,
    redis::lease::{
        key::Key,
        keys::Keys,
        protocol::{Limits, Settings, Step, TakeOutcome},
    },
};

const START: u64 = 1_000_000_000;

fn keys(capacity: usize) -> Keys {
    let layout = Quota::per_hour(1).with_capacity(1000).layout();
    let limits = Limits::for_fraction(&layout.scaled, 0.1, 1_000_000).unwrap();
    Keys::new(
        Settings {
            layout,
            limits,
            timeout_nanos: 50_000_000,
        },
        capacity,
    )
}

#[test]
fn threads_spend_exactly_the_granted_tokens() {
    let (keys, bucket) = (keys(100), Mutex::new(LeasedBucket::new()));
    let allowed = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..4000 {
                    let (settings, key) = (keys.settings(), keys.get_or_insert(0, b"hot").unwrap());
                    let Step { outcome, request } = key.take(settings, 0, 1);
                    if let Some(request) = request {
                        let reply = bucket.lock().unwrap().handle(
                            &settings.layout,
                            &settings.limits,
                            START,
                            &request,
                        );
                        key.on_reply(settings, 0, &reply.unwrap());
                    }
                    match outcome {
                        TakeOutcome::Allowed { .. } => {
                            allowed.fetch_add(1, Ordering::Relaxed);
                        }
                        TakeOutcome::Exact { seq } => key.on_lost(seq),
                        TakeOutcome::Wait | TakeOutcome::Refused { .. } => {}
                    }
                }
            });
        }
    });
    for (key, request) in keys.close(0) {
        assert_eq!(key.name(), b"hot");
        let settings = keys.settings();
        bucket
            .lock()
            .unwrap()
            .handle(&settings.layout, &settings.limits, START, &request);
    }
    let (allowed, bucket) = (allowed.into_inner(), bucket.into_inner().unwrap());
    assert!(allowed > 100);
    assert_eq!(bucket.state.spent, keys.settings().layout.units(allowed));
}

/// The inserted key has lost its record of earlier grants, so it must not use the same holder id.
#[test]
fn a_key_inserted_again_after_eviction_returns_no_spent_tokens() {
    let (keys, mut bucket) = (keys(1), LeasedBucket::new());
    let settings = keys.settings();
    let mut spend_one = |now: u64, key: &Key| {
        while let Step {
            outcome: TakeOutcome::Wait,
            request: Some(request),
        } = key.take(settings, now, 1)
        {
            let reply = bucket
                .handle(
                    &settings.layout,
                    &settings.limits,
                    START + now / 1000,
                    &request,
                )
                .unwrap();
            key.on_reply(settings, now, &reply);
        }
        bucket.state.spent
    };
    let before = spend_one(0, &keys.get_or_insert(0, b"one").unwrap());
    assert_eq!(before, settings.layout.units(1));
    let later = 2_000_000_000;
    assert!(keys.get_or_insert(later, b"other").is_some() && keys.with(b"one", |_| ()).is_none());
    let much_later = 2 * later;
    let after = spend_one(much_later, &keys.get_or_insert(much_later, b"one").unwrap());
    assert!(
        after > before,
        "{before} were spent before, and {after} in all"
    );
}

#[test]
fn a_full_table_evicts_only_idle_keys() {
    let keys = keys(64);
    let names: Vec<_> = (0..1000_u32).map(u32::to_be_bytes).collect();
    let take = |now, name: &[u8]| {
        keys.get_or_insert(now, name)
            .map(|key| key.take(keys.settings(), now, 1))
            .is_some()
    };
    assert_eq!(names.iter().filter(|name| take(0, *name)).count(), 64);
    // Their requests are lost and retried until the attempts are exhausted.
    for second in 1..=8 {
        assert_eq!(
            keys.with(&names[999], |_| ()).is_some(),
            take(0, &names[999])
        );
        for _ in 0..64 {
            let _ = keys.on_timer(second * 1_000_000_000);
        }
    }
    let before: Vec<_> = names
        .iter()
        .filter(|name| keys.with(*name, |_| ()).is_some())
        .collect();
    let fresh = (1000..3000_u32).map(u32::to_be_bytes);
    let taken = fresh.filter(|name| take(9_000_000_000, name)).count();
    assert_eq!((before.len(), taken), (64, 64));
}
