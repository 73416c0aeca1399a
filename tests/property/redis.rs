//! Comparison of a bucket in Redis with the reference in exact rational arithmetic: every decision,
//! refund and reset, over random quotas, times (stale, backward, far away) and costs. The module
//! `decisions` does the same for buckets in memory.
//!
//! Redis drops the key of a full bucket and of a bucket that was reset. After a reset, the
//! reference is replaced by a new one.

use std::time::Duration;

use crate::reference::{
    Charge, DecisionFields, Reference,
    driver::{Driver, Event, Target},
    strategies::{self, Call, Operation},
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

impl Target for Bucket<'_> {
    type Decision = SharedDecision;

    fn take(&self, now: Duration, cost: u32) -> SharedDecision {
        self.clock.set(now);
        let decision = self.runtime.block_on(self.limiter.try_acquire("key", cost));
        assert_eq!(decision.source(), DecisionSource::Redis);
        decision
    }

    fn reserve(&self, _: Duration, _: u32, _: Duration) -> SharedDecision {
        unreachable!("buckets in Redis have no reservations")
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
    let (mut driver, mut reference) = (
        Driver::with_target(bucket, quota, start),
        Reference::unpacked(&quota),
    );
    let mut charges: Vec<Option<Charge>> = Vec::new();
    for call in calls {
        let failure = |what: String| TestCaseError::fail(format!("{quota}: {call:?}: {what}"));
        match driver.call(call) {
            None => {}
            Some(Event::Decided {
                now,
                cost,
                decision,
                ..
            }) => {
                // The server's clock counts microseconds.
                let now = Duration::from_micros(now.as_micros().min(u64::MAX.into()) as u64);
                let fields = DecisionFields::of(&decision);
                let charge = reference.follow(now, cost, None, &fields);
                charges.push(charge.map_err(|expected| {
                    failure(format!("expected {expected:?}, got {fields:?}"))
                })?);
            }
            Some(Event::Refunded { number, gave_back }) => {
                let expected = charges[number]
                    .as_ref()
                    .is_some_and(|charge| reference.refund(charge));
                if gave_back != expected {
                    return Err(failure(format!(
                        "refund of decision {number}: expected {expected}, got {gave_back}"
                    )));
                }
            }
            Some(Event::Reset { .. }) => {
                reference = Reference::unpacked(&quota);
                charges.fill(None);
            }
        }
    }
    Ok(())
}

/// Calls without reservations: takes stand in for them.
fn calls() -> impl Strategy<Value = Vec<Call>> {
    let takes = |(when, operation)| match operation {
        Operation::Reserve(cost, _) => (when, Operation::Take(cost)),
        operation => (when, operation),
    };
    strategies::calls(60).prop_map(move |calls| calls.into_iter().map(takes).collect())
}

#[test]
fn a_bucket_in_redis_decides_like_the_reference() {
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
    let strategy = (strategies::quota(), strategies::start(), calls());
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
