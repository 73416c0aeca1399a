//! Takeovers and inserts in a table that processes share: a thread may count as gone at any moment, and
//! go on later, or die at each of its steps.
//!
//! A time limit is not modelled: that a thread counts as gone at any moment includes every limit. That a
//! death leaves a latch closed or a mark on a slot is seen by the threads beside it, and much later.

use crate::{
    model::{
        Call::{Refund, Reset, Take},
        greedy, interval,
    },
    table::{FILLER_CALLS, Key, TableModel, key},
};

const OLD: Key = key(1, 0, 0, 0);
/// Has the home set of `OLD`, and probes its slot first.
const NEAR: Key = key(2, 0, 0, 0);
/// Has the other home set, under another latch, and finds the slot of `OLD` as the first free one.
const FAR: Key = key(3, 1, 0, 0);
/// Like `NEAR`.
const NEIGHBOUR: Key = key(4, 0, 0, 0);
const FILLERS: [Key; 3] = [key(8, 1, 0, 0), key(9, 1, 1, 0), key(7, 0, 1, 0)];

/// `OLD` is in slot 0, slot 1 is free, and fillers keep both other slots.
fn one_old_key(clock: &[u64]) -> TableModel {
    let [first, second, _] = FILLERS;
    TableModel::new(greedy(2), clock)
        .filler(first)
        .before(0, OLD, Take(2))
        .filler(second)
        .of_processes()
}

/// Like [`one_old_key`], with fillers in all other slots.
fn one_slot(clock: &[u64]) -> TableModel {
    one_old_key(clock).filler(FILLERS[2]).refuse_newcomers()
}

/// `OLD` is in slot 0, and all other slots are free.
fn room_to_return(clock: &[u64]) -> TableModel {
    TableModel::new(greedy(2), clock)
        .before(0, OLD, Take(2))
        .of_processes()
}

fn empty(clock: &[u64]) -> TableModel {
    TableModel::new(greedy(2), clock).of_processes()
}

/// One of the keys gets the slot, and neither gets the other's tokens.
///
/// *Caught:* an undo that frees the slot.
#[test]
fn a_takeover_while_the_old_key_returns() {
    one_old_key(&[2])
        .thread(&[(NEAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(2))])
        .check();
}

/// Like [`a_takeover_while_the_old_key_returns`], under different latches.
#[test]
fn a_takeover_under_another_latch_while_the_old_key_returns() {
    one_old_key(&[2])
        .thread(&[(FAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(2))])
        .check();
}

/// Like [`a_takeover_while_the_old_key_returns`], while time moves.
///
/// *Caught:* a slot claimed without asking again whether it is free; a tag that is not confirmed;
/// the time of the request in place of the latest stamp.
#[test]
fn a_takeover_while_time_moves() {
    one_old_key(&[1, 2, 3])
        .thread(&[(NEAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(1))])
        .check();
}

/// The old key has another slot to return to.
#[test]
fn a_takeover_while_the_old_key_has_room_to_return() {
    room_to_return(&[2])
        .thread(&[(FAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(2))])
        .check();
}

/// The newcomer dies at each of its steps.
///
/// *Caught:* an undo that frees the slot.
#[test]
fn a_newcomer_dies_while_the_old_key_returns() {
    one_old_key(&[2])
        .dying_thread(&[(NEAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(2))])
        .check();
}

/// Like [`a_newcomer_dies_while_the_old_key_returns`], under different latches.
#[test]
fn a_newcomer_dies_under_another_latch() {
    one_old_key(&[2])
        .dying_thread(&[(FAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(2))])
        .check();
}

/// Like [`a_newcomer_dies_while_the_old_key_returns`], while time moves.
///
/// *Caught:* the time of the request in place of the latest stamp.
#[test]
fn a_newcomer_dies_while_time_moves() {
    one_old_key(&[1, 2, 3])
        .dying_thread(&[(NEAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(1))])
        .preemptions_in_ci(0)
        .check();
}

