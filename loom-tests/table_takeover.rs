//! A slot whose bucket has refilled goes to another key, while the old one returns.

use crate::{
    model::{
        Call::{Reset, Take},
        greedy,
    },
    table::{Key, TableModel, key},
};

const OLD: Key = key(1, 0, 0, 0);
/// Of the old one's home, and looks first at its slot.
const NEAR: Key = key(2, 0, 0, 0);
/// Of the other home, under another latch, with the old one's slot as the first it may have.
const FAR: Key = key(3, 1, 0, 0);
const FILLERS: [Key; 2] = [key(8, 1, 0, 0), key(9, 1, 1, 0)];

/// The old key in slot 0, slot 1 free, and both others taken for good.
fn one_old_key(clock: &[u64]) -> TableModel {
    let [first, second] = FILLERS;
    TableModel::new(greedy(2), clock)
        .filler(first)
        .before(0, OLD, Take(2))
        .filler(second)
}

/// One of them has the slot, nobody has the other's tokens.
///
/// *Caught:* no tag marked busy; the claiming swap, or the load of the word, relaxed; a plain store
/// in place of either swap; the new tag set though the claim failed.
#[test]
fn a_takeover_while_the_old_key_returns() {
    one_old_key(&[2])
        .thread(&[(NEAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(2))])
        .check();
}

/// The same under different latches.
///
/// *Caught:* the same; the tag set before the word is claimed; an old key that does not wait until
/// its busy tag is settled.
#[test]
fn a_takeover_from_afar_while_the_old_key_returns() {
    one_old_key(&[2])
        .thread(&[(FAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(2))])
        .check();
}

/// The same while time moves and the bucket fills.
///
/// *Caught:* no tag marked busy; the tag not confirmed; a bucket not asked again whether it is
/// full; a plain store in place of either swap.
#[test]
fn a_takeover_while_time_moves() {
    one_old_key(&[1, 2, 3])
        .thread(&[(NEAR, Take(2))])
        .thread(&[(OLD, Take(1)), (OLD, Take(1))])
        .check();
}

/// Two threads of the old key, one of whom may find it gone and the other not.
///
/// *Caught:* no tag marked busy; the tag not confirmed, or set before the word is claimed, or
/// though that failed; the claiming swap, or the load of the word, relaxed; a plain store in place
/// of either swap.
#[test]
fn a_takeover_while_the_old_key_returns_twice() {
    one_old_key(&[2])
        .thread(&[(FAR, Take(1))])
        .thread(&[(OLD, Take(2))])
        .thread(&[(OLD, Take(1))])
        .one_preemption()
        .check();
}

/// Two want the slot, under different latches, and the old key returns.
///
/// *Caught:* no tag marked busy; the tag set before the word is claimed; the claiming swap relaxed.
#[test]
fn two_takeovers_while_the_old_key_returns() {
    one_old_key(&[2])
        .evictions(1)
        .thread(&[(NEAR, Take(1))])
        .thread(&[(FAR, Take(1)), (OLD, Take(1))])
        .check();
}

/// A charge on a slot that changed hands twice is on nobody's bucket but its own.
///
/// *Caught:* no tag marked busy; the tag not confirmed; a plain store in place of either swap.
#[test]
fn a_charge_on_a_slot_that_changed_hands() {
    let model = one_old_key(&[2, 3])
        .filler(key(7, 0, 1, 0))
        .refuse_newcomers();
    model
        .thread(&[(NEAR, Take(1)), (FAR, Take(1))])
        .thread(&[(OLD, Take(1))])
        .check();
}

/// A reset of the old key fills no bucket of the new one.
///
/// *Caught:* no tag marked busy; the tag not confirmed; the claiming swap, or the load of the word,
/// relaxed; a plain store in place of either swap.
#[test]
fn a_takeover_beside_a_reset() {
    one_old_key(&[2])
        .thread(&[(NEAR, Take(2)), (NEAR, Take(1))])
        .thread(&[(OLD, Reset), (OLD, Take(2))])
        .check();
}
