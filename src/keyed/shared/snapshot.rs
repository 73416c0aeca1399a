//! Table and rules that are current at one moment.

use std::ffi::OsStr;

use super::{
    control::Current,
    directory::Directory,
    error::OpenError,
    rule_list::{ListedRule, RuleList},
    table_file::{TableFile, file_name},
};

/// The current table and rules.
#[derive(Debug)]
pub(in crate::keyed) struct Snapshot {
    pub(in crate::keyed) current: Current,
    /// `None`: it is the one that was known.
    pub(in crate::keyed) table: Option<TableFile>,
    pub(super) list: RuleList,
}

impl Snapshot {
    /// Returns `None` if a file does not exist.
    pub(super) fn open(
        directory: &Directory,
        name: &OsStr,
        current: Current,
        known: Option<u32>,
    ) -> Result<Option<Snapshot>, OpenError> {
        let table = if known == Some(current.table) {
            None
        } else {
            let number = current.table.into();
            let table = TableFile::open(directory, &file_name(name, number), number)?;
            if table.is_none() {
                return Ok(None);
            }
            table
        };
        let list = RuleList::open(directory, name, current.rules.into())?;
        Ok(list.map(|list| Snapshot {
            current,
            table,
            list,
        }))
    }

    pub(in crate::keyed) fn rules(&self) -> &[ListedRule] {
        &self.list.rules
    }
}