/// Like [`a_newcomer_dies_while_the_old_key_returns`], with another slot for the old key.
#[test]
fn a_newcomer_dies_while_the_old_key_has_room_to_return() {
    room_to_return(&[2])
        .dying_thread(&[(FAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(2))])
        .check();
}

/// Like [`a_newcomer_dies_while_the_old_key_returns`], with an interval quota.
#[test]
fn a_newcomer_dies_beside_an_interval_quota() {
    let [first, second, _] = FILLERS;
    TableModel::new(interval(2), &[4])
        .filler(first)
        .before(0, OLD, Take(2))
        .filler(second)
        .dying_thread(&[(NEAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(2))])
        .check();
}

/// The old key charges while a third thread undoes the takeover.
#[test]
fn a_charge_while_a_takeover_is_undone() {
    one_slot(&[2])
        .thread(&[(NEAR, Take(2))])
        .thread(&[(OLD, Take(1))])
        .thread(&[(NEIGHBOUR, Take(2))])
        .one_preemption()
        .preemptions_in_ci(0)
        .check();
}

/// Like [`a_charge_while_a_takeover_is_undone`], of a thread that dies.
///
/// *Caught:* a new tag although the claim failed.
#[test]
fn a_charge_while_a_dead_takeover_is_undone() {
    one_slot(&[2])
        .died(NEAR, Take(2))
        .thread(&[(OLD, Take(1))])
        .thread(&[(FAR, Take(2))])
        .check();
}

/// A key inserted twice at once has one bucket.
///
/// *Caught:* a tag published by a store; a claim that counts although its mark was undone; a latch
/// that is not validated after a mark, or by a load, or relaxed, or taken relaxed, or opened by a
/// store; a mark taken back by a store; no mark.
#[test]
fn a_key_inserted_twice() {
    empty(&[0, 1])
        .thread(&[(NEAR, Take(1)), (NEAR, Take(1))])
        .thread(&[(NEAR, Take(2))])
        .check();
}

/// A thread whose latch another has taken opens nothing, when it goes on.
///
/// *Caught:* a latch without tickets; a latch opened by a store.
#[test]
fn a_latch_is_taken_from_a_thread_that_goes_on() {
    empty(&[0])
        .thread(&[(NEAR, Take(2))])
        .thread(&[(NEAR, Take(2))])
        .preemptions_in_ci(3)
        .check();
}

/// Like [`a_key_inserted_twice`], by three threads.
///
/// *Caught:* a latch taken relaxed.
#[test]
fn a_key_inserted_three_times() {
    empty(&[0])
        .thread(&[(NEAR, Take(1))])
        .thread(&[(NEAR, Take(2))])
        .thread(&[(NEAR, Take(1))])
        .one_preemption()
        .preemptions_in_ci(0)
        .check();
}

/// Like [`a_key_inserted_twice`], by a thread that dies.
#[test]
fn a_thread_dies_that_inserts_the_same_key() {
    empty(&[0])
        .dying_thread(&[(NEAR, Take(1))])
        .thread(&[(NEAR, Take(1)), (NEAR, Take(2))])
        .check();
}

/// A key is inserted twice after a thread died under the same latch.
#[test]
fn a_key_inserted_twice_beside_a_dead_neighbour() {
    empty(&[0])
        .died(NEIGHBOUR, Take(1))
        .thread(&[(NEAR, Take(2))])
        .thread(&[(NEAR, Take(1))])
        .check();
}

/// The latch passes through the hands of another key while the first insert goes on.
#[test]
fn the_latch_passes_through_the_hands_of_another_key() {
    empty(&[0])
        .thread(&[(NEAR, Take(2))])
        .thread(&[(NEIGHBOUR, Take(1)), (NEAR, Take(1))])
        .check();
}

/// While an insert is stopped, its key comes, goes and returns.
///
/// *Caught:* a latch taken relaxed.
#[test]
fn a_key_comes_and_goes_while_an_insert_is_stopped() {
    one_slot(&[2, 4, 6])
        .thread(&[(NEAR, Take(2))])
        .thread(&[(NEAR, Take(2)), (FAR, Take(2)), (NEAR, Take(1))])
        .preemptions_in_ci(0)
        .check();
}

