//! Errors of opening a shared table.

use std::{fmt, io};

use crate::{keyed::error::BuildError, quota::Quota};

/// Error of opening a table that several processes share; see
/// [`KeyedLimiterBuilder::shared_file`](crate::KeyedLimiterBuilder::shared_file). Nothing was changed
/// then.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The size of the table is not possible.
    Build(BuildError),
    /// The memory for a table that is not in a file cannot be allocated.
    OutOfMemory,
    /// The operating system refused something.
    Io {
        /// The operation, as in "cannot open the file".
        doing: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Others than the user of this process may write or read the file, or write to its directory.
    NotPrivate {
        /// Number of the user that owns the file or the directory.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// It is a directory, a link, or a file with several names.
    NotAFile,
    /// The file system may be one of several machines, or its files may have holes that cannot be
    /// filled later.
    FileSystem {
        /// Number of the kind of file system, as in `statfs`.
        kind: u64,
    },
    /// The file is not that of a table.
    NotOurs,
    /// The file has the format of another version.
    Version {
        /// Number of that format.
        found: u64,
    },
    /// The file is not as it was written.
    Damaged {
        /// The damage.
        what: &'static str,
    },
    /// The table has another quota.
    OtherQuota {
        /// The quota of the table.
        found: Quota,
    },
    /// The table was built for another number of keys.
    OtherSize {
        /// Slots of the table.
        found: usize,
        /// Slots that a table for this `max_keys` has.
        expected: usize,
    },
    /// The program that created the file hashes keys differently: it was built with other versions
    /// of its libraries.
    OtherHasher,
    /// The limiter of [`KeyedLimiterBuilder::hashed_like`](crate::KeyedLimiterBuilder::hashed_like)
    /// has another seed than the file, or is not in a file.
    OtherSeed,
    /// The file was created in another time namespace, whose clock differs.
    OtherClock,
    /// The file system has too little space.
    NoSpace {
        /// Size of the file in bytes.
        bytes: u64,
    },
    /// More keys would have quotas of their own than a shared table allows.
    TooManyRules {
        /// Greatest number of them.
        most: usize,
    },
    /// Another process has been opening or changing the table for two seconds.
    Busy,
    /// The combination is not supported.
    Unsupported {
        /// The combination, and the expected one.
        what: &'static str,
    },
}

impl OpenError {
    pub(super) fn io(doing: &'static str) -> impl FnOnce(rustix::io::Errno) -> OpenError {
        move |errno| OpenError::Io {
            doing,
            source: errno.into(),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shared table: ")?;
        match self {
            OpenError::Build(error) => write!(f, "{error}"),
            OpenError::OutOfMemory => f.write_str("cannot allocate another table"),
            OpenError::Io { doing, source } => write!(f, "cannot {doing}: {source}"),
            OpenError::NotPrivate { owner, mode } => write!(
                f,
                "expected a file of this user alone, in a directory that no other user can write \
                 to, got owner {owner} with mode {mode:03o}; use chmod 600 for the file and 700 \
                 for the directory"
            ),
            OpenError::NotAFile => f.write_str(
                "expected a regular file with one name, got a link, a directory or a device",
            ),
            OpenError::FileSystem { kind } => write!(
                f,
                "expected tmpfs, ext4, xfs, btrfs or overlay, got a file system of kind {kind:#x}; \
                 use a directory in /run or /dev/shm"
            ),
            OpenError::NotOurs => f.write_str("the file is something else; use another path"),
            OpenError::Version { found } => write!(
                f,
                "the file has format {found}, which this version cannot read; stop the processes \
                 that use it, and delete it"
            ),
            OpenError::Damaged { what } => write!(
                f,
                "the file is damaged: {what}; stop the processes that use it, and delete it"
            ),
            OpenError::OtherQuota { found } => write!(
                f,
                "the table in the file has the quota {found}; replace_quota() changes it for all \
                 processes"
            ),
            OpenError::OtherSize { found, expected } => write!(
                f,
                "max_keys: expected one for {found} slots, as the table in the file has, got one \
                 for {expected}; replace_quota() changes it for all processes"
            ),
            OpenError::OtherHasher => f.write_str(
                "the program that created the file hashes keys differently; stop the processes \
                 that use it, and delete it",
            ),
            OpenError::OtherSeed => f.write_str(
                "hashed_like: expected a limiter in a file with the same seed; create the second \
                 file with it",
            ),
            OpenError::OtherClock => f.write_str(
                "the file was created in another time namespace, whose clock differs; use a file \
                 for each",
            ),
            OpenError::NoSpace { bytes } => write!(
                f,
                "the file system has no space for {bytes} bytes; use fewer keys, or a larger one"
            ),
            OpenError::TooManyRules { most } => {
                write!(f, "expected at most {most} keys with quotas of their own")
            }
            OpenError::Busy => f.write_str(
                "another process has been opening or changing the table for two seconds; try again",
            ),
            OpenError::Unsupported { what } => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Build(error) => Some(error),
            OpenError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<BuildError> for OpenError {
    fn from(error: BuildError) -> OpenError {
        OpenError::Build(error)
    }
}
