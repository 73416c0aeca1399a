use super::{LeasedBucket, MAX_LEASES};
use crate::{
    quota::Quota,
    redis::lease::protocol::{LeaseReply, LeaseRequest, Limits, tick_at_micros},
    state::Layout,
};

const LIMITS: Limits = Limits {
    max_leased: 10,
    lifetime_micros: 1_000_000,
};
const START: u64 = 1_000_000_000;

fn slow() -> Layout {
    Quota::per_hour(1).with_capacity(100).layout()
}

/// One token per second.
fn ticking() -> Layout {
    Quota::per_second(1).with_capacity(20).layout()
}

fn request(holder: u64, seq: u64, acked: u64, kept: u32, returned: u32, want: u32) -> LeaseRequest {
    LeaseRequest {
        holder,
        seq,
        acked,
        kept,
        returned,
        need: want.min(1),
        want,
    }
}

fn available(bucket: &LeasedBucket, layout: &Layout, now: u64) -> u32 {
    let settled = bucket.clone().take(layout, now, 0).unwrap();
    layout.remaining(layout.refill_to(settled, tick_at_micros(layout, now)).spent)
}

fn granted(reply: Option<LeaseReply>) -> u32 {
    reply.unwrap().granted
}

#[test]
fn half_of_the_spare_tokens_stay_for_others_within_the_limit() {
    let (layout, mut bucket) = (slow(), LeasedBucket::new());
    let grants = (1..8).map(|holder| {
        granted(bucket.handle(&layout, &LIMITS, START, &request(holder, 1, 0, 0, 0, 100)))
    });
    assert_eq!(grants.collect::<Vec<_>>(), [5, 3, 1, 1, 0, 0, 0]);
    assert_eq!(
        (bucket.leased(START), available(&bucket, &layout, START)),
        (10, 90)
    );
    assert_eq!(
        (
            bucket.leased(START + 999_999),
            bucket.leased(START + 1_000_000)
        ),
        (10, 0)
    );
}

#[test]
fn needed_tokens_are_granted_in_full_or_not_at_all() {
    let (layout, mut bucket) = (slow(), LeasedBucket::new());
    let need = |holder, need| LeaseRequest {
        need,
        ..request(holder, 1, 0, 0, 0, need)
    };
    assert_eq!(
        granted(bucket.handle(&layout, &LIMITS, START, &need(1, 9))),
        9
    );
    assert_eq!(
        granted(bucket.handle(&layout, &LIMITS, START, &need(2, 2))),
        0
    );
    assert_eq!(
        granted(bucket.handle(&layout, &LIMITS, START, &need(2, 1))),
        1
    );
}

#[test]
fn a_repeated_request_gets_the_same_reply_and_an_older_one_none() {
    let (layout, mut bucket) = (slow(), LeasedBucket::new());
    let first = request(1, 1, 0, 0, 0, 4);
    let reply = bucket.handle(&layout, &LIMITS, START, &first);
    let once = bucket.clone();
    assert_eq!(bucket.handle(&layout, &LIMITS, START, &first), reply);
    assert_eq!(bucket, once);
    let second = request(1, 2, 1, 0, 4, 0);
    assert_eq!(
        bucket
            .handle(&layout, &LIMITS, START, &second)
            .unwrap()
            .granted,
        0
    );
    assert_eq!(available(&bucket, &layout, START), 100);
    let twice = bucket.clone();
    assert!(bucket.handle(&layout, &LIMITS, START, &second).is_some());
    assert_eq!(bucket.handle(&layout, &LIMITS, START, &first), None);
    assert_eq!(bucket, twice);
}

#[test]
fn a_grant_that_never_arrived_is_taken_back() {
    let (layout, mut bucket) = (slow(), LeasedBucket::new());
    assert_eq!(
        granted(bucket.handle(&layout, &LIMITS, START, &request(1, 1, 0, 0, 0, 4))),
        4
    );
    assert_eq!(
        granted(bucket.handle(&layout, &LIMITS, START, &request(1, 2, 0, 0, 0, 4))),
        4
    );
    assert_eq!(
        (bucket.leased(START), available(&bucket, &layout, START)),
        (4, 96)
    );
}

#[test]
fn an_ended_lease_is_neither_renewed_nor_revived_by_a_clock_that_steps_back() {
    let (layout, mut bucket) = (slow(), LeasedBucket::new());
    assert_eq!(
        granted(bucket.handle(&layout, &LIMITS, START, &request(1, 1, 0, 0, 0, 5))),
        5
    );
    let end = START + LIMITS.lifetime_micros;
    assert_eq!(
        granted(bucket.handle(
            &layout,
            &LIMITS,
            end,
            &LeaseRequest {
                need: 10,
                ..request(2, 1, 0, 0, 0, 10)
            }
        )),
        10
    );
    assert_eq!(bucket.leased(START), 10);
    let reply = bucket
        .handle(&layout, &LIMITS, START, &request(1, 2, 1, 4, 0, 1))
        .unwrap();
    assert_eq!(
        (reply.kept, reply.granted, bucket.leased(START)),
        (0, 0, 10)
    );
}

