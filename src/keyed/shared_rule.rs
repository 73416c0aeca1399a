//! Rules that several processes share: tables of one key.

use std::collections::HashMap;

use super::{shared::ListedRule, table::Table};
use crate::{quota::Quota, sync::Arc};

/// Rules by the hash of their key.
pub(super) type SharedRules = HashMap<u64, Arc<SharedRule>, foldhash::fast::FixedState>;

/// Bucket of a key that has its own quota, in a table of its own.
#[derive(Debug)]
pub(super) struct SharedRule {
    /// Number of the table's file.
    pub(super) number: u64,
    pub(super) quota: Quota,
    pub(super) table: Table,
    /// Identifies this rule in the decisions it makes.
    pub(super) origin: u32,
}

impl SharedRule {
    pub(super) fn new(listed: &ListedRule, table: Table, origin: u32) -> SharedRule {
        SharedRule {
            number: listed.number,
            quota: listed.quota,
            table,
            origin,
        }
    }
}
