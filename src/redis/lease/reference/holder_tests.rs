//! Tests of [`Holder`] against the reference of the server.

use super::leased_bucket::LeasedBucket;
use crate::{
    quota::Quota,
    redis::lease::protocol::{
        Balance, Holder, LeaseReply, LeaseRequest, Limits, Settings, Step, TakeOutcome,
    },
    state::State,
};

const MILLI: u64 = 1_000_000;
/// Server time in microseconds when the clock of the process is at zero.
const START: u64 = 1_000_000_000;

/// Holder and server, connected without loss or delay.
struct Pair {
    settings: Settings,
    holder: Holder,
    balance: Balance,
    bucket: LeasedBucket,
    requests: u32,
}

impl Pair {
    fn new(quota: Quota) -> Pair {
        let layout = quota.layout();
        let limits = Limits::for_fraction(&layout.scaled, 0.1, 1_000_000).unwrap();
        let settings = Settings {
            layout,
            limits,
            timeout_nanos: 50 * MILLI,
        };
        Pair {
            settings,
            holder: Holder::new(7),
            balance: Balance::default(),
            bucket: LeasedBucket::new(),
            requests: 0,
        }
    }

    fn step(&mut self, now: u64, cost: u32) -> Step {
        self.holder.take(&self.settings, &self.balance, now, cost)
    }

    fn deliver(&mut self, now: u64, request: &LeaseRequest) -> bool {
        self.requests += 1;
        let reply = self
            .bucket
            .handle(
                &self.settings.layout,
                &self.settings.limits,
                START + now / 1000,
                request,
            )
            .unwrap();
        self.holder
            .on_reply(&self.settings, &self.balance, now, &reply)
    }

    /// Takes tokens, and waits for the reply if necessary.
    fn take(&mut self, now: u64, cost: u32) -> TakeOutcome {
        loop {
            let Step { outcome, request } = self.step(now, cost);
            if let Some(request) = request {
                self.deliver(now, &request);
            }
            if outcome != TakeOutcome::Wait {
                return outcome;
            }
        }
    }

    fn on_timer(&mut self, now: u64) {
        if let Some(request) = self.holder.on_timer(&self.settings, &self.balance, now) {
            self.deliver(now, &request);
        }
    }
}

#[test]
fn a_hot_key_needs_fewer_and_fewer_messages() {
    let mut pair = Pair::new(Quota::per_second(1_000_000));
    for request in 0..100_000 {
        assert!(
            matches!(pair.take(request * 2000, 1), TakeOutcome::Allowed { .. }),
            "request {request}"
        );
    }
    assert!(pair.requests < 40, "{} messages", pair.requests);
}

#[test]
fn a_flood_of_refused_requests_sends_at_most_ten_messages_per_second() {
    for rate in [1, 3, 50] {
        let mut pair = Pair::new(Quota::per_second(rate).with_capacity(20));
        assert!(pair.bucket.take(&pair.settings.layout, START, 20).is_ok());
        let mut allowed = 0;
        for milli in 0..5000 {
            allowed += u32::from(matches!(
                pair.take(milli * MILLI, 1),
                TakeOutcome::Allowed { .. }
            ));
        }
        // Requests that were granted tokens do not count.
        assert!(
            pair.requests <= 50 + allowed,
            "{rate}: {} messages for {allowed}",
            pair.requests
        );
        assert!(
            allowed + 2 >= rate * 5 * 9 / 10,
            "{rate}: {allowed} allowed"
        );
    }
}

#[test]
fn decreasing_costs_do_not_bypass_a_refusal() {
    let mut pair = Pair::new(Quota::per_hour(1).with_capacity(1000));
    let mut sent = 0;
    for step in 0..1000 {
        let cost = 100 - (step % 100) as u32;
        let Some(request) = pair.step(step * MILLI, cost).request else {
            continue;
        };
        sent += 1;
        // Other holders take one more token each time.
        let spent = pair.settings.layout.units(1000 - request.need + 1);
        let state = State {
            spent,
            stamp: pair.settings.layout.tick(START * 1000),
        };
        let reply = LeaseReply {
            seq: request.seq,
            granted: 0,
            kept: 0,
            now: START,
            state,
        };
        assert!(
            pair.holder
                .on_reply(&pair.settings, &pair.balance, step * MILLI, &reply)
        );
    }
    assert!((2..=10).contains(&sent), "{sent} messages per second");
}