#[test]
fn a_lease_from_before_a_step_back_of_the_clock_ends_one_lifetime_after_it() {
    let (layout, mut bucket) = (slow(), LeasedBucket::new());
    let mut ask = |now, holder, seq| {
        let reply = bucket.handle(&layout, &LIMITS, now, &request(holder, seq, 0, 0, 0, 20));
        granted(reply)
    };
    assert_eq!(ask(START, 1, 1), 5);
    let stepped = START / 2;
    // Half of the rest, as long as the lease lasts. The second holder gets nothing more.
    assert_eq!(ask(stepped, 2, 1), 3);
    let end = stepped + LIMITS.lifetime_micros;
    assert_eq!(ask(end - 1, 3, 1), 1);
    assert_eq!(ask(end, 4, 1), 5, "the third lease alone lasts");
}

#[test]
fn tokens_returned_late_are_not_credited_twice() {
    let (layout, mut bucket) = (ticking(), LeasedBucket::new());
    let seconds = |seconds: u64| START + seconds * 1_000_000;
    assert_eq!(
        granted(bucket.handle(
            &layout,
            &LIMITS,
            START,
            &LeaseRequest {
                need: 8,
                ..request(1, 1, 0, 0, 0, 8)
            }
        )),
        8
    );
    // Refill has credited six of the eight tokens: only the other two may still be credited.
    assert!(bucket.take(&layout, seconds(6), 10).is_ok());
    assert_eq!(available(&bucket, &layout, seconds(6)), 8);
    bucket.handle(&layout, &LIMITS, seconds(6), &request(1, 2, 1, 0, 8, 0));
    assert_eq!(available(&bucket, &layout, seconds(6)), 10);
}

#[test]
fn returned_tokens_are_credited_in_full_if_the_bucket_was_never_near_full() {
    let (layout, mut bucket) = (ticking(), LeasedBucket::new());
    let seconds = |seconds: u64| START + seconds * 1_000_000;
    assert!(bucket.take(&layout, START, 12).is_ok());
    assert_eq!(
        granted(bucket.handle(
            &layout,
            &LIMITS,
            START,
            &LeaseRequest {
                need: 8,
                ..request(1, 1, 0, 0, 0, 8)
            }
        )),
        8
    );
    assert!(bucket.take(&layout, seconds(9), 1).is_ok());
    assert_eq!(available(&bucket, &layout, seconds(9)), 8);
    bucket.handle(&layout, &LIMITS, seconds(9), &request(1, 2, 1, 0, 8, 0));
    assert_eq!(available(&bucket, &layout, seconds(9)), 16);
}

#[test]
fn the_number_of_leases_is_limited_until_one_has_ended() {
    let layout = Quota::per_hour(1).with_capacity(1000).layout();
    let (limits, mut bucket) = (
        Limits {
            max_leased: 1000,
            ..LIMITS
        },
        LeasedBucket::new(),
    );
    let max_leases = MAX_LEASES as u64;
    for holder in 1..=max_leases {
        assert_eq!(
            granted(bucket.handle(&layout, &limits, START, &request(holder, 1, 0, 0, 0, 1))),
            1
        );
    }
    assert_eq!(
        granted(bucket.handle(
            &layout,
            &limits,
            START,
            &request(max_leases + 1, 1, 0, 0, 0, 1)
        )),
        0
    );
    assert_eq!(available(&bucket, &layout, START), 1000 - max_leases as u32);
    let end = START + limits.lifetime_micros;
    assert_eq!(
        granted(bucket.handle(
            &layout,
            &limits,
            end,
            &request(max_leases + 1, 1, 0, 0, 0, 1)
        )),
        1
    );
    assert_eq!(bucket.leases.len() as u64, max_leases);
}

#[test]
fn tokens_leased_before_a_reset_are_not_credited_after_it() {
    let (layout, mut bucket) = (slow(), LeasedBucket::new());
    assert_eq!(
        granted(bucket.handle(&layout, &LIMITS, START, &request(1, 1, 0, 0, 0, 5))),
        5
    );
    bucket.reset(&layout, START);
    assert!(bucket.take(&layout, START, 50).is_ok());
    bucket.handle(&layout, &LIMITS, START, &request(1, 2, 1, 0, 5, 0));
    assert_eq!(
        (bucket.leased(START), available(&bucket, &layout, START)),
        (0, 50)
    );
}
