//! Tables for a new quota, and errors of changes.

use std::fmt;

#[cfg(feature = "shared")]
use super::shared::OpenError;
use super::table::Table;
use crate::{quota::Quota, sync::Arc};

/// Creates a table of the same size and policy as `old`. Returns `None` when the allocation fails.
pub(super) fn new_table(quota: &Quota, old: &Table) -> Option<Arc<Table>> {
    let table = Table::new(quota, old.sets.count(), old.when_full, old.patience);
    table.map(Arc::new)
}

/// Error of a table that cannot be allocated.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutOfMemory;

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot allocate another table")
    }
}

/// Error of a change of the quota or the rules.
#[cfg(not(feature = "shared"))]
pub(super) type ChangeError = OutOfMemory;
#[cfg(feature = "shared")]
pub(super) type ChangeError = OpenError;

#[cfg(feature = "shared")]
impl From<OutOfMemory> for OpenError {
    fn from(_: OutOfMemory) -> OpenError {
        OpenError::OutOfMemory
    }
}
