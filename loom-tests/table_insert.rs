//! Inserts of new keys.

use crate::{
    model::{Call::Take, greedy},
    table::{Key, TableModel, key},
};

const KEY: Key = key(1, 0, 0, 0);
const OTHER: Key = key(2, 1, 0, 0);
const FILLERS: [Key; 3] = [key(7, 0, 0, 0), key(8, 1, 0, 0), key(9, 0, 1, 0)];

/// A key inserted twice at once has one bucket.
///
/// *Caught:* no latch; the tags not read again under it; a plain store instead of a decision's CAS;
/// a relaxed latch.
#[test]
fn a_key_inserted_twice() {
    TableModel::new(greedy(2), &[0, 1])
        .thread(&[(KEY, Take(1)), (KEY, Take(1))])
        .thread(&[(KEY, Take(2))])
        .check();
}

/// Like [`a_key_inserted_twice`], by three threads.
///
/// *Caught:* no latch; the tags not read again under it.
#[test]
fn a_key_inserted_three_times() {
    TableModel::new(greedy(2), &[0])
        .thread(&[(KEY, Take(1))])
        .thread(&[(KEY, Take(2))])
        .thread(&[(KEY, Take(1))])
        .check();
}

/// Two keys of different home sets want the last slot: one gets it, the other is refused.
///
/// *Caught:* a plain store instead of a decision's CAS; a refusal that is not counted; a bucket not
/// checked again for being full.
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

/// A key is inserted from two threads while another key wants the same two slots.
///
/// *Caught:* no latch; the tags not read again under it; a relaxed latch.
#[test]
fn a_key_inserted_twice_beside_another_key() {
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

/// A thread whose clock is behind inserts a key that was evicted at a later time: the new bucket
/// does not start before that time. The key was in its home set.
///
/// *Caught:* the time of the request used, not the latest stamp of both sets.
#[test]
fn a_late_thread_inserts() {
    let model = TableModel::new(greedy(2), &[1, 4]).before(0, KEY, Take(2));
    let other = key(2, 0, 0, 0);
    model
        .thread(&[(KEY, Take(2)), (other, Take(1))])
        .thread(&[(KEY, Take(1))])
        .check();
}

/// Like [`a_late_thread_inserts`], for a key that was in its other set.
///
/// *Caught:* the time of the request used, not the latest stamp of both sets.
#[test]
fn a_late_thread_inserts_away_from_home() {
    let [full, _, home] = FILLERS;
    let other = key(2, 1, 0, 0);
    let model = TableModel::new(greedy(2), &[1, 4])
        .filler(full)
        .before(0, KEY, Take(2))
        .filler(home);
    model
        .thread(&[(KEY, Take(2)), (other, Take(1))])
        .thread(&[(KEY, Take(1))])
        .check();
}
