//! Models of reservations, and of their refunds.

use crate::model::{
    Call::{Refund, Reserve, Take},
    Model, greedy, interval,
};

/// Concurrent reservations and takes: in any time span, the tokens that become ready are at most
/// the capacity and the refill.
///
/// *Caught:* a plain store in place of the CAS; the successor of the old word written over a newer
/// word.
#[test]
fn reservations_race_takes() {
    Model::new(greedy(2), &[0, 1])
        .before(&[Take(1)])
        .thread(&[Reserve(2, 9), Take(1)])
        .thread(&[Reserve(2, 9), Take(1)])
        .check();
}

/// The same property with three threads, one of which has a shorter maximum wait.
///
/// *Caught:* a plain store in place of the CAS; the successor of the old word written over a newer
/// word.
#[test]
fn three_reservations_race() {
    let model = Model::new(greedy(2), &[0, 2]).before(&[Take(2)]);
    model
        .thread(&[Reserve(2, 9)])
        .thread(&[Reserve(1, 9)])
        .thread(&[Reserve(2, 3)])
        .check();
}

/// A waiter leaves the end or the middle of the queue: no tokens are sold twice.
///
/// *Caught:* a refund from the middle of the queue; a refund by the time since the charge while
/// there are waiters; a refund by load and store.
#[test]
fn a_reservation_is_dropped_while_others_wait() {
    let model = Model::new(greedy(2), &[0, 2]).before(&[Take(2)]);
    model
        .thread(&[Reserve(2, 9), Refund(1)])
        .thread(&[Reserve(2, 9), Take(1)])
        .check();
}

/// Two waiters leave while a third arrives.
///
/// *Caught:* a refund from the middle of the queue; a refund by load and store.
#[test]
fn two_reservations_are_dropped_while_a_third_arrives() {
    let model = Model::new(greedy(2), &[0]).before(&[Take(2), Reserve(2, 9), Reserve(1, 9)]);
    model
        .thread(&[Refund(1)])
        .thread(&[Refund(2)])
        .thread(&[Reserve(2, 9), Reserve(1, 9)])
        .check();
}

/// A waiter leaves after its reservation has become ready.
///
/// *Caught:* a refund from the middle of the queue; a refund by the time since the charge while
/// there are waiters; a refund by load and store.
#[test]
fn a_reservation_is_dropped_after_it_is_ready() {
    let model = Model::new(greedy(2), &[0, 3]).before(&[Take(2), Reserve(2, 9)]);
    model
        .thread(&[Refund(1), Take(2)])
        .thread(&[Take(1), Reserve(2, 9)])
        .check();
}

/// The same property in windows.
///
/// *Caught:* a refund from the middle of the queue; a refund by load and store; a charge that spans
/// two windows.
#[test]
fn a_reservation_is_dropped_while_others_wait_in_windows() {
    let model = Model::new(interval(2), &[0, 5]).before(&[Take(1)]);
    model
        .thread(&[Reserve(2, 9), Refund(1)])
        .thread(&[Reserve(2, 9), Take(1)])
        .check();
}

/// A window that begins with a reservation continues under concurrent takes.
///
/// *Caught:* a window that begins at its first use instead of at the reservations made for it; a
/// plain store in place of the CAS.
#[test]
fn a_reserved_window_continues() {
    let model = Model::new(interval(2), &[0, 5]).before(&[Take(2)]);
    model
        .thread(&[Reserve(1, 9), Take(1)])
        .thread(&[Take(1), Reserve(1, 9)])
        .check();
}
