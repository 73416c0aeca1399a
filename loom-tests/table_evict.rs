//! Early evictions: no slot is free, so the bucket nearest to full is evicted.

use crate::{
    model::{
        Call::{Refund, Take},
        greedy,
    },
    table::{FILLER_CALLS, Key, TableModel, key},
};

const KEY: Key = key(1, 0, 0, 0);
const NEWCOMER: Key = key(2, 0, 0, 0);
const FAR: Key = key(3, 1, 0, 0);
/// Like `FAR`, but outside of the group of keys that the eviction of another key invalidates.
const OTHER_GROUP: Key = key(4, 1, 0, 1);
const FILLERS: [Key; 3] = [key(7, 1, 0, 0), key(8, 1, 1, 0), key(9, 0, 1, 0)];

/// The key is in slot 0, close to full. All other buckets are far from full.
fn saturated(clock: &[u64]) -> TableModel {
    around_the_key(TableModel::new(greedy(3), clock), 2)
}

/// Like [`saturated`], with a charge so large that a refund still gives tokens back after two
/// evictions, each a tick later.
fn evicted_early() -> TableModel {
    around_the_key(TableModel::new(greedy(5), &[0]), 4).evictions(2)
}

fn around_the_key(model: TableModel, cost: u32) -> TableModel {
    let [first, second, third] = FILLERS;
    model
        .filler(first)
        .before(0, KEY, Take(cost))
        .filler(second)
        .filler(third)
}

/// The evicted key takes at the same time: every lost charge is counted as an eviction.
///
/// *Caught:* a plain store instead of the claiming CAS, or of a decision's; the claiming CAS, or
/// the load of the word, relaxed; no tag marked busy; the tag not confirmed; the new tag stored
/// although the claim failed; an eviction that is not counted.
#[test]
fn an_eviction_while_the_key_takes() {
    saturated(&[0])
        .evictions(2)
        .thread(&[(NEWCOMER, Take(1))])
        .thread(&[(KEY, Take(1))])
        .check();
}

/// Like [`an_eviction_while_the_key_takes`], while time moves and the bucket refills.
///
/// *Caught:* the same as there.
#[test]
fn an_eviction_while_time_moves() {
    saturated(&[0, 2])
        .evictions(2)
        .thread(&[(NEWCOMER, Take(3))])
        .thread(&[(KEY, Take(2))])
        .check();
}

/// Two new keys evict under different latches.
///
/// *Caught:* no tag marked busy; an eviction that is not counted.
#[test]
fn two_evictions() {
    saturated(&[0])
        .evictions(2)
        .thread(&[(NEWCOMER, Take(1))])
        .thread(&[(FAR, Take(2))])
        .check();
}

/// A refund of a decision on the evicted bucket gives nothing to the key's next bucket, nor to the
/// new key's.
///
/// *Caught:* the invalidation not raised; checked only once; the claiming CAS, or the load of the
/// word, relaxed.
#[test]
fn a_refund_beside_an_eviction() {
    evicted_early()
        .thread(&[(NEWCOMER, Take(5)), (KEY, Take(5)), (KEY, Take(2))])
        .thread(&[(KEY, Refund(FILLER_CALLS))])
        .check();
}

/// Like [`a_refund_beside_an_eviction`]: the key returns while the new key, under another latch,
/// has not completed its takeover.
///
/// *Caught:* the invalidation not raised, or raised after the new tag is stored; that tag stored
/// before the word; the claiming CAS, or the load of the word, relaxed.
#[test]
fn a_refund_by_the_returning_key_beside_an_eviction() {
    evicted_early()
        .thread(&[(OTHER_GROUP, Take(5))])
        .thread(&[(KEY, Take(5)), (KEY, Refund(FILLER_CALLS)), (KEY, Take(2))])
        .check();
}

/// A thread that finds the tag of a new key finds its word, not the word of the evicted key.
///
/// *Caught:* the new tag stored relaxed, or before the word is claimed; the search for a tag
/// relaxed; a relaxed latch.
#[test]
fn a_new_key_from_two_threads() {
    saturated(&[0])
        .evictions(1)
        .thread(&[(NEWCOMER, Take(2))])
        .thread(&[(NEWCOMER, Take(2))])
        .check();
}

/// A table that refuses new keys evicts none.
///
/// *Caught:* a plain store instead of a decision's CAS; a refusal that is not counted.
#[test]
fn a_new_key_is_refused() {
    saturated(&[0, 2])
        .refuse_newcomers()
        .thread(&[(NEWCOMER, Take(1))])
        .thread(&[(KEY, Take(1)), (KEY, Take(2))])
        .check();
}
