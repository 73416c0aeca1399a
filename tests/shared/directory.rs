//! Directory for the files of a test, and limiters whose tables are in it.

use std::path::PathBuf;

use tempfile::TempDir;
use tollgate::{KeyedLimiter, OpenError, Quota, SharedBuilder};

/// Temporary directory of this user alone.
pub struct Directory(TempDir);

impl Directory {
    pub fn new() -> Directory {
        Directory(tempfile::tempdir().expect("a temporary directory"))
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Path that the limiters of a test share.
    pub fn path(&self) -> PathBuf {
        self.file("limits")
    }

    /// Begins to open a limiter at that path, as any process would.
    pub fn builder(&self, quota: Quota) -> SharedBuilder<str> {
        KeyedLimiter::builder(quota)
            .max_keys(1000)
            .shared_file(self.path())
    }

    pub fn open(&self, quota: Quota) -> KeyedLimiter<str> {
        self.try_open(quota).expect("a table")
    }

    pub fn try_open(&self, quota: Quota) -> Result<KeyedLimiter<str>, OpenError> {
        self.builder(quota).open()
    }

    /// Names of the files, in order.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("the directory");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }
}
