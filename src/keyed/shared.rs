//! Tables in files that all processes of a machine share.
//!
//! A *control file* at the path that the user names tells which table is the current one, and holds what
//! all processes must agree on: the seed of the hash function and the clock. The table has a file of its
//! own beside it, `path.N`. A change of the quota creates the next one and then changes the number in the
//! control file, which every decision compares with that of the table it has mapped. Processes that open
//! or change a table exclude one another by a lock on `path.lock`; decisions need no lock.
//!
//! Threads of other processes may die or stop at any step: the [table](super::table) allows for that.

mod control;
mod copy;
mod directory;
mod error;
mod machine;
mod page;
mod region;
mod rule_list;
mod snapshot;
mod table_file;

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    os::fd::OwnedFd,
    path::Path,
};

pub(super) use control::Current;
use control::{Control, Identity};
use copy::Copy;
use directory::{Directory, Lock};
pub use error::OpenError;
use page::PAGE;
pub(super) use region::Region;
pub(super) use rule_list::ListedRule;
use rule_list::{MAX_RULES, list_name, rule_name};
use rustix::fs::{FileType, SealFlags};
use snapshot::Snapshot;
pub(super) use table_file::TableFile;
use table_file::file_name;

use super::{hash::DefaultHashBuilder, sets};
use crate::{clock::Clock, quota::Quota, sync::Arc};

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("the feature `shared` of tollgate needs Linux and 64-bit pointers");

/// Files of a shared limiter: the part that all of its tables have in common.
#[derive(Debug)]
pub(super) struct Shared {
    control: Control,
    /// Where the files are; `None`: the table is in a file without a name, and stays the only one.
    place: Option<(Directory, OsString)>,
}

/// Expectations of a limiter on the table that it opens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) quota: Quota,
    pub(super) sets: usize,
    pub(super) seeds: Option<[u64; 2]>,
    /// Another quota or size is replaced, and no error.
    pub(super) replaces: bool,
    /// Path of a copy, from which the table is created if it is missing.
    pub(super) copy: Option<&'a Path>,
}

/// A table that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) shared: Shared,
    pub(super) table: TableFile,
    /// The lock, if no other process had the table open: what dead processes left in it can be undone.
    pub(super) alone: Option<Lock>,
}

/// Change for all processes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    /// Default quota, and the number of sets.
    pub(super) default: Option<(Quota, usize)>,
    /// The quota in force fills the buckets as well.
    pub(super) resets: bool,
    /// Quotas of keys by their hashes; `None` removes one.
    pub(super) rules: &'a [(u64, Option<Quota>)],
}

/// Returns the number after this one.
fn next_number(number: u32) -> Result<u32, OpenError> {
    let what = "the file has been changed four billion times";
    number.checked_add(1).ok_or(OpenError::Unsupported { what })
}

impl Shared {
    /// Opens the table at a path, and creates it if there is none.
    pub(super) fn open(path: &Path, wanted: &Wanted<'_>) -> Result<Opened, OpenError> {
        let (directory, name) = Directory::of(path)?;
        let lock = directory.lock(&name)?;
        let mut found = directory.open(&name)?;
        if found.is_none() && wanted.restore((&directory, &name))? {
            found = directory.open(&name)?;
        }
        if found.is_none() {
            let identity = Identity::draw(wanted.new_seeds())?;
            let number = Current::FIRST.table.into();
            let file = file_name(&name, number);
            TableFile::create(&directory, &file, number, &wanted.quota, wanted.sets)?;
            let page = identity.page(Current::FIRST, identity.first_times());
            directory.create(&name, &page, PAGE as u64, false)?;
            found = directory.open(&name)?;
        }
        let (control, is_alone) = loop {
            let what = "it was removed while it was being opened";
            let (file, size) = found.take().ok_or(OpenError::Damaged { what })?;
            if size != PAGE as u64 {
                return Err(OpenError::NotOurs);
            }
            let region = Arc::new(table_file::map(&file, size)?);
            let is_alone = directory::is_alone(&file)?;
            match Control::open(file, region)? {
                (control, None) => break (control, is_alone),
                // Others have it open, so the machine has not been booted: they have another number.
                (_, Some(_)) if !is_alone => return Err(OpenError::OtherClock),
                (_, Some(page)) => {
                    directory.create(&name, &page, size, true)?;
                    found = directory.open(&name)?;
                }
            }
        };
        let shared = Shared {
            control,
            place: Some((directory, name)),
        };
        wanted.check_seeds(&shared)?;
        let mut snapshot = shared.snapshot(None)?;
        if let Some(table) = &snapshot.table
            && let Err(error) = wanted.check_table(table)
        {
            if !wanted.replaces {
                return Err(error);
            }
            shared.change_locked(&Change {
                default: Some((wanted.quota, wanted.sets)),
                resets: false,
                rules: &[],
            })?;
            snapshot = shared.snapshot(None)?;
        }
        let what = "its current table is missing";
        let table = snapshot.table.ok_or(OpenError::Damaged { what })?;
        shared.control.write_times(shared.clock().nanos());
        Ok(Opened {
            shared,
            table,
            alone: is_alone.then_some(lock),
        })
    }

