//! Places in the queue that their owners have left, to be sold again.

use crate::model::{
    Call::{Refund, Reserve, Reset, Take},
    Model, greedy,
};

/// A place in the middle of the queue that somebody has left is sold once, whoever looks for it,
/// and only while it is nobody's.
///
/// *Caught:* a hole that is sold and stays in the store, or is put back whole; a store that two use
/// at once, or whose guard is relaxed; a refund from the middle of the queue.
#[test]
fn a_hole_is_sold_once() {
    let model = Model::new(greedy(2), &[0]).before(&[Take(2), Reserve(2, 9), Reserve(1, 9)]);
    model
        .thread(&[Refund(1)])
        .thread(&[Reserve(2, 9)])
        .thread(&[Reserve(1, 9)])
        .history_only()
        .check();
}

/// The same when it was left before, and the one behind it leaves as well.
///
/// *Caught:* a hole that is sold and stays in the store, or is put back whole; a store that two use
/// at once, or whose guard is relaxed; a refund from the middle of the queue.
#[test]
fn a_hole_at_the_end_is_sold_once() {
    let before = [Take(2), Reserve(2, 9), Reserve(1, 9), Refund(1)];
    let model = Model::new(greedy(2), &[0]).before(&before);
    model
        .thread(&[Refund(2), Reserve(2, 9)])
        .thread(&[Reserve(2, 9), Refund(4)])
        .history_only()
        .check();
}

/// The same while its time passes.
///
/// *Caught:* the same, and a sale that looks neither whether the hole still lies ahead nor whether
/// it is long enough.
#[test]
fn a_hole_lapses() {
    let before = [Take(2), Reserve(2, 9), Reserve(1, 9), Refund(1)];
    let model = Model::new(greedy(2), &[0, 1, 3]).before(&before);
    model
        .thread(&[Reserve(2, 9), Take(1)])
        .thread(&[Reserve(2, 9), Take(1)])
        .history_only()
        .check();
}

/// A reset makes it void.
///
/// *Caught:* a hole that is sold and stays in the store, or is put back whole; a refund from the
/// middle of the queue.
#[test]
fn a_hole_beside_a_reset() {
    let before = [Take(2), Reserve(2, 9), Reserve(1, 9), Refund(1)];
    let model = Model::new(greedy(2), &[0]).before(&before);
    model
        .thread(&[Reset])
        .thread(&[Reserve(2, 9)])
        .thread(&[Reserve(2, 9)])
        .history_only()
        .check();
}

/// It is void as well when as much has been sold again as there was when it was left.
///
/// *Caught:* a sale that does not ask whether a reset has made the hole void.
#[test]
fn a_hole_beside_a_reset_and_a_new_queue() {
    let before = [Take(2), Reserve(2, 9), Reserve(1, 9), Refund(1)];
    let model = Model::new(greedy(2), &[0]).before(&before).history_only();
    model
        .thread(&[Reset, Take(2), Reserve(2, 9), Reserve(2, 9)])
        .thread(&[Reserve(2, 9)])
        .check();
}

/// The same for one that is left meanwhile.
///
/// *Caught:* a sale that does not ask whether a reset has made the hole void.
#[test]
fn a_hole_is_left_beside_a_reset_and_a_new_queue() {
    let model = Model::new(greedy(2), &[0])
        .before(&[Take(2), Reserve(2, 9), Reserve(1, 9)])
        .history_only();
    model
        .thread(&[Reset, Take(2), Reserve(2, 9), Reserve(2, 9)])
        .thread(&[Refund(1)])
        .check();
}
