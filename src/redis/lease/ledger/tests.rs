use crate::{
    quota::Quota,
    redis::lease::{Ask, Ledger, Limits, Reply},
    state::Layout,
};

const LIMITS: Limits = Limits {
    most: 10,
    lifetime: 1_000_000,
};
const START: u64 = 1_000_000_000;

fn slow() -> Layout {
    Quota::per_hour(1).with_capacity(100).layout()
}

/// One token a second.
fn ticking() -> Layout {
    Quota::per_second(1).with_capacity(20).layout()
}

fn ask(node: u64, seq: u64, known: u64, kept: u32, back: u32, want: u32) -> Ask {
    Ask {
        node,
        seq,
        known,
        kept,
        back,
        need: want.min(1),
        want,
    }
}

fn available(ledger: &Ledger, layout: &Layout, now: u64) -> u32 {
    let settled = ledger.clone().take(layout, now, 0).unwrap();
    layout.remaining(layout.refill_to(settled, super::tick(layout, now)).spent)
}

fn granted(reply: Option<Reply>) -> u32 {
    reply.unwrap().granted
}

#[test]
fn half_of_what_there_is_stays_for_others_and_never_more_than_the_limit_is_out() {
    let (layout, mut ledger) = (slow(), Ledger::new());
    let grants = (1..8)
        .map(|node| granted(ledger.ask(&layout, &LIMITS, START, &ask(node, 1, 0, 0, 0, 100))));
    assert_eq!(grants.collect::<Vec<_>>(), [5, 3, 1, 1, 0, 0, 0]);
    assert_eq!(
        (ledger.out(START), available(&ledger, &layout, START)),
        (10, 90)
    );
    assert_eq!(
        (ledger.out(START + 999_999), ledger.out(START + 1_000_000)),
        (10, 0)
    );
}

#[test]
fn who_waits_gets_all_of_it_or_nothing() {
    let (layout, mut ledger) = (slow(), Ledger::new());
    let need = |node, need| Ask {
        need,
        ..ask(node, 1, 0, 0, 0, need)
    };
    assert_eq!(granted(ledger.ask(&layout, &LIMITS, START, &need(1, 9))), 9);
    assert_eq!(granted(ledger.ask(&layout, &LIMITS, START, &need(2, 2))), 0);
    assert_eq!(granted(ledger.ask(&layout, &LIMITS, START, &need(2, 1))), 1);
}

#[test]
fn the_same_request_gets_the_same_answer_and_an_older_one_none() {
    let (layout, mut ledger) = (slow(), Ledger::new());
    let first = ask(1, 1, 0, 0, 0, 4);
    let reply = ledger.ask(&layout, &LIMITS, START, &first);
    let once = ledger.clone();
    assert_eq!(ledger.ask(&layout, &LIMITS, START, &first), reply);
    assert_eq!(ledger, once);
    let second = ask(1, 2, 1, 0, 4, 0);
    assert_eq!(
        ledger
            .ask(&layout, &LIMITS, START, &second)
            .unwrap()
            .granted,
        0
    );
    assert_eq!(available(&ledger, &layout, START), 100);
    let twice = ledger.clone();
    assert!(ledger.ask(&layout, &LIMITS, START, &second).is_some());
    assert_eq!(ledger.ask(&layout, &LIMITS, START, &first), None);
    assert_eq!(ledger, twice);
}

#[test]
fn what_never_arrived_is_taken_back() {
    let (layout, mut ledger) = (slow(), Ledger::new());
    assert_eq!(
        granted(ledger.ask(&layout, &LIMITS, START, &ask(1, 1, 0, 0, 0, 4))),
        4
    );
    assert_eq!(
        granted(ledger.ask(&layout, &LIMITS, START, &ask(1, 2, 0, 0, 0, 4))),
        4
    );
    assert_eq!(
        (ledger.out(START), available(&ledger, &layout, START)),
        (4, 96)
    );
}