    /// Opens the table in a file without a name, and creates it if the file is empty.
    pub(super) fn open_fd(file: OwnedFd, wanted: &Wanted<'_>) -> Result<Opened, OpenError> {
        let stat = directory::stat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(OpenError::NotAFile);
        }
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(directory::not_private(&stat));
        }
        let mut size = stat.st_size.unsigned_abs();
        if size == 0 {
            let identity = Identity::draw(wanted.new_seeds())?;
            size = PAGE as u64 + TableFile::bytes(wanted.sets)?;
            directory::reserve(&file, size)?;
            let mut pages = identity.page(Current::FIRST, identity.first_times());
            let number = Current::FIRST.table.into();
            pages.extend(TableFile::page(number, &wanted.quota, wanted.sets)?);
            directory::write_page(&file, &pages)?;
            let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
            rustix::fs::fcntl_add_seals(&file, seals).map_err(OpenError::io(
                "seal the size of the file: use a memfd with seals",
            ))?;
        }
        let sealed = rustix::fs::fcntl_get_seals(&file).map_err(OpenError::io(
            "read the seals of the file: use a memfd with seals",
        ))?;
        if !sealed.contains(SealFlags::SHRINK) {
            let what =
                "expected a memfd whose size is sealed, as the first process to open it does";
            return Err(OpenError::Unsupported { what });
        }
        let file = File::from(file);
        let region = Arc::new(table_file::map(&file, size)?);
        let (control, _) = Control::open(file, Arc::clone(&region))?;
        let shared = Shared {
            control,
            place: None,
        };
        wanted.check_seeds(&shared)?;
        let table = TableFile::read(region, 1, size, Current::FIRST.table.into())?;
        wanted.check_table(&table)?;
        Ok(Opened {
            shared,
            table,
            alone: None,
        })
    }

    /// Returns the numbers of the current table and list.
    #[inline(always)]
    pub(super) fn current(&self) -> Current {
        self.control.current()
    }

    /// Maps the current table, unless it is the one with the number that is `known`, and reads the current list
    /// of rules.
    pub(super) fn snapshot(&self, known: Option<u32>) -> Result<Snapshot, OpenError> {
        let (directory, name) = self.files()?;
        // While they are opened, they may be replaced and removed.
        let mut current = self.current();
        loop {
            if let Some(snapshot) = Snapshot::open(directory, name, current, known)? {
                return Ok(snapshot);
            }
            let before = current;
            current = self.current();
            if current == before {
                let what = "its current table or list is missing";
                return Err(OpenError::Damaged { what });
            }
        }
    }

    /// Maps the table of a rule. Returns `None` if it does not exist any more.
    pub(super) fn rule_table(&self, rule: &ListedRule) -> Result<Option<TableFile>, OpenError> {
        let (directory, name) = self.files()?;
        TableFile::open(directory, &rule_name(name, rule.number), rule.number)
    }

    /// Makes changes for all processes, at once. Returns how many rules were removed.
    pub(super) fn change(&self, change: &Change<'_>) -> Result<usize, OpenError> {
        let (directory, name) = self.files()?;
        let _lock = directory.lock(name)?;
        self.change_locked(change)
    }

    fn change_locked(&self, change: &Change<'_>) -> Result<usize, OpenError> {
        let (directory, name) = self.files()?;
        if self.is_detached() {
            // The files are those of another table now.
            let what = "its control file was deleted";
            return Err(OpenError::Damaged { what });
        }
        let before = self.snapshot(None)?;
        let what = "the current table is missing";
        let table = before.table.ok_or(OpenError::Damaged { what })?;
        let new_default = change
            .default
            .filter(|(quota, sets)| change.resets || table.quota != *quota || table.sets != *sets);
        let mut list = before.list;
        let mut removed = 0;
        let mut is_changed = false;
        for (hash, quota) in change.rules {
            if list.find(*hash).map(|rule| rule.quota) == *quota {
                continue;
            }
            is_changed = true;
            let count = list.rules.len();
            list.rules.retain(|rule| rule.hash != *hash);
            removed += usize::from(quota.is_none() && list.rules.len() < count);
            list.rules.extend(quota.map(|quota| ListedRule {
                hash: *hash,
                number: 0,
                quota,
            }));
        }
        if list.rules.len() > MAX_RULES {
            return Err(OpenError::TooManyRules { most: MAX_RULES });
        }
        if new_default.is_some() {
            // Their buckets are full as well.
            list.rules.iter_mut().for_each(|rule| rule.number = 0);
            is_changed |= !list.rules.is_empty();
        }
        if new_default.is_none() && !is_changed {
            return Ok(0);
        }
        let mut next = before.current;
        if is_changed {
            next.rules = next_number(next.rules)?;
            for rule in list.rules.iter_mut().filter(|rule| rule.number == 0) {
                let what = "the file has had too many rules";
                let number = list.next.checked_add(1);
                list.next = number.ok_or(OpenError::Unsupported { what })?;
                rule.number = list.next;
                let file = rule_name(name, rule.number);
                TableFile::create(directory, &file, rule.number, &rule.quota, sets::FEWEST)?;
            }
            list.create(directory, name, next.rules.into())?;
        }
        if let Some((quota, sets)) = &new_default {
            next.table = next_number(next.table)?;
            let (number, file) = (next.table.into(), file_name(name, next.table.into()));
            TableFile::create(directory, &file, number, quota, *sets)?;
        }
        self.control.set_current(next);
        let tables = [
            file_name(name, next.table.into()),
            list_name(name, next.rules.into()),
        ];
        let rules = list.rules.iter().map(|rule| rule_name(name, rule.number));
        // Also what a process left that died in between. The change is made: what cannot be removed now is
        // removed after the next one.
        let _ = directory.remove_others(name, &tables.into_iter().chain(rules).collect());
        Ok(removed)
    }

    /// Copies the table and the rules to the files of another path.
    pub(super) fn copy_to(&self, path: &Path) -> Result<(), OpenError> {
        let (directory, name) = self.files()?;
        let (to, to_name) = Directory::of(path)?;
        // Changes wait while the memory is read, and not for the disk.
        let lock = directory.lock(name)?;
        let copy = Copy::read((directory, name), self.control.parts())?;
        drop(lock);
        let _lock = to.lock(&to_name)?;
        if let Some((file, _)) = to.open(&to_name)?
            && !directory::is_alone(&file)?
        {
            let what = "expected a path for copies alone, got that of a table in use";
            return Err(OpenError::Unsupported { what });
        }
        copy.write((&to, &to_name))
    }

    fn files(&self) -> Result<(&Directory, &OsStr), OpenError> {
        let what = "expected a table with a path, since one without has one quota and no rules";
        let (directory, name) = self.place.as_ref().ok_or(OpenError::Unsupported { what })?;
        Ok((directory, name))
    }

    /// Returns a number that orders tables alike in all processes.
    pub(super) fn id(&self) -> u64 {
        self.control.id()
    }

    pub(super) fn seeds(&self) -> [u64; 2] {
        self.control.seeds()
    }

    pub(super) fn clock(&self) -> Clock {
        self.control.clock()
    }

    /// Writes the times by which the table's time goes on after a reboot, now and then.
    pub(super) fn note_times(&self) {
        self.control.note_times();
    }

    /// Returns true when the file was deleted: the next process to open its path creates another one.
    pub(super) fn is_detached(&self) -> bool {
        self.place.is_some() && self.control.is_detached()
    }
}

impl Wanted<'_> {
    /// Creates the table at a place from the copy. Returns false if there is none.
    fn restore(&self, to: copy::Place<'_>) -> Result<bool, OpenError> {
        let Some(copy) = self.copy else {
            return Ok(false);
        };
        let (directory, name) = Directory::of(copy)?;
        let _lock = directory.lock(&name)?;
        copy::restore((&directory, &name), to)
    }

    fn new_seeds(&self) -> [u64; 2] {
        self.seeds.unwrap_or_else(DefaultHashBuilder::draw_seeds)
    }

    fn check_seeds(&self, shared: &Shared) -> Result<(), OpenError> {
        match self.seeds {
            Some(seeds) if seeds != shared.control.seeds() => Err(OpenError::OtherSeed),
            _ => Ok(()),
        }
    }

    fn check_table(&self, table: &TableFile) -> Result<(), OpenError> {
        if table.quota != self.quota {
            return Err(OpenError::OtherQuota { found: table.quota });
        }
        if table.sets != self.sets {
            let [found, expected] = [table.sets, self.sets].map(sets::slots_of);
            return Err(OpenError::OtherSize { found, expected });
        }
        Ok(())
    }
}
