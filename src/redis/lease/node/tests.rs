use super::{Answer, Node, Step};
use crate::{
    quota::Quota,
    redis::lease::{Ask, Balance, Ledger, Limits, Reply, Settings},
};

const MILLI: u64 = 1_000_000;
/// Of the server's clock, in microseconds, when ours is at zero.
const START: u64 = 1_000_000_000;

/// A process and a server that are always there for each other.
struct Pair {
    settings: Settings,
    node: Node,
    balance: Balance,
    ledger: Ledger,
    asks: u32,
}

impl Pair {
    fn new(quota: Quota) -> Pair {
        let layout = quota.layout();
        let limits = Limits::of(&layout.scaled, 0.1, 1_000_000).unwrap();
        let settings = Settings {
            node: 7,
            layout,
            limits,
            timeout: 50 * MILLI,
        };
        Pair {
            settings,
            node: Node::default(),
            balance: Balance::default(),
            ledger: Ledger::new(),
            asks: 0,
        }
    }

    fn step(&mut self, now: u64, cost: u32) -> Step {
        self.node.take(&self.settings, &self.balance, now, cost)
    }

    fn serve(&mut self, now: u64, ask: &Ask) -> bool {
        self.asks += 1;
        let reply = self
            .ledger
            .ask(
                &self.settings.layout,
                &self.settings.limits,
                START + now / 1000,
                ask,
            )
            .unwrap();
        self.node.reply(&self.settings, &self.balance, now, &reply)
    }

    /// Asks, and waits for the answer.
    fn take(&mut self, now: u64, cost: u32) -> Answer {
        loop {
            let Step { answer, ask } = self.step(now, cost);
            if let Some(ask) = ask {
                self.serve(now, &ask);
            }
            if answer != Answer::Wait {
                return answer;
            }
        }
    }

    fn tick(&mut self, now: u64) {
        if let Some(ask) = self.node.tick(&self.settings, &self.balance, now) {
            self.serve(now, &ask);
        }
    }
}

#[test]
fn a_hot_key_needs_ever_fewer_messages() {
    let mut pair = Pair::new(Quota::per_second(1_000_000));
    for request in 0..100_000 {
        assert!(
            matches!(pair.take(request * 2000, 1), Answer::Allowed { .. }),
            "request {request}"
        );
    }
    assert!(pair.asks < 40, "{} messages", pair.asks);
}

#[test]
fn a_flood_of_refused_requests_costs_ten_messages_a_second() {
    for rate in [1, 3, 50] {
        let mut pair = Pair::new(Quota::per_second(rate).with_capacity(20));
        assert!(pair.ledger.take(&pair.settings.layout, START, 20).is_ok());
        let mut allowed = 0;
        for milli in 0..5000 {
            allowed += u32::from(matches!(
                pair.take(milli * MILLI, 1),
                Answer::Allowed { .. }
            ));
        }
        // Those that were granted something are beside the point.
        assert!(
            pair.asks <= 50 + allowed,
            "{rate}: {} messages for {allowed}",
            pair.asks
        );
        assert!(
            allowed + 2 >= rate * 5 * 9 / 10,
            "{rate}: {allowed} allowed"
        );
    }
}

#[test]
fn asking_for_less_than_was_refused_is_no_way_around_it() {
    let mut pair = Pair::new(Quota::per_hour(1).with_capacity(1000));
    let mut sent = 0;
    for step in 0..1000 {
        let cost = 100 - (step % 100) as u32;
        let Some(ask) = pair.step(step * MILLI, cost).ask else {
            continue;
        };
        sent += 1;
        // Others take one more every time.
        let spent = pair.settings.layout.units(1000 - ask.need + 1);
        let state = crate::state::State {
            spent,
            stamp: pair.settings.layout.tick(START * 1000),
        };
        let reply = Reply {
            seq: ask.seq,
            granted: 0,
            kept: 0,
            now: START,
            state,
        };
        assert!(
            pair.node
                .reply(&pair.settings, &pair.balance, step * MILLI, &reply)
        );
    }
    assert!((2..=10).contains(&sent), "{sent} messages in a second");
}

