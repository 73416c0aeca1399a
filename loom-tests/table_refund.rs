//! Giving back to a key whose slot may be somebody else's by now.

use crate::{
    model::{
        Call::{Refund, Reserve, Reset, Take},
        greedy,
    },
    table::{FILLER_CALLS, Key, TableModel, key},
};

const KEY: Key = key(1, 0, 0, 0);
const STRANGER: Key = key(2, 0, 0, 0);
const FILLERS: [Key; 2] = [key(8, 1, 0, 0), key(9, 1, 1, 0)];
/// The number of the key's decision from before the threads.
const DECISION: usize = FILLER_CALLS;

/// The key in slot 0, slot 1 free, and both others taken for good.
fn one_key(start: u64, clock: &[u64]) -> TableModel {
    let [first, second] = FILLERS;
    TableModel::new(greedy(2), clock)
        .filler(first)
        .before(start, KEY, Take(1))
        .filler(second)
}

/// A refund beside takes is one of them.
///
/// *Caught:* a plain store in place of the swap.
#[test]
fn a_refund_beside_takes() {
    one_key(0, &[0, 1])
        .thread(&[(KEY, Refund(DECISION)), (KEY, Take(2))])
        .thread(&[(KEY, Take(1))])
        .check();
}

/// The bucket refills, and the slot goes to a stranger: the refund gives him nothing.
///
/// *Caught:* a plain store in place of the swap, or of the claiming one.
#[test]
fn a_refund_beside_a_takeover() {
    one_key(0, &[1])
        .thread(&[(KEY, Refund(DECISION))])
        .thread(&[(STRANGER, Take(2)), (STRANGER, Take(1))])
        .check();
}

/// The refund fills the bucket, the slot goes to a stranger within the same tick, and his word
/// could be the very one that a third thread has read as the key's: a takeover moves the stamp on.
///
/// *Caught:* a takeover within the tick of the old word; the tag not confirmed; a plain store in
/// place of the swap, or of the claiming one.
#[test]
fn a_word_does_not_come_back() {
    one_key(3, &[3])
        .thread(&[(KEY, Refund(DECISION))])
        .thread(&[(STRANGER, Take(1))])
        .thread(&[(KEY, Take(1))])
        .check();
}

/// The same in the very first tick, where a full word is all zero, like one that was never used.
///
/// *Caught:* the same, and a word of all zero that counts as one that nobody has had.
#[test]
fn a_word_does_not_come_back_in_the_first_tick() {
    one_key(0, &[0])
        .thread(&[(KEY, Refund(DECISION))])
        .thread(&[(STRANGER, Take(1))])
        .thread(&[(KEY, Take(1))])
        .check();
}

/// A decision from before a reset gives nothing to the bucket after it. To undo it would be worth
/// something: it is larger than the tick that a reset is.
///
/// *Caught:* a reset that does not raise the bound; a refund that asks once whether its decision
/// counts; the swap, or the load of the word, relaxed.
#[test]
fn a_refund_beside_a_reset() {
    let model = TableModel::new(greedy(2), &[0]).before(0, KEY, Take(2));
    model
        .thread(&[(KEY, Refund(0))])
        .thread(&[(KEY, Reset), (KEY, Take(2)), (KEY, Take(1))])
        .check();
}

/// The same with the one who takes from the new bucket apart from the one who resets.
///
/// *Caught:* a reset that raises the bound after the word, or not; a refund that asks once whether
/// its decision counts; the swap, or the load of the word, relaxed.
#[test]
fn a_refund_beside_a_reset_and_takes() {
    let model = TableModel::new(greedy(2), &[0]).before(0, KEY, Take(2));
    model
        .thread(&[(KEY, Refund(0))])
        .thread(&[(KEY, Reset)])
        .thread(&[(KEY, Take(2)), (KEY, Take(1))])
        .check();
}

/// A reservation that is dropped beside others leaves a place, which is sold once.
///
/// *Caught:* a hole that is sold and stays in the store, or is put back whole; a store that two use
/// at once, or whose guard is relaxed.
#[test]
fn a_reservation_is_dropped_beside_others() {
    let model = one_key(0, &[0])
        .before(0, KEY, Take(1))
        .before(0, KEY, Reserve(2, 9))
        .before(0, KEY, Reserve(1, 9));
    model
        .thread(&[(KEY, Refund(2 * FILLER_CALLS + 2))])
        .thread(&[(KEY, Reserve(2, 9))])
        .thread(&[(KEY, Reserve(1, 9))])
        .check();
}

/// Somebody has left the middle of the key's queue.
fn with_a_hole(model: TableModel, key: Key, calls_before: usize) -> TableModel {
    let calls = [
        Take(2),
        Reserve(2, 9),
        Reserve(1, 9),
        Refund(calls_before + 1),
    ];
    calls
        .into_iter()
        .fold(model, |model, call| model.before(0, key, call))
}

/// A reset makes such a place void, also when as much has been sold again as there was when it was
/// left.
///
/// *Caught:* a sale that does not ask whether a reset has made the place void.
#[test]
fn a_hole_beside_a_reset_and_a_new_queue() {
    with_a_hole(TableModel::new(greedy(2), &[0]), KEY, 0)
        .thread(&[
            (KEY, Reset),
            (KEY, Take(2)),
            (KEY, Reserve(2, 9)),
            (KEY, Reserve(2, 9)),
        ])
        .thread(&[(KEY, Reserve(2, 9))])
        .check();
}

/// Nobody else is sold it.
///
/// *Caught:* a sale that does not ask whose the place is.
#[test]
fn a_hole_is_its_owners() {
    let model = [Take(2), Reserve(2, 9), Reserve(1, 9)]
        .into_iter()
        .fold(TableModel::new(greedy(2), &[0]), |model, call| {
            model.before(0, STRANGER, call)
        });
    with_a_hole(model, KEY, 3)
        .thread(&[(STRANGER, Reserve(2, 9))])
        .thread(&[(KEY, Reserve(2, 9))])
        .check();
}
