//! Files of a table: created, opened and checked by descriptor, in a directory that is open.
//!
//! A table is memory that others could change or cut off. So its files must belong to the user of the
//! process, who could do harm without them as well, and lie in a directory where no other user can
//! exchange them.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    fs::File,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{self, AtFlags, FallocateFlags, FileType, FlockOperation, Mode, OFlags, Stat},
    io::{Errno, retry_on_intr},
};

use super::error::OpenError;

/// Longest wait for other processes that open or change the table.
const LOCK_LIMIT: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Kinds of file systems whose files stay with one machine, and whose space can be reserved: tmpfs,
/// ext4, xfs, btrfs and overlay.
const FILE_SYSTEMS: [u64; 5] = [0x0102_1994, 0xef53, 0x5846_5342, 0x9123_683e, 0x794c_7630];

/// Directory with the files of tables.
#[derive(Debug)]
pub(super) struct Directory(OwnedFd);

/// Lock of the processes that open or change a table. Dropping it opens the lock.
#[derive(Debug)]
pub(in crate::keyed) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // A child that was forked meanwhile has the descriptor too, and would keep the lock.
        let _ = fs::flock(&self.0, FlockOperation::Unlock);
    }
}

impl Directory {
    /// Opens the directory of a path. Returns it and the name in it.
    pub(super) fn of(path: &Path) -> Result<(Directory, OsString), OpenError> {
        let name = path.file_name().ok_or(OpenError::NotAFile)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = fs::open(parent, flags, Mode::empty())
            .map_err(OpenError::io("open the directory of the file"))?;
        let kind = fs::fstatfs(&directory)
            .map_err(OpenError::io("ask for the file system"))?
            .f_type as u64;
        if !FILE_SYSTEMS.contains(&kind) {
            return Err(OpenError::FileSystem { kind });
        }
        let stat = stat(&directory)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
            return Err(not_private(&stat));
        }
        Ok((Directory(directory), name.to_owned()))
    }

    /// Opens a file. Returns it and its size, or `None` if it does not exist.
    pub(super) fn open(&self, name: &OsStr) -> Result<Option<(File, u64)>, OpenError> {
        // Not blocking, as the open of a pipe would.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match fs::openat(&self.0, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Err(OpenError::NotAFile),
            Err(error) => return Err(OpenError::io("open the file")(error)),
        };
        let size = check(&file)?;
        Ok(Some((file, size)))
    }

    /// Creates a file of this size under a name that may exist, with a first page. Other processes see
    /// the whole file or none, and its space is reserved: a write that finds none would be a signal.
    pub(super) fn create(
        &self,
        name: &OsStr,
        page: &[u8],
        size: u64,
        replaces: bool,
    ) -> Result<(), OpenError> {
        let temporary = with_suffix(name, "tmp");
        self.remove(&temporary)?;
        let created = self.fill(&temporary, page, size).and_then(|()| {
            let renamed = if replaces {
                fs::renameat(&self.0, &temporary, &self.0, name)
            } else {
                let flags = fs::RenameFlags::NOREPLACE;
                fs::renameat_with(&self.0, &temporary, &self.0, name, flags)
            };
            renamed.map_err(OpenError::io("name the file"))?;
            self.sync()
        });
        if created.is_err() {
            self.remove(&temporary)?;
        }
        created
    }

    fn fill(&self, name: &OsStr, page: &[u8], size: u64) -> Result<(), OpenError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(OpenError::io("create the file"))?;
        reserve(&file, size)?;
        write_page(&file, page)?;
        // On a disk, the name must not outlive the content: memory has nothing to wait for.
        fs::fdatasync(&file).map_err(OpenError::io("write the file to the disk"))
    }

    /// Waits until the names of files are on the disk.
    pub(super) fn sync(&self) -> Result<(), OpenError> {
        fs::fsync(&self.0).map_err(OpenError::io("write the directory to the disk"))
    }

    /// Removes a file, if it exists.
    pub(super) fn remove(&self, name: &OsStr) -> Result<(), OpenError> {
        match fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(OpenError::io("remove a file")(error)),
        }
    }

    /// Removes the numbered files of tables and lists but these.
    pub(super) fn remove_others(
        &self,
        name: &OsStr,
        kept: &HashSet<OsString>,
    ) -> Result<(), OpenError> {
        let doing = "list the directory of the file";
        let entries = fs::Dir::read_from(&self.0).map_err(OpenError::io(doing))?;
        for entry in entries {
            let entry = entry.map_err(OpenError::io(doing))?;
            let entry = OsStr::from_bytes(entry.file_name().to_bytes());
            if is_numbered(name, entry) && !kept.contains(entry) {
                self.remove(entry)?;
            }
        }
        Ok(())
    }

    /// Takes the lock of a table, and waits for it a little.
    pub(super) fn lock(&self, name: &OsStr) -> Result<Lock, OpenError> {
        let name = with_suffix(name, "lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let end = Instant::now() + LOCK_LIMIT;
        loop {
            let file = match fs::openat(&self.0, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => File::from(file),
                Err(Errno::LOOP | Errno::ISDIR) => return Err(OpenError::NotAFile),
                Err(error) => return Err(OpenError::io("open the lock file")(error)),
            };
            match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // The file may have been removed in between.
                Ok(()) if stat(&file)?.st_nlink == 0 => {}
                Ok(()) => {
                    check(&file)?;
                    return Ok(Lock(file));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(error) => return Err(OpenError::io("lock the file")(error)),
            }
            if Instant::now() >= end {
                return Err(OpenError::Busy);
            }
            thread::sleep(LOCK_PAUSE);
        }
    }
}

