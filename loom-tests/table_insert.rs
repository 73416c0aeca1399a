//! Keys that the table does not know yet.

use crate::{
    model::{Call::Take, greedy},
    table::{Key, TableModel, key},
};

const KEY: Key = key(1, 0, 0, 0);
const OTHER: Key = key(2, 1, 0, 0);
const FILLERS: [Key; 3] = [key(7, 0, 0, 0), key(8, 1, 0, 0), key(9, 0, 1, 0)];

/// The same key inserted twice at once has one bucket.
///
/// *Caught:* no latch; the tags not looked at again under it; a plain store in place of a
/// decision's swap; a relaxed latch.
#[test]
fn a_key_inserted_twice() {
    TableModel::new(greedy(2), &[0, 1])
        .thread(&[(KEY, Take(1)), (KEY, Take(1))])
        .thread(&[(KEY, Take(2))])
        .check();
}

/// The same by three threads.
///
/// *Caught:* no latch; the tags not looked at again under it.
#[test]
fn a_key_inserted_three_times() {
    TableModel::new(greedy(2), &[0])
        .thread(&[(KEY, Take(1))])
        .thread(&[(KEY, Take(2))])
        .thread(&[(KEY, Take(1))])
        .check();
}

/// Two keys of different homes want the last slot: one gets it, the other is told.
///
/// *Caught:* a plain store in place of a decision's swap; a refusal that is not counted; a bucket
/// not asked again whether it is full.
#[test]
fn two_keys_want_the_last_slot() {
    let model = FILLERS
        .into_iter()
        .fold(TableModel::new(greedy(2), &[0, 1]), TableModel::filler);
    model
        .refuse_newcomers()
        .thread(&[(KEY, Take(1)), (KEY, Take(2))])
        .thread(&[(OTHER, Take(2))])
        .check();
}

/// The same key from two threads, beside a stranger who wants the same two slots.
///
/// *Caught:* no latch; the tags not looked at again under it; a relaxed latch.
#[test]
fn a_key_inserted_twice_beside_a_stranger() {
    let model = FILLERS
        .into_iter()
        .take(2)
        .fold(TableModel::new(greedy(2), &[0]), TableModel::filler);
    model
        .thread(&[(KEY, Take(1))])
        .thread(&[(KEY, Take(2))])
        .thread(&[(OTHER, Take(1))])
        .one_preemption()
        .check();
}

/// A thread whose clock is behind inserts a key that was forgotten at a later time: it does not
/// begin before that. The key stood in its home set.
///
/// *Caught:* the time of the request alone, not the latest stamp of both sets.
#[test]
fn a_late_thread_inserts() {
    let model = TableModel::new(greedy(2), &[1, 4]).before(0, KEY, Take(2));
    let stranger = key(2, 0, 0, 0);
    model
        .thread(&[(KEY, Take(2)), (stranger, Take(1))])
        .thread(&[(KEY, Take(1))])
        .check();
}

/// The same for a key that stood in its other set.
///
/// *Caught:* the time of the request alone, not the latest stamp of both sets.
#[test]
fn a_late_thread_inserts_away_from_home() {
    let [full, _, home] = FILLERS;
    let stranger = key(2, 1, 0, 0);
    let model = TableModel::new(greedy(2), &[1, 4])
        .filler(full)
        .before(0, KEY, Take(2))
        .filler(home);
    model
        .thread(&[(KEY, Take(2)), (stranger, Take(1))])
        .thread(&[(KEY, Take(1))])
        .check();
}
