//! Tables for a new quota.

use std::fmt;

#[cfg(feature = "shared")]
use super::shared::OpenError;
use super::table::Table;
use crate::{quota::Quota, sync::Arc};

/// Creates a table of the same size and policy as `old`, for the same processes.
pub(super) fn new_table(
    quota: &Quota,
    old: &Table,
    resets: bool,
) -> Result<Arc<Table>, NewTableError> {
    #[cfg(feature = "shared")]
    if let Some((shared, number)) = old.shared() {
        let file = shared
            .replace(number, quota, old.sets.count(), resets)
            .map_err(NewTableError::Open)?;
        return Ok(Arc::new(Table::in_file(
            file,
            Arc::clone(shared),
            old.when_full,
        )));
    }
    let _ = resets;
    let table = Table::new(quota, old.sets.count(), old.when_full, old.patience);
    table.map(Arc::new).ok_or(NewTableError::OutOfMemory)
}

/// Error of a change for which another table is created.
#[derive(Debug)]
pub(super) enum NewTableError {
    OutOfMemory,
    #[cfg(feature = "shared")]
    Open(OpenError),
}

#[cfg(feature = "shared")]
impl From<NewTableError> for OpenError {
    fn from(error: NewTableError) -> OpenError {
        match error {
            NewTableError::OutOfMemory => OpenError::OutOfMemory,
            NewTableError::Open(error) => error,
        }
    }
}

impl fmt::Display for NewTableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NewTableError::OutOfMemory => f.write_str("cannot allocate another table"),
            #[cfg(feature = "shared")]
            NewTableError::Open(error) => error.fmt(f),
        }
    }
}