/// Returns true when this process alone has the file open, as far as locks tell: a child that was
/// forked has the lock of its parent. From now on others know that this process has it open, until
/// the file is closed.
pub(super) fn is_alone(file: &File) -> Result<bool, OpenError> {
    let is_alone = fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    fs::flock(file, FlockOperation::NonBlockingLockShared)
        .map_err(OpenError::io("lock the file"))?;
    Ok(is_alone)
}

/// Returns true when the file has no name any more.
pub(super) fn is_removed(file: &File) -> bool {
    stat(file).is_ok_and(|stat| stat.st_nlink == 0)
}

/// Gives a file its size, with its space. Asks for the free space first: a file system may hand out all it
/// has before it says that it is too little, and others would find none meanwhile.
pub(super) fn reserve(file: &OwnedFd, size: u64) -> Result<(), OpenError> {
    let free = fs::fstatvfs(file).map_err(OpenError::io("ask for the free space"))?;
    // Without a limit, as of a memfd, all numbers are 0.
    if free.f_blocks > 0 && free.f_bavail.saturating_mul(free.f_frsize) < size {
        return Err(OpenError::NoSpace { bytes: size });
    }
    let reserved = retry_on_intr(|| fs::fallocate(file, FallocateFlags::empty(), 0, size));
    match reserved {
        Ok(()) => Ok(()),
        Err(Errno::NOSPC | Errno::FBIG | Errno::DQUOT) => Err(OpenError::NoSpace { bytes: size }),
        Err(error) => Err(OpenError::io("reserve the space of the file")(error)),
    }
}

pub(super) fn write_page(file: &OwnedFd, page: &[u8]) -> Result<(), OpenError> {
    let mut written = 0;
    while written < page.len() {
        written += rustix::io::pwrite(file, &page[written..], written as u64)
            .map_err(OpenError::io("write the file"))?;
    }
    Ok(())
}

/// Checks that a file is regular, private and has one name. Returns its size.
fn check(file: &File) -> Result<u64, OpenError> {
    let stat = stat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink > 1 {
        return Err(OpenError::NotAFile);
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
        return Err(not_private(&stat));
    }
    Ok(stat.st_size.unsigned_abs())
}

pub(super) fn stat(file: &impl std::os::fd::AsFd) -> Result<Stat, OpenError> {
    fs::fstat(file).map_err(OpenError::io("ask for the owner of the file"))
}

pub(super) fn not_private(stat: &Stat) -> OpenError {
    OpenError::NotPrivate {
        owner: stat.st_uid,
        mode: stat.st_mode & 0o777,
    }
}

pub(super) fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(".");
    name.push(suffix);
    name
}

/// Returns true for the files `name.N`, `name.rule.N` and `name.rules.N`.
fn is_numbered(name: &OsStr, entry: &OsStr) -> bool {
    let after = |entry: &[u8], prefix: &[u8]| entry.strip_prefix(prefix).map(<[u8]>::to_vec);
    let Some(rest) = after(entry.as_bytes(), name.as_bytes()).and_then(|rest| after(&rest, b"."))
    else {
        return false;
    };
    let number = after(&rest, b"rule.").or_else(|| after(&rest, b"rules."));
    let number = number.unwrap_or(rest);
    !number.is_empty() && number.iter().all(u8::is_ascii_digit)
}