#[test]
fn refused_until_just_before_the_token_is_there() {
    let mut pair = Pair::new(Quota::per_second(1).with_capacity(10));
    assert!(pair.ledger.take(&pair.settings.layout, START, 10).is_ok());
    let Answer::Refused { retry, .. } = pair.take(0, 1) else {
        panic!("allowed")
    };
    assert!((999 * MILLI..=1000 * MILLI).contains(&retry), "{retry}");
    assert!(matches!(
        pair.take(retry - 1, 1),
        Answer::Refused { retry: 1, .. }
    ));
    assert!(matches!(pair.take(retry, 1), Answer::Allowed { .. }));
    assert_eq!(pair.asks, 2);
}

#[test]
fn what_is_not_spent_goes_back_when_it_expires_and_then_there_is_silence() {
    let mut pair = Pair::new(Quota::per_hour(1).with_capacity(1000));
    for _ in 0..20 {
        assert!(matches!(pair.take(0, 1), Answer::Allowed { .. }));
    }
    let left = pair.balance.left();
    assert!(left.tokens > 0 && left.expiry < 1000 * MILLI);
    assert_eq!(
        pair.node.next(&pair.settings, &pair.balance),
        Some(left.expiry)
    );
    pair.tick(left.expiry);
    assert_eq!(pair.node.next(&pair.settings, &pair.balance), None);
    let layout = pair.settings.layout;
    assert_eq!(pair.ledger.state.spent, layout.units(20));
}

#[test]
fn shutting_down_gives_back_and_takes_no_more_leases() {
    let mut pair = Pair::new(Quota::per_hour(1).with_capacity(1000));
    assert!(matches!(pair.take(0, 5), Answer::Allowed { .. }));
    let ask = pair.step(MILLI, 50).ask.unwrap();
    assert_eq!(ask.need, 50);
    let last = pair
        .node
        .close(&pair.settings, &pair.balance, 2 * MILLI)
        .unwrap();
    // The earlier one arrives, and its answer is not used.
    assert!(!pair.serve(2 * MILLI, &ask));
    assert!(pair.serve(2 * MILLI, &last));
    assert_eq!(pair.ledger.state.spent, pair.settings.layout.units(5));
    assert!(matches!(pair.take(3 * MILLI, 1), Answer::Exact { .. }));
    assert_eq!(pair.node.next(&pair.settings, &pair.balance), None);
}

#[test]
fn a_cost_above_what_may_be_out_is_taken_one_by_one_and_a_refusal_remembered() {
    let mut pair = Pair::new(Quota::per_hour(1).with_capacity(100));
    let Answer::Exact { seq } = pair.step(0, 11).answer else {
        panic!("not exact")
    };
    assert_eq!(pair.step(0, 11).answer, Answer::Wait);
    let state = crate::state::State {
        spent: pair.settings.layout.units(95),
        stamp: pair.settings.layout.tick(START * 1000),
    };
    assert!(
        pair.node
            .decided(&pair.settings, 0, seq, Some((state, START)))
    );
    assert!(matches!(
        pair.step(MILLI, 11).answer,
        Answer::Refused { .. }
    ));
    // There are five.
    assert!(pair.step(MILLI, 3).ask.is_some());
}

#[test]
fn where_others_hold_all_of_it_tokens_are_taken_one_by_one_for_a_while() {
    let mut pair = Pair::new(Quota::per_hour(1).with_capacity(100));
    let other = Ask {
        node: 8,
        seq: 1,
        known: 0,
        kept: 0,
        back: 0,
        need: 10,
        want: 10,
    };
    assert!(
        pair.ledger
            .ask(&pair.settings.layout, &pair.settings.limits, START, &other)
            .is_some()
    );
    let Answer::Exact { seq } = pair.take(0, 1) else {
        panic!("not exact")
    };
    assert!(pair.node.decided(&pair.settings, 0, seq, None));
    assert!(matches!(pair.take(MILLI, 1), Answer::Exact { .. }));
    assert_eq!(pair.asks, 1);
}