/// While an insert is stopped, its key gets another slot, and the slot that it had marked is marked again.
///
/// *Caught:* an undo that keeps the version.
#[test]
fn a_key_goes_elsewhere_while_an_insert_is_stopped() {
    one_old_key(&[2])
        .thread(&[(NEAR, Take(2))])
        .thread(&[(NEAR, Take(2)), (OLD, Reset), (FAR, Take(1))])
        .preemptions_in_ci(2)
        .check();
}

/// A slot is marked again, from the same old key, while an insert is stopped that had marked it.
///
/// *Caught:* a mark taken back by a store.
#[test]
fn a_slot_is_marked_again_from_the_same_old_key() {
    one_slot(&[2])
        .thread(&[(NEAR, Take(2))])
        .thread(&[(FAR, Take(2)), (OLD, Take(1))])
        .check();
}

/// Like [`a_slot_is_marked_again_from_the_same_old_key`], by the threads of one key.
///
/// *Caught:* a mark taken back by a store.
#[test]
fn a_slot_is_marked_again_for_the_same_key() {
    one_slot(&[2])
        .thread(&[(NEAR, Take(1))])
        .thread(&[(NEAR, Take(2)), (OLD, Take(1))])
        .check();
}

/// A thread whose clock is behind inserts a key that was evicted later.
///
/// *Caught:* a new tag although the claim failed; a tag that is not confirmed; a relaxed claim.
#[test]
fn a_late_thread_inserts() {
    TableModel::new(greedy(2), &[1, 4])
        .before(0, OLD, Take(2))
        .of_processes()
        .thread(&[(OLD, Take(2)), (NEAR, Take(1))])
        .thread(&[(OLD, Take(1))])
        .check();
}

/// Two threads repair what a dead one left.
#[test]
fn two_threads_repair() {
    one_old_key(&[2])
        .died(NEAR, Take(2))
        .thread(&[(NEAR, Take(1))])
        .thread(&[(NEAR, Take(2))])
        .check();
}

/// A thread repairs what a dead one left, beside a stranger under another latch.
///
/// *Caught:* evictions counted after the claim.
#[test]
fn a_thread_repairs_beside_a_stranger() {
    one_old_key(&[2])
        .died(NEAR, Take(2))
        .thread(&[(OLD, Take(1))])
        .thread(&[(FAR, Take(2))])
        .check();
}

/// A thread dies while it repairs what a dead one left.
#[test]
fn a_thread_dies_while_it_repairs() {
    one_old_key(&[2])
        .died(NEAR, Take(2))
        .dying_thread(&[(NEAR, Take(1))])
        .thread(&[(OLD, Take(1))])
        .one_preemption()
        .preemptions_in_ci(0)
        .check();
}

/// A key is evicted while it takes, by a thread that dies.
///
/// *Caught:* evictions counted after the claim.
#[test]
fn an_evicting_thread_dies() {
    let [first, second, third] = FILLERS;
    TableModel::new(greedy(3), &[0])
        .filler(first)
        .before(0, OLD, Take(2))
        .filler(second)
        .filler(third)
        .dying_thread(&[(NEAR, Take(1))])
        .thread(&[(OLD, Take(1))])
        .check();
}

/// A refund gives the newcomer nothing, alive or dead.
#[test]
fn a_refund_beside_a_newcomer_that_dies() {
    let [first, second, _] = FILLERS;
    TableModel::new(greedy(2), &[1])
        .filler(first)
        .before(0, OLD, Take(1))
        .filler(second)
        .dying_thread(&[(NEAR, Take(2))])
        .thread(&[(OLD, Refund(FILLER_CALLS)), (OLD, Take(2))])
        .check();
}

/// A reset of the old key does not refill the bucket of a newcomer, alive or dead.
///
/// *Caught:* a relaxed claim.
#[test]
fn a_reset_beside_a_newcomer_that_dies() {
    one_old_key(&[2])
        .dying_thread(&[(NEAR, Take(2)), (NEAR, Take(1))])
        .thread(&[(OLD, Reset), (OLD, Take(2))])
        .check();
}
