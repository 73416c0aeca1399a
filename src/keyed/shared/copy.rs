//! Copies of a table in another directory, such as one on a disk for a table in memory.
//!
//! A copy is made while the table is in use. Its buckets are independent, so each is as it was at some moment of
//! the copying: an older one has more tokens, by what was admitted since.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
};

use super::{
    control::{Current, Identity, Times, control_of},
    directory::Directory,
    error::OpenError,
    page::PAGE,
    region::{Region, WORD},
    rule_list::{RuleList, list_name, rule_name},
    table_file::{TableFile, file_name, map},
};
use crate::{
    keyed::{sections::Sections, tag},
    sync::{Arc, AtomicU64, Ordering},
};

/// Place of a table's files.
pub(super) type Place<'a> = (&'a Directory, &'a OsStr);

/// Copies the files at one place to another one, whose lock the caller has.
pub(super) fn copy(
    from: Place<'_>,
    (identity, current, times): (&Identity, Current, Times),
    (to, to_name): Place<'_>,
) -> Result<(), OpenError> {
    let (directory, name) = from;
    let number = u64::from(current.table);
    let mut kept = vec![file_name(to_name, number)];
    copy_table(directory, &file_name(name, number), number, to, &kept[0])?;
    let version = u64::from(current.rules);
    let what = "its current list is missing";
    let list = RuleList::open(directory, name, version)?.ok_or(OpenError::Damaged { what })?;
    for rule in &list.rules {
        let [from, copy] = [name, to_name].map(|name| rule_name(name, rule.number));
        copy_table(directory, &from, rule.number, to, &copy)?;
        kept.push(copy);
    }
    if version > 0 {
        list.create(to, to_name, version)?;
        kept.push(list_name(to_name, version));
    }
    // The control file comes last: the copy before is whole until then.
    // A table of its own, which counts beside the other one.
    let page = identity.with_new_id().page(current, times);
    to.create(to_name, &page, PAGE as u64, true)?;
    let kept: HashSet<OsString> = kept.into_iter().collect();
    // What cannot be removed now is removed after the next copy.
    let _ = to.remove_others(to_name, &kept);
    Ok(())
}

/// Creates the files at a place from a copy. Returns false if there is no copy.
pub(super) fn restore(from: Place<'_>, to: Place<'_>) -> Result<bool, OpenError> {
    let (directory, name) = from;
    let Some((file, size)) = directory.open(name)? else {
        return Ok(false);
    };
    if size != PAGE as u64 {
        return Err(OpenError::NotOurs);
    }
    let (identity, current, times) = control_of(&map(&file, size)?)?;
    copy(from, (&identity, current, times), to)?;
    Ok(true)
}

fn copy_table(
    from: &Directory,
    name: &OsStr,
    number: u64,
    to: &Directory,
    copy: &OsStr,
) -> Result<(), OpenError> {
    let what = "its current table is missing";
    let (file, size) = from.open(name)?.ok_or(OpenError::Damaged { what })?;
    let region = Arc::new(map(&file, size)?);
    let sets = TableFile::read(Arc::clone(&region), 0, size, number)?.sets;
    let bytes = words(&region, sets)
        .into_iter()
        .flat_map(u64::to_ne_bytes)
        .collect::<Vec<u8>>();
    to.create(copy, &bytes, size, true)
}

/// Returns the words of a table, with open latches, and each slot as it was at one moment.
fn words(region: &Region, sets: usize) -> Vec<u64> {
    let words = region.words().iter();
    let mut copy: Vec<u64> = words.map(|word| word.load(Ordering::Relaxed)).collect();
    let first = PAGE / WORD;
    let Some([latches, slots]) = Sections::ranges(sets) else {
        return copy;
    };
    copy[first + latches.start..first + latches.end].fill(0);
    let slots = first + slots.start..first + slots.end;
    for (pair, slot) in copy[slots.clone()]
        .as_chunks_mut()
        .0
        .iter_mut()
        .zip(region.words()[slots].as_chunks::<2>().0)
    {
        *pair = slot_at_one_moment(slot);
    }
    copy
}

/// Returns the tag and the word of a slot. While another key takes it over, its bucket is full, or is being
/// forgotten: then it counts as unused.
fn slot_at_one_moment(slot: &[AtomicU64; 2]) -> [u64; 2] {
    const TRIES: usize = 8;
    let load = |n: usize| slot[n].load(Ordering::Acquire);
    for _ in 0..TRIES {
        let (tag, word) = (load(0), load(1));
        if tag::is_busy(tag) {
            break;
        }
        if load(0) == tag {
            return [tag, word];
        }
    }
    [0, 0]
}
