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

/// Files of a table, read at one moment of its changes.
pub(super) struct Copy {
    identity: Identity,
    current: Current,
    times: Times,
    list: RuleList,
    table: Vec<u8>,
    /// Tables of the rules, in the order of the list.
    rules: Vec<Vec<u8>>,
}

impl Copy {
    /// Reads the files at a place, whose lock the caller has.
    pub(super) fn read(
        (directory, name): Place<'_>,
        (identity, current, times): (&Identity, Current, Times),
    ) -> Result<Copy, OpenError> {
        let number = current.table.into();
        let table = read_table(directory, &file_name(name, number), number)?;
        let what = "its current list is missing";
        let list = RuleList::open(directory, name, current.rules.into())?;
        let list = list.ok_or(OpenError::Damaged { what })?;
        let rules = list.rules.iter().map(|rule| {
            let file = rule_name(name, rule.number);
            read_table(directory, &file, rule.number)
        });
        Ok(Copy {
            identity: identity.with_new_id(),
            current,
            times,
            table,
            rules: rules.collect::<Result<_, _>>()?,
            list,
        })
    }

    /// Writes the files at another place, whose lock the caller has. The control file comes last: until then
    /// there is the copy before, with some newer buckets.
    pub(super) fn write(&self, (to, name): Place<'_>) -> Result<(), OpenError> {
        let create = |file: OsString, bytes: &[u8]| {
            to.create(&file, bytes, bytes.len() as u64, true)?;
            Ok::<_, OpenError>(file)
        };
        let mut kept = HashSet::new();
        kept.insert(create(
            file_name(name, self.current.table.into()),
            &self.table,
        )?);
        for (rule, bytes) in self.list.rules.iter().zip(&self.rules) {
            kept.insert(create(rule_name(name, rule.number), bytes)?);
        }
        let version = self.current.rules.into();
        if version > 0 {
            self.list.create(to, name, version)?;
            kept.insert(list_name(name, version));
        }
        create(
            name.to_owned(),
            &self.identity.page(self.current, self.times),
        )?;
        // What cannot be removed now is removed after the next copy.
        let _ = to.remove_others(name, &kept);
        Ok(())
    }
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
    Copy::read(from, (&identity, current, times))?.write(to)?;
    Ok(true)
}

fn read_table(directory: &Directory, name: &OsStr, number: u64) -> Result<Vec<u8>, OpenError> {
    let what = "its current table is missing";
    let (file, size) = directory.open(name)?.ok_or(OpenError::Damaged { what })?;
    let region = Arc::new(map(&file, size)?);
    let sets = TableFile::read(Arc::clone(&region), 0, size, number)?.sets;
    let words = words(&region, sets).into_iter();
    Ok(words.flat_map(u64::to_ne_bytes).collect())
}

/// Returns the words of a table, with each slot as it was at one moment. Latches may be closed: the first process to
/// open a table opens them.
fn words(region: &Region, sets: usize) -> Vec<u64> {
    let words = region.words().iter();
    let mut copy: Vec<u64> = words.map(|word| word.load(Ordering::Relaxed)).collect();
    let first = PAGE / WORD;
    let Some(slots) = Sections::slots(sets) else {
        return copy;
    };
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
