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
mod directory;
mod error;
mod machine;
mod page;
mod region;
mod table_file;

use std::{ffi::OsString, fs::File, os::fd::OwnedFd, path::Path};

use control::{Control, FIRST, Identity};
use directory::{Directory, Lock};
pub use error::OpenError;
use page::PAGE;
pub(super) use region::Region;
use rustix::fs::{FileType, SealFlags};
pub(super) use table_file::TableFile;

use super::hash::DefaultHashBuilder;
use crate::{clock::Clock, quota::Quota, sync::Arc};

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("the feature `shared` of tollgate needs Linux and 64-bit pointers");

/// What all tables of a shared limiter have in common in this process.
#[derive(Debug)]
pub(super) struct Shared {
    control: Control,
    /// Where the files are; `None`: the table is in a file without a name, and stays the only one.
    place: Option<(Directory, OsString)>,
}

/// What a limiter expects of a table that it opens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) quota: Quota,
    pub(super) sets: usize,
    pub(super) seeds: Option<[u64; 2]>,
    /// Another quota or size is replaced, and no error.
    pub(super) replaces: bool,
}

/// A table that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) shared: Shared,
    pub(super) table: TableFile,
    /// The lock, if no other process had the table open: what dead processes left in it can be undone.
    pub(super) alone: Option<Lock>,
}

impl Shared {
    /// Opens the table at a path, and creates it if there is none.
    pub(super) fn open(path: &Path, wanted: &Wanted) -> Result<Opened, OpenError> {
        let (directory, name) = Directory::of(path)?;
        let lock = directory.lock(&name)?;
        let mut found = directory.open(&name)?;
        if found.is_none() {
            let identity = Identity::draw(wanted.new_seeds())?;
            TableFile::create(&directory, &name, FIRST, &wanted.quota, wanted.sets)?;
            let page = identity.page(FIRST, identity.first_times());
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
        let mut table = shared.current_table()?;
        if let Err(error) = wanted.check_table(&table) {
            if !wanted.replaces {
                return Err(error);
            }
            table = shared.create_next(&wanted.quota, wanted.sets)?;
        }
        shared.control.write_times(shared.clock().nanos());
        Ok(Opened {
            shared,
            table,
            alone: is_alone.then_some(lock),
        })
    }

    /// Opens the table in a file without a name, and creates it if the file is empty.
    pub(super) fn open_fd(file: OwnedFd, wanted: &Wanted) -> Result<Opened, OpenError> {
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
            let mut pages = identity.page(FIRST, identity.first_times());
            pages.extend(TableFile::page(FIRST, &wanted.quota, wanted.sets)?);
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
        let table = TableFile::read(region, 1, size, FIRST)?;
        wanted.check_table(&table)?;
        Ok(Opened {
            shared,
            table,
            alone: None,
        })
    }

    /// Returns the number of the current table.
    #[inline(always)]
    pub(super) fn current(&self) -> u64 {
        self.control.current()
    }

    /// Maps the current table.
    pub(super) fn current_table(&self) -> Result<TableFile, OpenError> {
        let what = "expected a table with a path, since another one is needed";
        let (directory, name) = self.place.as_ref().ok_or(OpenError::Unsupported { what })?;
        // While it is opened, it may be replaced and removed.
        let mut number = self.current();
        loop {
            if let Some(table) = TableFile::open(directory, name, number)? {
                return Ok(table);
            }
            let before = number;
            number = self.current();
            if number == before {
                let what = "its current table is missing";
                return Err(OpenError::Damaged { what });
            }
        }
    }

    /// Replaces the table numbered `number` by one with another quota, or finds that another process has
    /// replaced it by such a table. With `resets` the table is new in any case.
    pub(super) fn replace(
        &self,
        number: u64,
        quota: &Quota,
        sets: usize,
        resets: bool,
    ) -> Result<TableFile, OpenError> {
        let what = "expected a table with a path, since its quota is to be replaced";
        let (directory, name) = self.place.as_ref().ok_or(OpenError::Unsupported { what })?;
        let _lock = directory.lock(name)?;
        if self.current() != number && !resets {
            let table = self.current_table()?;
            if table.quota == *quota {
                return Ok(table);
            }
        }
        self.create_next(quota, sets)
    }

    /// Creates the next table and makes it the current one. The caller has the lock.
    fn create_next(&self, quota: &Quota, sets: usize) -> Result<TableFile, OpenError> {
        let what = "expected a table with a path, since its quota is to be replaced";
        let (directory, name) = self.place.as_ref().ok_or(OpenError::Unsupported { what })?;
        let next = self.current() + 1;
        TableFile::create(directory, name, next, quota, sets)?;
        self.control.set_current(next);
        // Also those that a process left which died in between.
        directory.remove_others(name, next)?;
        self.current_table()
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

impl Wanted {
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
            let [found, expected] = [table.sets, self.sets].map(super::sets::slots_of);
            return Err(OpenError::OtherSize { found, expected });
        }
        Ok(())
    }
}
