//! Tokens taken ahead of time, and given back unused.

use crate::model::{
    Call::{Refund, Reserve, Take},
    Model, greedy, interval,
};

/// Reservations beside takes: in no window more is ready than capacity and refill.
///
/// *Caught:* a plain store in place of the swap; the successor of the old word written over a newer
/// one.
#[test]
fn reservations_beside_takes() {
    Model::new(greedy(2), &[0, 1])
        .before(&[Take(1)])
        .thread(&[Reserve(2, 9), Take(1)])
        .thread(&[Reserve(2, 9), Take(1)])
        .check();
}

/// The same with three threads, one of whom waits only so long.
///
/// *Caught:* a plain store in place of the swap; the successor of the old word written over a newer
/// one.
#[test]
fn three_reservations() {
    let model = Model::new(greedy(2), &[0, 2]).before(&[Take(2)]);
    model
        .thread(&[Reserve(2, 9)])
        .thread(&[Reserve(1, 9)])
        .thread(&[Reserve(2, 3)])
        .check();
}

/// A waiter who leaves, the last of the queue or from its middle: no tokens are sold twice.
///
/// *Caught:* a refund from the middle of the queue; one by the time since while somebody waits; one
/// by load and store.
#[test]
fn a_reservation_is_dropped_beside_others() {
    let model = Model::new(greedy(2), &[0, 2]).before(&[Take(2)]);
    model
        .thread(&[Reserve(2, 9), Refund(1)])
        .thread(&[Reserve(2, 9), Take(1)])
        .check();
}

/// Two leave, while a third comes.
///
/// *Caught:* a refund from the middle of the queue; one by load and store.
#[test]
fn reservations_are_dropped_beside_a_third() {
    let model = Model::new(greedy(2), &[0]).before(&[Take(2), Reserve(2, 9), Reserve(1, 9)]);
    model
        .thread(&[Refund(1)])
        .thread(&[Refund(2)])
        .thread(&[Reserve(2, 9), Reserve(1, 9)])
        .check();
}

/// One leaves whose turn has come meanwhile.
///
/// *Caught:* a refund from the middle of the queue; one by the time since while somebody waits; one
/// by load and store.
#[test]
fn a_reservation_is_dropped_when_it_is_ready() {
    let model = Model::new(greedy(2), &[0, 3]).before(&[Take(2), Reserve(2, 9)]);
    model
        .thread(&[Refund(1), Take(2)])
        .thread(&[Take(1), Reserve(2, 9)])
        .check();
}

/// The same in windows.
///
/// *Caught:* a refund from the middle of the queue; one by load and store; a charge across two
/// windows.
#[test]
fn a_reservation_is_dropped_beside_others_in_windows() {
    let model = Model::new(interval(2), &[0, 5]).before(&[Take(1)]);
    model
        .thread(&[Reserve(2, 9), Refund(1)])
        .thread(&[Reserve(2, 9), Take(1)])
        .check();
}

/// A window that begins with what was reserved for it goes on beside who takes.
///
/// *Caught:* a window that begins when it is first looked at, whatever was reserved in it; a plain
/// store in place of the swap.
#[test]
fn a_window_that_was_reserved_goes_on() {
    let model = Model::new(interval(2), &[0, 5]).before(&[Take(2)]);
    model
        .thread(&[Reserve(1, 9), Take(1)])
        .thread(&[Take(1), Reserve(1, 9)])
        .check();
}