#[test]
fn a_lease_that_has_ended_is_neither_renewed_nor_revived_by_a_clock_that_steps_back() {
    let (layout, mut ledger) = (slow(), Ledger::new());
    assert_eq!(
        granted(ledger.ask(&layout, &LIMITS, START, &ask(1, 1, 0, 0, 0, 5))),
        5
    );
    let end = START + LIMITS.lifetime;
    assert_eq!(
        granted(ledger.ask(
            &layout,
            &LIMITS,
            end,
            &Ask {
                need: 10,
                ..ask(2, 1, 0, 0, 0, 10)
            }
        )),
        10
    );
    assert_eq!(ledger.out(START), 10);
    let reply = ledger
        .ask(&layout, &LIMITS, START, &ask(1, 2, 1, 4, 0, 1))
        .unwrap();
    assert_eq!((reply.kept, reply.granted, ledger.out(START)), (0, 0, 10));
}

#[test]
fn tokens_that_come_back_late_are_not_given_twice() {
    let (layout, mut ledger) = (ticking(), Ledger::new());
    let seconds = |seconds: u64| START + seconds * 1_000_000;
    assert_eq!(
        granted(ledger.ask(
            &layout,
            &LIMITS,
            START,
            &Ask {
                need: 8,
                ..ask(1, 1, 0, 0, 0, 8)
            }
        )),
        8
    );
    // Full again, but for two: those may still come back, the other six did.
    assert!(ledger.take(&layout, seconds(6), 10).is_ok());
    assert_eq!(available(&ledger, &layout, seconds(6)), 8);
    ledger.ask(&layout, &LIMITS, seconds(6), &ask(1, 2, 1, 0, 8, 0));
    assert_eq!(available(&ledger, &layout, seconds(6)), 10);
}

#[test]
fn tokens_come_back_whole_where_the_bucket_was_never_near_full() {
    let (layout, mut ledger) = (ticking(), Ledger::new());
    let seconds = |seconds: u64| START + seconds * 1_000_000;
    assert!(ledger.take(&layout, START, 12).is_ok());
    assert_eq!(
        granted(ledger.ask(
            &layout,
            &LIMITS,
            START,
            &Ask {
                need: 8,
                ..ask(1, 1, 0, 0, 0, 8)
            }
        )),
        8
    );
    assert!(ledger.take(&layout, seconds(9), 1).is_ok());
    assert_eq!(available(&ledger, &layout, seconds(9)), 8);
    ledger.ask(&layout, &LIMITS, seconds(9), &ask(1, 2, 1, 0, 8, 0));
    assert_eq!(available(&ledger, &layout, seconds(9)), 16);
}

#[test]
fn so_many_leases_and_no_more_until_one_has_ended() {
    let layout = Quota::per_hour(1).with_capacity(1000).layout();
    let (limits, mut ledger) = (
        Limits {
            most: 1000,
            ..LIMITS
        },
        Ledger::new(),
    );
    let most = super::MOST_LEASES as u64;
    for node in 1..=most {
        assert_eq!(
            granted(ledger.ask(&layout, &limits, START, &ask(node, 1, 0, 0, 0, 1))),
            1
        );
    }
    assert_eq!(
        granted(ledger.ask(&layout, &limits, START, &ask(most + 1, 1, 0, 0, 0, 1))),
        0
    );
    assert_eq!(available(&ledger, &layout, START), 1000 - most as u32);
    let end = START + limits.lifetime;
    assert_eq!(
        granted(ledger.ask(&layout, &limits, end, &ask(most + 1, 1, 0, 0, 0, 1))),
        1
    );
    assert_eq!(ledger.leases.len() as u64, most);
}

#[test]
fn after_a_reset_nothing_of_before_comes_back() {
    let (layout, mut ledger) = (slow(), Ledger::new());
    assert_eq!(
        granted(ledger.ask(&layout, &LIMITS, START, &ask(1, 1, 0, 0, 0, 5))),
        5
    );
    ledger.reset(&layout, START);
    assert!(ledger.take(&layout, START, 50).is_ok());
    ledger.ask(&layout, &LIMITS, START, &ask(1, 2, 1, 0, 5, 0));
    assert_eq!(
        (ledger.out(START), available(&ledger, &layout, START)),
        (0, 50)
    );
}
