//! Takeovers: a slot whose bucket has refilled goes to another key, while the old key returns.

use crate::{
    model::{
        Call::{Reset, Take},
        greedy,
    },
    table::{Key, TableModel, key},
};

const OLD: Key = key(1, 0, 0, 0);
/// Has the home set of `OLD`, and probes its slot first.
const NEAR: Key = key(2, 0, 0, 0);
/// Has the other home set, under another latch, and finds the slot of `OLD` as the first free one.
const FAR: Key = key(3, 1, 0, 0);
const FILLERS: [Key; 2] = [key(8, 1, 0, 0), key(9, 1, 1, 0)];

/// `OLD` is in slot 0, slot 1 is free, and fillers keep both other slots.
fn one_old_key(clock: &[u64]) -> TableModel {
    let [first, second] = FILLERS;
    TableModel::new(greedy(2), clock)
        .filler(first)
        .before(0, OLD, Take(2))
        .filler(second)
}

/// One of the keys gets the slot, and neither gets the other's tokens.
///
/// *Caught:* no tag marked busy; the claiming CAS, or the load of the word, relaxed; a plain store
/// instead of either CAS; the new tag stored although the claim failed.
#[test]
fn a_takeover_while_the_old_key_returns() {
    one_old_key(&[2])
        .thread(&[(NEAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(2))])
        .check();
}

/// Like [`a_takeover_while_the_old_key_returns`], under different latches.
///
/// *Caught:* the same as there; the tag stored before the word is claimed; an old key that does not
/// wait until its busy tag is settled.
#[test]
fn a_takeover_under_another_latch_while_the_old_key_returns() {
    one_old_key(&[2])
        .thread(&[(FAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(2))])
        .check();
}

/// Like [`a_takeover_while_the_old_key_returns`], while time moves and the bucket refills.
///
/// *Caught:* no tag marked busy; the tag not confirmed; a bucket not checked again for being full;
/// a plain store instead of either CAS.
#[test]
fn a_takeover_while_time_moves() {
    one_old_key(&[1, 2, 3])
        .thread(&[(NEAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(1))])
        .check();
}

/// Two threads use the old key; one may find it evicted and the other not.
///
/// *Caught:* no tag marked busy; the tag not confirmed, or stored before the word is claimed, or
/// although that failed; the claiming CAS, or the load of the word, relaxed; a plain store in place
/// of either CAS.
#[test]
fn a_takeover_while_the_old_key_returns_twice() {
    one_old_key(&[2])
        .thread(&[(FAR, Take(1))])
        .thread(&[(OLD, Take(2))])
        .thread(&[(OLD, Take(1))])
        .one_preemption()
        .check();
}

/// Two keys want the slot, under different latches, and the old key returns.
///
/// *Caught:* no tag marked busy; the tag stored before the word is claimed; the claiming CAS
/// relaxed.
#[test]
fn two_takeovers_while_the_old_key_returns() {
    one_old_key(&[2])
        .evictions(1)
        .thread(&[(NEAR, Take(1))])
        .thread(&[(FAR, Take(1)), (OLD, Take(1))])
        .check();
}

/// A charge on a slot that was taken over twice is on its own key's bucket.
///
/// *Caught:* no tag marked busy; the tag not confirmed; a plain store instead of either CAS.
#[test]
fn a_charge_on_a_slot_taken_over_twice() {
    let model = one_old_key(&[2, 3])
        .filler(key(7, 0, 1, 0))
        .refuse_newcomers();
    model
        .thread(&[(NEAR, Take(1)), (FAR, Take(1))])
        .thread(&[(OLD, Take(1))])
        .check();
}

/// A reset of the old key does not refill the bucket of the new one.
///
/// *Caught:* no tag marked busy; the tag not confirmed; the claiming CAS, or the load of the word,
/// relaxed; a plain store instead of either CAS.
#[test]
fn a_takeover_beside_a_reset() {
    one_old_key(&[2])
        .thread(&[(NEAR, Take(2)), (NEAR, Take(1))])
        .thread(&[(OLD, Reset), (OLD, Take(2))])
        .check();
}
