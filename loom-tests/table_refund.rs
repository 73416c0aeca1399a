//! Refunds to a key whose slot another key may own meanwhile.

use crate::{
    model::{
        Call::{Refund, Reset, Take},
        greedy,
    },
    table::{FILLER_CALLS, Key, TableModel, key},
};

const KEY: Key = key(1, 0, 0, 0);
const OTHER: Key = key(2, 0, 0, 0);
const FILLERS: [Key; 2] = [key(8, 1, 0, 0), key(9, 1, 1, 0)];
/// Number of the key's decision that was made before the threads start.
const DECISION: usize = FILLER_CALLS;

/// The key is in slot 0, slot 1 is free, and fillers keep both other slots.
fn one_key(start: u64, clock: &[u64]) -> TableModel {
    let [first, second] = FILLERS;
    TableModel::new(greedy(2), clock)
        .filler(first)
        .before(start, KEY, Take(1))
        .filler(second)
}

/// A refund is linearizable with concurrent takes.
///
/// *Caught:* a plain store instead of the CAS.
#[test]
fn a_refund_beside_takes() {
    one_key(0, &[0, 1])
        .thread(&[(KEY, Refund(DECISION)), (KEY, Take(2))])
        .thread(&[(KEY, Take(1))])
        .check();
}

/// The bucket refills, and the slot goes to another key: the refund gives that key nothing.
///
/// *Caught:* a plain store instead of the CAS, or of the claiming one.
#[test]
fn a_refund_beside_a_takeover() {
    one_key(0, &[1])
        .thread(&[(KEY, Refund(DECISION))])
        .thread(&[(OTHER, Take(2)), (OTHER, Take(1))])
        .check();
}

/// The refund fills the bucket, the slot goes to another key within the same tick, and its word
/// could equal the one that a third thread has read as the key's (ABA): a takeover advances the
/// stamp.
///
/// *Caught:* a takeover within the tick of the old word; the tag not confirmed; a plain store
/// instead of the CAS, or of the claiming one.
#[test]
fn a_word_does_not_recur() {
    one_key(3, &[3])
        .thread(&[(KEY, Refund(DECISION))])
        .thread(&[(OTHER, Take(1))])
        .thread(&[(KEY, Take(1))])
        .check();
}

/// Like [`a_word_does_not_recur`], in the first tick, in which a full word is all zero, like an
/// unused one.
///
/// *Caught:* the same as there, and a word of all zero that counts as unused.
#[test]
fn a_word_does_not_recur_in_the_first_tick() {
    one_key(0, &[0])
        .thread(&[(KEY, Refund(DECISION))])
        .thread(&[(OTHER, Take(1))])
        .thread(&[(KEY, Take(1))])
        .check();
}

/// A refund of a decision from before a reset gives nothing to the bucket after it. The charge is
/// larger than the tick by which a reset advances the stamp, so the refund would give tokens back.
///
/// *Caught:* a reset that does not raise the invalidation; a refund that checks once whether its
/// decision is valid; the CAS, or the load of the word, relaxed.
#[test]
fn a_refund_beside_a_reset() {
    let model = TableModel::new(greedy(2), &[0]).before(0, KEY, Take(2));
    model
        .thread(&[(KEY, Refund(0))])
        .thread(&[(KEY, Reset), (KEY, Take(2)), (KEY, Take(1))])
        .check();
}

/// Like [`a_refund_beside_a_reset`], with the reset and the takes from the new bucket on different
/// threads.
///
/// *Caught:* a reset that raises the invalidation after the word, or not; a refund that checks once
/// whether its decision is valid; the CAS, or the load of the word, relaxed.
#[test]
fn a_refund_beside_a_reset_and_takes() {
    let model = TableModel::new(greedy(2), &[0]).before(0, KEY, Take(2));
    model
        .thread(&[(KEY, Refund(0))])
        .thread(&[(KEY, Reset)])
        .thread(&[(KEY, Take(2)), (KEY, Take(1))])
        .check();
}
