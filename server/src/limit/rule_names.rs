//! Names of the clients that have rules, where several processes share them: the table has hashes alone.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tollgate::Quota;

/// Longest wait for the lock: some seconds.
const LOCK_TRIES: usize = 400;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// File `NAME.names`, in JSON: the quota of each client as text.
pub(super) struct RuleNames {
    file: PathBuf,
    lock: PathBuf,
    next: PathBuf,
}

/// Lock of a process that changes the names. Dropping it opens the lock.
pub(super) struct NamesLock(File);

impl Drop for NamesLock {
    fn drop(&mut self) {
        // A child that was forked meanwhile would keep it.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl RuleNames {
    /// Names beside the table at this path.
    pub(super) fn beside(table: &Path) -> RuleNames {
        let [file, lock, next] =
            ["names", "names.lock", "names.tmp"].map(|suffix| with_suffix(table, suffix));
        RuleNames { file, lock, next }
    }

    /// Takes the lock, and waits for it a little: it is held for some writes to the directory.
    pub(super) fn lock(&self) -> io::Result<NamesLock> {
        let lock = private().open(&self.lock)?;
        for _ in 0..LOCK_TRIES {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(NamesLock(lock)),
                Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(LOCK_PAUSE),
                Err(error) => return Err(error.into()),
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }

    pub(super) fn read(&self) -> io::Result<BTreeMap<String, Quota>> {
        let text = match fs::read(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            text => text?,
        };
        serde_json::from_slice(&text).map_err(|error| {
            let file = self.file.display();
            io::Error::other(format!("{file}: {error}; delete it if it is damaged"))
        })
    }

    /// Copies the file, if there is one.
    pub(super) fn copy_to(&self, copy: &RuleNames) -> io::Result<()> {
        let (rules, lock) = (self.read()?, copy.lock()?);
        copy.write(&rules, &lock)
    }

    /// Takes the names of a copy, if there are none here.
    pub(super) fn restore_from(&self, copy: &RuleNames) -> io::Result<()> {
        let lock = self.lock()?;
        if self.file.exists() {
            return Ok(());
        }
        self.write(&copy.read()?, &lock)
    }

    /// Replaces the file, as a whole.
    pub(super) fn write(
        &self,
        rules: &BTreeMap<String, Quota>,
        _lock: &NamesLock,
    ) -> io::Result<()> {
        let mut next = private().truncate(true).open(&self.next)?;
        next.write_all(&serde_json::to_vec(rules)?)?;
        // On a disk, the name must not outlive the content.
        next.sync_all()?;
        fs::rename(&self.next, &self.file)
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".");
    path.push(suffix);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let names = RuleNames::beside(&directory.path().join("default"));
        assert!(names.read().unwrap().is_empty());
        let rules: BTreeMap<_, _> = [
            (
                "203.0.113.7".to_owned(),
                Quota::per_hour(100).with_capacity(5),
            ),
            (
                "key \"ä\"".to_owned(),
                Quota::interval(3, std::time::Duration::from_secs(3600)),
            ),
        ]
        .into();
        let lock = names.lock().unwrap();
        names.write(&rules, &lock).unwrap();
        assert_eq!(names.read().unwrap(), rules);
        fs::write(&names.file, "{").unwrap();
        assert!(names.read().is_err());
    }
}