#[test]
fn refused_until_just_before_the_token_is_available() {
    let mut pair = Pair::new(Quota::per_second(1).with_capacity(10));
    assert!(pair.bucket.take(&pair.settings.layout, START, 10).is_ok());
    let TakeOutcome::Refused { retry_after, .. } = pair.take(0, 1) else {
        panic!("allowed")
    };
    assert!(
        (999 * MILLI..=1000 * MILLI).contains(&retry_after),
        "{retry_after}"
    );
    assert!(matches!(
        pair.take(retry_after - 1, 1),
        TakeOutcome::Refused { retry_after: 1, .. }
    ));
    assert!(matches!(
        pair.take(retry_after, 1),
        TakeOutcome::Allowed { .. }
    ));
    assert_eq!(pair.requests, 2);
}

#[test]
fn expired_tokens_are_returned_and_then_no_message_is_sent() {
    let mut pair = Pair::new(Quota::per_hour(1).with_capacity(1000));
    for _ in 0..20 {
        assert!(matches!(pair.take(0, 1), TakeOutcome::Allowed { .. }));
    }
    let held = pair.balance.snapshot();
    assert!(held.tokens > 0 && held.expiry < 1000 * MILLI);
    assert_eq!(
        pair.holder.next_deadline(&pair.settings, &pair.balance),
        Some(held.expiry)
    );
    pair.on_timer(held.expiry);
    assert_eq!(
        pair.holder.next_deadline(&pair.settings, &pair.balance),
        None
    );
    let layout = pair.settings.layout;
    assert_eq!(pair.bucket.state.spent, layout.units(20));
}

#[test]
fn close_returns_tokens_and_ends_leasing() {
    let mut pair = Pair::new(Quota::per_hour(1).with_capacity(1000));
    assert!(matches!(pair.take(0, 5), TakeOutcome::Allowed { .. }));
    let request = pair.step(MILLI, 50).request.unwrap();
    assert_eq!(request.need, 50);
    let last = pair.holder.close(&pair.balance, 2 * MILLI).unwrap();
    // The earlier request arrives, and its reply is not used.
    assert!(!pair.deliver(2 * MILLI, &request));
    assert!(pair.deliver(2 * MILLI, &last));
    assert_eq!(pair.bucket.state.spent, pair.settings.layout.units(5));
    assert!(matches!(pair.take(3 * MILLI, 1), TakeOutcome::Exact { .. }));
    assert_eq!(
        pair.holder.next_deadline(&pair.settings, &pair.balance),
        None
    );
}

#[test]
fn a_cost_above_the_lease_limit_is_taken_exactly_and_its_refusal_remembered() {
    let mut pair = Pair::new(Quota::per_hour(1).with_capacity(100));
    let TakeOutcome::Exact { seq } = pair.step(0, 11).outcome else {
        panic!("not exact")
    };
    assert_eq!(pair.step(0, 11).outcome, TakeOutcome::Wait);
    let state = State {
        spent: pair.settings.layout.units(95),
        stamp: pair.settings.layout.tick(START * 1000),
    };
    assert!(
        pair.holder
            .on_exact(&pair.settings, 0, seq, Some((state, START)))
    );
    assert!(matches!(
        pair.step(MILLI, 11).outcome,
        TakeOutcome::Refused { .. }
    ));
    // Five tokens remain.
    assert!(pair.step(MILLI, 3).request.is_some());
}

#[test]
fn tokens_are_taken_exactly_for_a_while_when_others_hold_all_leases() {
    let mut pair = Pair::new(Quota::per_hour(1).with_capacity(100));
    let other = LeaseRequest {
        holder: 8,
        seq: 1,
        acked: 0,
        kept: 0,
        returned: 0,
        need: 10,
        want: 10,
    };
    assert!(
        pair.bucket
            .handle(&pair.settings.layout, &pair.settings.limits, START, &other)
            .is_some()
    );
    let TakeOutcome::Exact { seq } = pair.take(0, 1) else {
        panic!("not exact")
    };
    assert!(pair.holder.on_exact(&pair.settings, 0, seq, None));
    assert!(matches!(pair.take(MILLI, 1), TakeOutcome::Exact { .. }));
    assert_eq!(pair.requests, 1);
}

/// *Caught:* a pause that keeps the tokens held; one that accepts the grant in flight.
#[test]
fn a_pause_gives_up_the_tokens_held_and_those_in_flight() {
    let mut pair = Pair::new(Quota::per_hour(1000));
    let Step { outcome, request } = pair.step(0, 5);
    assert_eq!(outcome, TakeOutcome::Wait);
    pair.holder.on_paused(&pair.balance);
    assert!(!pair.deliver(0, &request.unwrap()), "the reply is too late");
    assert_eq!(pair.balance.snapshot().tokens, 0);

    let mut pair = Pair::new(Quota::per_hour(1000));
    for _ in 0..20 {
        assert!(matches!(pair.take(0, 1), TakeOutcome::Allowed { .. }));
    }
    assert!(pair.balance.snapshot().tokens > 0);
    pair.holder.on_paused(&pair.balance);
    assert_eq!(pair.balance.snapshot().tokens, 0);
}
