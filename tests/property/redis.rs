//! Every decision, refund and reset of a bucket in Redis equals that of the reference in exact
//! rational arithmetic, over random quotas, times (stale, backward, far away) and costs. The module
//! `decisions` tests the same for memory.
//!
//! A full bucket is deleted in Redis, and so is a reset one: there the reference starts again.

use std::time::Duration;

use crate::reference::{
    Answer, Charge, Reference,
    generate::{self, Ask, Call},
    play::{Event, Played, Player},
};
use proptest::{
    prelude::*,
    test_runner::{TestError, TestRunner},
};
use test_support::redis::RedisServer;
use tokio::runtime::Runtime;
use tollgate::{Decision, DecisionSource, ManualClock, Quota, RedisLimiter, SharedDecision};

/// One bucket in Redis.
struct Bucket<'a> {
    runtime: &'a Runtime,
    limiter: &'a RedisLimiter,
    clock: &'a ManualClock,
}

impl Played for Bucket<'_> {
    type Answer = SharedDecision;

    fn take(&self, now: Duration, cost: u32) -> SharedDecision {
        self.clock.set(now);
        let decision = self.runtime.block_on(self.limiter.try_acquire("key", cost));
        assert_eq!(decision.source(), DecisionSource::Redis);
        decision
    }

    fn reserve(&self, _: Duration, _: u32, _: Duration) -> SharedDecision {
        unreachable!("Redis buckets have no reservations")
    }

    fn refund(&self, decision: SharedDecision) -> bool {
        self.runtime.block_on(self.limiter.refund("key", decision))
    }

    fn reset(&self, now: Duration) {
        self.clock.set(now);
        self.runtime.block_on(self.limiter.reset("key")).unwrap();
    }

    fn decision(decision: &SharedDecision) -> Decision {
        decision.decision()
    }
}

fn compare(
    bucket: Bucket<'_>,
    quota: Quota,
    start: u64,
    calls: &[Call],
) -> Result<(), TestCaseError> {
    bucket
        .runtime
        .block_on(bucket.limiter.replace(quota))
        .unwrap();
    let (mut player, mut reference) = (Player::on(bucket, quota, start), Reference::apart(&quota));
    let mut charges: Vec<Option<Charge>> = Vec::new();
    for call in calls {
        let wrong = |what: String| TestCaseError::fail(format!("{quota}: {call:?}: {what}"));
        match player.play(call) {
            None => {}
            Some(Event::Decided {
                now,
                cost,
                decision,
                ..
            }) => {
                // The server's clock counts microseconds.
                let now = Duration::from_micros(now.as_micros().min(u64::MAX.into()) as u64);
                let answer = Answer::of(&decision);
                let charge = reference.follow(now, cost, None, &answer);
                charges.push(
                    charge.map_err(|expected| wrong(format!("{answer:?}, not {expected:?}")))?,
                );
            }
            Some(Event::Refunded { number, gave }) => {
                let expected = charges[number]
                    .as_ref()
                    .is_some_and(|charge| reference.refund(charge));
                if gave != expected {
                    return Err(wrong(format!("{number} gave {gave}")));
                }
            }
            Some(Event::Reset { .. }) => {
                reference = Reference::apart(&quota);
                charges.fill(None);
            }
        }
    }
    Ok(())
}

/// Calls in which every reservation is replaced by a take.
fn calls() -> impl Strategy<Value = Vec<Call>> {
    let takes = |(when, ask)| match ask {
        Ask::Reserve(cost, _) => (when, Ask::Take(cost)),
        ask => (when, ask),
    };
    generate::calls(60).prop_map(move |calls| calls.into_iter().map(takes).collect())
}

#[test]
fn redis_bucket_decides_like_the_reference() {
    let (server, runtime, clock) = (
        RedisServer::start(),
        Runtime::new().unwrap(),
        ManualClock::new(),
    );
    let builder = RedisLimiter::builder(&server.url(), Quota::per_second(1));
    let connecting = builder
        .timeout(Duration::from_secs(10))
        .clock(clock.clone())
        .connect();
    let limiter = runtime.block_on(connecting).unwrap();

    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let strategy = (generate::quota(), generate::start(), calls());
    let compared = TestRunner::new(config).run(&strategy, |(quota, start, calls)| {
        let bucket = Bucket {
            runtime: &runtime,
            limiter: &limiter,
            clock: &clock,
        };
        compare(bucket, quota, start, &calls)
    });
    match compared {
        Err(TestError::Fail(why, (quota, start, calls))) => {
            panic!("{why}\nfrom {start}: {quota:?} {calls:#?}")
        }
        other => other.unwrap(),
    }
}
